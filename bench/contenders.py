"""Who reads the catalogue, each in a process of its own: the engine and SQLAlchemy's Inspector."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import URL

from bench import measured
from extraction.connection import Target

# Of what a process said last: lines, and characters of each.
LINES, LENGTH = 30, 200


@dataclass(frozen=True)
class Source:
    target: Target
    password: str = field(repr=False)

    def url(self, driver: str) -> str:
        target = self.target
        where = (target.host, target.port, target.database)
        url = URL.create(driver, target.username, self.password, *where)
        return url.render_as_string(hide_password=False)


@dataclass(frozen=True)
class Turn:
    """One reading of the whole catalogue: seconds and bytes. `stages` are seconds of wall and
    CPU; `counts` is what was found, by the names of our kinds; `failure` says why it is none."""

    wall: float
    cpu: float
    peak_memory: int
    counts: dict[str, int] = field(default_factory=dict)
    stages: dict[str, tuple[float, float]] = field(default_factory=dict)
    failure: str = ""


def engine(source: Source, sessions: int = 1) -> Turn:
    storage = tempfile.mkdtemp(prefix="surveyor-bench-")
    order = {
        "target": asdict(source.target),
        "password": source.password,
        "storage": f"file://{storage}",
        "sessions": sessions,
    }
    try:
        ran = measured.run([sys.executable, "-m", "bench.engine"], given=json.dumps(order))
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    if ran.status != 0:
        return failed(ran)
    answer = json.loads(ran.output)
    stages = {stage: (wall, answer["cpu"][stage]) for stage, wall in answer["seconds"].items()}
    in_stages = [sum(column) for column in zip(*stages.values(), strict=True)]
    # Interpreter and imports before the first stage; the end of the process after the last.
    stages = {"start": (ran.wall - in_stages[0], ran.cpu - in_stages[1]), **stages}
    peak = max(ran.peak_memory, answer["peak_memory"])
    why = "" if answer["status"] == "succeeded" else str(answer["status"])
    return Turn(ran.wall, ran.cpu, peak, answer["counts"], stages, why)


def inspector(source: Source) -> Turn:
    command = [sys.executable, "-m", "bench.inspector"]
    ran = measured.run(command, given=source.url("postgresql+psycopg"))
    return failed(ran) if ran.status != 0 else done(ran, json.loads(ran.output))


def done(ran: measured.Ran, counts: dict[str, Any]) -> Turn:
    return Turn(ran.wall, ran.cpu, ran.peak_memory, counts)


def failed(ran: measured.Ran) -> Turn:
    ended = "ended at the limit" if ran.status is None else f"exit {ran.status}"
    said = (ran.errors.strip() or ran.output.strip()).splitlines()[-LINES:]
    last = "\n".join(line[:LENGTH] for line in said)
    return Turn(ran.wall, ran.cpu, ran.peak_memory, failure=f"{ended}: {last}")
