"""What sessions of every dialect share: one statement at a time, counted, with a deadline,
and a cancel that reaches the server."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Self

from extraction.connection import Item, Load, Note, Options, Per, Stopped, Unseen
from extraction.errors import SourceUnreachable, SurveyorError
from extraction.sources import wire

CANCEL_FOR = 10.0
CANCEL_AGAIN = 0.25


class _Turns:
    """One statement at a time; a question that somebody waits for goes before what is read
    ahead."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken, self._asking = False, 0

    @contextmanager
    def turn(self, ahead: bool) -> Iterator[None]:
        with self._changed:
            self._asking += not ahead
            self._changed.wait_for(lambda: not self._taken and not (ahead and self._asking))
            self._asking -= not ahead
            self._taken = True
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()


class BaseSession(ABC):
    """Statements run inside `_running()`; a dialect says how its driver's errors translate,
    how the running statement is ended, and how the connection is dropped."""

    product = ""
    server_version = ""
    oldest = ""
    database = ""
    identity = ""
    view_dialect = ""
    backend_id = 0

    def __init__(self, options: Options, statements: int = 0) -> None:
        self._timeout = options.statement_timeout
        self._turns = _Turns()
        self._stopping = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._deadline: float | None = None
        self._bytes, self._counting = 0, threading.Lock()
        self._statements, self._seconds, self._rows = statements, 0.0, 0
        self._began: float | None = None

    @abstractmethod
    def _translated(self) -> AbstractContextManager[None]:
        """Raises a SurveyorError for whatever the driver raises inside."""

    @abstractmethod
    def _interrupt(self) -> None:
        """End the running statement in the source. From another thread; may raise anything."""

    @abstractmethod
    def _give_up(self) -> None:
        """End the exchange that runs without waiting for the source. From another thread."""

    @abstractmethod
    def _lost(self) -> bool:
        """Whether the connection is closed: a driver must not log in again by itself."""

    @abstractmethod
    def close(self) -> None: ...

    @property
    def load(self) -> Load:
        """May be asked from any thread, also while a statement runs, and after the end."""
        began = self._began
        running = time.monotonic() - began if began is not None else 0.0
        return Load(1, self._statements, self._seconds + running, self._rows, self._received())

    def _fileno(self) -> int | None:
        """Of the network connection, while it is open."""
        return None

    def _received(self) -> int:
        """Bytes that the network brought."""
        # Not while it is closed: the number of the connection may be another's by then.
        with self._counting:
            number = self._fileno()
            if number is not None:
                self._bytes = wire.received(number) or self._bytes
            return self._bytes

    @contextmanager
    def _letting_go(self) -> Iterator[None]:
        """Inside, the connection is closed; ends once the server has let go: its place may be
        another's then."""
        self._received()
        with self._counting:
            number = self._fileno()
            with nullcontext() if number is None else wire.until_gone(number):
                yield

    @property
    def deadline(self) -> float | None:
        return self._deadline

    def begin(self) -> None:
        self.end()
        if self._stopping.is_set():
            raise Stopped

    @abstractmethod
    def end(self) -> None: ...

    def moved(self, per: Per, items: Sequence[Item]) -> list[Item]:
        """A transaction shows one state, where the source has it."""
        return []

    def remedy(self, of: str) -> list[str]:
        """What the owner of the source can run so that `of`, a kind, is no longer refused."""
        return []

    def unseen(self, kinds: Sequence[str]) -> list[Unseen]:
        """Nothing is hidden in silence, unless the dialect says otherwise."""
        return []

    def notes(self, schemas: Sequence[str]) -> list[Note]:
        return []

    @contextmanager
    def _running(self, ahead: bool = False) -> Iterator[None]:
        """`ahead`: nobody waits for it yet."""
        with self._turns.turn(ahead):
            # Idle is cleared before the question, cancel asks the other way round:
            # one of the two always sees the other.
            self._idle.clear()
            started = self._began = time.monotonic()
            try:
                if self._stopping.is_set():
                    raise Stopped
                if self._lost():
                    raise SourceUnreachable("The connection to the database was lost.")
                self._deadline = time.time() + self._timeout
                with self._translated():
                    yield
            except SurveyorError:
                if self._stopping.is_set():
                    raise Stopped from None
                raise
            finally:
                self._began = None
                self._seconds += time.monotonic() - started
                self._deadline = None
                self._idle.set()

    def cancel(self) -> None:
        """End the running statement in the source and refuse later ones. Thread-safe."""
        self._stopping.set()
        last = time.monotonic() + CANCEL_FOR
        while not self._idle.is_set() and time.monotonic() < last:
            with suppress(Exception):
                self._interrupt()
            self._idle.wait(CANCEL_AGAIN)
        if not self._idle.is_set():
            self._give_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def in_order(items: Sequence[Item]) -> list[Item]:
    """By schema and name in binary order."""
    return sorted(items)
