"""Progress through Redis: write it, read a consistent cut, follow it.

One script writes a frame to three places at once (the stream of all runs, the
run's hash of latest records, the run's events), so that a reader's MULTI sees
them agree. Redis is never the source of truth: losing it loses no result.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import redis as redis_sync
import redis.asyncio as redis_async
import structlog
from redis.exceptions import RedisError

from workers.contract import (
    EVENTS_LENGTH,
    RUN_KEYS_TTL,
    STREAM,
    STREAM_LENGTH,
    Event,
    Frame,
    PlanRecord,
    Progress,
    events_key,
    ids_key,
    seq_of,
    state_key,
)
from workers.wire import Record, decode_event, decode_frame, decode_plan, decode_progress, encode

CALL_BUDGET = 1.0  # seconds a caller may lose to a Redis that hangs
FOLLOW_BLOCK_MS = 1000
FOLLOW_COUNT = 500
CUT_EVENTS = 500
KEPT_ATTEMPTS = 3

log = structlog.get_logger(__name__)

# KEYS: stream, hash, events, ids. ARGV: frame, stream length, events length, ttl,
# event or "", event id or "", then pairs of hash field and value; a value of ""
# deletes. A script whose answer was late has run all the same: the event that is
# then sent again is dropped.
_WRITE = """
if ARGV[6] ~= '' then
  local known = redis.call('HGET', KEYS[4], ARGV[6])
  if known then return known end
end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'd', ARGV[1])
for i = 7, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[2], ARGV[i])
  else
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
if #ARGV > 6 then redis.call('EXPIRE', KEYS[2], ARGV[4]) end
if ARGV[5] ~= '' then
  redis.pcall('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], id, 'd', ARGV[5])
  redis.call('EXPIRE', KEYS[3], ARGV[4])
end
if ARGV[6] ~= '' then
  if redis.call('HLEN', KEYS[4]) >= tonumber(ARGV[3]) then redis.call('DEL', KEYS[4]) end
  redis.call('HSET', KEYS[4], ARGV[6], id)
  redis.call('EXPIRE', KEYS[4], ARGV[4])
end
return id
"""


class StreamRestarted(Exception):
    """The stream no longer holds what was last read: Redis was emptied, or it was trimmed.

    What came in between is gone. Read a new cut, show the whole state again, and
    follow from the cut's seq.
    """


@dataclass(frozen=True)
class Cut:
    """A run at one moment: everything up to `seq` is in it, nothing later.

    `records` holds one record a shard, that of the highest attempt, so that a
    superseded worker cannot turn the picture back; `done` the most that any attempt
    has proven of a shard; `events` the newest 500, oldest first. `seq` is 0 when the
    stream is empty.
    """

    seq: int
    records: list[Progress]
    plan: PlanRecord | None
    events: list[tuple[int, Event]]
    done: dict[int, int]


def open_redis(url: str) -> redis_async.Redis:
    """A client for everything in this module, blocking reads included; connects lazily."""
    return redis_async.from_url(url, socket_timeout=5, socket_connect_timeout=2)


def open_redis_sync(url: str) -> redis_sync.Redis:
    return redis_sync.from_url(url, socket_timeout=2, socket_connect_timeout=1)


async def publish(redis: redis_async.Redis, frame: Frame) -> int | None:
    """Write one frame; its seq, or None when Redis did not take it within a second."""
    try:
        async with asyncio.timeout(CALL_BUDGET):
            return await write(redis, frame)
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("frame not published", run=frame.run_id, error=type(error).__name__)
        return None


def publish_sync(redis: redis_sync.Redis, frame: Frame) -> int | None:
    """Like `publish`, for threads; the client's own timeouts are the budget."""
    keys, arguments = _script_call(frame)
    try:
        return seq_of(_text(cast(bytes, redis.eval(_WRITE, len(keys), *keys, *arguments))))
    except (RedisError, OSError) as error:
        log.warning("frame not published", run=frame.run_id, error=type(error).__name__)
        return None


async def write(redis: redis_async.Redis, frame: Frame) -> int:
    """Raises RedisError."""
    keys, arguments = _script_call(frame)
    call = cast(Awaitable[bytes], redis.eval(_WRITE, len(keys), *keys, *arguments))
    return seq_of(_text(await call))


def _script_call(frame: Frame) -> tuple[list[str], list[bytes | str | int]]:
    run_id = frame.run_id
    keys = [STREAM, state_key(run_id), events_key(run_id), ids_key(run_id)]
    event = encode(frame.event) if frame.event else b""
    arguments: list[bytes | str | int] = [
        encode(frame),
        STREAM_LENGTH,
        EVENTS_LENGTH,
        RUN_KEYS_TTL,
        event,
        frame.event.id if frame.event else "",
    ]
    for name, value in _fields(frame):
        arguments += [name, value]
    return keys, arguments


def _fields(frame: Frame) -> Iterable[tuple[str, bytes]]:
    for record in frame.records:
        yield f"{record.shard}:{record.attempt}", encode(record)
        if record.attempt > KEPT_ATTEMPTS:
            # A run that waits for days makes thousands of attempts.
            yield f"{record.shard}:{record.attempt - KEPT_ATTEMPTS}", b""
    if frame.plan:
        yield "plan", encode(frame.plan)


async def read_cut(redis: redis_async.Redis, run_id: str) -> Cut:
    """Raises RedisError."""
    async with redis.pipeline(transaction=True) as pipe:
        _queue_cut(pipe, run_id)
        return _cut(*await pipe.execute())


def read_cut_sync(redis: redis_sync.Redis, run_id: str) -> Cut:
    """Raises RedisError."""
    with redis.pipeline(transaction=True) as pipe:
        _queue_cut(pipe, run_id)
        return _cut(*pipe.execute())


async def read_record(redis: redis_async.Redis, record: Progress) -> Progress | None:
    """The newest record of the same attempt. Raises RedisError."""
    name = f"{record.shard}:{record.attempt}"
    call = cast(Awaitable[bytes | None], redis.hget(state_key(record.run_id), name))
    entry = await call
    return _read(decode_progress, {b"d": entry}) if entry else None


def read_events_sync(redis: redis_sync.Redis, run_id: str) -> list[tuple[int, Event]]:
    """Every line Redis still holds of a run's story, oldest first. Raises RedisError."""
    return _events(cast(list[Any], redis.xrange(events_key(run_id))))


def _queue_cut(pipe: Any, run_id: str) -> None:
    pipe.xrevrange(STREAM, count=1)
    pipe.hgetall(state_key(run_id))
    pipe.xrevrange(events_key(run_id), count=CUT_EVENTS)


def _cut(newest: list[Any], state: dict[bytes, bytes], events: list[Any]) -> Cut:
    found = (_read(decode_progress, state, name) for name in state if name != b"plan")
    records = [record for record in found if record]
    return Cut(
        seq=seq_of(_text(newest[0][0])) if newest else 0,
        records=highest_attempts(records),
        plan=_read(decode_plan, state, b"plan") if b"plan" in state else None,
        events=_events(events[::-1]),
        done=most_done(records),
    )


def _events(entries: Iterable[Any]) -> list[tuple[int, Event]]:
    found = ((seq_of(_text(i)), _read(decode_event, entry)) for i, entry in entries)
    return [(seq, event) for seq, event in found if event]


def highest_attempts(records: Iterable[Progress]) -> list[Progress]:
    """One record a shard, by shard."""
    newest: dict[int, Progress] = {}
    for record in records:
        if record.shard not in newest or record.attempt > newest[record.shard].attempt:
            newest[record.shard] = record
    return [newest[shard] for shard in sorted(newest)]


def most_done(records: Iterable[Progress]) -> dict[int, int]:
    """What is proven stays proven: a new attempt has yet to adopt it when it first speaks."""
    most: dict[int, int] = {}
    for record in records:
        most[record.shard] = max(most.get(record.shard, 0), record.done)
    return most


async def follow(
    redis: redis_async.Redis,
    after: int,
    *,
    connected: Callable[[bool], None] | None = None,
) -> AsyncIterator[tuple[int, Frame]]:
    """Every frame later than seq `after` (a cut's), in order, for ever.

    Waits out a Redis that is down, telling `connected` of each change. Raises
    StreamRestarted, within about a second, when the entry last read is gone: then
    something may have been missed. `after=0` starts at the oldest entry kept.
    """
    last, up = _stream_id(after), True
    while True:
        try:
            entries = await _read_after(redis, last)
        except (RedisError, OSError, TimeoutError):
            up = _tell(connected, up, now=False)
            await asyncio.sleep(0.5)
            continue
        up = _tell(connected, up, now=True)
        for stream_id, entry in entries:
            last = _text(stream_id)
            frame = _read(decode_frame, entry)
            if frame:
                yield seq_of(last), frame


def _tell(connected: Callable[[bool], None] | None, before: bool, *, now: bool) -> bool:
    if connected and before != now:
        connected(now)
    return now


async def _read_after(redis: redis_async.Redis, last: str) -> list[Any]:
    # A connection that hangs past the block is as good as lost.
    async with asyncio.timeout(FOLLOW_BLOCK_MS / 1000 + 3):
        answer: Any = await redis.xread({STREAM: last}, count=FOLLOW_COUNT, block=FOLLOW_BLOCK_MS)
        if last != "0-0":
            # Asked after the read: if it is still there now, nothing was lost in between.
            kept = await redis.xrange(STREAM, min=last, max=last)
            if not kept:
                raise StreamRestarted(f"entry {last} is gone")
    if not answer:
        return []
    # RESP3 answers {stream: [entries]}, RESP2 [[stream, entries]].
    found = next(iter(answer.values())) if isinstance(answer, dict) else answer[0][1]
    return cast(list[Any], found[0] if isinstance(answer, dict) and found else found)


def _read(
    decode: Callable[[bytes], Record], entry: dict[bytes, bytes], name: bytes = b"d"
) -> Record | None:
    """One record, or None: what a single line holds must not hide the others."""
    try:
        return decode(entry[name])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        log.warning("unreadable record skipped", error=type(error).__name__)
        return None


def _stream_id(seq: int) -> str:
    return f"{seq // 1000}-{seq % 1000}"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
