"""What goes wrong for one run: the others end all the same, and no line is lost."""

from __future__ import annotations

import errno
import json
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis as redis_sync
from django.db import OperationalError, connection

from dashboard import abandoned, connections, runs, story, temporal
from dashboard.management.commands import reconcile as command
from dashboard.models import Run, RunEvent
from dashboard.reconcile import Reconciler
from extraction.errors import StorageFailed
from extraction.selection import Selection
from extraction.storage import TEMPORARY, Storage, open_storage
from tests.integration.scripted import (
    ScriptedWorker,
    make_connection,
    reconciling,
    temporal_cli,
    until,
)
from workers.contract import Event, Frame, events_key

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def reconciler(instance) -> Reconciler:
    return Reconciler()


@pytest.fixture
def stream(instance, redis) -> redis_sync.Redis:
    opened = redis_sync.from_url(redis)
    yield opened
    opened.close()


@pytest.fixture
def storage(instance) -> Storage:
    return open_storage(instance.web.storage)


def begin(source, script: str = "go") -> Run:
    return runs.start(source, Selection(include=[script]), "alice")


def saved(status: str = "running", name: str = "source") -> Run:
    run = runs._new(make_connection(name), Selection(), "alice")
    run.status = status
    run.save(force_insert=True)
    return run


def ended(reconciler: Reconciler, *several: Run) -> None:
    def are_over() -> bool:
        reconciler.sweep()
        for run in several:
            run.refresh_from_db()
        return not any(run.is_open for run in several)

    until(are_over)


def codes(run: Run) -> list[str]:
    return [line["code"] for line in runs.events(run)]


# --- one run's trouble --------------------------------------------------------


def test_lines_nobody_can_read_keep_no_run_from_its_end(reconciler, stream, temporal):
    with ScriptedWorker(temporal):
        first, second = begin(make_connection("one")), begin(make_connection("two"))
        odd = {"run_id": str(first.pk), "code": "odd", "message": "a\u2028b", "at": 1e20}
        for bad in (b"{}", b"no json", json.dumps(odd).encode()):
            stream.xadd(events_key(str(first.pk)), {"d": bad})
        stream.xadd(events_key(str(first.pk)), {"other": b"field"})
        ended(reconciler, first, second)
    assert (first.status, second.status) == ("succeeded", "succeeded")
    assert {"created", "odd", "ended"} <= set(codes(first))


def test_a_time_no_calendar_has_is_that_of_the_entry(instance):
    run = saved()
    story.keep([(1_700_000_000_000_000, Event(str(run.pk), "odd", "x", at=1e20))])
    assert [line["at"] for line in runs.events(run)] == ["2023-11-14T22:13:20.000Z"]


def test_a_story_that_cannot_be_stored_keeps_no_other_from_it(reconciler, storage, monkeypatch):
    broken, whole = saved("succeeded", "broken"), saved("succeeded", "whole")
    for run in (broken, whole):
        story.keep([(1000, Event(str(run.pk), "late", "x"))])
    real = Storage.put

    def put(self: Storage, path: str, data: bytes) -> None:
        if str(broken.pk) in path:
            raise OSError(errno.EIO, "I/O error")
        real(self, path, data)

    monkeypatch.setattr(Storage, "put", put)
    reconciler.sweep()
    assert RunEvent.objects.filter(run=broken).exists()
    assert not RunEvent.objects.filter(run=whole).exists()
    assert codes(whole) == ["late"]


def test_a_workflow_that_cannot_be_adopted_keeps_no_other_from_it(
    reconciler, instance, monkeypatch
):
    found = [adoptable(), adoptable()]
    real = temporal.input_of

    def input_of(workflow_id: str) -> object:
        if workflow_id == found[0].workflow_id:
            raise ValueError("nothing a person wrote")
        return real(workflow_id)

    monkeypatch.setattr(temporal, "input_of", input_of)
    monkeypatch.setattr(temporal, "list_recent", lambda minutes: found)
    reconciler.sweep()
    assert [run.workflow_id for run in Run.objects.all()] == [found[1].workflow_id]


def adoptable():
    from dashboard.temporal_records import Listed

    return Listed(f"run-{uuid.uuid4()}", True, datetime.now(UTC), {"connection_name": "found"})


@pytest.fixture
def process(instance, transactional_db, settings):
    with reconciling(instance.web_environment, settings) as started:
        yield started


def test_the_process_outlives_lines_nobody_can_read(process, stream, temporal):
    bad = saved("running", "bad")
    frames = [
        Frame("event", str(bad.pk), event=Event(str(bad.pk), "odd", "x", at=1e20)),
        Frame("event", str(bad.pk), event=Event(str(bad.pk), "odd", "x", level=7)),  # type: ignore[arg-type]
    ]
    for frame in frames:
        story.publish(frame)
    stream.xadd(events_key(str(bad.pk)), {"d": b"{}"})
    with ScriptedWorker(temporal):
        run = begin(make_connection("good"))
        until(lambda: not Run.objects.get(pk=run.pk).is_open)
    assert Run.objects.get(pk=run.pk).status == "succeeded"
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0


# --- the story ----------------------------------------------------------------


def test_a_story_that_cannot_be_read_is_not_overwritten(reconciler, storage, monkeypatch):
    run = saved("succeeded")
    story.keep([(1000, Event(str(run.pk), "first", "x"))])
    story.close(run)
    story.keep([(2000, Event(str(run.pk), "late", "x"))])

    def failing(self: Path) -> bytes:
        raise OSError(errno.EIO, "I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", failing)
        with pytest.raises(StorageFailed):
            story.close(run)
        assert codes(run) == ["late"]

    reconciler.sweep()
    assert codes(run) == ["first", "late"]
    assert not RunEvent.objects.filter(run=run).exists()


def test_a_damaged_story_is_not_overwritten_and_shows_what_is_left(storage):
    run = saved("succeeded")
    path = f"snapshots/{run.pk}/story.jsonl"
    storage.put(path, b"{damaged\n")
    story.keep([(2000, Event(str(run.pk), "late", "x"))])
    with pytest.raises(StorageFailed):
        story.close(run)
    assert storage.get(path) == b"{damaged\n"
    assert codes(run) == ["late"]


def test_who_reads_while_the_story_moves_sees_it_whole(storage):
    run = saved("running")
    story.keep([(1000, Event(str(run.pk), "first", "x"))])
    stale = Run.objects.get(pk=run.pk)
    Run.objects.filter(pk=run.pk).update(status="succeeded")
    story.close(run)
    assert codes(stale) == ["first"]


def test_who_reads_in_the_middle_of_the_move_sees_it_whole(storage, monkeypatch):
    run = saved("succeeded")
    story.keep([(1000, Event(str(run.pk), "first", "x"))])
    real = Storage.exists

    def exists(self: Storage, path: str) -> bool:
        found = real(self, path)
        monkeypatch.undo()
        story.close(run)
        return found

    monkeypatch.setattr(Storage, "exists", exists)
    assert codes(run) == ["first"]


def test_a_line_that_redis_hands_on_late_is_told_once(instance):
    """Its teller gave up waiting and kept it; Redis took it all the same."""
    run = saved("succeeded")
    event = Event(str(run.pk), "ended", "Succeeded", id="ab" * 16)
    story.keep([(1999, event)])
    story.keep([(2000, event)])
    assert [line["seq"] for line in runs.events(run)] == [1999]
    story.close(run)
    story.keep([(2000, event), (3000, Event(str(run.pk), "other", "x", id="cd" * 16))])
    story.close(run)
    assert [line["seq"] for line in runs.events(run)] == [1999, 3000]


def test_every_line_of_the_dashboard_has_a_name(instance):
    run = saved()
    for _ in range(2):
        story.tell(run, "waiting", "again")
    first, second = runs.events(run)
    assert first["id"]
    assert first["id"] != second["id"]


def test_all_that_redis_kept_is_taken_over(instance):
    run = saved()
    for number in range(700):
        story.publish(Frame("event", str(run.pk), event=Event(str(run.pk), "x", str(number))))
    story.backfill(run)
    assert [line["message"] for line in runs.events(run)] == [str(n) for n in range(700)]


def test_a_turn_that_fails_is_not_the_last(instance, monkeypatch):
    stop, turns = threading.Event(), []

    def turn(self: command.Loop) -> None:
        turns.append(self)
        if len(turns) == 1:
            raise ValueError("nothing anybody thought of")
        stop.set()

    monkeypatch.setattr(command, "Follower", lambda *_: threading.Thread())
    monkeypatch.setattr(command.Loop, "_turn", turn)
    monkeypatch.setattr(command.Loop, "_rest", lambda self: None)
    command.Loop(stop).run()
    assert len(turns) == 2


def test_lines_nobody_can_store_are_met_once(instance, monkeypatch):
    loop = command.Loop(threading.Event())
    run = saved()
    loop._inbox.put((1000, Frame("event", str(run.pk), event=Event(str(run.pk), "x", "y"))))

    def failing(*_: object) -> None:
        raise ValueError("nothing anybody thought of")

    monkeypatch.setattr(story, "keep", failing)
    loop._turn()
    assert loop._entries == []


def test_lines_the_database_could_not_take_are_taken_later(instance, monkeypatch):
    run = saved()
    loop = command.Loop(threading.Event())
    event = Event(str(run.pk), "planned", "10 relations")
    loop._inbox.put((1000, Frame("event", str(run.pk), event=event)))

    def locked(*_: object) -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as broken:
        broken.setattr(story, "keep", locked)
        with pytest.raises(OperationalError):
            loop._turn()
    loop._turn()
    assert "planned" in codes(run)


# --- a cancel without a worker ------------------------------------------------


@pytest.fixture(scope="module")
def lonely_server(tmp_path_factory):
    """A Temporal without a worker, until the last test starts one."""
    from dashboard.local.servers import TemporalServer, start

    server = TemporalServer(tmp_path_factory.mktemp("lonely") / "temporal")
    child = start(server)
    yield server.address
    child.stop()


@pytest.fixture
def lonely(instance, settings, lonely_server):
    settings.ENV = instance.web.model_copy(update={"temporal_address": lonely_server})
    return lonely_server


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(abandoned, "PATIENCE", 0.3)


def test_a_cancel_without_a_worker_ends_and_says_how(lonely, impatient, reconciler, storage):
    source = make_connection()
    run = begin(source)
    kept, left = f"snapshots/{run.pk}/parts/x", f"snapshots/{run.pk}/parts/{TEMPORARY}dead"
    storage.put(kept, b"1")
    storage.local_path(left).write_bytes(b"half")
    runs.cancel(run, "alice")
    assert run.status == "cancelling"
    reconciler.sweep()
    assert Run.objects.get(pk=run.pk).status == "cancelling"

    def sweep(each: Reconciler) -> None:
        each.sweep()
        connection.close()

    others = [reconciler, Reconciler()]

    def is_over() -> bool:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(sweep, others))
        run.refresh_from_db()
        return not run.is_open

    until(is_over)
    assert (run.status, run.error, run.cancel_requested_by) == ("cancelled", None, "alice")
    assert codes(run).count("ended") == 1
    told = runs.events(run)[-1]
    assert "No worker was alive" in told["message"]
    assert "60 s" in told["message"]
    assert not storage.local_path(left).exists()
    assert storage.exists(kept)
    connections.delete(source, "alice")
    assert temporal.describe_run(str(run.pk)).outcome == "terminated"


def test_a_run_without_a_worker_waits_as_long_as_nobody_cancels_it(lonely, impatient, reconciler):
    run = begin(make_connection())
    began = datetime.now(UTC)

    def waited() -> bool:
        reconciler.sweep()
        return (datetime.now(UTC) - began).total_seconds() > 3 * abandoned.PATIENCE

    until(waited)
    assert Run.objects.get(pk=run.pk).status == "running"


def test_a_terminated_run_that_waited_for_its_cancel_is_lost_all_the_same(
    lonely, reconciler, instance
):
    """Only our own reason makes a cancel of it."""
    run = begin(make_connection())
    runs.cancel(run, "alice")
    temporal_cli(lonely, "workflow", "terminate", "-w", run.workflow_id, "--reason", "by hand")
    ended(reconciler, run)
    assert (run.status, run.error["category"]) == ("failed", "lost")


def test_a_cancel_that_has_a_worker_is_left_to_it(lonely, impatient, reconciler):
    with ScriptedWorker(lonely, beats=True):
        until(lambda: any(worker.is_alive for worker in temporal.workers()))
        run = begin(make_connection(), "stubborn")
        until(lambda: temporal.describe_run(str(run.pk)).pending)
        runs.cancel(run, "alice")
        ended(reconciler, run)
    assert run.status == "cancelled"
    assert runs.events(run)[-1]["message"] == "Cancelled"
    assert temporal.describe_run(str(run.pk)).outcome == "cancelled"
