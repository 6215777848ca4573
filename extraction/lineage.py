"""What the views of a batch read, from their texts, where the source does not record it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from extraction.connection import Session
from extraction.parsers import Parsers, Reference, Text
from extraction.snapshot.ledger import Errored
from extraction.tables import from_rows

KIND = "dependencies"
FOUND_BY = "parsed"
VIEWS = ("view", "materialized_view")
# Names that differ in case alone are one there; a text may spell them as it likes.
ANY_CASE = {"sqlite", "duckdb", "tsql", "trino", "bigquery", "databricks"}


# Where a view keeps short names of tables in the schema that was current, not its own.
MEANS_ALSO = {"duckdb": "main"}


@dataclass
class Spelling:
    """The catalogue's own spelling of what a text names by any case; `also` is the schema of
    what the one that is named does not have."""

    also: str = ""
    relations: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    columns: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def learn(self, relations: Iterable[tuple[str, str]]) -> None:
        self.relations |= {(s.lower(), n.lower()): (s, n) for s, n in relations}

    def learn_columns(self, columns: pa.Table) -> None:
        names = ("schema_name", "relation_name", "column_name")
        for schema, relation, column in zip(*(columns[n].to_pylist() for n in names), strict=True):
            self.columns[schema, relation, column.lower()] = column

    def of(self, reference: Reference) -> Reference:
        schema, name, column = reference
        known = self.relations.get((schema.lower(), name.lower()))
        if known is None and self.also:
            known = self.relations.get((self.also, name.lower()))
        schema, name = known or (schema, name)
        if column is not None:
            column = self.columns.get((schema, name, column.lower()), column)
        return schema, name, column


@dataclass
class Lineage:
    """`untold` are schemas with views whose texts are not shown."""

    table: pa.Table
    errored: list[Errored]
    untold: list[str]


def lineage(
    parsers: Parsers,
    dialect: str,
    relations: Sequence[pa.Table],
    spelling: Spelling,
    check: Callable[[], None],
    report: Callable[[int, int], None],
) -> Lineage:
    """From rows of the kind `relations`. `report` hears how many of how many views are read."""
    views = list(_views(relations))
    told = [view for view in views if view[2]]
    answers = parsers.read(
        dialect,
        [Text(schema, text or "") for schema, _, text in told],
        check,
        lambda done: report(done, len(told)),
    )
    rows: set[tuple[Any, ...]] = set()
    errored = []
    for (schema, name, _), answer in zip(told, answers, strict=True):
        if isinstance(answer, str):
            errored.append(Errored(KIND, schema, name, f"could not be parsed: {answer}"))
        else:
            rows |= {(schema, name, *spelling.of(one), FOUND_BY) for one in answer}
    table = from_rows(KIND, list(rows))
    return Lineage(table, errored, sorted({schema for schema, _, text in views if not text}))


def _views(relations: Sequence[pa.Table]) -> Iterator[tuple[str, str, str | None]]:
    for table in relations:
        names = ("schema_name", "relation_name", "kind", "definition")
        for schema, name, kind, text in zip(*(table[n].to_pylist() for n in names), strict=True):
            if kind in VIEWS:
                yield schema, name, text


class Spellings:
    """How a source spells what texts name in any case; its relations are asked for once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: Spelling | None = None

    def of(self, columns: Iterable[pa.Table]) -> Spelling:
        """With the columns of a batch."""
        if self._known is None:
            self._known = Spelling(MEANS_ALSO.get(self._session.view_dialect, ""))
            found = self._session.inventory("relations")
            self._known.learn((item.schema, item.name) for item in found)
        self._known.columns.clear()
        for table in columns:
            self._known.learn_columns(table)
        return self._known
