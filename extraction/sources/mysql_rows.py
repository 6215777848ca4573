"""From rows of the information schema to the kinds of a snapshot, keys and indexes apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from extraction.logical import LogicalType
from extraction.sources.mysql_sql import ROUTINE_SORTS, quoted
from extraction.sources.mysql_types import logical_type
from extraction.sources.mysql_wire import Row

Rows = Sequence[Row]
Columns = dict[str, Any]

_PLAIN = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)
_ON_UPDATE = re.compile(r"on update (\S+)", re.IGNORECASE)
_NUMERIC = re.compile(
    r"(tinyint|smallint|mediumint|int|bigint|decimal|float|double|year|bit)\b", re.IGNORECASE
)
_JSON_CHECK = re.compile(r"json_valid\(`((?:[^`]|``)*)`\)")
_JSON = LogicalType("json")


class Types:
    """What each type text is, found out once."""

    def __init__(self) -> None:
        self._known: dict[str, LogicalType] = {}
        self.asked = self.missed = 0

    def of(self, texts: Sequence[Any]) -> list[LogicalType]:
        known = self._known
        for text in set(texts) - known.keys():
            known[text] = logical_type(text)
            self.missed += 1
        self.asked += len(texts)
        return [known[text] for text in texts]


def relations(tables: Rows, views: Rows) -> Columns:
    """`owner` of a view is its definer; the comment of a view is the server's own."""
    texts = {row[:2]: row[2:] for row in views}
    found = [texts.get(row[:2], (None, None)) for row in tables]
    return {
        "schema_name": _cells(tables, 0),
        "relation_name": _cells(tables, 1),
        "kind": [_kind(row) for row in tables],
        "comment": [None if row[2] == "VIEW" else row[4] or None for row in tables],
        "definition": [text or None for text, _ in found],
        "owner": [definer for _, definer in found],
        "partition_of": [None] * len(tables),
    }


def _kind(row: Row) -> str:
    if row[2] == "VIEW":
        return "view"
    return "partitioned_table" if "partitioned" in (row[3] or "") else "table"


def columns(rows: Rows, checks: Rows, types: Types, mariadb: bool) -> Columns:
    cells: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * 11
    schema, relation, name, position, text, nullable, default, extra, expression, _, _ = cells
    logical = types.of(text)
    json = _json_columns(checks)
    if json:
        logical = [
            _JSON if key in json else one
            for key, one in zip(zip(schema, relation, name, strict=True), logical, strict=True)
        ]
    default = _defaults(default, extra, expression, text, mariadb)
    return {
        "schema_name": schema,
        "relation_name": relation,
        "column_name": name,
        "position": list(map(int, position)),
        "data_type": text,
        "logical_type": [one.word for one in logical],
        "type_length": pa.array([one.length for one in logical], pa.int64()),
        "type_precision": pa.array([one.precision for one in logical], pa.int64()),
        "type_scale": pa.array([one.scale for one in logical], pa.int64()),
        "type_items": pa.nulls(len(rows), pa.string()),
        "nullable": [word == "YES" for word in nullable],
        "default": default,
        "identity": ["BY DEFAULT" if "auto_increment" in word else None for word in extra],
        "generated": [_generated(word) for word in extra],
        "collation": cells[9],
        "comment": [word or None for word in cells[10]],
    }


def _json_columns(checks: Rows) -> set[tuple[Any, ...]]:
    """MariaDB's JSON is a text with this check, named as the column."""
    found = set()
    for schema, relation, name, clause, _ in checks:
        match = _JSON_CHECK.fullmatch(clause or "")
        if match and match[1].replace("``", "`") == name:
            found.add((schema, relation, name))
    return found


def _generated(extra: str) -> str | None:
    if "GENERATED" not in extra or extra.startswith("DEFAULT_GENERATED"):
        return None
    return "STORED" if "STORED" in extra else "VIRTUAL" if "VIRTUAL" in extra else None


def _defaults(
    default: Sequence[Any],
    extra: Sequence[Any],
    expression: Sequence[Any],
    types: Sequence[Any],
    mariadb: bool,
) -> list[str | None]:
    if mariadb:
        texts = [None if one == "NULL" else one for one in default]
    else:
        texts = [_literal(*one) for one in zip(default, extra, types, strict=True)]
    return [
        _default(*one) if one[1] or one[2] else one[0]
        for one in zip(texts, extra, expression, strict=True)
    ]


def _default(text: str | None, extra: str, expression: str | None) -> str | None:
    """Of a generated column its expression; ON UPDATE stands behind."""
    if expression:
        return expression
    update = _ON_UPDATE.search(extra)
    return f"{text or 'NULL'} ON UPDATE {update[1]}" if update else text


def _literal(text: str | None, extra: str, data_type: str) -> str | None:
    """MySQL gives a constant without its quotes."""
    if text is None or "DEFAULT_GENERATED" in extra or _NUMERIC.match(data_type):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def triggers(rows: Rows) -> Columns:
    """One after another for the same event: `FOLLOWS` says which."""
    events: dict[tuple[Any, ...], list[str]] = {}
    before: dict[tuple[Any, ...], str] = {}
    follows: dict[tuple[Any, ...], str] = {}
    for row in sorted(rows, key=_turn):
        key, moment = row[:3], (*row[:2], row[3], row[4])
        events.setdefault(key, []).extend((row[4] or "").split(","))
        if moment in before:
            follows.setdefault(key, before[moment])
        before[moment] = row[2] or ""
    one = list({row[:3]: row for row in sorted(rows, key=text_of)}.values())
    return {
        "schema_name": _cells(one, 0),
        "relation_name": _cells(one, 1),
        "trigger_name": _cells(one, 2),
        "timing": _cells(one, 3),
        "events": [events[row[:3]] for row in one],
        "definition": [
            _trigger_definition(row, events[row[:3]], follows.get(row[:3])) for row in one
        ],
        "enabled": ["origin"] * len(one),
    }


def _turn(row: Row) -> tuple[Any, ...]:
    return (*row[:2], row[3], row[4], int(row[5] or 0))


def _trigger_definition(row: Row, events: Sequence[str], after: str | None) -> str:
    schema, relation, name, timing, _, _, body, definer = row
    user, _, host = (definer or "").rpartition("@")
    return (
        f"CREATE DEFINER={quoted(user)}@{quoted(host)} TRIGGER {quoted(name or '')} {timing} "
        f"{' OR '.join(events)} ON {quoted(schema or '')}.{quoted(relation or '')} FOR EACH ROW "
        + (f"FOLLOWS {quoted(after)} " if after else "")
        + (body or "")
    )


def routines(rows: Rows, parameters: Rows) -> Columns:
    arguments: dict[tuple[Any, ...], list[str]] = {}
    for row in sorted(parameters, key=_argument_place):
        if int(row[3] or 0) > 0:
            arguments.setdefault(row[:3], []).append(_argument(row))
    ordered = sorted(rows, key=text_of)
    return {
        "schema_name": _cells(ordered, 0),
        "routine_name": _cells(ordered, 1),
        "kind": [(row[2] or "").lower().replace(" ", "_") for row in ordered],
        "language": [row[5] or row[4] for row in ordered],
        "arguments": [", ".join(arguments.get(row[:3], ())) for row in ordered],
        "returns": [row[3] if row[2] == "FUNCTION" else None for row in ordered],
        "definition": [row[6] for row in ordered],
        "comment": [row[7] or None for row in ordered],
    }


def _argument_place(row: Row) -> tuple[Any, ...]:
    return (*row[:3], int(row[3] or 0))


def _argument(row: Row) -> str:
    name = row[5] or ""
    shown = name if _PLAIN.fullmatch(name) else quoted(name)
    mode = f"{row[4]} " if row[2] == "PROCEDURE" and row[4] else ""
    return f"{mode}{shown} {row[6]}"


def sequences(rows: Rows, types: Rows) -> Columns:
    texts = {row[:2]: row[2] for row in types}
    return {
        "schema_name": _cells(rows, 0),
        "sequence_name": _cells(rows, 1),
        "data_type": [texts.get(row[:2]) for row in rows],
        "start": [int(row[2] or 0) for row in rows],
        "increment": [int(row[3] or 0) for row in rows],
        "owned_by": [None] * len(rows),
    }


def schemas(rows: Rows) -> Columns:
    return {
        "schema_name": _cells(rows, 0),
        "owner": [None] * len(rows),
        "comment": [row[2] or None for row in rows],
    }


def statistics(tables: Rows) -> Columns:
    """Views have none."""
    held = [row for row in tables if row[2] != "VIEW"]
    return {
        "schema_name": _cells(held, 0),
        "relation_name": _cells(held, 1),
        "row_estimate": [_number(row[5]) for row in held],
        "bytes_estimate": [_number(row[6]) for row in held],
        "analyzed_at": [None] * len(held),
    }


def sort_of_routine(word: str | None) -> int:
    """Functions and procedures may share a name: this tells them apart."""
    return ROUTINE_SORTS.index(word) if word in ROUTINE_SORTS else len(ROUTINE_SORTS)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None else None


def _cells(rows: Rows, place: int) -> list[str | None]:
    return [row[place] for row in rows]


def text_of(row: Row) -> tuple[str, ...]:
    return tuple(cell or "" for cell in row)
