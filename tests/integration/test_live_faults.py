"""One run's trouble, a silent change, a Redis that hangs: no screen is left behind."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dashboard import story
from dashboard.live import listener as listening
from dashboard.live import picture as pictures
from dashboard.live import sources
from dashboard.models import Run
from extraction.storage import open_storage
from tests.live_cast import (
    NOWHERE,
    Publisher,
    Redis,
    a_run,
    end,
    in_thread,
    opened,
    point_at,
    session_cookie,
    until,
    watching,
)

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def live(settings: Any, monkeypatch: Any, own_redis: Redis, tmp_path: Any) -> Any:
    storage = tmp_path / "storage"
    point_at(settings, monkeypatch, redis=own_redis.url, storage=storage, temporal=NOWHERE)
    settings.ORIGINS = ["http://testserver"]
    monkeypatch.setattr(listening, "POLL_SECONDS", 0.2)
    return settings


@pytest.fixture
def run(db: None) -> Run:
    return a_run()


@pytest.fixture
def publisher(live: Any, own_redis: Redis, run: Run) -> Publisher:
    return Publisher(own_redis.url, str(run.pk))


@pytest.fixture
def cookie(db: None, viewer: Any) -> str:
    return session_cookie(viewer)


async def test_a_story_that_cannot_be_read_hides_no_end(run, publisher, live, cookie):
    async with watching(run, cookie) as viewer:
        storage = open_storage(live.ENV.storage)
        await in_thread(storage.put, f"snapshots/{run.pk}/story.jsonl", b'{"seq": 1')
        await in_thread(end, run)
        assert await viewer.closed() == 1000
        assert viewer.screen.finished["status"] == "succeeded"


async def test_a_run_that_cannot_be_read_starves_no_other(run, publisher, cookie, monkeypatch):
    read = sources.board_of
    other = await in_thread(a_run)

    def fails(row: Run, **options: Any) -> Any:
        if row.pk == run.pk and not row.is_open:
            raise RuntimeError("whatever it may be")
        return read(row, **options)

    monkeypatch.setattr(sources, "board_of", fails)
    async with watching(run, cookie) as stuck, watching(other, cookie) as viewer:
        await in_thread(end, run)
        await in_thread(end, other)
        assert await viewer.closed() == 1000
        assert stuck.code is None
        monkeypatch.setattr(sources, "board_of", read)
        assert await stuck.closed() == 1000


async def test_lines_that_only_the_rows_have_reach_an_early_viewer(
    run, publisher, cookie, own_redis
):
    await in_thread(own_redis.stop)
    async with watching(run, cookie) as early:
        await in_thread(story.tell, run, "cancel_requested", "operator asked to cancel")
        await until(lambda: list(early.screen.events.values()) == ["operator asked to cancel"])
        async with watching(run, cookie) as late:
            assert late.screen.picture() == early.screen.picture()
            assert late.screen.seqs[0] >= max(late.screen.events)
        assert early.screen.seqs == sorted(set(early.screen.seqs))
    await in_thread(own_redis.start)


async def test_opening_the_list_swallows_no_status_of_a_run(run, publisher, cookie):
    async with watching(run, cookie) as viewer:
        await in_thread(Run.objects.filter(pk=run.pk).update, status="cancelling")
        lobby = await opened("/ws/runs/", cookie)
        assert json.loads(await lobby.receive_from(timeout=5))["type"] == "state"
        await until(lambda: viewer.screen.run["status"] == "cancelling")
        await lobby.disconnect()


async def test_who_opens_the_list_while_the_last_socket_leaves_still_hears(
    run, publisher, cookie, monkeypatch
):
    read, reading, go_on = listening._newest_rows, threading.Event(), threading.Event()

    def held() -> Any:
        rows = read()
        reading.set()
        go_on.wait(5)
        return rows

    monkeypatch.setattr(listening, "_newest_rows", held)
    async with watching(run, cookie) as viewer:
        await in_thread(end, run)
        await viewer.closed()
        joining = asyncio.create_task(opened("/ws/runs/", cookie))
        await in_thread(reading.wait, 5)
    go_on.set()
    lobby = await joining
    await lobby.receive_from(timeout=5)
    new = await in_thread(a_run, "queued")
    assert json.loads(await lobby.receive_from(timeout=5))["run_id"] == str(new.pk)
    await lobby.disconnect()


@pytest.fixture
def hanging() -> Iterator[str]:
    """A Redis that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def test_a_redis_that_hangs_is_waited_for_once(db, settings, monkeypatch, hanging, tmp_path):
    point_at(settings, monkeypatch, redis=hanging, storage=tmp_path, temporal=NOWHERE)
    began = time.monotonic()
    drawn = [pictures.of(a_run("queued")) for _ in range(3)]
    assert time.monotonic() - began < 3.5
    assert {picture.source for picture in drawn} == {"row"}


async def test_nobody_rests_from_a_redis_that_answers(run, publisher, cookie, monkeypatch):
    monkeypatch.setattr(sources._Rest, "redis_until", time.monotonic() + 60)
    await in_thread(publisher.plan)
    async with watching(run, cookie) as viewer:
        await until(lambda: len(viewer.screen.shards) == 3)


async def test_done_does_not_fall_when_the_next_attempt_begins(run, publisher):
    await in_thread(publisher.plan)
    await in_thread(publisher.beat, 0, done=75, attempt=1, batch=3)
    await in_thread(publisher.beat, 0, done=50, attempt=2, batch=2)
    drawn = await in_thread(pictures.of, run)
    assert drawn.progress["done"] == 75
    assert drawn.shards[0]["attempt"] == 2
