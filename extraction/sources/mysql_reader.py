"""Reads the kinds of a batch: what to ask, and what two kinds share."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import pyarrow as pa

from extraction.catalog import KINDS
from extraction.connection import Broken, Item, Per, SourceMoved
from extraction.sources import mysql_keys as keys
from extraction.sources import mysql_rows as rows
from extraction.sources import mysql_sql as sql
from extraction.sources.mysql_errors import printable
from extraction.sources.mysql_rows import Rows
from extraction.sources.mysql_wire import Row
from extraction.sources.session import in_order
from extraction.tables import table_of

# A batch that answers with more is halved, so that memory stays bounded.
LARGEST_READ = 32 * 2**20
# Longer than a table is missing while ALTER puts another in its place.
SWAP = 0.2
LISTINGS = 3
NO_COLUMNS = "The server lists it and did not open it when its columns were read."
NO_COLUMNS_OF_VIEW = (
    "Its columns are not listed: the view names something that does not exist, or its definer "
    "has no right to it."
)
NO_TEXT = "Its text is not shown, though the user's grants show the others of the schema."
_NO_RELATIONS = {"SEQUENCE", "TEMPORARY", "TEMPORARY SEQUENCE", "SYSTEM VIEW"}


class Ask(Protocol):
    def __call__(
        self,
        statement: str,
        values: Sequence[object] = (),
        most: int | None = None,
        heed: bool = False,
    ) -> Rows:
        """With `heed` a warning that something could not be opened is an error."""


class Reader:
    """`ask` puts one question; `sees_texts` says whether all view texts of a schema are shown;
    nothing is listed but what is in the schema `only`, where there is one."""

    def __init__(
        self, ask: Ask, statements: sql.Statements, sees_texts: Callable[[str], bool], only: str
    ) -> None:
        self._ask, self._sql, self._sees_texts = ask, statements, sees_texts
        self._only = only
        self._mariadb = statements.mariadb
        self.types = rows.Types()
        self._listed: Rows | None = None
        self._tables: dict[tuple[str | None, ...], Row] = {}
        self._stamps: dict[tuple[str | None, ...], Row] = {}
        self._batch: set[Any] = set()
        self._shared: dict[str, tuple[Sequence[Item], Rows]] = {}

    def forget(self) -> None:
        self._listed = None
        self._tables, self._shared = {}, {}

    def inventory(self, per: Per) -> list[Item]:
        if per in ("relations", "sequences"):
            return _items((row for row in self._all_tables() if _is(row, per)), per)
        return _items(self._listing(per), per)

    def _listing(self, what: str) -> Rows:
        found = self._ask(*sql.listing(what, self._only))
        return [row for row in found if row[0] == self._only] if self._only else found

    def _all_tables(self) -> Rows:
        """MariaDB lists files: a table that ALTER puts in place of another is missing for
        some milliseconds. So it is asked again, some time later."""
        if self._listed is None:
            found = list(self._listing("tables"))
            for _ in range(LISTINGS - 1 if self._mariadb else 0):
                time.sleep(SWAP)
                known = {row[:2] for row in found}
                missed = [row for row in self._listing("names") if row[:2] not in known]
                items = [Item(*_names(row), 0) for row in missed]
                found += self._read(self._sql.one_by_one(items), items)
            self._listed = found
        return self._listed

    def schemas_with_views(self) -> set[str]:
        return {row[0] or "" for row in self._all_tables() if row[2] == "VIEW"}

    def hidden(self, counted: str) -> dict[str, int]:
        """Tables that the server counts beyond those it lists, by schema."""
        listed: dict[str, int] = {}
        for row in self._all_tables():
            if row[2] != "VIEW":
                listed[row[0] or ""] = listed.get(row[0] or "", 0) + 1
        more = {}
        for name, count in self._ask(counted):
            schema = _decoded(name or "")
            left = int(count or 0) - listed.get(schema, 0)
            if left > 0 and schema not in sql.SYSTEM_SCHEMAS and self._only in ("", schema):
                more[schema] = left
        return more

    def present(self, per: Per, items: Sequence[Item]) -> list[Item]:
        planned = {(item.schema, item.name, item.id) for item in items}
        if per == "schemas":
            found = self._read(self._sql.schemas(items), items)
        elif per == "routines":
            found = self._read(self._sql.routine_names(items), items)
        else:
            found = self._present_tables(items)
        there = _items((row for row in found if _is(row, per)), per)
        return [item for item in there if (item.schema, item.name, item.id) in planned]

    def _present_tables(self, items: Sequence[Item]) -> Rows:
        asked = _asked(items)
        found = list(self._read(self._sql.tables(items), items))
        missing = _missing(items, found)
        if missing and self._mariadb:
            found += self._read(self._sql.one_by_one(missing), missing)
        rows_of = {row[:2]: row for row in found}
        self._tables |= rows_of
        if not asked < self._batch:
            # Another batch, or the same from its beginning.
            self._batch, self._stamps = asked, {}
        self._stamps = {name: _stamp(row) for name, row in rows_of.items()} | self._stamps
        return found

    def moved(self, items: Sequence[Item]) -> list[Item]:
        """Tables that were dropped or altered since the batch began: there is no transaction
        to read a catalogue in."""
        now = {row[:2]: _stamp(row) for row in self._read(self._sql.tables(items), items)}
        return [
            i for i in items if now.get((i.schema, i.name)) != self._stamps.get((i.schema, i.name))
        ]

    def receive(self, kind: str, items: Sequence[Item]) -> Any:
        if KINDS[kind].per == "relation":
            self._refuse_broken(items)
        if kind == "relations":
            return self._relations(items)
        if kind == "columns":
            found = self._read(self._sql.columns(items), items)
            # MariaDB's JSON is a longtext with a check.
            texts = self._mariadb and any(row[4] == "longtext" for row in found)
            views = {row[:2] for row in self._known(items) if row[2] == "VIEW"}
            return found, self._of("checks", items) if texts else [], views
        if kind == "indexes":
            return self._of("index_parts", items)
        if kind == "constraints":
            foreign = self._read(self._sql.foreign_keys(items), items, heed=True)
            return self._of("index_parts", items), foreign, self._of("checks", items)
        if kind == "statistics":
            return self._known(items)
        if kind == "triggers":
            return self._read(self._sql.triggers(items), items, heed=True)
        return self._of_schemas(kind, items)

    def _of_schemas(self, kind: str, items: Sequence[Item]) -> Any:
        if kind == "schemas":
            return self._read(self._sql.schemas(items), items)
        if kind == "routines":
            wanted = {(item.schema, item.name, item.id) for item in items}
            found = self._read(self._sql.routines(items), items)
            found = [r for r in found if (r[0], r[1], rows.sort_of_routine(r[2])) in wanted]
            return found, self._read(self._sql.parameters(items), items)
        if kind == "sequences":
            types = self._read(self._sql.sequence_types(items), items)
            return self._read(self._sql.sequences(items), items), types
        return []

    def _refuse_broken(self, items: Sequence[Item]) -> None:
        """A table that the server cannot open has no engine, and the reason for a comment."""
        broken = [row for row in self._known(items) if row[2] != "VIEW" and row[7] is None]
        if broken:
            raise Broken({_names(row) for row in broken}, printable(broken[0][4] or ""))

    def _relations(self, items: Sequence[Item]) -> tuple[Rows, Rows, set[Any]]:
        tables = self._known(items)
        views = [Item(*_names(row), 0) for row in tables if row[2] == "VIEW"]
        texts = self._read(self._sql.views(views), views)
        silent = {(v.schema, v.name) for v in views} - {row[:2] for row in texts if row[2]}
        told = {schema for schema, _ in silent if self._sees_texts(schema)}
        return tables, texts, {one for one in silent if one[0] in told}

    def build(self, kind: str, items: Sequence[Item], received: Any) -> pa.Table:
        if kind == "relations":
            tables, views, silent = received
            if silent:
                raise Broken(silent, NO_TEXT)
            made = rows.relations(tables, views)
        elif kind == "columns":
            found, checks, views = received
            silent = _missing(items, found)
            if silent:
                only_views = all((i.schema, i.name) in views for i in silent)
                reason = NO_COLUMNS_OF_VIEW if only_views else NO_COLUMNS
                raise Broken([(i.schema, i.name) for i in silent], reason)
            made = rows.columns(found, checks, self.types, self._mariadb)
        elif kind == "indexes":
            made = keys.indexes(keys.indexes_of(received), self._mariadb)
        elif kind == "constraints":
            parts, foreign, checks = received
            made = keys.constraints(keys.indexes_of(parts), foreign, checks, self._mariadb)
        elif kind in _SIMPLE:
            made = _SIMPLE[kind](received)
        elif kind in _PAIRS:
            made = _PAIRS[kind](*received)
        else:
            made = {name: [] for name in KINDS[kind].columns}
        return table_of(kind, made)

    def _known(self, items: Sequence[Item]) -> Rows:
        """What was said of these tables in this batch, or is said now."""
        asked = _asked(items)
        if not asked <= self._tables.keys():
            self._tables |= {row[:2]: row for row in self._read(self._sql.tables(items), items)}
        if not asked <= self._tables.keys():
            raise SourceMoved
        return [self._tables[item.schema, item.name] for item in items]

    def _of(self, what: str, items: Sequence[Item]) -> Rows:
        """Rows that two kinds need, asked once for the same items."""
        known = self._shared.get(what)
        if known is not None and known[0] is items:
            return known[1]
        found = self._read(getattr(self._sql, what)(items), items, heed=True)
        self._shared[what] = (items, found)
        return found

    def _read(
        self, statements: Iterable[sql.Bound], items: Sequence[Item], heed: bool = False
    ) -> Rows:
        """The rows of these items alone: comparisons in the server ignore case."""
        asked = _asked(items)
        most = LARGEST_READ if len(asked) > 1 else None
        found: list[Row] = []
        for statement, values in statements:
            found += [row for row in self._ask(statement, values, most, heed) if row[:2] in asked]
        return found


_SIMPLE: dict[str, Callable[[Rows], rows.Columns]] = {
    "statistics": rows.statistics,
    "schemas": rows.schemas,
    "triggers": rows.triggers,
}
_PAIRS: dict[str, Callable[[Rows, Rows], rows.Columns]] = {
    "routines": rows.routines,
    "sequences": rows.sequences,
}


def _asked(items: Sequence[Item]) -> set[Any]:
    return {(item.schema, item.name) for item in items}


def _missing(items: Sequence[Item], found: Rows) -> list[Item]:
    left = {row[:2] for row in found}
    return [item for item in items if (item.schema, item.name) not in left]


def _stamp(row: Row) -> Row:
    """Changes with every ALTER: the type, and when the table was made."""
    return row[2], row[8]


def _names(row: Row) -> tuple[str, str]:
    return row[0] or "", row[1] or ""


def _is(row: Row, per: Per) -> bool:
    if per == "sequences":
        return row[2] == "SEQUENCE"
    return per != "relations" or row[2] not in _NO_RELATIONS


def _items(found: Iterable[Row], per: Per) -> list[Item]:
    """Nothing has a number there; that of a routine says of which sort it is."""
    routines = per == "routines"
    return in_order(
        [Item(*_names(row), rows.sort_of_routine(row[2]) if routines else 0) for row in found]
    )


def _decoded(name: str) -> str:
    """A name as it is, from how the file system has it."""
    return re.sub("@([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), name)
