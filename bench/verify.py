"""Does a snapshot hold exactly what the database holds? `python -m bench.verify FILE`.

Loads the file into a fresh PostgreSQL, extracts it as a role that may only connect,
asks the server for everything a second time (bench/verify_sql.py) as superuser, and
compares both as multisets: every kind, every column, every row. Exit 1 on any difference.
A SQLite file is read where it lies (bench/verify_sqlite.py).
psql's own commands in the file are obeyed: give it only files you would give to psql.
With `--dialect mariadb` the same of a MariaDB (bench/verify_mysql.py), read as the user
that the connection form prints.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from bench import verify_mysql, verify_sql, verify_sqlite
from bench.compare import Row, compare, snapshot_faults, snapshot_rows
from bench.engine import extract
from bench.load import Server, address, load
from bench.mariadb import MariaDBServer
from bench.report import Report
from dashboard.local import warehouse
from dashboard.local.servers import PostgresServer, start
from extraction.catalog import KINDS
from extraction.connection import Target
from extraction.sources.mysql import role_script

READER = "surveyor_verify"
# As pg_dump does it: texts must not depend on what a role or a database sets.
PINNED = """
SET search_path = ''; SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
SET extra_float_digits = 3; SET bytea_output = 'hex'; SET quote_all_identifiers = off;
SET standard_conforming_strings = on; SET statement_timeout = 0;
"""


def verify(server: PostgresServer, database: str, storage: Path) -> Report:
    """Extracts a database of this server below `storage` and compares."""
    password = secrets.token_urlsafe()
    warehouse.create_reader_role(address(server), database, READER, password)
    target = Target("postgresql", server.host, server.port, database, READER, "disable")
    version, expected = ask(server, database)
    return _compared("PostgreSQL", version, expected, target, password, storage)


def verify_mariadb(server: MariaDBServer, storage: Path) -> Report:
    """All schemas of the server, read as the user of the role script."""
    password = secrets.token_urlsafe()
    target = Target("mariadb", server.host, server.port, "", READER, "disable")
    script = role_script(target).replace("…", password)
    server.execute("", f"DROP USER IF EXISTS {READER}", *script.splitlines()[:2])
    version, expected = verify_mysql.ask(server)
    return _compared("MariaDB", version, expected, target, password, storage)


def _compared(
    product: str,
    version: str,
    expected: dict[str, list[Row]],
    target: Target,
    password: str,
    storage: Path,
) -> Report:
    run = extract(target, password, f"file://{storage}")
    manifest = json.loads((storage / "snapshots" / run.run_id / "manifest.json").read_bytes())
    return Report(
        version,
        run.finished.status,
        [
            compare(kind, expected[name], snapshot_rows(storage, manifest, kind))
            for name, kind in KINDS.items()
            if name in expected
        ],
        list(snapshot_faults(storage, manifest)),
        product,
    )


def ask(server: PostgresServer, database: str) -> tuple[str, dict[str, list[Row]]]:
    """The server's version, and for each kind the rows that its catalogue holds."""
    url = server.url(database)
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        connection.execute(PINNED)
        version = connection.info.parameter_status("server_version") or ""
        rows: dict[str, list[Row]] = {}
        for name, query in verify_sql.QUERIES.items():
            cursor = connection.execute(query.encode())
            rows[name] = list(cursor.fetchall())
    return version, rows


def lines(report: Report, differences: int) -> Iterator[str]:
    yield f"{report.product} {report.server_version}, run {report.status}"
    yield f"{'kind':<12} {'expected':>9} {'got':>9} {'missing':>9} {'extra':>9}"
    for c in report.comparisons:
        counts = (c.expected, c.got, len(c.missing), len(c.extra))
        yield f"{c.kind:<12} " + " ".join(f"{count:>9}" for count in counts)
        yield from (f"    {line}" for line in c.explain(differences))
    yield from (f"fault: {fault}" for fault in report.faults)
    yield "equal" if report.passed else "NOT EQUAL"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.verify",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="SQL, an archive of pg_dump, or a SQLite file")
    parser.add_argument("--dialect", choices=("postgresql", "mariadb"), default="postgresql")
    parser.add_argument("--binaries", type=Path, help="directory of initdb and postgres to use")
    parser.add_argument("--differences", type=int, default=5, help="how many to show of each kind")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> int:
    options = _arguments()
    if not options.file.is_file():
        print(f"No file {options.file}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="surveyor-verify-") as scratch:
        if options.dialect == "mariadb":
            return _show(*_of_mariadb(Path(scratch), options.file), options)
        if verify_sqlite.is_sqlite(options.file):
            report = verify_sqlite.verify(options.file.resolve(), Path(scratch) / "storage")
            return _show(report, [], options)
        server = Server(Path(scratch) / "postgres", options.binaries)
        child = start(server)
        try:
            server.create_database("verify")
            database, errors = load(server, "verify", options.file)
            report = verify(server, database, Path(scratch) / "storage")
        finally:
            child.stop()
    return _show(report, errors, options)


def _of_mariadb(scratch: Path, file: Path) -> tuple[Report, list[str]]:
    server = MariaDBServer(scratch / "mariadb")
    child = start(server)
    try:
        errors = server.load(file)
        return verify_mariadb(server, scratch / "storage"), errors
    finally:
        child.stop()


def _show(report: Report, errors: list[str], options: argparse.Namespace) -> int:
    if options.json:
        result: dict[str, Any] = {**asdict(report), "passed": report.passed, "load_errors": errors}
        print(json.dumps(result, default=str, ensure_ascii=False))
        return 0 if report.passed else 1
    if errors:
        print(f"{len(errors)} statements of the file failed, the first: {errors[0]}")
    print("\n".join(lines(report, options.differences)))
    if not report.relations:
        print("the file holds no relation: nothing was compared", file=sys.stderr)
        return 2
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
