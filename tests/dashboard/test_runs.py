"""Runs without servers: what is saved, what is refused, what is told."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, connection
from pydantic import SecretStr
from temporalio.exceptions import ApplicationError

from dashboard import reconcile, runs, story
from dashboard.connections import ConnectionGone
from dashboard.management.commands import extract
from dashboard.models import AuditEntry, Connection, Run, RunEvent
from dashboard.temporal_records import RunState, error_of
from extraction.errors import InvalidSelection
from extraction.selection import Selection
from workers.contract import Event, Load, RunResult

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nothing_answers(settings, tmp_path):
    settings.ENV = settings.ENV.model_copy(
        update={
            "temporal_address": "127.0.0.1:1",
            "redis_url": SecretStr("redis://127.0.0.1:1/0"),
            "storage_url": f"file://{tmp_path}",
        }
    )


@pytest.fixture
def source() -> Connection:
    return Connection.objects.create(
        name="source",
        host="db.example",
        port=5432,
        database="app",
        username="reader",
        credential_path="connections/x",
        credential_version=3,
    )


def test_a_run_is_saved_whole_before_it_is_sent(source, operator):
    run = runs.start(source, Selection(include=["a.*"]), operator)
    saved = Run.objects.get(pk=run.pk)
    assert (saved.status, saved.started_by) == ("queued", "operator")
    assert saved.waiting_reason == "Temporal is unreachable"
    asked = runs.input_of(saved)
    assert asked.selection == Selection(include=["a.*"])
    assert asked.source.target == source.target
    assert asked.source.credential.version == 3
    assert AuditEntry.objects.filter(action="run.start", actor="operator").count() == 1
    assert [line["code"] for line in runs.events(saved)] == ["created", "waiting"]


def test_an_invalid_pattern_saves_nothing(source):
    with pytest.raises(InvalidSelection):
        runs.start(source, Selection(include=["a.b.c"]), "alice")
    assert not Run.objects.exists()
    assert not AuditEntry.objects.exists()


def test_an_ended_run_makes_room_for_the_next(source):
    first = runs.start(source, Selection(), "alice")
    with pytest.raises(runs.RunConflict):
        runs.start(source, Selection(), "alice")
    Run.objects.filter(pk=first.pk).update(status="failed")
    assert runs.start(source, Selection(), "alice").status == "queued"


def test_waiting_is_told_once(source):
    run = runs.start(source, Selection(), "alice")
    runs.wait(run, "Temporal is unreachable")
    runs.wait(run, "Temporal is unreachable")
    assert [line["code"] for line in runs.events(run)].count("waiting") == 1


@pytest.mark.parametrize("status", ["succeeded", "partial", "failed", "cancelled", "cancelling"])
def test_cancel_is_refused_where_the_state_forbids_it(source, status):
    run = runs.start(source, Selection(), "alice")
    Run.objects.filter(pk=run.pk).update(status=status)
    with pytest.raises(runs.StateForbids):
        runs.cancel(run, "bob")
    assert Run.objects.get(pk=run.pk).cancel_requested_by == ""


def test_a_start_beside_a_run_that_just_ends_is_a_run(source):
    runs.start(source, Selection(), "alice")
    with ended_after_the_conflict():
        second = runs.start(source, Selection(), "bob")
    assert list(Run.objects.filter(status="queued")) == [second]


@contextlib.contextmanager
def ended_after_the_conflict():
    """The open run ends after a start has met it, and before anyone looks which it was."""
    conflicts: list[Exception] = []

    def execute(run, sql, *rest):
        if conflicts and sql.startswith("SELECT"):
            conflicts.clear()
            Run.objects.update(status="failed")
        try:
            return run(sql, *rest)
        except IntegrityError as conflict:
            conflicts.append(conflict)
            raise

    with connection.execute_wrapper(execute):
        yield


def test_a_start_on_a_connection_just_deleted_is_refused(source):
    stale = Connection.objects.get(pk=source.pk)
    source.delete()
    with pytest.raises(ConnectionGone):
        runs.start(stale, Selection(), "alice")
    assert not Run.objects.exists()
    assert not AuditEntry.objects.exists()


def closed(outcome: str, **fields) -> RunState:
    return RunState(outcome, False, datetime.now(UTC), datetime.now(UTC), **fields)  # type: ignore[arg-type]


def test_an_end_is_written_once_and_only_over_an_open_row(source):
    run = runs.start(source, Selection(), "alice")
    good = closed(
        "completed", result=RunResult("succeeded", "ab" * 32, {"relations": 1}, {}, Load())
    )
    reconcile.settle(run, good)
    reconcile.settle(run, closed("terminated"))
    saved = Run.objects.get(pk=run.pk)
    assert (saved.status, saved.error, saved.waiting_reason) == ("succeeded", None, "")
    assert [line["code"] for line in runs.events(saved)] == ["created", "waiting", "ended"]


@pytest.mark.parametrize(
    ("state", "status", "category"),
    [
        (closed("terminated"), "failed", "lost"),
        (closed("timed_out"), "failed", "lost"),
        (closed("completed"), "failed", "internal"),
        (closed("failed"), "failed", "internal"),
        (closed("cancelled"), "cancelled", None),
    ],
)
def test_what_each_outcome_makes_of_a_row(source, state, status, category):
    run = runs.start(source, Selection(), "alice")
    reconcile.settle(run, state)
    saved = Run.objects.get(pk=run.pk)
    assert (saved.status, (saved.error or {}).get("category")) == (status, category)
    assert saved.finished_at is not None


def test_a_failure_without_our_details_says_nothing_of_its_text():
    found = error_of(ApplicationError("password=canary-pw"))
    assert found["category"] == "internal"
    assert "canary" not in str(found)


def test_events_of_unknown_runs_are_no_error(source):
    stranger = "00000000-0000-0000-0000-000000000009"
    story.keep([(1000, Event("no-uuid", "x", "y")), (2000, Event(stranger, "x", "y"))])
    assert not RunEvent.objects.exists()


def test_a_line_known_already_is_not_doubled(source):
    run = runs.start(source, Selection(), "alice")
    for _ in range(2):
        story.keep([(1000, Event(str(run.pk), "planned", "10 relations", at=1.0))])
    assert [line["code"] for line in runs.events(run)].count("planned") == 1


def test_the_bar_shows_done_reading_and_rest(source):
    run = runs.start(source, Selection(), "alice")
    picture = extract.pictures.of(run)
    picture.progress.update(done=50, in_flight=25, total=100, rate=12.3, eta_seconds=4)
    line = extract.line_of(run, picture)
    assert "█" * 16 + "▒" * 8 + "░" * 8 in line
    assert "50 %" in line
    assert "50/100 relations" in line
    assert "12/s" in line
    assert "4 s left" in line


def test_what_a_database_calls_itself_cannot_drive_the_terminal():
    assert extract.printable("a\x1b[2Jb\u202e") == "a�[2Jb�"
