"""Plan, read, finish: what a run does, without knowing who runs it.

`make_plan` cuts the inventory into batches; `read_shard` reads the batches of one
shard into parts and a ledger; `finish` proves that nothing is missing and writes
the manifest. Each can be repeated after any crash.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from extraction.batch import BatchReader
from extraction.connection import Load, Options, Session
from extraction.connection import Stopped as Stopped
from extraction.errors import SourceChanged
from extraction.parsers import Parsers
from extraction.plan import make_plan as make_plan
from extraction.planned import Plan as Plan
from extraction.planned import Shard as Shard
from extraction.planned import load_plan as load_plan
from extraction.snapshot.ledger import (
    BatchRecord,
    By,
    read_entries,
    write_entry,
    write_ledger,
)
from extraction.snapshot.manifest import Finished as Finished
from extraction.snapshot.manifest import finish as finish
from extraction.storage import Storage
from extraction.threads import Threads

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
    parsers: Parsers | None = None,
) -> ShardOutcome:
    """Read what earlier attempts have not. Raises Stopped soon after `stopped()` is true.
    `parsers` are shared with other shards; without them the shard has its own."""
    if session.identity != plan.identity:
        raise SourceChanged()
    by = By(attempt=attempt, worker=worker, at="", statements=0, load={})
    reader = _ShardReader(session, storage, run_id, plan, plan.shard(shard_id), by, report, stopped)
    try:
        return reader.read(options, parsers)
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
        self.reading = 0

    def read(self, options: Options, parsers: Parsers | None) -> ShardOutcome:
        numbers = self.shard.numbers()
        self.records = read_entries(
            self.storage, self.run_id, self.plan.path, self.shard.id, numbers
        )
        self._advance(0, new_entry=False)
        missing = [number for number in numbers if number not in self.records]
        with Threads(parsers) as threads:
            reader = BatchReader(
                *(self.session, self.storage, self.run_id, self.plan),
                *(threads, self._check, self._kinds_read),
            )
            for number in missing:
                if number != missing[0] or self._follows_another(options.sessions):
                    self._pause(options.pace)
                self._batch(reader, number)
        records = [self.records[number] for number in numbers]
        ledger = write_ledger(self.storage, self.run_id, self.plan.path, self.shard.id, records)
        return ShardOutcome(ledger, self._done(), self.session.load)

    def _follows_another(self, sessions: int) -> bool:
        """A shard that starts where an earlier one ended: the source gets its rest there too."""
        return self.by["attempt"] == 1 and not self.records and self.shard.id >= sessions

    def _batch(self, reader: BatchReader, number: int) -> None:
        """Parts first, then the entry, then the report: the other way round loses rows."""
        before = self.session.load
        self.reading = number
        record = reader.read(number)
        spent = self.session.load
        by = self.by | {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "statements": spent.statements - before.statements,
            "load": asdict(spent),
        }
        write_entry(self.storage, self.run_id, self.plan.path, self.shard.id, record, by)
        self.records[number] = record
        self._advance(0, new_entry=True)

    def _kinds_read(self, count: int, kinds: int) -> None:
        batch = self.plan.batches[self.reading]
        if batch.per == "relations":
            self._advance(len(batch.items) * count // kinds, new_entry=False)

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
