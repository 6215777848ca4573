"""How fast a SQLite file is read: `python -m bench.sqlite [--tables 10000]`.

By turns the engine's own statements with their rows thrown away (the floor: same batches, same
sessions, no Arrow and no Parquet), and the engine in a process of its own. SQLite works in the
process that asks, so there is no server whose share could be measured alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from extraction.connection import AddressPolicy, Credentials, Options, Session, Target, open_session
from extraction.extract import load_plan, make_plan
from extraction.planned import PERS, Plan
from extraction.selection import Selection
from extraction.storage import open_storage

TYPES = ("text", "varchar(40)", "integer", "real", "decimal(10, 2)", "datetime", "blob", "boolean")


def statements(tables: int, columns: int) -> Iterator[str]:
    """Every table has a key and an index, every other one leads to the one before, every tenth has
    a CHECK, and there is a view for ten."""
    for n in range(tables):
        listed = [f"c{i:02} {TYPES[(n + i) % len(TYPES)]}" for i in range(columns - 2)]
        listed[0] += " not null default 'x'"
        parent = f"parent integer references t{n - 1:05} (id)" if n % 2 else "parent integer"
        check = [f"constraint positive check (c02 > {n})"] if n % 10 == 0 else []
        keyed = ", ".join(["id integer primary key", parent, *listed, *check])
        yield f"create table t{n:05} ({keyed})"
        yield f"create index by_parent_{n:05} on t{n:05} (parent, c00)"
        if n % 10 == 0:
            yield f"create view v{n:05} as select id, c00, c01 from t{n:05} where c02 > 0"


def build(file: Path, tables: int, columns: int) -> None:
    with sqlite3.connect(file, isolation_level=None) as connection:
        connection.execute("begin")
        for statement in statements(tables, columns):
            connection.execute(statement)
        connection.execute("commit")


def session_of(file: Path) -> Session:
    target = Target("sqlite", "", 0, file.name, "", "")
    policy = AddressPolicy(files=file.parent)
    return open_session(target, Credentials("", ""), Options(), policy, "bench")


def planned(file: Path, scratch: Path) -> Plan:
    storage = open_storage(f"file://{scratch / 'plan'}")
    with session_of(file) as session:
        plan = make_plan(session, Selection(), storage, "floor")
    return load_plan(storage, plan.path)


def floor(file: Path, plan: Plan) -> tuple[float, float]:
    """Seconds of the wall and of the processor."""
    began, before = time.monotonic(), time.process_time()
    with session_of(file) as session:
        session.begin()
        for per in PERS:
            session.inventory(per)
        session.end()
    for shard in plan.shards:
        with session_of(file) as session:
            for number in shard.numbers():
                batch = plan.batches[number]
                session.begin()
                session.present(batch.per, batch.items)
                for kind in plan.kinds_of(batch.per):
                    session.receive(kind, batch.items)
                session.end()
    return time.monotonic() - began, time.process_time() - before


def engine(file: Path) -> dict[str, Any]:
    storage = tempfile.mkdtemp(prefix="surveyor-bench-")
    target = asdict(Target("sqlite", "", 0, file.name, "", ""))
    order = {"target": target, "password": "", "storage": f"file://{storage}"}
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.engine"],
            input=json.dumps(order | {"files": str(file.parent)}),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer | {"wall": time.monotonic() - began}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.sqlite", description=__doc__)
    parser.add_argument("--tables", type=int, default=10_000)
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="surveyor-bench-") as scratch:
        file = Path(scratch) / "files" / "bench.db"
        file.parent.mkdir()
        build(file, options.tables, options.columns)
        plan = planned(file, Path(scratch))
        rounds = [(floor(file, plan), engine(file)) for _ in range(options.rounds)]
    floors = [wall for (wall, _), _ in rounds]
    processor = (
        median(cpu for (_, cpu), _ in rounds),
        median(sum(a["cpu"].values()) for _, a in rounds),
    )
    inside = [sum(answer["seconds"].values()) for _, answer in rounds]
    last = rounds[-1][1]
    print(f"SQLite {sqlite3.sqlite_version}, {options.tables} tables, counts {last['counts']}")
    print(f"floor            {median(floors):>8.2f} s   (fastest {min(floors):.2f})")
    for stage in last["seconds"]:
        print(f"engine {stage:<10}{median(a['seconds'][stage] for _, a in rounds):>8.2f} s")
    print(f"engine           {median(inside):>8.2f} s   (fastest {min(inside):.2f})")
    print(f"engine, process  {median(a['wall'] for _, a in rounds):>8.2f} s   with its imports")
    print(f"engine / floor   {median(inside) / median(floors):>8.2f}")
    print(
        f"of the processor {processor[1] / processor[0]:>8.2f}   ({processor[1]:.2f} s, {processor[0]:.2f} s)"
    )
    print(f"peak memory      {max(a['peak_memory'] for _, a in rounds) / 2**20:>8.0f} MiB")
    return 0 if last["status"] == "succeeded" else 1


if __name__ == "__main__":
    sys.exit(main())
