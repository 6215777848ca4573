"""A large warehouse through the whole product: `python -m bench.scale [--tables 10000]`.

Builds the warehouse in the demo server, runs it with three workers, and prints wall
seconds, peak memory of each worker, statements that reached the source (counted in the
server's own log) and the totals against the server's catalogue.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import threading
import time
from pathlib import Path

import psycopg
from psycopg import sql

from bench.canary import demo_target
from bench.instance import Instance, instance
from dashboard.local import warehouse

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


def build(copy: Instance, tables: int) -> tuple[str, str]:
    """The database and the connection's name."""
    dsn = copy.settings["DEMO_SUPERUSER_DSN"]
    role, password = f"big_{secrets.token_hex(3)}", secrets.token_urlsafe(12)
    database = f"big_{tables}"
    relations = int(tables * warehouse.RELATIONS_PER_TABLE)
    built = warehouse.build(dsn, database, relations=relations)
    print(f"built {relations} relations in {built.seconds:.1f} s", flush=True)
    warehouse.create_reader_role(dsn, database, role, password)
    with psycopg.connect(dsn, autocommit=True) as admin:
        # The demo server logs nothing below FATAL otherwise.
        for setting in ("log_statement = 'all'", "log_min_messages = 'log'"):
            admin.execute(
                sql.SQL("ALTER DATABASE {} SET " + setting).format(sql.Identifier(database))
            )
    body = {**demo_target(copy), "name": "big", "database": database, "username": role}
    copy.api.post("/connections", json={**body, "password": password}).raise_for_status()
    return database, "big"


def server_log(copy: Instance) -> bytes:
    """What the demo server has logged so far."""
    return b"".join(path.read_bytes() for path in sorted((copy.data_dir / "logs").glob("*.log")))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=int, default=10_000)
    tables = parser.parse_args().tables
    with instance() as copy:
        copy.settle()
        database, name = build(copy, tables)
        before = len(server_log(copy))
        memory = PeakMemory(copy.workers())
        memory.start()
        begin = time.monotonic()
        run = copy.wait(copy.start_run(name), 600)
        wall = time.monotonic() - begin
        memory.done.set()
        return report(copy, run["id"], database, wall, memory, server_log(copy)[before:])


def report(
    copy: Instance, run_id: str, database: str, wall: float, memory: PeakMemory, log: bytes
) -> int:
    run = copy.run(run_id)
    with psycopg.connect(copy.settings["DEMO_SUPERUSER_DSN"], dbname=database) as admin:
        totals = {k: admin.execute(q).fetchone()[0] for k, q in SOURCE_TOTALS.items()}  # type: ignore[index]
    got = {k: run["counts"].get(k) for k in totals}
    statements = log.count(b"LOG:  statement:") + log.count(b"LOG:  execute ")
    per_thousand = statements / totals["relations"] * 1000
    peaks = sorted(memory.peaks.values())
    print(
        f"status {run['status']}, wall {wall:.1f} s, started→finished {run['started_at']} {run['finished_at']}"
    )
    print(
        f"totals source {totals}\n       ours   {got}  {'equal' if got == totals else 'DIFFERENT'}"
    )
    print(f"worker peak MiB {', '.join(f'{p:.0f}' for p in peaks)} (bar 300)")
    print(
        f"statements in the server's log {statements}, {per_thousand:.1f} per 1,000 relations (bar 40)"
    )
    ok = (
        run["status"] == "succeeded"
        and got == totals
        and peaks[-1] < 300
        and 0 < per_thousand <= 40
    )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
