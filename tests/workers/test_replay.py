"""Saved histories of every workflow still replay: a running run survives an upgrade."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from workers.__main__ import workflow_runner
from workers.temporal import data_converter
from workers.workflows import CheckConnection, ExtractRun

HISTORIES = sorted((Path(__file__).resolve().parent.parent / "histories").glob("*.json"))


def replayer() -> Replayer:
    return Replayer(
        workflows=[ExtractRun, CheckConnection],
        workflow_runner=workflow_runner(),
        data_converter=data_converter(),
    )


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_saved_history_replays(path: Path) -> None:
    await replayer().replay_workflow(WorkflowHistory.from_json(path.stem, path.read_text()))


def test_every_way_is_saved() -> None:
    assert {path.stem for path in HISTORIES} >= {
        *("run-succeeded", "run-cancelled", "run-failed", "run-retried", "run-budget-changed"),
        *("check-good", "check-bad", "run-cancelled-too-late"),
        *("run-limits-changed", "run-hours-closed"),
    }


async def test_a_changed_workflow_is_noticed() -> None:
    """The replay can fail: a history of another order of activities is refused."""
    path = next(path for path in HISTORIES if path.stem == "run-succeeded")
    text = path.read_text().replace('"name": "plan"', '"name": "planned"')
    with pytest.raises(Exception, match=r"(?i)nondeterminism"):
        await replayer().replay_workflow(WorkflowHistory.from_json(path.stem, text))
