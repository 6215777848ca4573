"""The warehouses that are read, in a server of their own, and what must be found in them."""

from __future__ import annotations

import secrets

import psycopg

from bench import verify_sql
from bench.contenders import Source
from bench.load import Server, address
from dashboard.local import warehouse
from extraction.connection import Target

# The engine needs no more than to connect. The others are refused without USAGE on every
# schema, and some list only what they could select from.
READER = "surveyor_bench"
READER_OF_DATA = "surveyor_bench_data"
# Who reads table by table asks a new statement for each.
DIFFERENT_STATEMENTS = 100_000


class CountingServer(Server):
    """Counts the statements of each role."""

    def command(self) -> list[str]:
        return [
            *super().command(),
            *("-c", "shared_preload_libraries=pg_stat_statements"),
            *("-c", f"pg_stat_statements.max={DIFFERENT_STATEMENTS}"),
        ]


def corpus(server: Server, tables: int, columns: int = 12, seed: int = 1) -> str:
    """The database with that many tables, built when it is not there; `columns` is the mean."""
    database = f"bench_{tables}_{columns}_{seed}"
    built = warehouse.build(
        address(server),
        database,
        relations=int(tables * warehouse.RELATIONS_PER_TABLE),
        seed=seed,
        columns=columns,
    )
    state = f"built in {built.seconds:.1f} s" if built.created else "reused"
    print(f"{database}: {state}", flush=True)
    server.execute(database, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public")
    return database


def source(server: Server, database: str, role: str) -> Source:
    """The database as that role reads it, with a new password."""
    password = secrets.token_urlsafe()
    warehouse.create_reader_role(address(server), database, role, password)
    if role == READER_OF_DATA:
        server.execute("postgres", f"GRANT pg_read_all_data TO {role}")
    target = Target("postgresql", server.host, server.port, database, role, "disable")
    return Source(target, password)


def expected_counts(server: Server, database: str) -> dict[str, int]:
    """Rows of each kind, by the independent queries of bench/verify_sql.py."""
    counts = {}
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        for kind, query in verify_sql.QUERIES.items():
            row = connection.execute(f"SELECT count(*) FROM ({query}) q".encode()).fetchone()
            counts[kind] = row[0] if row else 0
    return counts


def forget_statements(server: Server, database: str) -> None:
    server.execute(database, "SELECT public.pg_stat_statements_reset()")


def statements(server: Server, database: str) -> int:
    """How many statements of the readers the server has counted since."""
    counted = server.execute(
        database,
        "SELECT coalesce(sum(calls), 0)::bigint FROM public.pg_stat_statements"
        " JOIN pg_roles r ON r.oid = userid"
        f" WHERE rolname IN ('{READER}', '{READER_OF_DATA}')",
    )
    return int(str(counted[0][0]))
