"""The live road against a real Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable

import pytest
import redis.asyncio as redis_async

from workers import progress
from workers.contract import (
    EVENTS_LENGTH,
    STREAM,
    Event,
    Frame,
    PlanRecord,
    Progress,
    ShardPlan,
    events_key,
    ids_key,
    state_key,
)
from workers.progress import StreamRestarted, follow, open_redis, publish, read_cut
from workers.publisher import Publisher

pytestmark = pytest.mark.integration

RUN = "run-1"


@pytest.fixture
async def client(redis: str) -> AsyncIterator[redis_async.Redis]:
    opened = open_redis(redis)
    await opened.delete(STREAM, state_key(RUN), events_key(RUN), ids_key(RUN))
    yield opened
    await opened.aclose()


async def until(condition: Callable[[], bool], limit: float = 5) -> None:
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.02)


def a_record(shard: int = 0, attempt: int = 1, **changes: object) -> Progress:
    return Progress(RUN, "extract", shard, attempt, "w1", **changes)  # type: ignore[arg-type]


def records(*several: Progress) -> Frame:
    return Frame("progress", RUN, records=list(several))


def an_event(message: str) -> Frame:
    return Frame("event", RUN, event=Event(RUN, "planned", message, at=1.0))


class Follower:
    """Reads the stream in a task until stopped."""

    def __init__(self, client: redis_async.Redis, after: int) -> None:
        self.frames: list[tuple[int, Frame]] = []
        self.states: list[bool] = []
        self.task = asyncio.create_task(self._read(client, after))

    async def _read(self, client: redis_async.Redis, after: int) -> None:
        async for item in follow(client, after, connected=self.states.append):
            self.frames.append(item)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_a_cut_and_what_follows_it_are_everything_once(client: redis_async.Redis) -> None:
    plan = PlanRecord(10, 1, 2, 1.0, [ShardPlan(0, "a", 10, 0, 2)])
    await publish(client, Frame("plan", RUN, plan=plan))
    await publish(client, records(a_record(done=1)))
    first = await publish(client, an_event("one"))
    cut = await read_cut(client, RUN)
    later = await publish(client, an_event("two"))
    follower = Follower(client, cut.seq)
    await until(lambda: bool(follower.frames))
    await follower.stop()
    assert cut.plan == plan
    assert [record.done for record in cut.records] == [1]
    assert [(seq, event.message) for seq, event in cut.events] == [(first, "one")]
    assert [(seq, frame.event and frame.event.message) for seq, frame in follower.frames] == [
        (later, "two")
    ]


async def test_the_same_cut_is_read_without_a_loop(client: redis_async.Redis, redis: str) -> None:
    await publish(client, records(a_record(done=1)))
    await publish(client, an_event("one"))
    sync = progress.open_redis_sync(redis)
    assert progress.read_cut_sync(sync, RUN) == await read_cut(client, RUN)
    assert progress.publish_sync(sync, an_event("two")) == (await read_cut(client, RUN)).seq
    sync.close()


async def test_a_line_nobody_can_read_hides_no_other(client: redis_async.Redis, redis: str) -> None:
    await publish(client, records(a_record(done=1)))
    await publish(client, an_event("one"))
    for bad in (b"{}", b"no json", b'{"run_id": 1, "code": [], "message": null}'):
        await client.xadd(events_key(RUN), {"d": bad})
        await client.hset(state_key(RUN), f"9:{len(bad)}", bad)
    await client.hset(state_key(RUN), "plan", b"[]")
    await client.xadd(events_key(RUN), {"other": b"field"})
    cut = await read_cut(client, RUN)
    assert [record.done for record in cut.records] == [1]
    assert [event.message for _, event in cut.events] == ["one"]
    assert cut.plan is None
    sync = progress.open_redis_sync(redis)
    assert progress.read_events_sync(sync, RUN) == cut.events
    sync.close()


async def test_a_zombie_cannot_turn_the_picture_back(client: redis_async.Redis) -> None:
    await publish(client, records(a_record(attempt=2, done=50)))
    await publish(client, records(a_record(attempt=1, done=10)))
    cut = await read_cut(client, RUN)
    assert [(record.attempt, record.done) for record in cut.records] == [(2, 50)]


async def test_what_an_older_attempt_proved_is_in_the_cut(client: redis_async.Redis) -> None:
    await publish(client, records(a_record(attempt=1, done=75), a_record(1, done=3)))
    await publish(client, records(a_record(attempt=2, done=50)))
    assert (await read_cut(client, RUN)).done == {0: 75, 1: 3}


async def test_old_attempts_do_not_pile_up(client: redis_async.Redis) -> None:
    for attempt in range(1, 21):
        await publish(client, records(a_record(attempt=attempt)))
    assert await client.hlen(state_key(RUN)) == progress.KEPT_ATTEMPTS


async def test_an_unknown_run_is_an_empty_cut(client: redis_async.Redis) -> None:
    cut = await read_cut(client, "nobody")
    assert (cut.records, cut.plan, cut.events) == ([], None, [])


async def test_run_keys_expire(client: redis_async.Redis) -> None:
    await publish(client, records(a_record()))
    await publish(client, an_event("one"))
    assert await client.ttl(state_key(RUN)) > 3600
    assert await client.ttl(events_key(RUN)) > 3600


async def test_the_story_of_a_run_is_capped(client: redis_async.Redis) -> None:
    for number in range(EVENTS_LENGTH + 400):
        await publish(client, an_event(str(number)))
    assert await client.xlen(events_key(RUN)) < EVENTS_LENGTH + 200
    assert len((await read_cut(client, RUN)).events) == progress.CUT_EVENTS


async def test_an_emptied_redis_is_noticed(client: redis_async.Redis) -> None:
    seq = await publish(client, an_event("one"))
    assert seq
    follower = Follower(client, seq)
    await client.delete(STREAM)
    await publish(client, an_event("missed?"))
    with pytest.raises(StreamRestarted):
        await asyncio.wait_for(follower.task, 5)


async def test_seq_rises_across_an_emptied_redis(client: redis_async.Redis) -> None:
    before = await publish(client, an_event("one"))
    await client.delete(STREAM)
    assert before
    while time.time() * 1000 < before // 1000 + 1:
        await asyncio.sleep(0.001)  # a stream without memory rises by its clock, in milliseconds
    after = await publish(client, an_event("two"))
    assert after and after > before


async def test_the_publisher_writes_at_most_ten_times_a_second(
    client: redis_async.Redis,
) -> None:
    publisher = Publisher(client)
    task = asyncio.create_task(publisher.run())
    end = time.monotonic() + 1.0
    sent = 0
    while time.monotonic() < end:
        publisher.record(a_record(done=sent))
        sent += 1
        await asyncio.sleep(0.002)
    task.cancel()
    await publisher.flush()
    assert await client.xlen(STREAM) <= 12
    assert [record.done for record in (await read_cut(client, RUN)).records] == [sent - 1]


async def test_events_keep_their_order(client: redis_async.Redis) -> None:
    publisher = Publisher(client)
    for number in range(50):
        publisher.event(Event(RUN, "planned", str(number)))
    await publisher.flush()
    told = [event.message for _, event in (await read_cut(client, RUN)).events]
    assert told == [str(number) for number in range(50)]


async def test_a_dead_redis_fails_nobody_and_loses_no_recent_event(redis: str) -> None:
    nowhere = open_redis("redis://127.0.0.1:1/0")
    publisher = Publisher(nowhere)
    task = asyncio.create_task(publisher.run())
    started = time.monotonic()
    for number in range(1500):
        publisher.event(Event(RUN, "planned", str(number)))
        publisher.record(a_record(done=number))
    assert time.monotonic() - started < 0.5
    assert await publish(nowhere, an_event("x")) is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    alive = open_redis(redis)
    await alive.delete(STREAM, state_key(RUN), events_key(RUN))
    publisher._redis = alive
    await publisher.flush()
    cut = await read_cut(alive, RUN)
    assert [event.message for _, event in cut.events][-1] == "1499"
    assert await alive.xlen(events_key(RUN)) >= 999
    assert [record.done for record in cut.records] == [1499]
    await alive.aclose()


@pytest.fixture
async def hung() -> AsyncIterator[redis_async.Redis]:
    """A Redis that takes everything and never answers."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    opened = open_redis(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    yield opened
    await opened.aclose()
    server.close()


async def test_a_hung_redis_costs_a_second_at_most(hung: redis_async.Redis) -> None:
    started = time.monotonic()
    assert await publish(hung, an_event("x")) is None
    assert time.monotonic() - started < 1.5


async def test_what_a_hung_redis_did_not_take_is_written_later(
    client: redis_async.Redis, hung: redis_async.Redis
) -> None:
    publisher = Publisher(hung)
    publisher.record(a_record(done=7))
    await publisher.flush()
    publisher._redis = client
    await publisher.flush()
    assert [record.done for record in (await read_cut(client, RUN)).records] == [7]


async def test_a_redis_that_stalls_and_thaws_tells_no_line_twice(
    client: redis_async.Redis,
) -> None:
    publisher = Publisher(client)
    publisher.event(Event(RUN, "planned", "once"))
    process = (await client.info("server"))["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        await publisher.flush()
    finally:
        os.kill(process, signal.SIGCONT)

    async def arrived() -> bool:
        return await client.xlen(events_key(RUN)) > 0

    async with asyncio.timeout(5):
        while not await arrived():
            await asyncio.sleep(0.02)
    await publisher.flush()
    assert [event.message for _, event in (await read_cut(client, RUN)).events] == ["once"]
    assert await client.xlen(STREAM) == 1


async def test_a_line_sent_again_has_the_seq_it_had(client: redis_async.Redis) -> None:
    line = Frame("event", RUN, event=Event(RUN, "planned", "once", id="a"))
    other = Frame("event", RUN, event=Event(RUN, "planned", "once", id="b"))
    first = await publish(client, line)
    assert await publish(client, line) == first
    assert await publish(client, other) != first
    assert await client.xlen(events_key(RUN)) == 2
    assert await client.ttl(ids_key(RUN)) > 3600


async def test_the_ids_of_a_run_are_capped(client: redis_async.Redis) -> None:
    await client.hset(ids_key(RUN), mapping={str(n): "1-0" for n in range(EVENTS_LENGTH)})
    await publish(client, Frame("event", RUN, event=Event(RUN, "planned", "x", id="new")))
    assert await client.hlen(ids_key(RUN)) < EVENTS_LENGTH
