"""A realistic warehouse of any size in a PostgreSQL: for the demo, the tests and the benchmark.

    python -m dashboard.local.warehouse shop --relations 2400

The server comes from libpq's environment (PGHOST, PGPORT, PGUSER, PGPASSWORD); the
role must be allowed to create databases. The same size and seed give the same schema.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TypedDict

import psycopg
from psycopg import sql

from dashboard.local import warehouse_plan as plan
from dashboard.local.warehouse_ddl import SHARED, Writer

# Each relation takes a handful of locks until its transaction ends; the default
# lock table of a server holds some 6,400.
RELATIONS_PER_TRANSACTION = 100


class Server(TypedDict, total=False):
    """Where the server is; what is missing, libpq takes from its environment."""

    host: str
    port: int
    user: str
    password: str


# Views and materialized views come on top of the tables.
RELATIONS_PER_TABLE = 1.19


@dataclass(frozen=True)
class Built:
    database: str
    created: bool
    seconds: float


def build(
    server: Server | str, database: str, *, relations: int = 2400, seed: int = 1, columns: int = 12
) -> Built:
    """Creates the database with that many relations; one that exists is left as it is.

    It is built under another name and renamed at the end, so an interrupted build is
    never mistaken for a finished one. `columns` is the mean per table; `server` may be
    a connection string, whose database is not used.
    """
    began = time.monotonic()
    draft = f"{database}_draft"
    with _connect(server, "postgres") as admin:
        if _exists(admin, database):
            return Built(database, created=False, seconds=0.0)
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(_name(draft)))
        admin.execute(
            sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(_name(draft))
        )
        with _connect(server, draft) as connection:
            connection.execute("SET synchronous_commit = off; SET client_min_messages = warning")
            _load(connection, statements(relations=relations, seed=seed, columns=columns))
            connection.execute("ANALYZE")
        admin.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(_name(draft), _name(database))
        )
    return Built(database, created=True, seconds=time.monotonic() - began)


def statements(*, relations: int, seed: int = 1, columns: int = 12) -> Iterator[str]:
    """The warehouse as SQL texts that load in this order."""
    rng = Random(seed)  # noqa: S311 - a reproducible demo, no secret
    planner, writer = plan.Planner(rng, columns), Writer(rng)
    yield SHARED
    for schema in plan.schemas(relations, rng):
        planner.fill(schema)
        yield from writer.schema(schema)


def create_reader_role(server: Server | str, database: str, role: str, password: str) -> None:
    """A role that may connect and nothing else: all that reading a catalogue needs.

    The password reaches the server in a statement of this connection only, already
    as SCRAM digest, so it stands in no argument list and no server log.
    """
    with _connect(server, database) as connection:
        digest = connection.pgconn.encrypt_password(
            password.encode(), role.encode(), b"scram-sha-256"
        ).decode()
        found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
        verb = sql.SQL("CREATE ROLE" if found is None else "ALTER ROLE")
        connection.execute(
            sql.SQL(
                "{} {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD {}"
            ).format(verb, _name(role), sql.Literal(digest))
        )
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(_name(database), _name(role))
        )


def _connect(server: Server | str, database: str) -> psycopg.Connection:
    conninfo, fields = (server, Server()) if isinstance(server, str) else ("", server)
    return psycopg.connect(
        conninfo, **fields, dbname=database, autocommit=True, application_name="demo warehouse"
    )


def _exists(connection: psycopg.Connection, database: str) -> bool:
    row = connection.execute("SELECT FROM pg_database WHERE datname = %s", (database,)).fetchone()
    return row is not None


def _load(connection: psycopg.Connection, texts: Iterable[str]) -> None:
    chunk: list[str] = []
    for text in texts:
        chunk.append(text)
        if len(chunk) >= RELATIONS_PER_TRANSACTION:
            connection.execute("\n".join(chunk))
            chunk = []
    if chunk:
        connection.execute("\n".join(chunk))


def _name(name: str) -> sql.Identifier:
    return sql.Identifier(name)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dashboard.local.warehouse",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("database")
    parser.add_argument("--relations", type=int, default=2400)
    parser.add_argument("--columns", type=int, default=12, help="mean per table")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    built = build(
        {},
        options.database,
        relations=options.relations,
        seed=options.seed,
        columns=options.columns,
    )
    state = f"built in {built.seconds:.1f} s" if built.created else "was there already"
    print(f"{built.database}: {state}")


if __name__ == "__main__":
    main()
