from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import pytest

from workers import heartbeat
from workers.contract import Event, Progress
from workers.heartbeat import Beater


class Sink:
    """Keeps what a publisher would have written."""

    def __init__(self) -> None:
        self.records: list[Progress] = []
        self.events: list[Event] = []

    def record(self, record: Progress) -> None:
        self.records.append(record)

    def event(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class FakeSession:
    backend_id: int | None = 4711
    deadline: float | None = None


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def beats() -> list[Progress]:
    return []


async def beater_of(sink: Sink, beats: list[Progress], **options: float) -> Beater:
    record = Progress("run-1", "extract", 0, 1, "w1", total=100)
    return Beater(record, sink, beats.append, 0.01, **options)  # type: ignore[arg-type]


async def test_both_roads_get_the_same_record(sink: Sink, beats: list[Progress]) -> None:
    beater = await beater_of(sink, beats)
    beater.session = FakeSession()
    beater.beat()
    assert beats == sink.records
    assert beats[0].session == 4711
    assert beats[0].beat_at == pytest.approx(time.time(), abs=1)


async def test_a_beat_does_not_advance_the_other_clock(sink: Sink, beats: list[Progress]) -> None:
    beater = await beater_of(sink, beats)
    beater.advance(batch=1, batches=4, done=25, in_flight=0, new=True)
    advanced = beater.record.advanced_at
    beater.beat()
    assert beats[-1].advanced_at == advanced
    assert beats[-1].beat_at >= advanced


async def test_a_statement_is_vouched_for_until_its_deadline_only(
    sink: Sink, beats: list[Progress]
) -> None:
    beater = await beater_of(sink, beats)
    beater.session = FakeSession(deadline=time.time() + 60)
    assert beater.vouches()
    beater.session = FakeSession(deadline=time.time() - heartbeat.GRACE - 0.1)
    assert not beater.vouches()


async def test_silence_past_the_deadline_stops_the_beats(sink: Sink, beats: list[Progress]) -> None:
    beater = await beater_of(sink, beats)
    beater.session = FakeSession(deadline=time.time() - heartbeat.GRACE - 0.1)
    task = asyncio.create_task(beater.run())
    await asyncio.sleep(0.1)
    assert beats == []
    beater.session = FakeSession(deadline=time.time() + 60)
    while not beats:
        await asyncio.sleep(0.01)
    task.cancel()


async def test_a_thread_that_shows_no_sign_is_not_vouched_for(
    sink: Sink, beats: list[Progress]
) -> None:
    beater = await beater_of(sink, beats, silence_limit=0.05)
    assert beater.vouches()
    await asyncio.sleep(0.1)
    assert not beater.vouches()
    beater.advance(batch=1, batches=4, done=25, in_flight=0, new=False)
    assert beater.vouches()


async def test_done_never_falls(sink: Sink, beats: list[Progress]) -> None:
    beater = await beater_of(sink, beats)
    beater.record.done = 75
    beater.advance(batch=1, batches=4, done=25, in_flight=10, new=False)
    assert (beater.record.done, beater.record.in_flight) == (75, 0)
    beater.advance(batch=4, batches=4, done=100, in_flight=0, new=True)
    assert beater.record.done == 100


async def test_only_a_new_entry_clears_the_failures(sink: Sink, beats: list[Progress]) -> None:
    beater = await beater_of(sink, beats)
    beater.record.failures = 4
    beater.advance(batch=1, batches=4, done=25, in_flight=0, new=False)
    assert beater.record.failures == 4
    beater.advance(batch=2, batches=4, done=50, in_flight=0, new=True)
    assert beater.record.failures == 0


async def test_an_advance_in_a_thread_reaches_the_publisher(
    sink: Sink, beats: list[Progress]
) -> None:
    beater = await beater_of(sink, beats)

    def work() -> None:
        beater.advance(batch=1, batches=4, done=25, in_flight=5, new=True)
        beater.say("batch_retried", "again", "warning")

    await asyncio.to_thread(work)
    await asyncio.sleep(0)
    assert [r.in_flight for r in sink.records] == [5]
    assert [(e.code, e.shard, e.level) for e in sink.events] == [("batch_retried", 0, "warning")]
