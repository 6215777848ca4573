"""What an activity asks of the source, over all its attempts: the load receipt as it grows."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace

from extraction.connection import Session
from extraction.errors import StorageFailed
from extraction.snapshot.ledger import load_of
from extraction.storage import Storage
from workers.contract import Before, Load, Progress


class Meter:
    """Counts one attempt, on top of those before it. Thread-safe.

    Of an attempt that ended without a word the last of its beats, of what it published and
    of its entries in the ledger is known: what came later is not.
    """

    def __init__(self, number: int, before: Before, earlier: Progress | None) -> None:
        self._number, self._before, self._earlier = number, before, earlier
        self._silent = earlier is not None and earlier.state == "working"
        self._lock = threading.Lock()
        self._past = Load()
        self._session: Session | None = None
        self._known = Load()
        self.before = self._load_before()

    def spent(self) -> Load:
        """By this attempt."""
        with self._lock:
            return self._past + (self._session.load if self._session else Load())

    @property
    def total(self) -> Load:
        return self.before + self.spent()

    def refused(self, logins: int) -> None:
        with self._lock:
            self._past += Load(sessions=logins)

    def begin(self, session: Session) -> None:
        with self._lock:
            self._session = session

    def end(self, session: Session) -> None:
        with self._lock:
            self._past += session.load
            self._session = None

    def hear(self, published: Progress | None) -> None:
        """What the last attempt published, which may be newer than its last beat."""
        if self._silent and published:
            self._known = _more(self._known, published.load)
            self.before = self._load_before()

    def ask_ledger(self, storage: Storage, run_id: str, shard: int) -> None:
        """What the last attempt wrote after its last beat. Reads its entries; not on the loop."""
        if self._silent and self._earlier and shard >= 0:
            with suppress(StorageFailed):
                proven = load_of(storage, run_id, shard, self._earlier.attempt)
                self._known = _more(self._known, proven)
            self.before = self._load_before()

    def _load_before(self) -> Load:
        earlier, load = self._earlier, self._before.load
        silent = self._number - 1 - self._before.attempts
        if earlier:
            spent = _more(earlier.load, self._known)
            load = earlier.load_before + spent
            silent = self._number - 1 - earlier.attempt + self._silent
        return replace(load, lost=load.lost + silent)


def _more(one: Load, other: Load) -> Load:
    return max(one, other, key=lambda load: load.statements)
