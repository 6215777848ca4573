"""What an activity asks of the source, over all its attempts: the load receipt as it grows."""

from __future__ import annotations

import threading
from dataclasses import replace

from extraction.connection import Session
from extraction.errors import StorageFailed
from extraction.snapshot.ledger import load_of
from extraction.storage import Storage
from workers.contract import Before, Load, Progress


class Meter:
    """Counts one attempt, on top of those before it. Thread-safe.

    Of an attempt that ended without a word its last beat is known, and what it had
    written into the ledger by then or after: what came later is not.
    """

    def __init__(self, number: int, before: Before, earlier: Progress | None) -> None:
        self._number, self._before, self._earlier = number, before, earlier
        self._silent = earlier is not None and earlier.state == "working"
        self._lock = threading.Lock()
        self._past = Load()
        self._session: Session | None = None
        self.before = self._load_before(Load())

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

    def ask_ledger(self, storage: Storage, run_id: str, shard: int) -> None:
        """What the last attempt wrote after its last beat. Reads its entries; not on the loop."""
        if self._silent and self._earlier and shard >= 0:
            try:
                proven = load_of(storage, run_id, shard, self._earlier.attempt)
            except StorageFailed:
                return
            self.before = self._load_before(proven)

    def _load_before(self, proven: Load) -> Load:
        earlier, load = self._earlier, self._before.load
        silent = self._number - 1 - self._before.attempts
        if earlier:
            spent = max(earlier.load, proven, key=lambda load: load.statements)
            load = earlier.load_before + spent
            silent = self._number - 1 - earlier.attempt + self._silent
        return replace(load, lost=load.lost + silent)
