"""Beats: one record, two roads, and how long a silent statement is vouched for."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from extraction import crash
from workers.contract import Event, Load, Progress
from workers.publisher import Publisher

# Past its declared deadline a statement gets this much to be ended by the server.
GRACE = 3.0
# What runs between statements (reading rows, writing a part, a pause) declares no
# deadline of its own; a process that shows no sign for this long is not vouched for.
SILENCE_LIMIT = 60.0
RATE_WINDOW = 10.0


class Vouched(Protocol):
    """What the beater needs to know of a session."""

    @property
    def backend_id(self) -> int | None: ...
    @property
    def deadline(self) -> float | None: ...


class Beater:
    """Sends an attempt's record to Temporal and to Redis while work runs in a thread.

    `beat` and `run` belong to the event loop; `advance`, `say` and `session` may be
    used from any thread. Two clocks are kept: `beat_at` says that the process lives,
    `advanced_at` that work moves.
    """

    def __init__(
        self,
        record: Progress,
        publisher: Publisher,
        heartbeat: Callable[[Progress], None],
        interval: float,
        silence_limit: float = SILENCE_LIMIT,
        spent: Callable[[], Load] = Load,
    ) -> None:
        self.record = record
        self._spent = spent
        self.session: Vouched | None = None
        self._publisher = publisher
        self._heartbeat = heartbeat
        self._interval = interval
        self._silence_limit = silence_limit
        self._loop = asyncio.get_running_loop()
        self._sign_at = time.time()
        self._deadline: float | None = None
        self._reached: deque[tuple[float, int]] = deque()

    async def run(self) -> None:
        """Beat until cancelled; silent while the work can no longer be vouched for."""
        while True:
            if self.vouches():
                self.beat()
            await asyncio.sleep(self._interval)

    def vouches(self) -> bool:
        """Whether the process may still claim that its work is alive."""
        deadline = self.session.deadline if self.session else None
        if deadline != self._deadline:
            self._deadline, self._sign_at = deadline, time.time()
        limit = deadline + GRACE if deadline else self._sign_at + self._silence_limit
        return time.time() <= limit

    def beat(self) -> None:
        record = self.record
        record.beat_at = time.time()
        record.vouched_until = self._deadline
        record.load = self._spent()
        record.session = self.session.backend_id if self.session else record.session
        sent = replace(record)
        if crash.ARMED:
            crash.reached("beat.before")
        self._publisher.record(sent)
        self._heartbeat(sent)
        if crash.ARMED:
            crash.reached("beat.after")

    def advance(self, *, batch: int, batches: int, done: int, in_flight: int, new: bool) -> None:
        """Work moved. `new`: a batch got its ledger entry in this attempt."""
        record = self.record
        now = time.time()
        self._sign_at = record.advanced_at = now
        record.batch, record.batches = batch, batches
        # Entries an earlier attempt left are adopted one by one: never show less than it did.
        record.done = max(record.done, done)
        record.in_flight = in_flight if done >= record.done else 0
        record.rate = self._rate(now, done + in_flight)
        record.load = self._spent()
        if new:
            record.failures = 0
        self._loop.call_soon_threadsafe(self._publisher.record, replace(record))

    def say(self, code: str, message: str, level: str = "info") -> None:
        """One line of the run's story."""
        record = self.record
        shard = record.shard if record.shard >= 0 else None
        event = Event(record.run_id, code, message, level, shard, record.worker, time.time())
        self._loop.call_soon_threadsafe(self._publisher.event, event)

    def _rate(self, now: float, reached: int) -> float:
        """Relations a second over the last seconds."""
        window = self._reached
        window.append((now, reached))
        while window[0][0] < now - RATE_WINDOW and len(window) > 2:
            window.popleft()
        seconds = now - window[0][0]
        return max(0.0, (reached - window[0][1]) / seconds) if seconds > 0.2 else self.record.rate
