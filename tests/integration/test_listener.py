"""Whatever happens to Redis, to the reader or to a slow client: every screen ends the same."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from dashboard.live import listener as listening
from dashboard.live import outbox as outboxes
from dashboard.models import Run, RunEvent
from tests.live_cast import (
    NOWHERE,
    Publisher,
    Screen,
    Viewer,
    a_beat,
    a_run,
    end,
    in_thread,
    point_at,
    session_cookie,
    until,
    watching,
)
from workers.contract import workflow_id

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def live(settings, monkeypatch, own_redis, tmp_path) -> Any:
    storage = tmp_path / "storage"
    point_at(settings, monkeypatch, redis=own_redis.url, storage=storage, temporal=NOWHERE)
    settings.ORIGINS = ["http://testserver"]
    return settings


@pytest.fixture
def run(db) -> Run:
    return a_run()


@pytest.fixture
def publisher(live, own_redis, run) -> Publisher:
    return Publisher(own_redis.url, str(run.pk))


@pytest.fixture
def cookie(db, viewer) -> str:
    return session_cookie(viewer)


def rising(screen: Screen) -> bool:
    return screen.seqs == sorted(set(screen.seqs))


async def test_a_latecomer_and_one_cut_twice_see_what_the_first_sees(run, publisher, cookie):
    async with watching(run, cookie) as first:
        await in_thread(publisher.plan)
        await in_thread(publisher.beat, 0, done=25, batch=1)
        await in_thread(publisher.event, "one", shard=0)
        await until(lambda: len(first.screen.events) == 1)
        cut = Screen()
        async with watching(run, cookie) as once:
            cut = once.screen
        await in_thread(publisher.event, "two")
        await in_thread(publisher.beat, 1, worker="w2", done=10)
        async with watching(run, cookie, after=cut.seqs[-1]) as again:
            cut.events |= again.screen.events
            assert list(again.screen.events.values()) == ["two"]
            last = again.screen.seqs[-1]
        await in_thread(publisher.beat, 0, done=50, in_flight=25, batch=2)
        await in_thread(publisher.event, "three")
        async with (
            watching(run, cookie, after=last) as third,
            watching(run, cookie) as late,
        ):
            seen = (first.screen, third.screen, late.screen)
            await until(lambda: all(s.progress["done"] == 60 for s in seen))
            await until(lambda: len(first.screen.events) == 3)
            assert list(third.screen.events.values()) == ["three"]
            third.screen.events |= cut.events
            assert late.screen.picture() == first.screen.picture()
            assert third.screen.picture() == first.screen.picture()
            assert all(rising(screen) for screen in seen)
            assert late.screen.types[0] == "state"


async def test_redis_restarted_empty_takes_nothing_from_the_picture(
    run, publisher, cookie, own_redis
):
    async with watching(run, cookie) as stayed:
        await in_thread(publisher.plan)
        await in_thread(publisher.beat, 0, done=75, batch=3)
        line = await in_thread(publisher.event, "before")
        await until(lambda: stayed.screen.progress["done"] == 75 and bool(stayed.screen.events))
        await in_thread(_keep, run, line, "before")
        await in_thread(own_redis.stop)
        await in_thread(own_redis.start_empty)
        await in_thread(publisher.beat, 1, done=20)
        await in_thread(publisher.event, "after")
        await until(lambda: stayed.screen.progress["done"] == 95)
        await until(lambda: len(stayed.screen.events) == 2)
        async with watching(run, cookie) as late:
            assert late.screen.picture() == stayed.screen.picture()
            assert list(late.screen.events.values()) == ["before", "after"]
        assert not stayed.screen.done_fell
        assert rising(stayed.screen)


def _keep(run: Run, seq: int, message: str) -> None:
    """What the reconciler does with each event."""
    RunEvent.objects.create(
        run=run, seq=seq, at=datetime.now(UTC), level="info", code="c", message=message
    )


async def test_without_redis_the_rows_still_tell(run, publisher, cookie, own_redis):
    await in_thread(own_redis.stop)
    async with watching(run, cookie) as viewer:
        assert viewer.screen.run["status"] == "running"
        await in_thread(Run.objects.filter(pk=run.pk).update, status="cancelling")
        await until(lambda: viewer.screen.run["status"] == "cancelling")
        await in_thread(end, run, "cancelled")
        assert await viewer.closed() == 1000
        assert viewer.screen.finished["status"] == "cancelled"
        assert rising(viewer.screen)
    await in_thread(own_redis.start_empty)


async def test_redis_comes_back_under_an_open_socket(run, publisher, cookie, own_redis):
    await in_thread(own_redis.stop)
    async with watching(run, cookie) as viewer:
        await in_thread(own_redis.start_empty)
        await in_thread(publisher.plan)
        await in_thread(publisher.beat, 2, done=40)
        await until(lambda: viewer.screen.progress["done"] == 40)


async def test_finished_is_seen_though_nobody_announces_it(run, publisher, cookie):
    async with watching(run, cookie) as viewer:
        began = time.monotonic()
        await in_thread(end, run, "failed", error={"message": "The disk is full."})
        assert await viewer.closed() == 1000
        assert time.monotonic() - began < 5
        assert viewer.screen.finished["status"] == "failed"
        assert viewer.screen.finished["verdict"] == "finished: The disk is full."


async def test_at_most_ten_progress_messages_a_second_and_the_newest_counts(run, publisher, cookie):
    async with watching(run, cookie) as viewer:
        await in_thread(publisher.plan)
        began = time.monotonic()
        for done in range(1, 101):
            await in_thread(publisher.beat, 0, done=done)
        await until(lambda: viewer.screen.progress["done"] == 100)
        lasted = time.monotonic() - began
        assert viewer.screen.types.count("progress") <= 10 * lasted + 3


async def test_a_superseded_worker_cannot_turn_the_picture_back(run, publisher, cookie):
    async with watching(run, cookie) as viewer:
        await in_thread(publisher.plan)
        await in_thread(publisher.beat, 0, done=50, attempt=1, worker="w1")
        await in_thread(publisher.beat, 0, done=0, attempt=2, worker="w2")
        await in_thread(publisher.beat, 0, done=40, attempt=1, worker="w1")
        await in_thread(publisher.event, "end of the story")
        await until(lambda: bool(viewer.screen.events))
        await until(lambda: viewer.screen.shards.get(0, {}).get("attempt") == 2)
        assert viewer.screen.shards[0]["worker"] == "w2"
        assert viewer.screen.shards[0]["done"] == 50
        assert not viewer.screen.done_fell


async def test_a_slow_socket_gets_the_newest_state_and_no_queue(
    run, publisher, cookie, monkeypatch
):
    monkeypatch.setattr(outboxes, "OUTBOX_LIMIT", 3)
    async with watching(run, cookie) as quick:
        outbox = await listening.listener().join(str(run.pk), _ticket(quick), 0)
        await in_thread(publisher.plan)
        for number in range(10):
            await in_thread(publisher.event, f"line {number}")
        await in_thread(publisher.beat, 0, done=50)
        await until(lambda: quick.screen.progress["done"] == 50)
        assert len(outbox.texts) == 0
        texts, code = await outbox.take()
        slow = Screen()
        for text in texts:
            slow.show(text)
        assert (slow.types, code) == (["state"], None)
        assert slow.picture() == quick.screen.picture()
        await in_thread(publisher.event, "afterwards")
        await until(lambda: "afterwards" in quick.screen.events.values())
        texts, _ = await outbox.take()
        assert all(json.loads(text)["seq"] > slow.seqs[-1] for text in texts)
        listening.listener().leave(str(run.pk), outbox)


def _ticket(viewer: Viewer) -> Any:
    (room,) = listening.listener().rooms.values()
    return next(iter(room.members)).ticket


async def test_a_sign_out_and_a_lost_role_close_the_socket(
    run, publisher, cookie, viewer, monkeypatch
):
    monkeypatch.setattr(listening, "ADMISSION_SECONDS", 0.2)
    async with watching(run, cookie) as watcher:
        await in_thread(viewer.groups.clear)
        assert await watcher.closed() == 4403
    await in_thread(viewer.groups.add, await in_thread(_viewers))
    async with watching(run, cookie) as watcher:
        await in_thread(Session.objects.all().delete)
        assert await watcher.closed() == 4401


def _viewers() -> Any:
    from django.contrib.auth.models import Group

    return Group.objects.get(name="viewer")


async def test_nothing_runs_once_the_last_socket_is_gone(run, publisher, cookie):
    async with watching(run, cookie):
        tasks = list(listening.listener().tasks)
        assert tasks
    await until(lambda: all(task.done() for task in tasks))
    assert not listening.listener().rooms


async def test_a_room_is_kept_for_who_is_about_to_join_it(run, publisher, cookie, monkeypatch):
    opened = listening.Listener._open

    async def another_leaves_just_then(self, run_id: str) -> None:
        await opened(self, run_id)
        self._sweep()

    monkeypatch.setattr(listening.Listener, "_open", another_leaves_just_then)
    async with watching(run, cookie) as viewer:
        await in_thread(publisher.event, "seen")
        await until(lambda: list(viewer.screen.events.values()) == ["seen"])


@workflow.defn
class Held:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            "hold",
            start_to_close_timeout=timedelta(seconds=60),
            heartbeat_timeout=timedelta(seconds=10),
        )


async def test_without_redis_the_heartbeats_tell(
    settings, monkeypatch, run, cookie, own_redis, temporal, tmp_path
):
    point_at(settings, monkeypatch, redis=own_redis.url, storage=tmp_path, temporal=temporal)
    settings.ORIGINS = ["http://testserver"]
    await in_thread(own_redis.stop)
    done = asyncio.Event()
    read = 10

    @activity.defn(name="hold")
    async def hold() -> None:
        while not done.is_set():
            activity.heartbeat(a_beat(str(run.pk), 0, done=read, worker="w7"))
            await asyncio.sleep(0.2)

    client = await Client.connect(temporal)
    interval = timedelta(seconds=0.2)
    async with Worker(
        client,
        task_queue=(queue := f"held-{uuid.uuid4()}"),
        workflows=[Held],
        activities=[hold],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_heartbeat_throttle_interval=interval,
        default_heartbeat_throttle_interval=interval,
    ):
        handle = await client.start_workflow(
            Held.run, id=workflow_id(str(run.pk)), task_queue=queue
        )
        try:
            async with watching(run, cookie) as viewer:
                await until(lambda: viewer.screen.progress["done"] == 10)
                assert viewer.screen.shards[0]["worker"] == "w7"
                assert viewer.screen.shards[0]["verdict"] == "working"
                read = 30
                await until(lambda: viewer.screen.progress["done"] == 30)
        finally:
            done.set()
            await handle.result()
    await in_thread(own_redis.start_empty)
