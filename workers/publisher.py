"""The writing end of the live road: coalesced, bounded, and never in anyone's way."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from dataclasses import replace

import redis.asyncio as redis_async
import structlog
from redis.exceptions import RedisError

from workers.contract import Event, Frame, PlanRecord, Progress
from workers.progress import CALL_BUDGET, read_record, write

PAUSE = 0.1  # at most ten writes a second and process
RETRY_PAUSE = 1.0
KEPT_FRAMES = 1000

log = structlog.get_logger(__name__)


class Publisher:
    """Takes records and events at once, and writes them from one task of its own.

    While Redis is down the newest 1,000 events and the newest record of every
    attempt are kept. No method waits or raises; all belong to one event loop.
    """

    def __init__(self, redis: redis_async.Redis) -> None:
        self._redis = redis
        self._frames: deque[Frame] = deque(maxlen=KEPT_FRAMES)
        self._records: dict[tuple[str, int, int], Progress] = {}
        self._changed = asyncio.Event()
        self._up = True
        self._writing = asyncio.Lock()

    def record(self, record: Progress) -> None:
        self._records[record.run_id, record.shard, record.attempt] = record
        self._changed.set()

    def plan(self, run_id: str, plan: PlanRecord) -> None:
        self._append(Frame("plan", run_id, plan=plan))

    def event(self, event: Event) -> None:
        named = event if event.id else replace(event, id=uuid.uuid4().hex)
        self._append(Frame("event", event.run_id, event=named))

    def lifecycle(self, run_id: str, status: str) -> None:
        self._append(Frame("lifecycle", run_id, status=status))

    def _append(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._changed.set()

    async def last(self, record: Progress) -> Progress | None:
        """What was published last of the attempt that made this record; None without Redis."""
        try:
            async with asyncio.timeout(CALL_BUDGET):
                return await read_record(self._redis, record)
        except (RedisError, OSError, TimeoutError):
            return None

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.sleep(PAUSE if await self._flush() else RETRY_PAUSE)

    async def flush(self) -> None:
        """Write what is left now, within the budget of one call: for the end of something."""
        try:
            async with asyncio.timeout(CALL_BUDGET):
                await self._flush()
        except TimeoutError:
            log.warning("last frames not published yet", left=len(self._frames))

    async def _flush(self) -> bool:
        """False when something could not be written; it is kept for the next time."""
        async with self._writing:
            return await self._write_all()

    async def _write_all(self) -> bool:
        while self._frames:
            frame = self._frames[0]
            if not await self._write(frame):
                return False
            # Full meanwhile, the queue may have dropped it by itself.
            if self._frames and self._frames[0] is frame:
                self._frames.popleft()
        left = deque(self._take_records())
        try:
            while left and await self._write(left[0]):
                left.popleft()
        finally:
            # Also when whoever waits for us has lost patience meanwhile.
            for frame in left:
                self._keep(frame.records)
        return not left

    def _keep(self, records: list[Progress]) -> None:
        for record in records:
            self._records.setdefault((record.run_id, record.shard, record.attempt), record)

    def _take_records(self) -> list[Frame]:
        by_run: dict[str, list[Progress]] = {}
        for record in self._records.values():
            by_run.setdefault(record.run_id, []).append(record)
        self._records.clear()
        return [Frame("progress", run_id, records=records) for run_id, records in by_run.items()]

    async def _write(self, frame: Frame) -> bool:
        try:
            async with asyncio.timeout(CALL_BUDGET):
                await write(self._redis, frame)
        except (RedisError, OSError, TimeoutError) as error:
            if self._up:
                log.warning("live progress is not published", error=type(error).__name__)
            self._up = False
            self._changed.set()
            return False
        self._up = True
        return True
