"""Killed at every durable step, another process goes on: the files are those of a calm run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from extraction.crash import POINTS
from extraction.extract import Plan, load_plan
from extraction.snapshot.layout import manifest_path
from extraction.snapshot.reader import open_snapshot
from tests.extraction.engine import Engine, digests, manifest_digest
from tests.integration.test_engine import engine_for, new_database

pytestmark = pytest.mark.integration

CHECKOUT = Path(__file__).resolve().parents[2]
# Beats and results are a worker's: bench.crashes kills those.
ENGINE_POINTS = [p for p in POINTS if not p.startswith(("beat", "plan_", "extract_", "finish_"))]

STEP = """
import json, sys
from dataclasses import replace
from extraction.connection import Target
from extraction.extract import load_plan
from extraction.storage import open_storage
from tests.extraction.engine import Engine
order = json.load(sys.stdin)
engine = Engine(Target(**order["target"]), order["password"], open_storage(order["storage"]), "run")
if order["step"] == "plan":
    print(engine.plan().path)
elif order["step"] == "read":
    print(engine.read(load_plan(engine.storage, order["plan"]), order["shard"], order["attempt"]))
else:
    print(engine.finish(load_plan(engine.storage, order["plan"]), order["ledgers"]).manifest)
"""


@pytest.fixture(scope="module")
def database(postgres: Any) -> str:
    script = "".join(f"create table t{n:03} (id int primary key, a text);" for n in range(300))
    return new_database(postgres, script + "create view v as select * from t000;")


def process(engine: Engine, crash_at: str = "", **order: object) -> str | None:
    """What one process says; None when it was killed."""
    done = subprocess.run(
        [sys.executable, "-c", STEP],
        input=json.dumps(
            {
                "target": asdict(engine.target),
                "password": engine.password,
                "storage": f"file://{engine.storage.root}",
                **order,
            }
        ),
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={**os.environ, "CRASH_AT": crash_at},
        check=False,
    )
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def stage(point: str) -> str:
    what = point.partition(".")[0]
    return {"items": "plan", "plan": "plan", "manifest": "finish", "verification": "finish"}.get(
        what, "read"
    )


@pytest.mark.parametrize("point", ENGINE_POINTS)
def test_killed_at_a_durable_step_the_next_one_goes_on(
    postgres: Any, database: str, tmp_path: Path, point: str
) -> None:
    """The first of a process is killed at the point; what was accepted before it stays."""
    engine = engine_for(postgres, tmp_path, database)
    calm = replace(engine, run_id="calm").run()
    engine = replace(engine, run_id="run")
    at = stage(point)
    # The second of its kind, where there are several: something is there to be taken up.
    crash_at = f"{point}:2" if point.startswith(("part", "entry")) else point
    if at == "plan":
        assert process(engine, crash_at, step="plan") is None
    plan = engine.plan()
    if at == "read":
        assert process(engine, crash_at, step="read", plan=plan.path, shard=1, attempt=1) is None
        assert not any(p.startswith("snapshots/run/ledger-") for p in ledgers(engine, point))
    found = read_all(engine, plan)
    if at == "finish":
        assert process(engine, crash_at, step="finish", plan=plan.path, ledgers=found) is None
        written = engine.storage.exists(manifest_path("run"))
        assert written == (point == "manifest.after")
    finished = engine.finish(load_plan(engine.storage, plan.path), found)
    assert digests(open_snapshot(engine.storage, "run", finished.manifest)) == digests(calm)
    assert manifest_digest(engine.storage, "run") == finished.manifest
    assert engine.storage.sweep("snapshots/run") == (point.endswith("before_rename"))


def read_all(engine: Engine, plan: Plan) -> list[str]:
    return [engine.read(plan, shard.id, attempt=2) for shard in plan.shards]


def ledgers(engine: Engine, point: str) -> list[str]:
    """A ledger may be there only if the kill came after it."""
    found = [path for path in engine.storage.list("snapshots/run") if "ledger-" in path]
    return [] if point == "ledger.after" and len(found) == 1 else found


def test_a_process_that_others_rely_on_does_not_start_with_it(settings_env: Any) -> None:
    for changes, said in (
        ({"CRASH_AT": "part.after", "ALLOW_LOOPBACK_SOURCES": "false"}, "CRASH_AT is set"),
        ({"CRASH_AT": "no.such.point"}, "CRASH_AT names no point"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "workers"],
            cwd=CHECKOUT,
            env={**os.environ, **settings_env.worker_environment, **changes},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1 and said in done.stderr


def test_a_settings_file_cannot_arm_it(tmp_path: Path) -> None:
    for name in ("instance.env", "worker.env"):
        (tmp_path / name).write_text("CRASH_AT=plan.before\nWORKER_NAME=read\n")
    script = (
        "from workers.settings import WorkerSettings, load; name = load(WorkerSettings).worker_name;"
        "from extraction import crash; print(name, crash.ARMED)"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("CRASH_AT", "WORKER_NAME")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=CHECKOUT,
        env={**environment, "DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["read", "False"]
