"""One attempt of an activity: work in a thread, beats beside it, and how it ends.

The loop is never blocked. Told to stop (a cancel, a later attempt, the worker's
own end), the attempt ends the running statement in the source, waits for the
thread to let go of its session, and only then reports.
What it has asked of the source is counted all the while, and goes out with each beat.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from extraction import crash
from extraction.connection import Session, Stopped
from extraction.errors import SourceUnreachable, SurveyorError
from workers.contract import CANCEL_UNPROVEN, Before, Phase, Progress, Source
from workers.heartbeat import SILENCE_LIMIT, Beater
from workers.login import Door
from workers.logs import where
from workers.meter import Meter
from workers.needs import Needs
from workers.retry import MAX_FAILURES, Verdict, after
from workers.temporal import application_error, unexpected
from workers.wire import decode_progress

Result = TypeVar("Result")

# How long a later attempt leaves the earlier one to learn of it from a beat.
SETTLE = 0.7
# How long a stopping worker waits for the engine's next safe point.
SAFE_POINT = 1.0
CANCEL_AGAIN = 0.25
WORKER_STOPPED = "worker_stopped"
GIVEN_BACK = "its session was given back"

log = structlog.get_logger(__name__)


class GaveBack(Exception):
    """Told to stop by the workflow: the session is closed, and nothing has failed."""


class Attempt:
    """Made inside an activity. `stopped`, `session` and `beater.advance` are for the thread."""

    def __init__(
        self,
        needs: Needs,
        run_id: str,
        phase: Phase,
        shard: int,
        *,
        before: Before | None = None,
        total: int = 0,
        batches: int = 0,
        silence_limit: float = SILENCE_LIMIT,
    ) -> None:
        info = activity.info()
        now = time.time()
        self.needs = needs
        self.before = before or Before()
        self.number = self.before.attempts + info.attempt
        self.earlier = _earlier(info.heartbeat_details)
        self.record = Progress(
            *(run_id, phase, shard, self.number, needs.worker),
            total=total,
            batches=batches,
            started_at=now,
            advanced_at=now,
        )
        if self.earlier:
            _carry_over(self.earlier, self.record)
        self.meter = Meter(self.number, self.before, self.earlier)
        self.record.load_before = self.meter.before
        self.beater = Beater(
            self.record,
            needs.publisher,
            activity.heartbeat,
            needs.settings.heartbeat_interval,
            silence_limit,
            self.meter.spent,
        )
        self._stopping = threading.Event()
        self._session: Session | None = None
        # Whether a session was open, and whether none but that one can be open in the source.
        self._opened, self._alone = False, self.number == 1 or phase == "finish"
        structlog.contextvars.bind_contextvars(
            run=run_id, shard=shard, attempt=self.number, worker=needs.worker
        )

    @property
    def lost_worker(self) -> str:
        """Who held the work before, when it went silent instead of reporting an end."""
        if self.earlier and self.earlier.state == "working":
            return self.earlier.worker
        return ""

    def stopped(self) -> bool:
        return self._stopping.is_set()

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, run in a thread. Raises what Temporal should see."""
        self.beater.beat()
        beats = asyncio.create_task(self.beater.run())
        try:
            if self.lost_worker and self.earlier:
                await asyncio.sleep(SETTLE)
                self.meter.hear(await self.needs.publisher.last(self.earlier))
            return await self._try(work)
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            if details and details.worker_shutdown:
                raise self._handed_over() from None
            log.info("attempt stopped", reason="cancelled or superseded")
            if not self._alone:
                raise _unproven(self.record) from None
            if details and details.cancel_requested and self.record.phase != "finish":
                self._give_back()
                raise GaveBack from None
            raise
        finally:
            beats.cancel()

    async def _try(self, work: Callable[[], Result]) -> Result:
        try:
            return await self._work(work)
        except SurveyorError as error:
            raise await self._failed(error) from None
        except ApplicationError:
            raise
        except Exception as error:
            log.error(
                "attempt failed unexpectedly", error=type(error).__name__, frames=where(error)
            )
            raise await self._failed(unexpected(error)) from None

    def finished(self) -> None:
        """The last record of an attempt that did its work."""
        record = self.record
        record.state, record.reason = "done", ""
        record.done, record.in_flight, record.batch = record.total, 0, record.batches
        record.retry_at = None
        self.beater.beat()
        if crash.ARMED:
            crash.reached(f"{record.phase}_result.before")

    async def _work(self, work: Callable[[], Result]) -> Result:
        loop = asyncio.get_running_loop()
        thread = loop.run_in_executor(self.needs.threads, copy_context().run, work)
        shutdown = asyncio.create_task(activity.wait_for_worker_shutdown())
        try:
            either: set[asyncio.Future[Any]] = {thread, shutdown}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if thread.done():
                return thread.result()
            self._stopping.set()
            await asyncio.wait({thread}, timeout=SAFE_POINT)
            if await self._ended(thread):
                return thread.result()
            raise self._handed_over()
        except asyncio.CancelledError:
            self._stopping.set()
            told, session = time.monotonic(), self._session
            if await self._ended(thread):
                # Too late to stop: what was finished is reported, and the workflow decides.
                return thread.result()
            if not self._proves(thread.exception()):
                raise _unproven(self.record) from None
            if session is not None:
                self._say_closed(session.backend_id, time.monotonic() - told)
            raise
        finally:
            shutdown.cancel()

    async def _ended(self, thread: asyncio.Future[Result]) -> bool:
        """Wait for the thread, ending what it runs in the source; whether it had finished."""
        loop = asyncio.get_running_loop()
        ending: asyncio.Future[None] | None = None
        while not thread.done():
            session = self._session
            if session is not None and (ending is None or ending.done()):
                ending = loop.run_in_executor(self.needs.threads, _cancel, session)
            # Told twice to stop, it still waits: the session must be closed first.
            with suppress(asyncio.CancelledError):
                await asyncio.wait({thread}, timeout=CANCEL_AGAIN)
        return thread.exception() is None

    def _proves(self, end: BaseException | None) -> bool:
        """Whether the source itself has ended what ran there for this activity."""
        lost = isinstance(end, SourceUnreachable) or (
            end is not None and isinstance(end.__context__, SourceUnreachable)
        )
        return self._alone and not (self._opened and lost)

    @contextmanager
    def session(self, source: Source, name: str) -> Iterator[Session]:
        """In the thread: a session with the source, labelled; older ones of this label are ended."""
        self.meter.ask_ledger(self.needs.storage, self.record.run_id, self.record.shard)
        self.record.load_before = self.meter.before
        with self._log_in(source, name) as session:
            self._session = self.beater.session = session
            self._opened = True
            self.meter.begin(session)
            self.record.state, self.record.reason, self.record.retry_at = "working", "", None
            try:
                if self.stopped():
                    raise Stopped
                if self.number > 1:
                    self._end_siblings(session)
                self._alone = True
                yield session
            finally:
                self.meter.end(session)
                self._session = self.beater.session = None

    def _log_in(self, source: Source, name: str) -> Session:
        told = partial(self.beater.say, "credential_rotated")
        door = Door(self.needs, self.record.run_id, source, told)
        try:
            return door.open(name)
        finally:
            self.meter.refused(door.refused)

    def _end_siblings(self, session: Session) -> None:
        for backend in session.end_siblings():
            self.beater.say(
                "session_ended",
                f"Ended session {backend} in the source, which an earlier attempt had left open.",
            )

    def _give_back(self) -> None:
        record = self.record
        record.state, record.reason, record.in_flight = "waiting", GIVEN_BACK, 0
        record.retry_at = None
        self.beater.beat()

    def _say_closed(self, backend: int, seconds: float) -> None:
        shard = self.record.shard
        whose = f"shard {shard}" if shard >= 0 else self.record.phase
        self.beater.say(
            "session_closed",
            f"Session {backend} of {whose} is closed in the source, {seconds:.1f} s after it was"
            " told to stop.",
        )

    def _handed_over(self) -> ApplicationError:
        """This worker is stopping; the next attempt goes on elsewhere, at once."""
        self.record.state = "retrying"
        self.record.reason = f"worker {self.needs.worker} is stopping"
        self.beater.beat()
        return ApplicationError(
            f"Worker {self.needs.worker} was stopped; another one goes on.",
            type=WORKER_STOPPED,
            next_retry_delay=timedelta(milliseconds=100),
            category=ApplicationErrorCategory.BENIGN,
        )

    async def _failed(self, error: SurveyorError) -> ApplicationError:
        self._alone = self._proves(error)
        if error.retry != "never":
            # A superseded attempt sees its session ended by the next one; a beat tells it so,
            # and the cancel that follows replaces this failure.
            self.beater.beat()
            await asyncio.sleep(SETTLE)
        log.warning("attempt failed", category=error.category, reason=error.message)
        verdict = after(error, self.record.failures)
        self._tell(error, verdict)
        return application_error(
            error,
            non_retryable=verdict.delay is None,
            next_retry_delay=None if verdict.delay is None else timedelta(seconds=verdict.delay),
        )

    def _tell(self, error: SurveyorError, verdict: Verdict) -> None:
        record, delay = self.record, verdict.delay
        record.state, record.failures, record.in_flight = verdict.state, verdict.failures, 0
        record.reason = record.last_failure = error.message
        record.retry_at = None if delay is None else time.time() + delay
        if delay is None:
            self.beater.say("source_failed", f"{error.message} Not tried again.", "error")
        elif verdict.state == "retrying":
            again = f"Retry {record.failures} of {MAX_FAILURES - 1} in {delay:.0f} s."
            self.beater.say("source_failed", f"{error.message} {again}", "warning")
        elif not (self.earlier and self.earlier.state == "waiting"):
            self.beater.say("waiting", f"Waiting: {error.message}", "warning")
        self.beater.beat()


def _unproven(record: Progress) -> ApplicationError:
    """Its detail is what a beat holds, for whoever counts attempts and load."""
    return ApplicationError(
        "The attempt has stopped, but the source did not say that its statement has.",
        asdict(record),
        type=CANCEL_UNPROVEN,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )


def _cancel(session: Session) -> None:
    try:
        session.cancel()
    except Exception as error:
        log.warning("statement not cancelled", error=type(error).__name__)


def _earlier(details: object) -> Progress | None:
    """The last beat of the attempt before; a hint, so an unreadable one is none."""
    try:
        return decode_progress(details[0])  # type: ignore[index]
    except (IndexError, TypeError, ValueError):
        return None


def _carry_over(earlier: Progress, record: Progress) -> None:
    record.done, record.batch = earlier.done, earlier.batch
    record.failures, record.last_failure = earlier.failures, earlier.last_failure
    if earlier.state in ("waiting", "retrying"):
        # Until the session is open nothing has changed for who watches.
        record.state, record.reason = earlier.state, earlier.reason
