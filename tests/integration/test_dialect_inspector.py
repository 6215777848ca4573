"""What SQLAlchemy's Inspector gives of databases at hand, against what our own statements give."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from extraction.catalog import KINDS
from extraction.check import check
from extraction.connection import (
    DIALECTS,
    AddressPolicy,
    Credentials,
    Dialect,
    Options,
    Target,
    open_session,
)
from extraction.errors import DriverMissing
from extraction.sources.inspector_urls import DRIVERS, Driver, Login
from extraction.storage import open_storage
from tests.extraction.engine import Engine, rows_of
from tests.integration import test_dialect_postgresql as postgresql
from tests.integration import test_dialect_sqlite as sqlite
from tests.integration.dialects import DialectContract
from tests.integration.test_engine import SHOP
from tests.integration.test_engine_session import is_login

pytestmark = pytest.mark.integration

INSPECTOR = "extraction.sources.inspector"
LOCAL = AddressPolicy(allow_loopback=True)
# What both give, column by column. Texts of types and expressions are written in other ways.
SHARED = {
    "relations": "schema_name relation_name comment",
    "columns": "schema_name relation_name column_name position logical_type nullable comment",
}


def _postgresql(target: Target, credentials: Credentials, options: Options, label: str) -> Login:
    url = URL.create(
        "postgresql+psycopg",
        credentials.username,
        credentials.password,
        target.host,
        target.port,
        target.database,
    )
    return Login(url, {"application_name": label})


def _sqlite(target: Target, credentials: Credentials, options: Options, label: str) -> Login:
    return Login(URL.create("sqlite", database=target.database), {"check_same_thread": False})


@contextmanager
def inspected() -> Iterator[None]:
    """Two kinds of database more, read by the Inspector."""
    with pytest.MonkeyPatch.context() as patch:
        for name, make in (("postgresql", _postgresql), ("sqlite", _sqlite)):
            fields = ("database",) if name == "sqlite" else ("host", "port", "database", "username")
            dialect = Dialect(name, 5432, INSPECTOR, fields, extra="none")
            patch.setitem(DIALECTS, f"inspected_{name}", dialect)
            patch.setitem(
                DRIVERS,
                f"inspected_{name}",
                Driver(make, "postgres" if name == "postgresql" else name),
            )
        yield


@pytest.fixture(autouse=True, scope="module")
def _inspected() -> Iterator[None]:
    with inspected():
        yield


class InspectedPlace(postgresql.PostgreSQLPlace):
    def new(self, *statements: str) -> Target:
        return replace(super().new(*statements), dialect="inspected_postgresql")


class TestInspectedPostgreSQL(DialectContract):
    """The whole suite, on a real server, through the Inspector alone."""

    logs_in = long_comments = zero_columns = True
    ends = "partial"
    schema = "public"
    hanging = postgresql.TestPostgreSQL.hanging
    emptying = ("drop schema public",)
    script = (SHOP,)
    golden = {
        "schemas": ("schema_name", [("hr",), ("public",), ("sales",)]),
        "relations": ("relation_name kind", [
            ("people", "table"), ("people_2000", "table"), ("scratch", "table"),
            ("customers", "table"), ("orders", "table"), ("recent", "view"),
            ("totals", "materialized_view"),
        ]),
        "columns": ("relation_name column_name logical_type nullable identity generated", [
            (relation, name, logical, nullable, "ALWAYS" if (relation, name) == ("customers", "id")
             else None, "STORED" if name == "upper_name" else None)
            for relation, name, _, logical, nullable, _ in postgresql.TestPostgreSQL.golden["columns"][1]
        ]),
        "constraints": ("constraint_name kind columns referenced_relation on_update on_delete", [
            (name, kind, () if kind == "check" else columns, *rest)
            for name, kind, columns, *rest in postgresql.TestPostgreSQL.golden["constraints"][1]
            if kind != "exclusion"
        ]),
        "dependencies": ("relation_name referenced_relation referenced_column found_by", [
            (*row, "parsed") for row in postgresql.TestPostgreSQL.golden["dependencies"][1]
        ]),
        # The Inspector leaves out the index of a primary key.
        "indexes": ("index_name columns unique", [
            ("orders_customer_placed_key", ("customer", "placed"), True),
            ("orders_id_excl", ("id",), False),
            ("orders_lower_placed_customer_idx", ("lower(total::text)", "placed"), False),
        ]),
    }  # fmt: skip

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, postgres: Any) -> InspectedPlace:
        return InspectedPlace(postgres)

    def is_login(self, data: bytes, target: Target) -> bool:
        return is_login(data)

    def test_what_it_cannot_give_is_denied_with_the_reason(
        self, shop: Target, engine_of: Any
    ) -> None:
        manifest = engine_of(shop).run().manifest
        denied = {unseen["kind"]: unseen["reason"] for unseen in manifest["denied"]}
        assert set(denied) == {"routines", "sequences", "triggers", "statistics"}
        assert denied["routines"] == (
            "SQLAlchemy's Inspector does not read routines of postgresql."
        )
        assert all(unseen["fix"] for unseen in manifest["denied"])
        complete = {s["kind"] for s in manifest["scopes"] if s["status"] == "complete"}
        assert complete == set(KINDS) - set(denied)

    def test_a_check_reads_the_catalogue(self, place: InspectedPlace, shop: Target) -> None:
        credentials = Credentials(shop.username, place.password)
        report = check(shop, lambda: credentials, Options(), LOCAL)
        assert report.ok, report
        names = [step.name for step in report.steps]
        assert names == ["resolve", "connect", "login", "version", "catalogue"]

    def test_it_agrees_with_our_own_statements(self, shop: Target, engine_of: Any) -> None:
        agree(engine_of(shop), engine_of(replace(shop, dialect="postgresql")))


def agree(one: Engine, other: Engine) -> None:
    first, second = one.run(), other.run()
    for kind, columns in SHARED.items():
        picked = [
            [tuple(row[name] for name in columns.split()) for row in rows_of(snapshot, kind)]
            for snapshot in (first, second)
        ]
        assert picked[0] == picked[1] != [], kind


def test_it_agrees_with_our_own_statements_on_sqlite(tmp_path: Path) -> None:
    place = sqlite.FilePlace("sqlite", sqlite3.connect, tmp_path)
    # Without virtual tables, whose hidden columns the Inspector leaves out.
    script = [s for s in sqlite.TestSQLite.script if "fts5" not in s and "words" not in s]
    own = place.new(*script)
    storage = open_storage(f"file://{tmp_path / 'storage'}")
    target = replace(own, dialect="inspected_sqlite", database=str(tmp_path / own.database))
    found = Engine(target, "", storage, policy=place.policy).run()
    native = Engine(own, "", storage, policy=place.policy).run()
    # SQLAlchemy leaves out what it cannot read, and says so by a warning: here an index of
    # expressions, and foreign keys whose texts it does not understand.
    lost = {(one["kind"], one["name"]): one["reason"] for one in found.manifest["errored"]}
    assert "expression-based index odd" in lost["indexes", "artist"]
    assert {kind for kind, _ in lost} == {"indexes", "constraints"}
    for kind, columns in {
        "relations": "relation_name kind",
        "columns": "relation_name column_name position",
        "constraints": "relation_name kind columns referenced_relation",
    }.items():
        picked = [
            sorted(
                repr([row[name] for name in columns.split()]).lower()
                for row in rows_of(snapshot, kind)
                if (kind, row["relation_name"]) not in lost and row.get("kind") != "check"
            )
            for snapshot in (found, native)
        ]
        assert picked[0] == picked[1] != [], kind


@pytest.mark.parametrize("name", sorted(DRIVERS))
def test_a_missing_driver_is_named_with_its_extra(name: str, postgres: Any) -> None:
    """None of these is installed here."""
    target = Target(name, postgres.host, postgres.port, "db", "reader", "disable")
    with pytest.raises(DriverMissing) as caught:
        open_session(target, Credentials("reader", "canary-9d1b"), Options(), LOCAL, "label")
    label = DIALECTS[name].label
    assert caught.value.message == (
        f"The driver of {label} is not installed where the workers run."
    )
    assert caught.value.fix == (
        f"Install the extra there: pip install 'surveyor[{DIALECTS[name].extra}]'."
    )
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", sorted(DRIVERS))
def test_fields_become_only_their_own_part_of_a_url(name: str) -> None:
    hostile = "x?host=evil&unix_socket=/tmp/s"
    target = Target(name, "db.example", 1234, hostile, hostile, "require")
    url = DRIVERS[name].make(target, Credentials(hostile, f"p@{hostile}"), Options(), "label").url
    assert url.host in ("db.example", hostile)  # BigQuery's host is its project
    assert "host" not in url.query and "unix_socket" not in url.query
    assert f"p@{hostile}" not in str(url)
    again = type(url).create(url.drivername)
    assert again.drivername.split("+")[0] not in ("postgresql", "sqlite")
