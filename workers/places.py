"""Places in the source: which pieces of a run (the plan, the shards) hold a session now.

As many as the limits allow, in the plan's order, none outside the allowed hours. What is
too much, or reads under limits that have changed, is told to stop; its place is free
once its session is closed, and a next activity goes on with what it has left. Belongs
to the workflow: nothing here reads a clock or the world.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError

from extraction.connection import Options
from workers.contract import Before, Limits, PlanResult, RunInput, ShardResult
from workers.endings import confirmed, given_back, is_refusal

Result = TypeVar("Result", PlanResult, ShardResult)
Tell = Callable[[str, str], None]

# What a session is opened with; the others concern the places alone.
OF_A_SESSION = ("pace", "statement_timeout", "lock_timeout", "connect_timeout")
CLOSED = "outside the allowed hours"


@dataclass
class Piece(Generic[Result]):
    """`read` runs its activity; `name` is that of its session."""

    name: str
    read: Callable[[RunInput], Awaitable[Result]]
    before: Before = field(default_factory=Before)
    options: Options = field(default_factory=Options)
    since: datetime = datetime.min
    task: asyncio.Task[Result] | None = None
    why: str = ""

    @property
    def stopping(self) -> bool:
        return bool(self.why)


class Places:
    def __init__(self, run: RunInput, tell: Tell) -> None:
        self._run, self._tell = run, tell
        self.options = run.source.options
        self._version = 0
        self._patient = False
        self._held: list[Piece[Any]] = []
        self._changed = False
        self._told_closed: datetime | None = None
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at: datetime | None = None
        # Sessions that no worker has said to be closed, and whether a password was refused.
        self.unconfirmed: list[str] = []
        self.refused = False

    def obey(self, limits: Limits) -> Limits:
        """From now on, unless a later version is known; what is in force."""
        if limits.version > self._version:
            self._version, self.options = limits.version, limits.options
            self._patient, self._changed = False, True
        return Limits(self._version, self.options)

    def set_sessions(self, sessions: int) -> None:
        """For what starts from now on; what runs ends by itself."""
        self.options = replace(self.options, sessions=sessions)
        self._patient = self._changed = True

    async def read(self, pieces: Sequence[Piece[Result]]) -> list[Result]:
        """The results in order. The first failure stops the others, and waits until they have."""
        left = list(pieces)
        results: dict[str, Result] = {}
        try:
            while left or self._held:
                self._changed = False
                self._make_room()
                self._let_in(left)
                await workflow.wait_condition(lambda: self._changed)
                for piece in [p for p in self._held if p.task and p.task.done()]:
                    self._held.remove(piece)
                    result = self._outcome(piece)
                    if result is not None:
                        results[piece.name] = result
                    else:
                        left.append(piece)
                left.sort(key=pieces.index)
            return [results[piece.name] for piece in pieces]
        finally:
            self._set_alarm(None)
            await self._stop_all()

    def _make_room(self) -> None:
        """Tell to stop what must not go on as it does; the newest first where it is too many."""
        opens = self._opens_at()
        going = [piece for piece in self._held if not piece.stopping]
        room = 0 if opens else len(going) if self._patient else self.options.sessions
        back = going[room:]
        again = [piece for piece in going[:room] if _session_of(piece.options) != self._session()]
        at_most = f"at most {room} session{'s' if room != 1 else ''} from now on"
        for piece in back:
            self._stop(piece, CLOSED if opens else at_most)
        for piece in again:
            self._stop(piece, "the limits were changed")
        if back and not opens:
            self._tell("given_back", f"{_names(back)} told to give back the session: {at_most}.")
        if again:
            self._tell("limits_changed", f"{_names(again)} told to go on under the new limits.")

    def _let_in(self, left: list[Piece[Result]]) -> None:
        while left and self._opens_at() is None and len(self._held) < self.options.sessions:
            self._start(left.pop(0))

    def _opens_at(self) -> datetime | None:
        """When reading may go on, None for now; told when it changes, and waited for."""
        allowed, now = self.options.allowed_hours(), workflow.now()
        opens = allowed.opens_at(now)
        self._set_alarm(opens or allowed.closes_at(now))
        if opens != self._told_closed:
            self._told_closed = opens
            if opens:
                self._tell("hours_closed", f"Waiting: {CLOSED} {allowed.sentence(now)}.")
            else:
                self._tell("hours_open", "The source may be read now: the run goes on.")
        return opens

    def _session(self) -> tuple[float, ...]:
        return _session_of(self.options)

    def _start(self, piece: Piece[Result]) -> None:
        piece.options, piece.since, piece.why = self.options, workflow.now(), ""
        source = replace(self._run.source, options=self.options)
        run = replace(self._run, source=source, before=piece.before)
        piece.task = asyncio.create_task(self._hold(piece, run))
        piece.task.add_done_callback(self._wake)
        self._held.append(piece)

    async def _hold(self, piece: Piece[Result], run: RunInput) -> Result:
        try:
            result = await piece.read(run)
        except ActivityError as error:
            self.refused |= is_refusal(error)
            if not confirmed(error):
                self.unconfirmed.append(piece.name)
            raise
        # A later attempt has ended what an earlier one left.
        self.unconfirmed = [name for name in self.unconfirmed if name != piece.name]
        return result

    def _stop(self, piece: Piece[Any], why: str) -> None:
        piece.why = why
        if piece.task:
            piece.task.cancel()

    def _outcome(self, piece: Piece[Result]) -> Result | None:
        """None for a piece that is to go on later. Raises what ends the run."""
        assert piece.task
        if piece.task.cancelled() and piece.stopping:
            return None  # before it was even scheduled
        try:
            result = piece.task.result()
        except ActivityError as error:
            elapsed = (workflow.now() - piece.since).total_seconds()
            back = given_back(error, piece.before, elapsed) if piece.stopping else None
            if back is None:
                raise
        else:
            if not result.stopped:
                return result
            if not piece.stopping:
                raise asyncio.CancelledError
            back = Before(result.attempts, result.load)
        piece.before = replace(back, why=piece.why)
        return None

    async def _stop_all(self) -> None:
        tasks = [piece.task for piece in self._held if piece.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._held.clear()

    def _wake(self, _: object = None) -> None:
        self._changed = True

    def _set_alarm(self, at: datetime | None) -> None:
        """One timer, for the next time that the allowed hours begin or end."""
        if at == self._alarm_at:
            return
        if self._alarm:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = asyncio.create_task(self._ring(at)) if at else None

    async def _ring(self, at: datetime) -> None:
        await workflow.sleep((at - workflow.now()).total_seconds())
        self._alarm_at = self._alarm = None
        self._wake()


def _session_of(options: Options) -> tuple[float, ...]:
    return tuple(getattr(options, name) for name in OF_A_SESSION)


def _names(pieces: Sequence[Piece[Any]]) -> str:
    names = [piece.name for piece in pieces]
    text = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
    return f"{text[0].upper()}{text[1:]} {'are' if len(names) > 1 else 'is'}"
