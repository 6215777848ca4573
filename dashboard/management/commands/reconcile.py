"""The process around `dashboard.reconcile`: follows Redis for speed, sweeps for certainty."""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
import time
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections
from redis.exceptions import RedisError

from dashboard import connections, story
from dashboard.management.temporal_command import TemporalCommand
from dashboard.models import Run
from dashboard.reconcile import Reconciler, guarded
from dashboard.temporal import TemporalUnavailable
from workers.contract import Frame
from workers.progress import StreamRestarted, follow, open_redis, read_cut

log = structlog.get_logger(__name__)

SWEEP_EVERY = 2.0
# A run that is about to end is looked at this often, and for so long.
HOT_EVERY = 0.25
HOT_FOR = 4.0
SECRETS_EVERY = 60.0
ENDING_CODES = frozenset({"finishing", "finished", "cancelled", "swept"})

Entry = tuple[int, Frame | None]


class Follower(threading.Thread):
    """Feeds events and lifecycle frames of the stream to a queue; None: some were missed."""

    def __init__(self, url: str, inbox: queue.SimpleQueue[Entry]) -> None:
        super().__init__(name="stream-follower", daemon=True)
        self._url, self._inbox = url, inbox

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except StreamRestarted:
                log.info("stream restarted")
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(1)
            except Exception:
                log.exception("stream not followed")
                await asyncio.sleep(1)

    async def _follow(self) -> None:
        async with open_redis(self._url) as redis:
            seq = (await read_cut(redis, "")).seq
            self._inbox.put((seq, None))
            async for at, frame in follow(redis, seq):
                if frame.kind in ("event", "lifecycle"):
                    self._inbox.put((at, frame))


class Loop:
    """One thread owns the database: it drains the queue and sweeps."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._inbox: queue.SimpleQueue[Entry] = queue.SimpleQueue()
        # Read from the queue and not stored yet.
        self._entries: list[Entry] = []
        self._reconciler = Reconciler()
        self._hot: dict[str, float] = {}
        self._next_sweep = self._next_secrets = 0.0

    def run(self) -> None:
        Follower(settings.ENV.redis_url.get_secret_value(), self._inbox).start()
        while not self._stop.is_set():
            try:
                self._turn()
            except (OperationalError, InterfaceError) as error:
                log.warning("database not usable", error=type(error).__name__)
                self._rest()
            except Exception:
                # Whatever it was, it was one turn: runs still end by the next.
                log.exception("turn failed")
                self._rest()

    def _rest(self) -> None:
        close_old_connections()
        self._stop.wait(1)

    def _turn(self) -> None:
        self._entries += self._drain(HOT_EVERY)
        self._take_entries()
        now = time.monotonic()
        if now >= self._next_sweep:
            close_old_connections()
            self._reconciler.sweep()
            self._next_sweep = time.monotonic() + SWEEP_EVERY
        elif self._hot:
            self._settle_hot(now)
        if now >= self._next_secrets:
            self._next_secrets = now + SECRETS_EVERY
            connections.sweep()

    def _drain(self, wait: float) -> list[Entry]:
        """What lies in the queue, waiting a moment for the first."""
        entries: list[Entry] = []
        try:
            entries.append(self._inbox.get(timeout=wait))
            while len(entries) < 1000:
                entries.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        return entries

    def _take_entries(self) -> None:
        """Lines that the database cannot take now are taken with the next ones."""
        try:
            self._take(self._entries)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            # Not to be met again at every turn; a run's end reads Redis once more.
            log.exception("lines dropped", entries=len(self._entries))
        self._entries = []

    def _take(self, entries: list[Entry]) -> None:
        events = [(seq, f.event) for seq, f in entries if f and f.event]
        if events:
            story.keep(events)
        if any(frame is None for _, frame in entries):
            for run in Run.objects.filter(status__in=Run.OPEN):
                guarded(run.pk, partial(story.backfill, run))
        until = time.monotonic() + HOT_FOR
        for _, frame in entries:
            ending = frame and (not frame.event or frame.event.code in ENDING_CODES)
            if frame and ending and story.uuid_of(frame.run_id):
                self._hot[frame.run_id] = until

    def _settle_hot(self, now: float) -> None:
        self._hot = {run_id: until for run_id, until in self._hot.items() if until > now}
        rows = Run.objects.filter(pk__in=list(self._hot), status__in=Run.OPEN)
        try:
            self._reconciler.settle(rows.exclude(status=Run.Status.QUEUED), lose=False)
        except TemporalUnavailable:
            self._hot.clear()


class Command(TemporalCommand):
    help = "Keep runs and Temporal in agreement, until stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        structlog.contextvars.bind_contextvars(component="reconcile")
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        log.info("reconciling", every=SWEEP_EVERY)
        Loop(stop).run()
        log.info("stopped")
