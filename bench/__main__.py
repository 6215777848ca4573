"""How fast the engine reads a large catalogue: `python -m bench`.

Builds a warehouse (kept for the next time), then by turns lets the server write the
same rows to nowhere (`COPY … TO '/dev/null'`, the floor: no wire, no Parquet) and lets
the engine, in a process of its own, make a snapshot of it. Prints one table and writes
bench/results/<date>.json. Statements are counted twice: by the engine, and by the
server itself (pg_stat_statements).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from bench import verify_sql
from bench.load import Server, address
from bench.verify import PINNED
from dashboard.local import warehouse
from dashboard.local.servers import start
from extraction.catalog import KINDS
from extraction.connection import Target
from extraction.sources import postgresql_sql as sql
from workers.settings import data_dir

READER = "surveyor_bench"
# Ids below belong to the server itself (access/transam.h, FirstNormalObjectId).
FIRST_USER_OBJECT = 16_384
RESULTS = Path(__file__).with_name("results")
PACKAGES = ("sqlalchemy", "psycopg", "pyarrow")


class CountingServer(Server):
    """Counts the statements of each role."""

    def command(self) -> list[str]:
        return [*super().command(), "-c", "shared_preload_libraries=pg_stat_statements"]


@dataclass(frozen=True)
class Round:
    floor: dict[str, float]
    engine: dict[str, Any]
    wall: float
    server_statements: int
    load: float
    """Of the machine, before: what else ran there is in every figure."""


def corpus(server: Server, options: argparse.Namespace) -> str:
    database = f"bench_{options.tables}_{options.columns}_{options.seed}"
    built = warehouse.build(
        address(server),
        database,
        relations=int(options.tables * warehouse.RELATIONS_PER_TABLE),
        seed=options.seed,
        columns=options.columns,
    )
    state = f"built in {built.seconds:.1f} s" if built.created else "reused"
    print(f"{database}: {state}", flush=True)
    return database


def floor(server: Server, database: str) -> dict[str, float]:
    """Seconds per kind for the server alone: the engine's own statements, each once for the
    whole catalogue and planned as the server likes."""
    seconds = {}
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        connection.execute(PINNED)
        for kind in KINDS:
            query = sql.read(kind, connection.info.server_version)
            everything = query.replace(f"= any {sql.IDS}", f">= {FIRST_USER_OBJECT}")
            began = time.monotonic()
            connection.execute(f"COPY ({everything}) TO '/dev/null'".encode())
            seconds[kind] = time.monotonic() - began
    return seconds


def engine(target: Target, password: str) -> tuple[dict[str, Any], float]:
    """What the engine's process said, and its wall seconds with start and imports."""
    storage = tempfile.mkdtemp(prefix="surveyor-bench-")
    order = {"target": asdict(target), "password": password, "storage": f"file://{storage}"}
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.engine"],
            input=json.dumps(order),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    return json.loads(done.stdout), time.monotonic() - began


def measure(server: Server, database: str, rounds: int) -> Iterator[Round]:
    password = secrets.token_urlsafe()
    warehouse.create_reader_role(address(server), database, READER, password)
    server.execute(database, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public")
    target = Target("postgresql", server.host, server.port, database, READER, "disable")
    for number in range(rounds):
        load = os.getloadavg()[0]
        seconds = floor(server, database)
        server.execute(database, "SELECT public.pg_stat_statements_reset()")
        answer, wall = engine(target, password)
        counted = server.execute(
            database,
            "SELECT sum(calls)::bigint FROM public.pg_stat_statements"
            f" WHERE userid = '{READER}'::regrole",
        )
        print(
            f"round {number + 1}: floor {sum(seconds.values()):.2f} s, engine {wall:.2f} s,"
            f" load before {load:.1f}",
            flush=True,
        )
        yield Round(seconds, answer, wall, int(str(counted[0][0])), load)


def expected_counts(server: Server, database: str) -> dict[str, int]:
    counts = {}
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        for kind, query in verify_sql.QUERIES.items():
            row = connection.execute(f"SELECT count(*) FROM ({query}) q".encode()).fetchone()
            counts[kind] = row[0] if row else 0
    return counts


def table(rounds: list[Round], counts: dict[str, int]) -> Iterator[str]:
    got = rounds[-1].engine["counts"]
    yield f"{'kind':<14}{'rows':>10}{'expected':>10}{'floor s':>10}"
    for kind, count in counts.items():
        seconds = median(r.floor[kind] for r in rounds)
        yield f"{kind:<14}{got.get(kind, 0):>10}{count:>10}{seconds:>10.2f}"
    yield ""
    for stage in rounds[0].engine["seconds"]:
        yield f"engine {stage:<10}{median(r.engine['seconds'][stage] for r in rounds):>8.2f} s"
    walls, floors = [r.wall for r in rounds], [sum(r.floor.values()) for r in rounds]
    yield f"engine, process  {median(walls):>8.2f} s   (fastest {min(walls):.2f})"
    yield f"floor            {median(floors):>8.2f} s   (fastest {min(floors):.2f})"
    yield f"engine / floor   {median(walls) / median(floors):>8.2f}"
    peak = max(r.engine["peak_memory"] for r in rounds) / 2**20
    yield f"peak memory      {peak:>8.0f} MiB"
    per = 1000 * rounds[-1].server_statements / counts["relations"]
    yield (
        f"statements       {rounds[-1].server_statements:>8} by the server,"
        f" {rounds[-1].engine['statements']} by the engine: {per:.1f} per 1,000 relations"
    )


def write(rounds: list[Round], counts: dict[str, int], server: str, what: dict[str, Any]) -> Path:
    now = datetime.now(UTC)
    result = {
        "at": now.isoformat(timespec="seconds"),
        "options": what,
        "versions": {
            "postgresql": server,
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "expected": counts,
        "rounds": [asdict(r) for r in rounds],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%d}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tables", type=int, default=10_000)
    parser.add_argument("--columns", type=int, default=12, help="mean per table")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> int:
    options = _arguments()
    server = CountingServer(data_dir() / "bench" / "postgres")
    child = start(server)
    try:
        database = corpus(server, options)
        rounds = list(measure(server, database, options.rounds))
        counts = expected_counts(server, database)
        number = str(server.execute(database, "SHOW server_version")[0][0])
    finally:
        child.stop()
    print("\n".join(table(rounds, counts)))
    print(f"written: {write(rounds, counts, number, vars(options)).relative_to(Path.cwd())}")
    right = all(r.engine["status"] == "succeeded" for r in rounds)
    return 0 if right and rounds[-1].engine["counts"] == counts else 1


if __name__ == "__main__":
    sys.exit(main())
