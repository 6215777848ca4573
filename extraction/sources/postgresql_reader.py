"""Reads the kinds of a batch: what to ask, in which order, and what to remember."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from extraction.catalog import KINDS
from extraction.connection import Item, SourceMoved
from extraction.sources import postgresql_rows as rows
from extraction.sources import postgresql_sql as sql
from extraction.sources.postgresql_copy import parsed
from extraction.sources.postgresql_rows import RAW
from extraction.sources.postgresql_types import logical_type
from extraction.tables import table_of

Copy = Callable[[str, Sequence[Item]], "Received"]
Fetch = Callable[..., list[tuple[Any, ...]]]

NOTHING = rows.Attributes([pa.array([], pa.int64())] * 6)
# What a text that was dropped meanwhile looks like.
SIGNS = {"definition": [""], "arguments": ["???"], "data_type": ["???", None]}


class Received(NamedTuple):
    """CSV of the rows, and a number for the transaction that they were read in."""

    data: bytearray
    transaction: int


class Reader:
    """`copy` gives the raw rows of a kind, `fetch` those of a small question."""

    def __init__(self, copy: Copy, fetch: Fetch) -> None:
        self._copy, self._fetch = copy, fetch
        self._types = rows.Types()
        self._attributes = NOTHING
        self._transaction = -1
        self._owners: rows.Owners | None = None
        self._classes: dict[int, int] = {}
        self._keywords: pa.Array | None = None

    def build(self, kind: str, items: Sequence[Item], received: Received) -> pa.Table:
        if received.transaction != self._transaction:
            # Names may have changed. Types are known by their ids and stay.
            self._attributes, self._transaction = NOTHING, received.transaction
        raw = parsed(received.data, RAW[kind])
        owners = self._owners_of(items)
        if kind in ("constraints", "indexes"):
            self._need_attributes(items)
        if kind == "columns":
            self._learn(raw)
            columns = rows.columns(raw, owners, self._types)
        elif kind == "constraints":
            columns = rows.constraints(raw, owners, self._attributes)
        elif kind == "indexes":
            columns = rows.indexes(self._deparsed(raw), owners, self._attributes)
        else:
            columns = rows.simple(KINDS[kind].columns, raw, owners)
        return _unmoved(table_of(kind, columns))

    def _owners_of(self, items: Sequence[Item]) -> rows.Owners:
        """One for all kinds of a batch."""
        if self._owners is None or self._owners.items is not items:
            self._owners = rows.Owners(items, self._reserved)
        return self._owners

    def _need_attributes(self, items: Sequence[Item]) -> None:
        if not self._attributes.owners.issuperset(item.id for item in items if item.weight):
            self._learn(parsed(self._copy("attributes", items).data, RAW["attributes"]))

    def _learn(self, raw: Sequence[pa.Array]) -> None:
        """Names of columns for the keys of this batch, and types not met before."""
        self._attributes = rows.Attributes(raw)
        self._learn_types(rows.distinct(raw[3], raw[4]))

    def _learn_types(self, pairs: list[tuple[int, int]]) -> None:
        unknown = [pair for pair in pairs if pair not in self._types]
        if not unknown:
            return
        types, mods = zip(*unknown, strict=True)
        found = self._fetch(sql.TYPES, types=list(types), mods=list(mods))
        self._learn_types([(row[8], -1) for row in found if row[8]])
        for number, mod, shown, text, builtin, name, typtype, category, element in found:
            items = self._types.logical(element) if element else None
            logical = logical_type(text, builtin, name, typtype, category, items)
            self._types.learn(number, mod, shown, logical)

    def _deparsed(self, raw: list[pa.Array]) -> list[pa.Array]:
        """Asks for the definitions that are more than names after all."""
        seen = set(pc.unique(raw[4].values).to_pylist()) - self._classes.keys()
        if seen:
            self._classes |= dict.fromkeys(seen, -1)
            self._classes |= dict(self._fetch(sql.OPERATOR_CLASSES, ids=sorted(seen)))
        asked = rows.unusual(raw, self._attributes, self._types, self._classes)
        if not asked:
            return raw
        found: dict[int, str] = dict(self._fetch(sql.DEFINITIONS, ids=asked))
        if len(found) < len(asked) or None in found.values():
            raise SourceMoved
        return [*raw[:10], rows.with_definitions(raw[10], raw[1], found)]

    def _reserved(self) -> pa.Array:
        if self._keywords is None:
            self._keywords = pa.array([word for (word,) in self._fetch(sql.KEYWORDS)], pa.string())
        return self._keywords


def _unmoved(table: pa.Table) -> pa.Table:
    """Texts are deparsed from what the catalogue holds now, not from the snapshot: what was
    dropped meanwhile gives none."""
    for name, signs in SIGNS.items():
        if name in table.column_names:
            gone = pc.is_in(table[name], pa.array(signs, pa.string()))
            if pc.any(gone).as_py():
                raise SourceMoved
    return table
