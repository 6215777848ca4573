"""Keys, indexes and checks, put together as SHOW CREATE TABLE writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from extraction.sources.mysql_rows import Columns, Rows, text_of
from extraction.sources.mysql_sql import quoted
from extraction.sources.mysql_wire import Row

# Their length is the server's, not somebody's choice.
_WHOLE = {"SPATIAL", "FULLTEXT"}


class Part(NamedTuple):
    """One key of an index, as its definition spells it and as the column is called."""

    name: str
    text: str


class Index(NamedTuple):
    schema: str
    relation: str
    name: str
    unique: bool
    method: str
    parts: list[Part]
    comment: str
    hidden: bool

    def keys(self) -> str:
        return "(" + ",".join(part.text for part in self.parts) + ")"


def indexes_of(rows: Rows) -> list[Index]:
    found = []
    for (schema, relation, name), group in groupby(sorted(rows, key=_place), key=_of_index):
        parts = list(group)
        first = parts[0]
        found.append(
            Index(
                *(schema, relation, name),
                first[5] == "0",
                first[8] or "",
                [_part(row) for row in parts],
                first[9] or "",
                first[10] == "1",
            )
        )
    return found


def _of_index(row: Row) -> tuple[str, str, str]:
    return row[0] or "", row[1] or "", row[2] or ""


def _place(row: Row) -> tuple[tuple[str, str, str], int]:
    return _of_index(row), int(row[3] or 0)


def _part(row: Row) -> Part:
    column, length, order, method, expression = row[4], row[6], row[7], row[8], row[11]
    name = column if column is not None else f"({expression})"
    text = quoted(name) if column is not None else name
    if length is not None and method not in _WHOLE:
        text += f"({length})"
    return Part(name, text + (" DESC" if order == "D" else ""))


def indexes(found: Sequence[Index], mariadb: bool) -> Columns:
    return {
        "schema_name": [one.schema for one in found],
        "relation_name": [one.relation for one in found],
        "index_name": [one.name for one in found],
        "columns": [[part.name for part in one.parts] for one in found],
        "unique": [one.unique for one in found],
        "method": [one.method.lower() for one in found],
        "predicate": [None] * len(found),
        "definition": [_index_definition(one, mariadb) for one in found],
    }


def _index_definition(one: Index, mariadb: bool) -> str:
    if one.name == "PRIMARY":
        text = f"PRIMARY KEY {one.keys()}"
    else:
        word = "UNIQUE " if one.unique else ""
        word = f"{one.method} " if one.method in _WHOLE else word
        text = f"{word}KEY {quoted(one.name)} {one.keys()}"
    if one.method == "HASH":
        text += " USING HASH"
    if one.comment:
        text += " COMMENT '" + one.comment.replace("\\", "\\\\").replace("'", "''") + "'"
    if one.hidden:
        text += " IGNORED" if mariadb else " INVISIBLE"
    return text


def constraints(found: Sequence[Index], foreign: Rows, checks: Rows, mariadb: bool) -> Columns:
    made = [_of_unique(one) for one in found if one.unique]
    made += [_check(row) for row in sorted(checks, key=text_of)]
    made += _foreign(foreign, "RESTRICT" if mariadb else "NO ACTION")
    names = (
        *("schema_name", "relation_name", "constraint_name", "kind", "columns"),
        *("referenced_schema", "referenced_relation", "referenced_columns"),
        *("on_update", "on_delete", "definition"),
    )
    cells = list(zip(*made, strict=True)) if made else [()] * len(names)
    return dict(zip(names, cells, strict=True))


def _of_unique(one: Index) -> tuple[Any, ...]:
    primary = one.name == "PRIMARY"
    return (
        *(one.schema, one.relation, one.name, "primary_key" if primary else "unique"),
        *([part.name for part in one.parts], None, None, [], None, None),
        ("PRIMARY KEY " if primary else "UNIQUE ") + one.keys(),
    )


def _check(row: Row) -> tuple[Any, ...]:
    schema, relation, name, clause, enforced = row
    text = clause or ""
    # MySQL's clause has brackets of its own.
    text = f"CHECK {text}" if text.startswith("(") and text.endswith(")") else f"CHECK ({text})"
    text += "" if enforced == "YES" else " NOT ENFORCED"
    return (schema, relation, name, "check", [], None, None, [], None, None, text)


def _foreign(rows: Rows, usual: str) -> list[tuple[Any, ...]]:
    rules = {row[:3]: (row[4], row[5]) for row in rows if row[3] is None}
    keys = sorted((row for row in rows if row[3] is not None), key=_place)
    made = []
    for (schema, relation, name), group in groupby(keys, key=_of_index):
        parts = list(group)
        on_update, on_delete = rules.get((schema, relation, name), (None, None))
        own = [row[4] or "" for row in parts]
        there = [row[7] or "" for row in parts]
        other, table = parts[0][5] or "", parts[0][6] or ""
        text = (
            f"FOREIGN KEY ({_listed(own)}) REFERENCES {quoted(other)}.{quoted(table)} "
            f"({_listed(there)})"
        )
        for event, rule in (("DELETE", on_delete), ("UPDATE", on_update)):
            text += f" ON {event} {rule}" if rule not in (None, usual) else ""
        made.append(
            (
                *(schema, relation, name, "foreign_key", own, other, table, there),
                *(on_update, on_delete, text),
            )
        )
    return made


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(quoted, names))
