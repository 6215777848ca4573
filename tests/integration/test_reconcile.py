"""Rows and Temporal agree, whatever happened behind the app's back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.client import Client

from dashboard import reconcile, runs, story, temporal
from dashboard.models import Run, RunEvent
from dashboard.reconcile import Reconciler
from extraction.connection import Options, Target
from extraction.selection import Selection
from extraction.storage import open_storage
from tests.integration.scripted import (
    MANIFEST,
    ScriptedWorker,
    make_connection,
    reconciling,
    temporal_cli,
    until,
)
from workers import contract
from workers.contract import CredentialRef, Event, RunInput, Source
from workers.temporal import data_converter

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def worker(instance, temporal):
    with ScriptedWorker(temporal) as started:
        yield started


@pytest.fixture
def source(instance):
    return make_connection()


@pytest.fixture
def reconciler(instance):
    return Reconciler()


def begin(source, script: str = "go") -> Run:
    return runs.start(source, Selection(include=[script]), "alice")


def ended(reconciler: Reconciler, run: Run) -> Run:
    def is_over() -> bool:
        reconciler.sweep()
        run.refresh_from_db()
        return not run.is_open

    until(is_over)
    return run


def only_saved(source, **fields) -> Run:
    """A run as a process leaves it that dies between its commit and the start."""
    run = runs._new(source, Selection(), "alice")
    for name, value in fields.items():
        setattr(run, name, value)
    run.save(force_insert=True)
    return run


def workflows(address: str, run: Run) -> int:
    async def count() -> int:
        client = await Client.connect(address)
        found = client.list_workflows(f"WorkflowId = '{run.workflow_id}'")
        return len([one async for one in found])

    until(lambda: asyncio.run(count()) > 0, 5)
    return asyncio.run(count())


def start_by_hand(address: str, workflow_id: str, value: object, memo=None) -> None:
    async def start() -> None:
        client = await Client.connect(address, data_converter=data_converter())
        await client.start_workflow(
            contract.RUN_WORKFLOW,
            value,
            id=workflow_id,
            task_queue=contract.TASK_QUEUE,
            memo=memo,
        )

    asyncio.run(start())


def foreign_input(run_id: str, connection_id: str = "", script: str = "hang") -> RunInput:
    target = Target("postgresql", "db.example", 5432, "app", "reader")
    ref = CredentialRef("connections/x", 1)
    return RunInput(
        run_id,
        Source(connection_id, "warehouse", target, ref, Options()),
        Selection(include=[script]),
        "bob",
    )


# --- endings ----------------------------------------------------------------


def test_a_run_that_succeeded_is_written_down_once(worker, source, reconciler):
    run = begin(source)
    assert run.status == "running"

    ended(reconciler, run)

    assert run.status == "succeeded"
    assert run.manifest == MANIFEST
    assert run.counts == {"schemas": 2, "relations": 10}
    assert run.completeness == {"complete": 9, "denied": 0, "errored": 0, "filtered": 0}
    assert run.load["statements"] == 7
    assert run.error is None
    assert run.started_at <= run.finished_at
    shown = runs.run_dict(run)
    assert shown["progress"]["done"] == shown["progress"]["total"] == 10
    assert shown["verdict"].startswith("finished")


def test_a_run_with_a_denied_scope_is_partial(worker, source, reconciler):
    run = ended(reconciler, begin(source, "partial"))
    assert run.status == "partial"
    assert runs.run_dict(run)["completeness"]["denied"] == 1


def test_a_failure_keeps_category_audience_and_fix(worker, source, reconciler):
    run = ended(reconciler, begin(source, "fail"))
    assert run.status == "failed"
    assert run.error["category"] == "auth"
    assert run.error["audience"] == "admin"
    assert "Rotate" in run.error["fix"]
    assert run.manifest == ""


def test_cancel_is_cancelling_at_once_and_cancelled_in_the_end(worker, source, reconciler):
    run = begin(source, "hang")
    runs.cancel(run, "alice")
    assert Run.objects.get(pk=run.pk).status == "cancelling"
    with pytest.raises(runs.StateForbids, match="already"):
        runs.cancel(run, "alice")

    ended(reconciler, run)

    assert run.status == "cancelled"
    assert run.cancel_requested_by == "alice"
    with pytest.raises(runs.StateForbids, match="cancelled"):
        runs.cancel(run, "alice")


def test_terminated_behind_our_back_is_lost(worker, source, reconciler, temporal):
    run = begin(source, "hang")
    temporal_cli(temporal, "workflow", "terminate", "-w", run.workflow_id, "--reason", "by hand")

    ended(reconciler, run)

    assert (run.status, run.error["category"]) == ("failed", "lost")
    assert "by hand" in run.error["message"]


def test_cancelled_behind_our_back_is_cancelled(worker, source, reconciler, temporal):
    run = begin(source, "hang")
    temporal_cli(temporal, "workflow", "cancel", "-w", run.workflow_id)
    assert ended(reconciler, run).status == "cancelled"


def test_a_deleted_history_is_lost_and_only_when_seen_twice(source, reconciler, temporal):
    run = begin(source, "hang")
    temporal_cli(temporal, "workflow", "delete", "-w", run.workflow_id, "--yes")
    from dashboard import temporal as bridge

    until(lambda: bridge.describe_run(str(run.pk)) is None)

    reconciler.sweep()
    assert Run.objects.get(pk=run.pk).status == "running"
    ended(reconciler, run)

    assert (run.status, run.error["category"]) == ("failed", "lost")
    assert "deleted" in run.error["message"]


def test_two_reconcilers_write_one_end(worker, source, transactional_db):
    from django.db import connection

    run = begin(source)
    until(lambda: temporal.describe_run(str(run.pk)).is_closed)

    def sweep(_: int) -> None:
        Reconciler().sweep()
        connection.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(sweep, range(2)))

    codes = [line["code"] for line in runs.events(Run.objects.get(pk=run.pk))]
    assert codes.count("ended") == 1


def test_a_row_that_ended_stays_what_it_was(source, reconciler, temporal):
    """Older than Temporal's retention: the server knows nothing of it any more."""
    long_ago = datetime(2026, 1, 2, tzinfo=UTC)
    run = only_saved(source, status="succeeded", created_at=long_ago, finished_at=long_ago)
    for _ in range(3):
        reconciler.sweep()
    assert Run.objects.get(pk=run.pk).status == "succeeded"


# --- starts -----------------------------------------------------------------


def test_a_run_saved_but_never_started_is_started_once(worker, source, reconciler, temporal):
    run = only_saved(source)
    reconciler.sweep()
    assert Run.objects.get(pk=run.pk).status == "running"
    assert ended(reconciler, run).status == "succeeded"
    assert workflows(temporal, run) == 1


def test_many_starts_at_once_make_one_workflow(source, temporal):
    from django.db import connection

    run = only_saved(source)

    def send(_: int) -> None:
        runs.send(Run.objects.get(pk=run.pk))
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, range(8)))

    assert workflows(temporal, run) == 1
    assert [line["code"] for line in runs.events(run)].count("started") == 1


def test_a_start_whose_answer_was_lost_is_confirmed(worker, source, reconciler, temporal):
    """The process died after Temporal took the run and before the row said so."""
    run = only_saved(source)
    from dashboard import temporal as bridge

    bridge.start_run(runs.input_of(run), runs.memo_of(run))
    assert ended(reconciler, run).status == "succeeded"
    assert workflows(temporal, run) == 1


def test_with_temporal_down_a_run_waits_and_nothing_is_lost(
    worker, source, reconciler, settings, settings_env
):
    running = begin(make_connection("other"), "hang")
    settings.ENV = settings_env.web.model_copy(update={"temporal_address": "127.0.0.1:1"})
    began = time.monotonic()

    run = begin(source)

    assert time.monotonic() - began < 5
    assert (run.status, run.waiting_reason) == ("queued", "Temporal is unreachable")
    assert runs.run_dict(run)["verdict"] == "waiting: Temporal is unreachable"
    for _ in range(3):
        reconciler.sweep()
    assert Run.objects.get(pk=run.pk).status == "queued"
    assert Run.objects.get(pk=running.pk).status == "running"
    with pytest.raises(temporal.TemporalUnavailable):
        runs.cancel(running, "alice")
    assert Run.objects.get(pk=running.pk).status == "running"

    settings.ENV = settings_env.web
    assert ended(reconciler, run).status == "succeeded"
    assert Run.objects.get(pk=run.pk).waiting_reason == ""


def test_the_second_run_of_a_connection_names_the_first(source, instance):
    run = begin(source, "hang")
    with pytest.raises(runs.RunConflict, match=str(run.pk)) as conflict:
        begin(source)
    assert conflict.value.open_run == run
    assert Run.objects.count() == 1


# --- cancelling what has not begun -------------------------------------------


def test_a_queued_run_that_temporal_does_not_know_is_cancelled_for_good(
    source, reconciler, temporal
):
    run = only_saved(source)
    runs.cancel(run, "alice")
    assert run.status == "cancelled"
    assert runs.send(run) is False
    reconciler.sweep()
    from dashboard import temporal as bridge

    assert bridge.describe_run(str(run.pk)) is None


def test_a_cancel_without_temporal_is_kept_and_the_run_never_starts(
    source, reconciler, settings, settings_env
):
    settings.ENV = settings_env.web.model_copy(update={"temporal_address": "127.0.0.1:1"})
    run = begin(source)
    runs.cancel(run, "alice")
    assert run.status == "queued"

    settings.ENV = settings_env.web
    assert ended(reconciler, run).status == "cancelled"
    assert temporal.describe_run(str(run.pk)) is None


def test_nobody_starts_a_run_that_somebody_wants_cancelled(source, reconciler):
    run = only_saved(source, cancel_requested_by="bob")
    assert runs.send(run) is False
    assert temporal.describe_run(str(run.pk)) is None
    assert Run.objects.get(pk=run.pk).status == "queued"
    assert ended(reconciler, run).status == "cancelled"


def test_a_start_that_crossed_a_cancel_is_cancelled_too(worker, source, reconciler):
    run = only_saved(source)
    run.input["selection"]["include"] = ["hang"]
    run.save()
    runs.cancel(run, "alice")
    temporal.start_run(runs.input_of(run), runs.memo_of(run))

    def is_cancelled() -> bool:
        reconciler.sweep()
        return temporal.describe_run(str(run.pk)).outcome == "cancelled"

    until(is_cancelled)
    assert Run.objects.get(pk=run.pk).status == "cancelled"


# --- adoption ---------------------------------------------------------------


def test_a_workflow_no_row_knows_is_adopted(worker, source, reconciler, temporal):
    run_id = str(uuid.uuid4())
    start_by_hand(temporal, f"run-{run_id}", foreign_input(run_id, str(source.pk)))

    def is_adopted() -> bool:
        reconciler.sweep()
        return Run.objects.filter(pk=run_id).exists()

    until(is_adopted)
    run = Run.objects.get(pk=run_id)
    assert (run.status, run.connection, run.started_by) == ("running", source, "bob")
    assert run.input["selection"]["include"] == ["hang"]
    runs.cancel(run, "alice")
    assert ended(reconciler, run).status == "cancelled"


def test_one_that_ended_before_anyone_looked_is_adopted_too(worker, reconciler, temporal):
    run_id = str(uuid.uuid4())
    start_by_hand(temporal, f"run-{run_id}", foreign_input(run_id, script="go"))
    from dashboard import temporal as bridge

    until(lambda: bridge.describe_run(run_id).is_closed)

    def is_over() -> bool:
        reconciler.sweep()
        return Run.objects.filter(pk=run_id, status="succeeded").exists()

    until(is_over)
    assert Run.objects.get(pk=run_id).connection is None
    assert Run.objects.get(pk=run_id).connection_name == "warehouse"


def test_beside_an_open_run_of_its_connection_it_is_shown_without_one(source, reconciler, temporal):
    begin(source, "hang")
    run_id = str(uuid.uuid4())
    start_by_hand(temporal, f"run-{run_id}", foreign_input(run_id, str(source.pk)))

    def is_adopted() -> bool:
        reconciler.sweep()
        return Run.objects.filter(pk=run_id).exists()

    until(is_adopted)
    run = Run.objects.get(pk=run_id)
    assert (run.connection, run.connection_name) == (None, "warehouse")


def test_an_input_nobody_can_read_leaves_the_memo(reconciler, temporal):
    run_id = str(uuid.uuid4())
    memo = {"connection_name": "remembered", "started_by": "carol", "selection": {"include": ["a"]}}
    start_by_hand(temporal, f"run-{run_id}", ["nonsense"], memo)

    def is_adopted() -> bool:
        reconciler.sweep()
        return Run.objects.filter(pk=run_id).exists()

    until(is_adopted)
    run = Run.objects.get(pk=run_id)
    assert (run.connection_name, run.started_by) == ("remembered", "carol")
    assert run.input["selection"]["include"] == ["a"]


# --- the story --------------------------------------------------------------


def test_the_story_moves_to_storage_and_takes_late_lines_in(
    worker, source, reconciler, settings_env
):
    run = ended(reconciler, begin(source))
    assert not RunEvent.objects.filter(run=run).exists()
    path = f"snapshots/{run.pk}/story.jsonl"
    storage = open_storage(settings_env.web.storage)
    codes = [json.loads(line)["code"] for line in storage.get(path).splitlines()]
    assert codes == ["created", "started", "ended"]

    story.keep([(runs.events(run)[0]["seq"] + 1, Event(str(run.pk), "late", "x\x00y\ud800"))])
    reconciler.sweep()

    lines = runs.events(run)
    assert [line["code"] for line in lines] == ["created", "late", "started", "ended"]
    assert lines[1]["message"] == "x�y?"
    assert not RunEvent.objects.filter(run=run).exists()
    assert [line["code"] for line in runs.events(run, after=lines[1]["seq"])] == [
        "started",
        "ended",
    ]


def test_with_storage_full_the_lines_wait_in_the_database(
    worker, source, reconciler, settings, settings_env, tmp_path
):
    run = begin(source)
    settings.ENV = settings_env.web.model_copy(update={"storage_url": f"file://{tmp_path}"})
    (tmp_path / "snapshots").write_text("in the way")

    ended(reconciler, run)

    assert run.status == "succeeded"
    assert [line["code"] for line in runs.events(run)] == ["created", "started", "ended"]
    (tmp_path / "snapshots").unlink()
    reconciler.sweep()
    assert not RunEvent.objects.filter(run=run).exists()
    assert [line["code"] for line in runs.events(run)] == ["created", "started", "ended"]


def test_without_redis_the_story_is_told_all_the_same(
    worker, source, reconciler, settings, settings_env
):
    from pydantic import SecretStr

    dead = SecretStr("redis://127.0.0.1:1/0")
    settings.ENV = settings_env.web.model_copy(update={"redis_url": dead})
    run = ended(reconciler, begin(source))
    assert run.status == "succeeded"
    assert [line["code"] for line in runs.events(run)] == ["created", "started", "ended"]


# --- the process ------------------------------------------------------------


@pytest.fixture
def process(instance, settings_env, transactional_db, settings):
    with reconciling(settings_env.web_environment, settings) as started:
        yield started


def test_the_process_settles_runs_quickly_and_ends_on_sigterm(process, worker, source, temporal):
    quick = begin(source)
    assert until(lambda: not Run.objects.get(pk=quick.pk).is_open) < 10
    killed = begin(source, "hang")
    temporal_cli(temporal, "workflow", "terminate", "-w", killed.workflow_id)
    assert until(lambda: not Run.objects.get(pk=killed.pk).is_open) < 10
    unsent = only_saved(source)
    assert until(lambda: Run.objects.get(pk=unsent.pk).status == "succeeded") < 10

    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0


def test_records_survive_a_round_trip(source, instance):
    run = only_saved(source)
    assert asdict(runs.input_of(Run.objects.get(pk=run.pk))) == run.input
    assert reconcile._run_id("check-1") is None


# --- a Temporal of its own, that stops ----------------------------------------


@pytest.fixture
def own_temporal(instance, settings, settings_env, tmp_path):
    """Server and child; whoever stops the child starts the server again."""
    from dashboard.local.servers import TemporalServer, start

    server = TemporalServer(tmp_path / "temporal")
    children = [start(server)]
    settings.ENV = settings_env.web.model_copy(update={"temporal_address": server.address})

    def restart() -> None:
        children.append(start(server))

    yield server.address, children[0], restart
    children[-1].stop()


def test_a_run_begun_while_the_server_is_gone_starts_when_it_is_back(
    own_temporal, source, reconciler
):
    address, child, restart = own_temporal
    assert temporal.list_open() == []
    child.kill()
    began = time.monotonic()
    run = begin(source)
    assert (run.status, time.monotonic() - began < 5) == ("queued", True)
    reconciler.sweep()
    assert Run.objects.get(pk=run.pk).status == "queued"

    restart()
    with ScriptedWorker(address):
        assert ended(reconciler, run).status == "succeeded"
    assert workflows(address, run) == 1


def test_a_start_against_a_frozen_server_is_settled_when_it_thaws(own_temporal, source, reconciler):
    """It may have been taken or not: nobody knows, and there is still one workflow only."""
    address, child, _ = own_temporal
    assert temporal.list_open() == []
    os.kill(child.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        run = begin(source)
        assert (run.status, time.monotonic() - began < 7) == ("queued", True)
        assert run.waiting_reason
    finally:
        os.kill(child.pid, signal.SIGCONT)
    with ScriptedWorker(address):
        assert ended(reconciler, run).status == "succeeded"
    assert workflows(address, run) == 1
