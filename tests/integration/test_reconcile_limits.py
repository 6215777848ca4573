"""Limits of an open run reach its workflow: at once, or by the reconciler."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import Client

from dashboard import limits, runs
from dashboard.models import Run
from dashboard.reconcile import Reconciler
from extraction.connection import Options
from extraction.selection import Selection
from tests.integration.scripted import ScriptedWorker, make_connection, until
from tests.live_cast import NOWHERE
from workers.contract import Limits
from workers.temporal import data_converter

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


def begin(script: str = "hang") -> Run:
    run = runs.start(make_connection(), Selection(include=[script]), "alice")
    run.refresh_from_db()
    assert run.status == "running"
    return run


def in_force(address: str, run: Run) -> Options:
    """What the workflow obeys: an older version changes nothing and is answered with it."""

    async def ask() -> Options:
        client = await Client.connect(address, data_converter=data_converter())
        handle = client.get_workflow_handle(run.workflow_id)
        answer = await handle.execute_update("set_limits", Limits(0, Options()), result_type=Limits)
        return answer.options

    return asyncio.run(ask())


def test_a_change_is_told_at_once(instance: Any, temporal: str) -> None:
    with ScriptedWorker(temporal):
        run = begin()
        changed = limits.change(run, {"sessions": 1, "pace": 4.0}, "bob")
        assert (changed.limits_version, changed.limits_told) == (1, 1)
        assert limits.sentence(changed) == "The open run obeys from now on."
        assert (in_force(temporal, run).sessions, in_force(temporal, run).pace) == (1, 4.0)
        runs.cancel(run, "bob")


def test_without_a_worker_it_is_kept_and_the_reconciler_tells_it(
    instance: Any, temporal: str
) -> None:
    run = begin()
    changed = limits.change(run, {"sessions": 2}, "bob")
    assert changed.limits_told == 0
    assert "could not be told yet" in limits.sentence(changed)
    with ScriptedWorker(temporal):

        def told() -> bool:
            Reconciler().sweep()
            run.refresh_from_db()
            return run.limits_told == 1

        until(told, 20)
        assert in_force(temporal, run).sessions == 2
        runs.cancel(run, "bob")


def test_while_temporal_is_away_it_is_kept(instance: Any, temporal: str, settings: Any) -> None:
    with ScriptedWorker(temporal):
        run = begin()
        here = settings.ENV
        settings.ENV = here.model_copy(update={"temporal_address": NOWHERE})
        changed = limits.change(run, {"sessions": 2}, "bob")
        assert changed.limits_told == 0
        settings.ENV = here
        Reconciler().sweep()
        run.refresh_from_db()
        assert run.limits_told == 1
        assert in_force(temporal, run).sessions == 2
        runs.cancel(run, "bob")


def test_a_workflow_that_has_ended_is_not_told(instance: Any, temporal: str) -> None:
    with ScriptedWorker(temporal):
        run = begin("go")

        def over() -> bool:
            changed = limits.change(run, {"pace": 1.0 + run.limits_version}, "bob")
            run.refresh_from_db()
            return changed.limits_told < changed.limits_version

        until(over)
        Reconciler().sweep()
        run.refresh_from_db()
        assert run.status == "succeeded"
        with pytest.raises(limits.StateForbids):
            limits.change(run, {"sessions": 1}, "bob")
