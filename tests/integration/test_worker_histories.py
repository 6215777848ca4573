"""Every way a workflow goes, run for real and replayed against the code as it is.

`SAVE_HISTORIES=1 pytest tests/integration/test_worker_histories.py` writes them to
tests/histories, which `make check` replays: do so when a way is new, never to make
a replay that fails pass.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.worker import Replayer

from extraction.connection import Options, Target
from tests.integration.fleet import SLOW, Cast, a_source
from workers.__main__ import workflow_runner
from workers.contract import CHECK_WORKFLOW, TASK_QUEUE, CheckInput, CheckResult
from workers.temporal import data_converter
from workers.workflows import CheckConnection, ExtractRun

pytestmark = pytest.mark.integration

HISTORIES = Path(__file__).resolve().parent.parent / "histories"


async def replays(handle: WorkflowHandle[Any, Any], name: str) -> None:
    history = await handle.fetch_history()
    replayer = Replayer(
        workflows=[ExtractRun, CheckConnection],
        workflow_runner=workflow_runner(),
        data_converter=data_converter(),
    )
    await replayer.replay_workflow(history)
    if os.environ.get("SAVE_HISTORIES"):
        HISTORIES.mkdir(exist_ok=True)
        text = json.dumps(json.loads(history.to_json()), indent=1, sort_keys=True)
        (HISTORIES / f"{name}.json").write_text(text + "\n")


async def test_a_run_that_succeeds(cast: Cast) -> None:
    cast.fleet.start("w1")
    run = await cast.start()
    assert (await run.result()).status == "succeeded"
    await replays(run.handle, "run-succeeded")


async def test_a_run_whose_budget_is_changed(cast: Cast) -> None:
    cast.fleet.start("w1")
    run = await cast.start(Options(sessions=1, pace=0.2))
    await run.until_code("shard_started")
    assert await run.handle.execute_update("set_sessions", 3) == 3
    with pytest.raises(WorkflowUpdateFailedError):
        await run.handle.execute_update("set_sessions", 0)

    async def three_at_once() -> bool:
        return (await run.codes()).count("shard_started") >= 3

    assert (await run.result()).status == "succeeded"
    assert await three_at_once()
    await replays(run.handle, "run-budget-changed")


async def test_a_run_that_is_cancelled(cast: Cast) -> None:
    cast.fleet.start("w1")
    run = await cast.start(SLOW)
    await run.until_done(100)
    await run.handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await run.result()
    assert not cast.storage.exists(run.manifest_path)
    await replays(run.handle, "run-cancelled")


async def test_a_run_that_fails(cast: Cast, settings_env: Any, target: Target) -> None:
    cast.fleet.start("w1")
    run = await cast.start(source=a_source(settings_env.web, target, "wrong"))
    with pytest.raises(WorkflowFailureError):
        await run.result()
    await replays(run.handle, "run-failed")


async def test_a_run_whose_worker_was_stopped(cast: Cast) -> None:
    cast.fleet.start("w1")
    run = await cast.start(SLOW)
    await run.until_done(100)
    cast.fleet.kill("w1")
    cast.fleet.start("w2")
    assert (await run.result()).status == "succeeded"
    await replays(run.handle, "run-retried")


async def test_a_check_of_a_good_and_of_a_bad_connection(
    cast: Cast, settings_env: Any, target: Target
) -> None:
    cast.fleet.start("w1")
    good = await check(cast, CheckInput(cast.source))
    result = await good.result()
    assert result.ok
    assert [step.ok for step in result.steps] == [True] * len(result.steps)
    await replays(good, "check-good")
    bad = await check(cast, CheckInput(a_source(settings_env.web, target, "wrong")))
    refused = await bad.result()
    assert not refused.ok
    assert (refused.steps[-1].name, refused.steps[-1].ok) == ("login", False)
    assert refused.steps[-1].fix
    await replays(bad, "check-bad")


async def check(cast: Cast, task: CheckInput) -> WorkflowHandle[Any, CheckResult]:
    return await cast.client.start_workflow(
        CHECK_WORKFLOW,
        task,
        id=f"check-{uuid.uuid4()}",
        task_queue=TASK_QUEUE,
        result_type=CheckResult,
    )
