"""Child processes that read texts of views: what a text does to its parser costs that text alone.

A child has a limit on its own processor time for each text, so that a busy machine decides
nothing, and one on its memory. It ends with its parent, and by itself at the limit: an
orphan does not go on.
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from queue import Empty, LifoQueue
from threading import Timer
from typing import Any, NamedTuple

from extraction.errors import SurveyorError

# Schema, relation, column; no column where the relation is read as a whole.
Reference = tuple[str, str, str | None]
# What a text names, or why that cannot be told.
Answer = list[Reference] | str

READ = "extraction.view_text:references"
# Seconds of processor time for one text; as many times that by the clock.
LIMIT, PATIENCE = 5.0, 4
START_LIMIT = 60.0
MEMORY = 2**30
FRAMES = 10_000
MOST_CHILDREN = 4
# Texts that are handed out together, and their characters: a pipe holds so much unread.
CHUNK, CHUNK_CHARACTERS = 16, 2**15
TICK = 0.1
READY = "ready"


class Text(NamedTuple):
    """`schema` is what names without one belong to."""

    schema: str
    text: str


class Unreadable(Exception):
    """The text is no query that the dialect's grammar knows. Says why."""


class ParsersBroken(SurveyorError):
    """The processes that read texts of views do not start."""


class Parsers:
    """Started when they are needed first. Any thread may ask; each waits for a free child."""

    def __init__(self, count: int = 0, limit: float = LIMIT, read: str = READ) -> None:
        self.count = count or min(MOST_CHILDREN, os.cpu_count() or 1)
        self._limit, self._read = limit, read
        # The last first: no second child is started while one is enough.
        self._free: LifoQueue[_Child | None] = LifoQueue()
        for _ in range(self.count):
            self._free.put(None)

    def read(
        self,
        dialect: str,
        texts: Sequence[Text],
        check: Callable[[], None] = lambda: None,
        report: Callable[[int], None] = lambda done: None,
    ) -> list[Answer]:
        """In the order of the texts. `check` may raise, at any time; `report` hears how many
        are through."""
        reading = _Reading(self, dialect, texts)
        try:
            while not reading.over:
                check()
                reading.hand_out()
                if reading.collect():
                    report(reading.done)
        finally:
            reading.leave()
        return [answer for answer in reading.answers if answer is not None]

    def take(self, wait_for: float) -> _Child | None:
        """A free child, or nothing when there is none in time. Seconds."""
        try:
            child = self._free.get(timeout=wait_for)
        except Empty:
            return None
        try:
            return child or _Child(self._read, self._limit)
        except OSError:
            self._free.put(None)
            raise ParsersBroken() from None

    def give_back(self, child: _Child | None) -> None:
        """None for one that is no more."""
        self._free.put(child)

    def close(self) -> None:
        """End the children that are free. Not while somebody reads."""
        free: list[_Child | None] = []
        with suppress(Empty):
            while True:
                free.append(self._free.get_nowait())
        for child in free:
            if child is not None:
                child.kill()
            self._free.put(None)


class _Child:
    def __init__(self, read: str, limit: float) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.ready = self._expired = False
        self._limit = limit
        self._process = context.Process(target=_serve, args=(theirs, read, limit), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, dialect: str, texts: list[Text]) -> None:
        """Does not wait for the child, but for a text that no pipe holds: then so long at most."""
        guard = Timer(START_LIMIT, self._process.kill)
        guard.daemon = True
        if sum(len(text.text) for text in texts) > CHUNK_CHARACTERS:
            guard.start()
        try:
            # A child that has died meanwhile says so when it is listened to.
            with suppress(OSError):
                self.connection.send((dialect, texts))
        finally:
            guard.cancel()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()

    def expire_after(self, seconds: float) -> None:
        """For one that cannot keep its limits itself, because it is frozen."""
        if seconds > (PATIENCE * self._limit + TICK if self.ready else START_LIMIT):
            self._expired = True
            self._process.kill()

    def end(self) -> str:
        """Why a child that is no more did not survive its text; nothing where it may have been
        somebody else's doing."""
        self._process.join(1)
        self.kill()
        code = self._process.exitcode or 0
        if self._expired or -code in (signal.SIGPROF, signal.SIGALRM):
            return f"it takes longer than {self._limit:g} s"
        return ""


class _Reading:
    """One question: what is still to be handed out, who holds what, and what is answered."""

    def __init__(self, parsers: Parsers, dialect: str, texts: Sequence[Text]) -> None:
        self._parsers, self._dialect, self._texts = parsers, dialect, texts
        self._left = deque(_chunks(texts))
        self._held: dict[Connection, tuple[_Child, deque[int]]] = {}
        self._since: dict[Connection, float] = {}
        self._second: set[int] = set()
        self.answers: list[Answer | None] = [None] * len(texts)
        self.done = 0

    @property
    def over(self) -> bool:
        return self.done == len(self._texts)

    def hand_out(self) -> None:
        while self._left:
            child = self._parsers.take(0 if self._held else TICK)
            if child is None:
                return
            numbers = self._left.popleft()
            self._held[child.connection] = child, deque(numbers)
            self._since[child.connection] = time.monotonic()
            child.give(self._dialect, [self._texts[n] for n in numbers])

    def collect(self) -> bool:
        """Whether a text is through."""
        before = self.done
        for ready in wait(list(self._held), TICK) if self._held else ():
            assert isinstance(ready, Connection)
            try:
                self._heard(ready, ready.recv())
            except (EOFError, OSError):
                self._lost(ready)
        for connection, since in self._since.items():
            self._held[connection][0].expire_after(time.monotonic() - since)
        return self.done > before

    def _heard(self, connection: Connection, answer: Any) -> None:
        child, numbers = self._held[connection]
        self._since[connection] = time.monotonic()
        if answer == READY:
            child.ready = True
            return
        self._answer(numbers.popleft(), answer)
        if not numbers:
            del self._held[connection], self._since[connection]
            self._parsers.give_back(child)

    def _lost(self, connection: Connection) -> None:
        """The text in its hands is tried once more, alone, unless it used its time up: somebody
        else may have ended the child."""
        child, numbers = self._held.pop(connection)
        del self._since[connection]
        self._parsers.give_back(None)
        reason = child.end()
        if not child.ready:
            raise ParsersBroken()
        number = numbers.popleft()
        if numbers:
            self._left.appendleft(list(numbers))
        if reason or number in self._second:
            self._answer(number, reason or "the parser does not survive it")
        else:
            self._second.add(number)
            self._left.appendleft([number])

    def _answer(self, number: int, answer: Answer) -> None:
        self.answers[number] = answer
        self.done += 1

    def leave(self) -> None:
        """Nobody waits for those that still read."""
        for child, _ in self._held.values():
            child.kill()
            self._parsers.give_back(None)
        self._held.clear()


def _chunks(texts: Sequence[Text]) -> Iterator[list[int]]:
    """Numbers of texts that are handed out together: few, and no more than a pipe holds."""
    chunk: list[int] = []
    characters = 0
    for number, text in enumerate(texts):
        characters += len(text.text)
        if chunk and (len(chunk) == CHUNK or characters > CHUNK_CHARACTERS):
            yield chunk
            chunk, characters = [], len(text.text)
        chunk.append(number)
    if chunk:
        yield chunk


def _serve(connection: Connection, read: str, limit: float) -> None:
    """The child: until its parent is gone."""
    # Whoever ends the group ends the parent, and we follow it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setrecursionlimit(FRAMES)
    module, _, name = read.partition(":")
    function = getattr(importlib.import_module(module), name)
    with suppress(EOFError, OSError):
        connection.send(READY)
        while True:
            dialect, texts = connection.recv()
            for schema, text in texts:
                connection.send(_limited(function, text, dialect, schema, limit))


def _limited(
    function: Callable[[str, str, str], list[Reference]],
    text: str,
    dialect: str,
    schema: str,
    limit: float,
) -> Answer:
    """The signals are not caught: whoever is over the limit ends here and now."""
    signal.setitimer(signal.ITIMER_PROF, limit)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * limit)
    try:
        return function(text, dialect, schema)
    except RecursionError:
        return "it is nested too deeply"
    except MemoryError:
        return "it takes too much memory"
    except Unreadable as error:
        return str(error)
    except Exception as error:
        return f"the parser fails ({type(error).__name__})"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
