"""One batch: every kind of its items, as parts and a record of what could not be seen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pyarrow as pa

from extraction.connection import (
    Broken,
    Item,
    Oversized,
    Per,
    Session,
    SourceMoved,
    Stopped,
    Unseen,
)
from extraction.errors import PermissionDenied, SourceLocked, StatementFailed
from extraction.lineage import ANY_CASE, KIND, Spelling, Spellings, lineage
from extraction.planned import Plan
from extraction.snapshot.ledger import BatchRecord, Errored
from extraction.snapshot.writer import Part, write_part
from extraction.storage import Storage
from extraction.tables import in_order
from extraction.threads import Threads

# What is dropped while it is read is no broken object: the batch begins again.
TRIES_OF_BATCH = 3
TRIES_OF_ONE = 2
# After so many locked answers, of parts too, somebody is taken to hold the catalogue.
LOCKED_IN_BATCH = 50
# How many kinds are received, or wait to be built, at a time.
AHEAD = 4
CHANGED = "It changed whenever it was read."
DROPPED = "It was dropped while it was read."
TOO_LARGE = "It is larger than what is read of one object."
TROUBLE = (Oversized, SourceLocked, SourceMoved, StatementFailed)
# Names of columns are needed for keys; what is wide is written while others come.
READ_FIRST = ("columns", "relations")
KEY = ("schema_name", "relation_name")
NOT_SHOWN = "The source does not show the texts of views in this schema."


class BatchReader:
    """`check` raises Stopped when the reading has to stop; `report` hears how many of the
    batch's kinds are read. Not for several threads."""

    def __init__(
        self,
        session: Session,
        storage: Storage,
        run_id: str,
        plan: Plan,
        threads: Threads,
        check: Callable[[], None],
        report: Callable[[int, int], None],
    ) -> None:
        self._session, self._storage, self._run_id, self._plan = session, storage, run_id, plan
        self._receiving, self._writing = threads.receiving, threads.writing
        self._parsers = threads.parsers
        self._check, self._report = check, report
        self._ahead: dict[str, Future[Any]] = {}
        self._record = BatchRecord(-1, 0)
        self._per: Per = "relations"
        self._ids: set[int] = set()
        # Answers that a lock refused, and for which kind it was asked if that is the catalogue.
        self._locked, self._probed = 0, ""
        # Whether a later transaction was begun within the batch.
        self._restarted = False
        self._waiting: list[str] = []
        self._spellings = Spellings(session)

    def read(self, number: int) -> BatchRecord:
        """Every part of the record is durable. Ends its transaction."""
        for _ in range(TRIES_OF_BATCH - 1):
            try:
                return self._once(number, halve=False)
            except (SourceMoved, StatementFailed):
                continue
        return self._once(number, halve=True)

    def _once(self, number: int, *, halve: bool) -> BatchRecord:
        self._check()
        batch = self._plan.batches[number]
        self._locked, self._probed, self._restarted = 0, "", False
        self._session.begin()
        try:
            present = self._session.present(batch.per, batch.items)
        except PermissionDenied as error:
            return self._refused(number, error)
        self._ids = {item.id for item in present}
        left = {(item.schema, item.name) for item in present}
        gone = [(i.schema, i.name) for i in batch.items if (i.schema, i.name) not in left]
        self._record, self._per = BatchRecord(number, len(present), vanished=gone), batch.per
        kinds = self._plan.kinds_of(batch.per) if present else []
        stopped: Stopped | None = None
        written: list[Future[Part | None]] = []
        try:
            written = list(self._all(sorted(kinds, key=_first), present, halve))
        except Stopped as error:
            # The session knows better how the statement that runs has ended.
            ended = self._drop_ahead()
            stopped = ended if isinstance(ended, Stopped) else error
        finally:
            self._drop_ahead()
        if stopped is not None:
            raise stopped  # outside, for its context tells what ended it
        self._expect_still(kinds, present, halve)
        self._session.end()  # nothing in the source is held while files are written
        parts = [part for future in written if (part := future.result()) is not None]
        self._record.parts.extend(sorted(parts, key=lambda part: kinds.index(part.kind)))
        return self._record

    def _refused(self, number: int, error: PermissionDenied) -> BatchRecord:
        """The right to list was lost since the plan."""
        batch = self._plan.batches[number]
        self._session.begin()
        fixes = self._session.remedy(batch.per)
        self._session.end()
        why = (error.message, error.fix)
        denied = [Unseen.mended_by(fixes, k, "", *why) for k in self._plan.kinds_of(batch.per)]
        return BatchRecord(number, len(batch.items), denied=denied)

    def _restart(self) -> None:
        """A transaction that may show another state than the batch began with."""
        self._session.begin()
        self._restarted = True

    def _expect_still(self, kinds: Sequence[str], items: Sequence[Item], halve: bool) -> None:
        """What changes whenever it is read is named in all kinds that may not fit together."""
        moved = self._session.moved(self._per, items) if items else []
        if self._restarted and not moved:
            now = {(i.schema, i.name, i.id) for i in self._session.present(self._per, items)}
            moved = [i for i in items if (i.schema, i.name, i.id) not in now]
        if moved and not halve:
            raise SourceMoved
        for kind in kinds if moved else ():
            known = {(e.schema, e.name) for e in self._record.errored if e.kind == kind}
            self._record.errored.extend(
                Errored(kind, item.schema, item.name, CHANGED)
                for item in moved
                if kind != "relations" and (item.schema, item.name) not in known
            )

    def _all(
        self, kinds: Sequence[str], items: Sequence[Item], halve: bool
    ) -> Iterator[Future[Part | None]]:
        """The source is never left waiting: kinds are received one after the other while
        those that came before are built, and written."""
        parsed = bool(self._session.view_dialect) and KIND in kinds
        asked = [kind for kind in kinds if not (parsed and kind == KIND)]
        read: dict[str, list[pa.Table]] = {}
        for count, kind in enumerate(asked, 1):
            self._check()
            if not self._ahead:
                self._receive(asked[count - 1 :], items)
            tables = self._kind(kind, items, halve)
            if kind == "relations" and self._restarted and tables:
                self._account(tables, items)
            if tables:
                table = tables[0] if len(tables) == 1 else in_order(kind, pa.concat_tables(tables))
                yield self._submit(kind, table)
            if parsed and kind in READ_FIRST:
                read[kind] = tables
            self._report(count, len(kinds))
        if parsed:
            yield self._submit(KIND, self._lineage(read, items, halve, len(asked)))
            self._report(len(kinds), len(kinds))

    def _account(self, tables: Sequence[pa.Table], items: Sequence[Item]) -> None:
        """Each relation has a row or a word, whatever happened between two transactions."""
        read = {key for t in tables for key in zip(*(t[n].to_pylist() for n in KEY), strict=True)}
        read |= {(e.schema, e.name) for e in self._record.errored if e.kind == "relations"}
        self._record.errored.extend(
            Errored("relations", item.schema, item.name, DROPPED)
            for item in items
            if (item.schema, item.name) not in read
        )

    def _receive(self, kinds: Sequence[str], items: Sequence[Item]) -> None:
        self._waiting = list(kinds)
        self._fill(items)

    def _fill(self, items: Sequence[Item]) -> None:
        while self._waiting and len(self._ahead) < AHEAD:
            kind = self._waiting.pop(0)
            self._ahead[kind] = self._receiving.submit(self._session.receive, kind, items)

    def _submit(self, kind: str, table: pa.Table) -> Future[Part | None]:
        return self._writing.submit(write_part, self._storage, self._run_id, kind, table)

    def _lineage(
        self, read: dict[str, list[pa.Table]], items: Sequence[Item], halve: bool, before: int
    ) -> pa.Table:
        """What the views read, from their texts; `before` kinds of the batch are through."""
        record = self._record
        if "relations" not in read:
            self._record = BatchRecord(record.batch, 0)
            self._receive(["relations"], items)
            read["relations"] = self._kind("relations", items, halve)
            record, self._record = self._record, record
        without = [replace(e, kind=KIND) for e in record.errored if e.kind == "relations"]
        self._record.denied.extend(
            [replace(d, kind=KIND) for d in record.denied if d.kind == "relations"]
        )
        dialect = self._session.view_dialect
        spelling = (
            self._spellings.of(read.get("columns", [])) if dialect in ANY_CASE else Spelling()
        )
        self._session.end()  # nothing in the source is held while texts are parsed
        found = lineage(
            *(self._parsers, dialect, read["relations"], spelling, self._check),
            lambda done, of: self._report(before * of + done, (before + 1) * of),
        )
        self._record.errored.extend([*without, *found.errored])
        self._untold(found.untold)
        return found.table

    def _untold(self, schemas: Sequence[str]) -> None:
        """Where the plan does not say it yet."""
        said = {unseen.schema for unseen in self._plan.unseen if unseen.kind == KIND}
        left = [schema for schema in schemas if said.isdisjoint(("", schema))]
        if left:
            self._session.begin()
            fixes = self._session.remedy("relations")
            self._record.denied.extend(
                Unseen.mended_by(fixes, KIND, schema, NOT_SHOWN) for schema in left
            )

    def _kind(self, kind: str, items: Sequence[Item], halve: bool) -> list[pa.Table]:
        """Nothing when the source refuses the kind."""
        try:
            try:
                return [self._table(kind, items)]
            except TROUBLE as error:
                self._drop_ahead()
                return self._after(error, kind, items, halve)
        except PermissionDenied as error:
            self._drop_ahead()
            self._restart()
            fixes = self._session.remedy(kind)
            self._record.denied.append(Unseen.mended_by(fixes, kind, "", error.message, error.fix))
            return []

    def _table(self, kind: str, items: Sequence[Item]) -> pa.Table:
        received = self._ahead.pop(kind).result()
        self._fill(items)
        return self._session.build(kind, items, received)

    def _drop_ahead(self) -> BaseException | None:
        """The transaction is lost, and with it what is being received; how that failed."""
        ahead, self._ahead, self._waiting = list(self._ahead.values()), {}, []
        ended: BaseException | None = None
        for future in reversed(ahead):
            if not future.cancel():
                ended = future.exception() or ended
        return ended

    def _after(
        self, error: Exception, kind: str, items: Sequence[Item], halve: bool
    ) -> list[pa.Table]:
        """Halve what is too much, and what the server cannot answer until the one broken
        object is found."""
        if isinstance(error, Broken) and len(items) > 1:
            return self._without(error.names, kind, items, halve)
        if isinstance(error, SourceLocked):
            self._unless_catalogue(error, kind, items)
            if len(items) == 1 < len(self._ids):
                return self._errored(kind, items[0], error.message)
        elif not isinstance(error, Oversized) and (not halve or getattr(error, "systemic", False)):
            raise error
        if len(items) == 1:
            return self._single(kind, items[0])
        self._restart()
        half = len(items) // 2
        return [*self._part(kind, items[:half], halve), *self._part(kind, items[half:], halve)]

    def _without(
        self, names: Collection[tuple[str, str]], kind: str, items: Sequence[Item], halve: bool
    ) -> list[pa.Table]:
        """The broken ones one by one, the rest together."""
        self._restart()
        broken = [item for item in items if (item.schema, item.name) in names]
        if len(self._session.present(self._per, broken)) < len(broken) and not halve:
            raise SourceMoved
        alone = [table for item in broken for table in self._single(kind, item)]
        rest = [item for item in items if (item.schema, item.name) not in names]
        return alone + (self._part(kind, rest, halve) if rest else [])

    def _unless_catalogue(self, error: SourceLocked, kind: str, items: Sequence[Item]) -> None:
        """Raises when not one object is locked, but what all of them are read from."""
        self._locked += 1
        if self._locked > LOCKED_IN_BATCH:
            raise error
        probes = {items[0], items[len(items) // 2], items[-1]}
        if self._probed == kind or len(probes) == 1:
            return
        self._probed = kind
        for item in probes:
            self._restart()
            with suppress(SourceLocked):
                with suppress(Oversized, StatementFailed):
                    self._session.receive(kind, [item])
                return
        raise error

    def _part(self, kind: str, items: Sequence[Item], halve: bool) -> list[pa.Table]:
        self._check()
        try:
            return [self._alone(kind, items)]
        except TROUBLE as error:
            return self._after(error, kind, items, halve)

    def _alone(self, kind: str, items: Sequence[Item]) -> pa.Table:
        return self._session.build(kind, items, self._session.receive(kind, items))

    def _single(self, kind: str, item: Item) -> list[pa.Table]:
        """The last word on one object: gone, read after all, or broken."""
        reason = CHANGED
        for _ in range(TRIES_OF_ONE):
            self._check()
            self._restart()
            found = self._session.present(self._per, [item])
            # Another of the same name is read for itself.
            present = [i for i in found if i.id == item.id or i.id not in self._ids]
            if not present:
                reason = DROPPED
                break
            try:
                return [self._alone(kind, present)]
            except SourceMoved:
                continue
            except Oversized:
                reason = TOO_LARGE
                break
            except (SourceLocked, StatementFailed) as error:
                reason = error.message
        return self._errored(kind, item, reason)

    def _errored(self, kind: str, item: Item, reason: str) -> list[pa.Table]:
        self._restart()
        self._record.errored.append(Errored(kind, item.schema, item.name, reason))
        return []


def _first(kind: str) -> int:
    return (*READ_FIRST, kind).index(kind)
