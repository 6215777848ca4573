"""How fast the engine reads a MariaDB: `python -m bench.mysql --relations 1000 10000`.

Builds a warehouse, then by turns lets the server's own client ask the same statements
and throw the rows away (the floor), and lets the engine, in a process of its own, make a
snapshot. Seconds are of the clock, and of the CPU (server and client together), which a busy
machine changes less. Prints one table and writes bench/results/<date>-mariadb.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import median
from typing import Any
from unittest.mock import patch

from bench.engine import extract
from bench.mariadb import MariaDBServer, program
from dashboard.local.servers import start
from extraction.connection import Target
from extraction.sources import mysql_login
from extraction.sources.mysql import role_script

READER = "surveyor_bench"
RESULTS = Path(__file__).with_name("results")
SCHEMAS_PER = 200
# What a process costs before it reads anything, which a worker has paid long ago.
IMPORTS = "import bench.engine, extraction.sources.mysql, pyarrow.parquet"
TYPES = (
    *("bigint", "int unsigned", "varchar(40)", "decimal(12,2)", "datetime(3)", "text", "date"),
    *("tinyint(1)", "enum('new','old')", "json", "double DEFAULT 0"),
    "timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp()",
)


def warehouse(relations: int) -> Iterator[str]:
    """A seventh are views, a third of the tables has a foreign key, some a trigger."""
    random = Random(relations)
    yield "SET foreign_key_checks = 0;"
    for number in range(relations):
        schema, place = divmod(number, SCHEMAS_PER)
        if not place:
            yield f"CREATE DATABASE w{schema:03}; USE w{schema:03};"
        if place % 7 == 6:
            yield f"CREATE VIEW v{place:03} AS SELECT id, c0, c1 FROM t{place - 1:03};"
            continue
        columns = [
            f"c{n} {random.choice(TYPES)} COMMENT 'column {n}'"
            for n in range(random.randint(4, 18))
        ]
        keys = ["KEY by_parent (parent)", "UNIQUE KEY once (parent, id)"]
        if place % 3 == 2:
            other = place - 1 if (place - 1) % 7 != 6 else place - 2
            keys.append(f"FOREIGN KEY (parent) REFERENCES t{other:03} (id) ON DELETE CASCADE")
        yield (
            f"CREATE TABLE t{place:03} (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, "
            f"parent bigint, {', '.join([*columns, *keys])}) COMMENT 'table {number}';"
        )
        if not place % 40:
            yield f"CREATE TRIGGER g{place:03} BEFORE INSERT ON t{place:03} FOR EACH ROW SET NEW.parent = 1;"


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Every statement that is asked meanwhile, as it goes over the wire."""
    asked: list[str] = []
    ask = mysql_login.WatchedConnection.ask

    def noted(self: Any, statement: str, values: Any = None, most: int | None = None) -> Any:
        with self.cursor() as cursor:
            asked.append(cursor.mogrify(statement, values))
        return ask(self, statement, values, most)

    with patch.object(mysql_login.WatchedConnection, "ask", noted):
        yield asked


def measure(server: MariaDBServer, scratch: Path, relations: int, rounds: int) -> dict[str, Any]:
    file = scratch / "warehouse.sql"
    file.write_text("\n".join(warehouse(relations)))
    errors = server.load(file)
    if errors:
        raise SystemExit(errors[0])
    target = Target("mariadb", server.host, server.port, "", READER, "disable")
    script = role_script(target).replace("…", server.password)
    server.execute("", *script.splitlines()[:2])
    with recorded() as asked:
        extract(target, server.password, f"file://{scratch / 'first'}")
    questions = [s for s in asked if s.startswith("SELECT") and "information_schema" in s]
    statements = scratch / "asked.sql"
    statements.write_text(";\n".join(questions) + ";\n")
    floors: list[tuple[float, float]] = []
    engines: list[tuple[float, float]] = []
    last: dict[str, Any] = {}
    before = _cpu(server)
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    imports = _cpu(server) - before
    for number in range(rounds):
        before = _cpu(server)
        wall = _floor(server, statements)
        floors.append((wall, _cpu(server) - before))
        before = _cpu(server)
        last = _engine(target, server.password, scratch / f"storage{number}")
        engines.append((sum(last["seconds"].values()), _cpu(server) - before - imports))
    (floor, floor_cpu), (engine, engine_cpu) = (
        tuple(median(values) for values in zip(*pairs, strict=True)) for pairs in (floors, engines)
    )
    return {
        "relations": relations,
        "rows": last["rows"],
        "statements": last["statements"],
        "statements_per_1000": round(last["statements"] * 1000 / relations, 1),
        "floor": round(floor, 3),
        "engine": round(engine, 3),
        "ratio": round(engine / floor, 2),
        "floor_cpu": round(floor_cpu, 3),
        "engine_cpu": round(engine_cpu, 3),
        "cpu_ratio": round(engine_cpu / floor_cpu, 2),
        "peak_mib": round(last["peak_memory"] / 2**20),
        "floors": floors,
        "engines": engines,
    }


def _cpu(server: MariaDBServer) -> float:
    """Seconds of the server and of all our children that have ended, user and system."""
    pid = int((server.directory / "pid").read_text())
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (int(fields[11]) + int(fields[12])) / ticks + ended.ru_utime + ended.ru_stime


def _floor(server: MariaDBServer, statements: Path) -> float:
    command = [
        *(program("mariadb"), f"--defaults-file={server.directory / 'client.cnf'}"),
        *("--quick", "--batch", "--skip-column-names", "--skip-ssl"),
    ]
    began = time.monotonic()
    with statements.open("rb") as stream:
        subprocess.run(command, stdin=stream, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def _engine(target: Target, password: str, storage: Path) -> dict[str, Any]:
    order = {"target": vars(target), "password": password, "storage": f"file://{storage}"}
    done = subprocess.run(
        [sys.executable, "-m", "bench.engine"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.mysql", description=__doc__)
    parser.add_argument("--relations", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    results = []
    shown = (
        *("relations", "rows", "statements", "statements_per_1000", "floor", "engine", "ratio"),
        *("floor_cpu", "engine_cpu", "cpu_ratio", "peak_mib"),
    )
    print(" ".join(shown))
    for relations in options.relations:
        with tempfile.TemporaryDirectory(prefix="surveyor-bench-") as scratch:
            server = MariaDBServer(Path(scratch) / "mariadb", "--innodb-buffer-pool-size=256M")
            child = start(server)
            try:
                result = measure(server, Path(scratch), relations, options.rounds)
                result["server"] = server.execute("", "select version()")[0][0]
            finally:
                child.stop()
        results.append(result)
        print(" ".join(f"{result[name]!s:>{len(name)}}" for name in shown), flush=True)
    file = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-mariadb.json"
    file.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
