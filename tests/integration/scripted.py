"""The real workflows on the real server, with activities that do as the selection says.

`include=["hang"]` waits for the end of the test or a cancel, `["stubborn"]` needs two
seconds to hear of a cancel, `["fail"]` fails with an error of ours, `["partial"]` finds
one scope denied; anything else succeeds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from extraction.errors import AuthenticationFailed
from workers import contract
from workers.contract import Load, PlanResult, RunInput, RunResult, ShardPlan, ShardResult
from workers.settings import CHECKOUT
from workers.temporal import application_error, data_converter, worker_runtime
from workers.workflows import CheckConnection, ExtractRun

LOAD = Load(sessions=1, statements=7, rows=42)
MANIFEST = "ab" * 32


@activity.defn(name="plan")
async def plan(run: RunInput) -> PlanResult:
    if "fail" in run.selection.include:
        raise application_error(AuthenticationFailed())
    return PlanResult("plan.json", 10, 2, 1, "18.6", [ShardPlan(0, "all", 10, 0, 1)])


@activity.defn(name="extract_shard")
async def extract_shard(shard: contract.ShardInput) -> ShardResult:
    while "hang" in shard.run.selection.include:
        beat = contract.Progress(shard.run.run_id, "extract", 0, 1, "scripted", done=3, total=10)
        activity.heartbeat(beat)
        await asyncio.sleep(0.1)
    if "stubborn" in shard.run.selection.include:
        await asyncio.sleep(2)
        activity.heartbeat()
        await asyncio.sleep(30)
    return ShardResult(0, "ledger.json", 10, LOAD)


@activity.defn(name="finish")
async def finish(inputs: contract.FinishInput) -> RunResult:
    denied = int("partial" in inputs.run.selection.include)
    return RunResult(
        "partial" if denied else "succeeded",
        MANIFEST,
        {"schemas": 2, "relations": 10},
        {"complete": 9 - denied, "denied": denied, "errored": 0, "filtered": 0},
        LOAD,
    )


@activity.defn(name="sweep")
async def sweep(inputs: contract.SweepInput) -> None:
    return None


@activity.defn(name="tell")
async def tell(inputs: contract.TellInput) -> None:
    return None


@activity.defn(name="check")
async def check(inputs: contract.CheckInput) -> contract.CheckResult:
    steps = [contract.CheckStep("resolve", True, inputs.source.target.host)]
    return contract.CheckResult(True, "18.6", 1.5, steps)


class ScriptedWorker:
    """A worker in a thread of its own, from `with` to its end.

    With `beats` Temporal lists it among the workers that are alive, as it does real ones.
    """

    def __init__(self, address: str, *, beats: bool = False) -> None:
        self._address, self._beats = address, beats
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> ScriptedWorker:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        client = await Client.connect(
            self._address,
            data_converter=data_converter(),
            runtime=worker_runtime() if self._beats else None,
        )
        async with Worker(
            client,
            task_queue=contract.TASK_QUEUE,
            workflows=[ExtractRun, CheckConnection],
            activities=[plan, extract_shard, finish, sweep, tell, check],
            workflow_runner=UnsandboxedWorkflowRunner(),
            # A cancel arrives with the answer to a heartbeat.
            max_heartbeat_throttle_interval=timedelta(seconds=0.2),
            default_heartbeat_throttle_interval=timedelta(seconds=0.2),
        ):
            self._ready.set()
            await self._stop.wait()


def temporal_cli(address: str, *arguments: str) -> str:
    beside = Path(sys.executable).with_name("temporal")
    binary = str(beside) if beside.exists() else shutil.which("temporal")
    assert binary
    done = subprocess.run(
        [binary, *arguments, "--address", address],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(condition: Callable[[], object], seconds: float = 10.0) -> float:
    """Wait for a condition; how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "the condition did not come true in time"
        time.sleep(0.05)
    return time.monotonic() - began


def make_connection(name: str = "source"):
    from dashboard.models import Connection

    key = uuid.uuid4()
    return Connection.objects.create(
        id=key,
        name=name,
        host="127.0.0.1",
        port=5432,
        database="app",
        username="reader",
        tls="disable",
        credential_path=f"connections/{key}",
        credential_version=1,
    )


@contextmanager
def reconciling(environment: Mapping[str, str], settings: Any) -> Iterator[subprocess.Popen[str]]:
    """`manage.py reconcile` as a process of its own, at work."""
    database = f"sqlite:///{settings.DATABASES['default']['NAME']}"
    started = subprocess.Popen(
        [sys.executable, "manage.py", "reconcile"],
        cwd=CHECKOUT,
        env={**os.environ, **environment, "DATABASE_URL": database},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert started.stderr is not None
        lines = started.stderr
        until(lambda: "reconciling" in lines.readline(), 20)
        yield started
    finally:
        started.kill()
        started.wait()
