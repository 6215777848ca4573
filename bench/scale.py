"""A large warehouse through the whole product: `python -m bench.scale [--tables 10000]`.

Builds the warehouse in the demo server, runs it with three workers, and prints wall
seconds, peak memory of each worker, statements that reached the source (counted in the
server's own log) and the totals against the server's catalogue. Besides: what the server
alone needs for the same rows (bench/floor.py), what a run costs whatever its size (a source
of one table), and how late the event loops of the workers were. Wall seconds are from the
request to when the API says that the run has ended, which is asked every 0.2 s. Bars: 2.5
times the server alone at 50,000 tables, 2 s of fixed cost, 50 ms at p99.
"""

from __future__ import annotations

import argparse
import math
import os
import secrets
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bench import record
from bench.canary import demo_target
from bench.floor import floor
from bench.instance import Instance, instance
from dashboard.local import warehouse

LAG = Path(__file__).with_name("lag")
RATIO, LARGE = 2.5, 50_000
FIXED, LATE = 2.0, 0.05
SOURCE_TOTALS = {
    "relations": """
        select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r','p','v','m','f')
        and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'""",
    "columns": """
        select count(*) from pg_attribute a join pg_class c on c.oid = a.attrelid
        join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r','p','v','m','f') and a.attnum > 0 and not a.attisdropped
        and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'""",
    "indexes": """
        select count(*) from pg_index i join pg_class c on c.oid = i.indrelid
        join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r','p','m') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'""",
}


class PeakMemory(threading.Thread):
    """The highest resident size of each process, MiB, sampled every 50 ms."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__(daemon=True)
        self.peaks = dict.fromkeys(pids, 0.0)
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.05):
            for pid in self.peaks:
                self.peaks[pid] = max(self.peaks[pid], resident(pid))


def resident(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return pages * 4096 / 2**20


def build(copy: Instance, tables: int) -> str:
    """The database; its connection is named "big"."""
    dsn = copy.settings["DEMO_SUPERUSER_DSN"]
    database = f"big_{tables}"
    relations = int(tables * warehouse.RELATIONS_PER_TABLE)
    built = warehouse.build(dsn, database, relations=relations)
    print(f"built {relations} relations in {built.seconds:.1f} s", flush=True)
    with psycopg.connect(dsn, autocommit=True) as admin:
        # The demo server logs nothing below FATAL otherwise.
        for setting in ("log_statement = 'all'", "log_min_messages = 'log'"):
            admin.execute(
                sql.SQL("ALTER DATABASE {} SET " + setting).format(sql.Identifier(database))
            )
    connect(copy, "big", database)
    return database


def build_one(copy: Instance) -> None:
    """A source of one table, as the connection "one"."""
    dsn = copy.settings["DEMO_SUPERUSER_DSN"]
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE one")
    with psycopg.connect(dsn, dbname="one", autocommit=True) as admin:
        admin.execute("CREATE TABLE one (id int PRIMARY KEY, name text)")
    connect(copy, "one", "one")


def connect(copy: Instance, name: str, database: str) -> None:
    role, password = f"{name}_{secrets.token_hex(3)}", secrets.token_urlsafe(12)
    warehouse.create_reader_role(copy.settings["DEMO_SUPERUSER_DSN"], database, role, password)
    body = {**demo_target(copy), "name": name, "database": database, "username": role}
    copy.api.post("/connections", json={**body, "password": password}).raise_for_status()


def server_log(copy: Instance) -> bytes:
    """What the demo server has logged so far."""
    return b"".join(path.read_bytes() for path in sorted((copy.data_dir / "logs").glob("*.log")))


@dataclass(frozen=True)
class Measured:
    """Seconds, MiB. `late` is by how much the workers' loops were late meanwhile."""

    run: dict[str, Any]
    wall: float
    fixed: list[float]
    floors: list[float]
    peaks: list[float]
    statements: int
    late: list[float]
    load: float

    @property
    def floor(self) -> float:
        return median(self.floors)

    @property
    def late_p99(self) -> float:
        return quantiles(self.late, n=100)[98] if len(self.late) > 1 else math.inf


def timed(copy: Instance, connection: str) -> tuple[dict[str, Any], float]:
    begin = time.monotonic()
    run = copy.wait(copy.start_run(connection), 600)
    return run, time.monotonic() - begin


def lateness(directory: Path, since: float, until: float) -> list[float]:
    """What bench/lag has written of that time."""
    lines = (line for path in directory.glob("*.lag") for line in path.read_text().splitlines())
    pairs = (line.split() for line in lines)
    return [float(late) for at, late in pairs if since <= float(at) <= until]


def measure(copy: Instance, database: str, lag: Path, rounds: int) -> Measured:
    build_one(copy)
    load = os.getloadavg()[0]
    fixed = [timed(copy, "one")[1] for _ in range(rounds)]
    before = len(server_log(copy))
    memory = PeakMemory(copy.workers())
    memory.start()
    since = time.time()
    run, wall = timed(copy, "big")
    late = lateness(lag, since, time.time())
    memory.done.set()
    log = server_log(copy)[before:]
    statements = log.count(b"LOG:  statement:") + log.count(b"LOG:  execute ")
    url = make_conninfo(copy.settings["DEMO_SUPERUSER_DSN"], dbname=database)
    floors = [floor(url).wall for _ in range(rounds)]
    peaks = sorted(memory.peaks.values())
    return Measured(run, wall, fixed, floors, peaks, statements, late, load)


def totals(copy: Instance, database: str) -> tuple[dict[str, int], str]:
    """What the server's catalogue holds, and the server's version."""
    with psycopg.connect(copy.settings["DEMO_SUPERUSER_DSN"], dbname=database) as admin:
        counts = {k: admin.execute(q).fetchone()[0] for k, q in SOURCE_TOTALS.items()}  # type: ignore[index]
        return counts, admin.info.parameter_status("server_version") or ""


def report(measured: Measured, expected: dict[str, int], tables: int) -> int:
    run, peaks = measured.run, measured.peaks
    got = {kind: run["counts"].get(kind) for kind in expected}
    per_thousand = measured.statements / expected["relations"] * 1000
    ratio = measured.wall / measured.floor
    fixed, late = median(measured.fixed), 1000 * measured.late_p99
    print(
        f"status {run['status']}, wall {measured.wall:.1f} s, started→finished {run['started_at']} {run['finished_at']}"
    )
    print(
        f"totals source {expected}\n       ours   {got}  {'equal' if got == expected else 'DIFFERENT'}"
    )
    print(
        f"server alone {measured.floor:.2f} s, wall / floor {ratio:.2f} (bar {RATIO} at {LARGE:,} tables)"
    )
    print(f"fixed cost {fixed:.2f} s: a run of one table (bar {FIXED:.0f} s)")
    print(f"worker peak MiB {', '.join(f'{p:.0f}' for p in peaks)} (bar 300)")
    print(
        f"statements in the server's log {measured.statements}, {per_thousand:.1f} per 1,000 relations (bar 40)"
    )
    print(
        f"loops late, p99 {late:.1f} ms of {len(measured.late)} steps (bar {1000 * LATE:.0f}), load before {measured.load:.1f}"
    )
    ok = (
        run["status"] == "succeeded"
        and got == expected
        and peaks[-1] < 300
        and 0 < per_thousand <= 40
        and fixed <= FIXED
        and measured.late_p99 <= LATE
        and (tables < LARGE or ratio <= RATIO)
    )
    return 0 if ok else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tables", type=int, default=10_000)
    parser.add_argument(
        "--rounds", type=int, default=3, help="of the floor and of the run of one table"
    )
    options = parser.parse_args()
    path = record.new_file("scale")
    with (
        tempfile.TemporaryDirectory(prefix="surveyor-lag-") as lag,
        instance(PYTHONPATH=str(LAG), BENCH_LAG_DIR=lag) as copy,
    ):
        copy.settle()
        database = build(copy, options.tables)
        measured = measure(copy, database, Path(lag), options.rounds)
        expected, number = totals(copy, database)
    result = {**asdict(measured), "late": {"p99": measured.late_p99, "worst": max(measured.late)}}
    what = {"options": vars(options), "expected": expected, "measured": result}
    record.write(path, number, what)
    print(f"written: {os.path.relpath(path)}")
    return report(measured, expected, options.tables)


if __name__ == "__main__":
    sys.exit(main())
