"""The engine by itself: plan, every shard in turn, finish; no Temporal, no Redis."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from extraction.connection import (
    AddressPolicy,
    Credentials,
    Options,
    Session,
    Target,
    open_session,
    source_of,
)
from extraction.extract import (
    Finished,
    Shard,
    ShardOutcome,
    finish,
    load_plan,
    make_plan,
    read_shard,
)
from extraction.selection import Selection
from extraction.storage import open_storage
from extraction.tables import spare_memory

# The manifest holds the time it is given; a fixed one keeps two runs comparable.
AT = "2026-01-01T00:00:00+00:00"


@dataclass
class EngineRun:
    run_id: str
    finished: Finished
    statements: int
    rows: int
    seconds: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    shards: int = 0


def extract(
    target: Target,
    password: str,
    storage_url: str,
    options: Options | None = None,
    files: Path | None = None,
    sessions: int = 1,
) -> EngineRun:
    """One whole extraction of everything, in this process; so many shards at a time."""
    options = options or Options()
    policy = AddressPolicy(allow_loopback=True, files=files)
    credentials = Credentials(target.username, password)
    storage, run_id = open_storage(storage_url), str(uuid.uuid4())
    seconds: dict[str, float] = {}
    cpu: dict[str, float] = {}
    selection = Selection()
    statements = 0
    with (
        _timed(seconds, cpu, "plan"),
        _session(target, credentials, options, policy, run_id, -1) as session,
    ):
        plan = make_plan(session, selection, storage, run_id)
        statements += session.load.statements
    path, shards = plan.path, plan.shards
    del plan

    def read(shard: Shard) -> ShardOutcome:
        # As a worker does, which knows of its own shard only.
        plan = load_plan(storage, path, shard.id)
        with _session(target, credentials, options, policy, run_id, shard.id) as session:
            return read_shard(
                session,
                storage,
                run_id,
                plan,
                shard.id,
                attempt=1,
                worker="bench",
                options=options,
                report=lambda advance: None,
                stopped=lambda: False,
            )

    with _timed(seconds, cpu, "read"), ThreadPoolExecutor(sessions) as pool:
        outcomes = list(pool.map(read, shards))
    ledgers = [outcome.ledger for outcome in outcomes]
    statements += sum(outcome.load.statements for outcome in outcomes)
    rows = sum(outcome.load.rows for outcome in outcomes)
    with _timed(seconds, cpu, "finish"):
        finished = finish(storage, run_id, path, ledgers, AT, selection)
    return EngineRun(run_id, finished, statements, rows, seconds, cpu, len(shards))


def _session(
    target: Target,
    credentials: Credentials,
    options: Options,
    policy: AddressPolicy,
    run_id: str,
    shard: int,
) -> Session:
    label = f"surveyor run {run_id} shard {shard}"
    return open_session(target, credentials, options, policy, label)


@contextmanager
def _timed(seconds: dict[str, float], cpu: dict[str, float], stage: str) -> Iterator[None]:
    began, used = time.monotonic(), time.process_time()
    yield
    seconds[stage] = time.monotonic() - began
    cpu[stage] = time.process_time() - used


def peak_memory() -> int:
    """The highest resident size of this process, in bytes (Linux)."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """A process of its own, so that its peak memory is the engine's: JSON in, JSON out."""
    spare_memory()
    order = json.load(sys.stdin)
    files = Path(order["files"]) if order.get("files") else None
    target = Target(**order["target"])
    source_of(target)  # imported once in a worker's life
    run = extract(
        *(target, order["password"], order["storage"]),
        files=files,
        sessions=order.get("sessions", 1),
    )
    answer = {
        "run_id": run.run_id,
        "status": run.finished.status,
        "counts": run.finished.counts,
        "statements": run.statements,
        "rows": run.rows,
        "seconds": run.seconds,
        "cpu": run.cpu,
        "shards": run.shards,
        "peak_memory": peak_memory(),
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
