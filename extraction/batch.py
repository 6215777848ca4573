"""One batch: every kind of its items, as parts and a record of what could not be seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from extraction.connection import Item, Oversized, Per, Session, SourceMoved
from extraction.errors import PermissionDenied, StatementFailed
from extraction.plan import Batch, Plan
from extraction.snapshot.ledger import BatchRecord, Errored
from extraction.snapshot.writer import Part, write_part
from extraction.storage import Storage
from extraction.tables import in_order

# What is dropped while it is read is no broken object: the batch begins again.
TRIES_OF_BATCH = 3
TRIES_OF_ONE = 2
# Names of columns are needed for keys, so they come first; the widest kind is then
# written while the source works on the others.
READ_FIRST = ("columns", "relations")


class BatchReader:
    """`check` raises Stopped when the reading has to stop; `report` hears how many of the
    batch's kinds are read. Not for several threads."""

    def __init__(
        self,
        session: Session,
        storage: Storage,
        run_id: str,
        plan: Plan,
        writing: ThreadPoolExecutor,
        check: Callable[[], None],
        report: Callable[[int, int], None],
    ) -> None:
        self._session, self._storage, self._run_id, self._plan = session, storage, run_id, plan
        self._writing, self._check, self._report = writing, check, report
        self._record = BatchRecord(-1, 0)
        self._per: Per = "relations"

    def read(self, number: int) -> BatchRecord:
        """Every part of the record is durable. Ends its transaction."""
        batch = self._plan.batches[number]
        for _ in range(TRIES_OF_BATCH - 1):
            try:
                return self._once(number, batch, halve=False)
            except (SourceMoved, StatementFailed):
                continue
        return self._once(number, batch, halve=True)

    def _once(self, number: int, batch: Batch, *, halve: bool) -> BatchRecord:
        self._check()
        self._session.begin()
        present = self._session.present(batch.per, batch.items)
        left = {(item.schema, item.name) for item in present}
        gone = [(i.schema, i.name) for i in batch.items if (i.schema, i.name) not in left]
        self._record, self._per = BatchRecord(number, len(present), vanished=gone), batch.per
        kinds = self._plan.kinds_of(batch.per) if present else []
        written: list[Future[Part | None]] = []
        for count, kind in enumerate(sorted(kinds, key=_first), 1):
            table = self._kind(kind, present, halve)
            if table is not None:
                written.append(
                    self._writing.submit(write_part, self._storage, self._run_id, kind, table)
                )
            self._report(count, len(kinds))
        parts = [part for future in written if (part := future.result()) is not None]
        self._record.parts.extend(sorted(parts, key=lambda part: kinds.index(part.kind)))
        self._session.end()
        return self._record

    def _kind(self, kind: str, items: Sequence[Item], halve: bool) -> pa.Table | None:
        """None when the source refuses the kind."""
        self._check()
        try:
            tables = self._read(kind, items, halve)
        except PermissionDenied:
            self._record.denied.append(kind)
            self._session.begin()
            return None
        return tables[0] if len(tables) == 1 else in_order(kind, pa.concat_tables(tables))

    def _read(self, kind: str, items: Sequence[Item], halve: bool) -> list[pa.Table]:
        """Halve what is too much, and what the server cannot answer until the one broken
        object is found."""
        try:
            return [self._session.read(kind, items)]
        except Oversized:
            self._session.begin()
        except (SourceMoved, StatementFailed) as error:
            if not halve or (isinstance(error, StatementFailed) and error.systemic):
                raise
            self._session.begin()
            if len(items) == 1:
                return self._single(kind, items[0])
        half = len(items) // 2
        return [
            table
            for part in (items[:half], items[half:])
            for table in self._read(kind, part, halve)
        ]

    def _single(self, kind: str, item: Item) -> list[pa.Table]:
        """The last word on one object: gone, read after all, or broken."""
        reason = "It changed whenever it was read."
        for _ in range(TRIES_OF_ONE):
            self._check()
            self._session.begin()
            present = self._session.present(self._per, [item])
            if not present:
                break
            try:
                return [self._session.read(kind, present)]
            except SourceMoved:
                continue
            except StatementFailed as error:
                reason = error.message
        self._session.begin()
        self._record.errored.append(Errored(kind, item.schema, item.name, reason))
        return []


def _first(kind: str) -> int:
    return READ_FIRST.index(kind) if kind in READ_FIRST else len(READ_FIRST)
