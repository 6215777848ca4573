from __future__ import annotations

import secrets

import psycopg
import pytest

from bench.load import address
from dashboard.local import warehouse

pytestmark = pytest.mark.integration

RELATIONS = """SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'v', 'm', 'p') AND n.nspname !~ '^(pg_|information_schema)'"""


@pytest.fixture(scope="module")
def built(postgres) -> warehouse.Built:
    return warehouse.build(address(postgres), "built_warehouse", relations=120)


def test_holds_exactly_the_relations_asked_for(postgres, built):
    assert built.created
    assert postgres.execute("built_warehouse", RELATIONS) == [(120,)]


def test_a_second_build_leaves_it_alone(postgres, built):
    postgres.execute("built_warehouse", "CREATE TABLE public.mine ()")
    again = warehouse.build(address(postgres), "built_warehouse", relations=50)
    assert not again.created
    assert postgres.execute("built_warehouse", "SELECT to_regclass('public.mine')::text") == [
        ("mine",)
    ]
    postgres.execute("built_warehouse", "DROP TABLE public.mine")


def test_an_interrupted_build_is_begun_anew(postgres):
    postgres.create_database("torn_draft")
    postgres.execute("torn_draft", "CREATE SCHEMA shared")
    assert warehouse.build(address(postgres), "torn", relations=20).created
    assert postgres.execute("torn", RELATIONS) == [(20,)]


def test_the_reader_may_connect_and_see_the_catalogue_but_no_data(postgres, built):
    password = secrets.token_urlsafe() + "'\\ü"
    warehouse.create_reader_role(address(postgres), "built_warehouse", "plain_reader", password)
    with psycopg.connect(
        host=postgres.host,
        port=postgres.port,
        user="plain_reader",
        password=password,
        dbname="built_warehouse",
        autocommit=True,
    ) as connection:
        assert connection.execute(RELATIONS).fetchone() == (120,)
        schema, table = connection.execute(
            """SELECT schemaname, tablename FROM pg_tables
            WHERE schemaname !~ '^(pg_|information_schema)' LIMIT 1"""
        ).fetchone()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f'SELECT FROM "{schema}"."{table}"')
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE SCHEMA mine")


def test_creating_the_reader_again_changes_its_password(postgres, built):
    server = address(postgres)
    for password in ("first", "second"):
        warehouse.create_reader_role(server, "built_warehouse", "turning_reader", password)
    where = {**server, "user": "turning_reader", "dbname": "built_warehouse"}
    psycopg.connect(**{**where, "password": "second"}).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**{**where, "password": "first"})
