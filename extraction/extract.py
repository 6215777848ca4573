"""Plan, read, finish: what a run does, without knowing who runs it.

`make_plan` cuts the inventory into batches; `read_shard` reads the batches of one
shard into parts and a ledger; `finish` proves that nothing is missing and writes
the manifest. Each can be repeated after any crash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from extraction.connection import Item, Load, Options, Session
from extraction.connection import Stopped as Stopped
from extraction.errors import PermissionDenied, SourceChanged, StatementFailed
from extraction.plan import Batch
from extraction.plan import Plan as Plan
from extraction.plan import Shard as Shard
from extraction.plan import load_plan as load_plan
from extraction.plan import make_plan as make_plan
from extraction.snapshot.ledger import (
    BatchRecord,
    By,
    Errored,
    read_entries,
    write_entry,
    write_ledger,
)
from extraction.snapshot.manifest import Finished as Finished
from extraction.snapshot.manifest import finish as finish
from extraction.snapshot.writer import write_part
from extraction.storage import Storage

TRIES_OF_ONE = 3
PACE_STEP = 0.1


@dataclass(frozen=True)
class Advance:
    """How far a shard has come. `batch` counts its batches that have an entry,
    `done` their relations; `in_flight` is how far the batch being read has come."""

    batch: int
    batches: int
    done: int
    in_flight: int
    new_entry: bool


@dataclass(frozen=True)
class ShardOutcome:
    """`ledger` is a path relative to the storage root."""

    ledger: str
    done: int
    load: Load


Rows = list[tuple[Any, ...]]


def read_shard(
    session: Session,
    storage: Storage,
    run_id: str,
    plan: Plan,
    shard_id: int,
    attempt: int,
    worker: str,
    options: Options,
    report: Callable[[Advance], None],
    stopped: Callable[[], bool],
) -> ShardOutcome:
    """Read what earlier attempts have not. Raises Stopped soon after `stopped()` is true."""
    if session.identity != plan.identity:
        raise SourceChanged()
    by = By(attempt=attempt, worker=worker, at="", statements=0)
    reader = _ShardReader(session, storage, run_id, plan, plan.shard(shard_id), by, report, stopped)
    try:
        return reader.read(options)
    finally:
        session.end()


class _ShardReader:
    def __init__(
        self,
        session: Session,
        storage: Storage,
        run_id: str,
        plan: Plan,
        shard: Shard,
        by: By,
        report: Callable[[Advance], None],
        stopped: Callable[[], bool],
    ) -> None:
        self.session, self.storage, self.run_id = session, storage, run_id
        self.plan, self.shard, self.by = plan, shard, by
        self.report, self.stopped = report, stopped
        self.records: dict[int, BatchRecord] = {}
        self.bytes = 0

    def read(self, options: Options) -> ShardOutcome:
        numbers = self.shard.numbers()
        self.records = read_entries(
            self.storage, self.run_id, self.plan.path, self.shard.id, numbers
        )
        self._advance(0, new_entry=False)
        missing = [number for number in numbers if number not in self.records]
        for number in missing:
            if number != missing[0] or self._follows_another(options.sessions):
                self._pause(options.pace)
            self._batch(number)
        records = [self.records[number] for number in numbers]
        ledger = write_ledger(self.storage, self.run_id, self.plan.path, self.shard.id, records)
        return ShardOutcome(ledger, self._done(), replace(self.session.load, bytes=self.bytes))

    def _follows_another(self, sessions: int) -> bool:
        """A shard that starts where an earlier one ended: the source gets its rest there too."""
        return self.by["attempt"] == 1 and not self.records and self.shard.id >= sessions

    def _batch(self, number: int) -> None:
        """Parts first, then the entry, then the report: the other way round loses rows."""
        batch = self.plan.batches[number]
        before = self.session.load.statements
        self._check()
        self.session.begin()
        record = self._record(number, batch, self.session.present(batch.per, batch.items))
        self.session.end()
        by = self.by | {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "statements": self.session.load.statements - before,
        }
        write_entry(self.storage, self.run_id, self.plan.path, self.shard.id, record, by)
        self.records[number] = record
        self._advance(0, new_entry=True)

    def _record(self, number: int, batch: Batch, present: Sequence[Item]) -> BatchRecord:
        left = {(item.schema, item.name) for item in present}
        gone = [i for i in batch.items if (i.schema, i.name) not in left]
        record = BatchRecord(number, len(present), vanished=[(i.schema, i.name) for i in gone])
        kinds = self.plan.kinds_of(batch.per) if present else []
        for index, kind in enumerate(kinds, 1):
            self._kind(kind, present, record)
            if batch.per == "relations":
                self._advance(len(batch.items) * index // len(kinds), new_entry=False)
        return record

    def _kind(self, kind: str, items: Sequence[Item], record: BatchRecord) -> None:
        self._check()
        try:
            rows = self._rows(kind, items, record.errored)
        except PermissionDenied:
            record.denied.append(kind)
            self.session.begin()
            return
        part = write_part(self.storage, self.run_id, kind, rows)
        if part is not None:
            record.parts.append(part)
            self.bytes += part.bytes

    def _rows(self, kind: str, items: Sequence[Item], errored: list[Errored]) -> Rows:
        """Halve what the server cannot answer until the one broken object is found."""
        tries = TRIES_OF_ONE if len(items) == 1 else 1
        for _ in range(tries):
            self._check()
            try:
                return self.session.read(kind, items)
            except StatementFailed as error:
                reason = error.message
                self.session.begin()
        if len(items) == 1:
            errored.append(Errored(kind, items[0].schema, items[0].name, reason))
            return []
        half = len(items) // 2
        return self._rows(kind, items[:half], errored) + self._rows(kind, items[half:], errored)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._check()
            time.sleep(min(PACE_STEP, left))

    def _check(self) -> None:
        if self.stopped():
            raise Stopped

    def _advance(self, in_flight: int, new_entry: bool) -> None:
        self.report(
            Advance(len(self.records), self.shard.batches, self._done(), in_flight, new_entry)
        )

    def _done(self) -> int:
        relations = (self.plan.batches[n] for n in self.records)
        return sum(len(batch.items) for batch in relations if batch.per == "relations")
