"""From rows of a SQLite file's schema to the kinds of a snapshot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa

from extraction.sources import ddl
from extraction.sources.filed import Row, Rows
from extraction.sources.naming import Names, quoted
from extraction.sources.sqlite_types import logical_type
from extraction.tables import from_rows, table_of

SCHEMA = "main"
_KINDS = {"virtual": "virtual_table", "shadow": "shadow_table"}
_GENERATED = {2: "VIRTUAL", 3: "STORED"}


def schemas(rows: Rows) -> pa.Table:
    return from_rows("schemas", rows)


def relations(rows: Rows) -> pa.Table:
    return from_rows(
        "relations",
        [(SCHEMA, n, _KINDS.get(k, k), None, text, None, None) for n, k, text in rows],
    )


def columns(rows: Rows) -> pa.Table:
    if not rows:
        return from_rows("columns", [])
    table, cid, name, declared, notnull, default, key, hidden, alias, text = zip(*rows, strict=True)
    logical = [logical_type(one) for one in declared]
    # A key of several columns is none of the rowid.
    several = {t for t, k in zip(table, key, strict=True) if k == 2}
    rowid = [bool(a) and t not in several for a, t in zip(alias, table, strict=True)]
    nothing = [None] * len(rows)
    found: dict[str, Any] = {
        "schema_name": [SCHEMA] * len(rows),
        "relation_name": table,
        "column_name": name,
        "position": [number + 1 for number in cid],
        "data_type": declared,
        "logical_type": [one.word for one in logical],
        "type_length": [one.length for one in logical],
        "type_precision": [one.precision for one in logical],
        "type_scale": [one.scale for one in logical],
        "type_items": nothing,
        "nullable": [not (n or r) for n, r in zip(notnull, rowid, strict=True)],
        "default": list(default),
        "identity": ["BY DEFAULT" if r else None for r in rowid],
        "generated": [_GENERATED.get(h) for h in hidden],
        "collation": list(nothing),
        "comment": nothing,
    }
    _from_texts(found, text)
    return table_of("columns", found)


def _from_texts(found: dict[str, Any], texts: Sequence[str | None]) -> None:
    """Collations and expressions, which stand in the text of the table only."""
    by_table = {t: sql for t, sql in zip(found["relation_name"], texts, strict=True) if sql}
    if not by_table:
        return
    for place, (table, column) in enumerate(
        zip(found["relation_name"], found["column_name"], strict=True)
    ):
        if table in by_table:
            text = ddl.table_text(by_table[table])
            if found["generated"][place]:
                found["default"][place] = text.generated.get(column.lower())
            collation = text.collations.get(column.lower(), "")
            found["collation"][place] = None if collation.upper() in ("", "BINARY") else collation


def constraints(rows: Rows, spelled: Callable[[], Mapping[str, str]]) -> pa.Table:
    """`spelled` gives the name of each relation by its lower case: a reference may be spelled
    in another way."""
    texts = {row[0]: ddl.table_text(row[4]) for row in rows if row[1] == "text"}
    columns_of: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row[1] == "column":
            columns_of[row[0]].append(row[4])
    keys = [row for row in rows if row[1] not in ("text", "column")]
    known = spelled() if any(row[5] for row in keys) else {}
    keys.sort(key=lambda row: (row[0], row[1], row[2], row[3]))
    by_table: dict[str, list[Row]] = defaultdict(list)
    for (table, kind, number), group in groupby(keys, key=lambda row: row[:3]):
        by_table[table].append((kind, number, list(group)))
    found: Rows = []
    for table in {**by_table, **texts}:
        text = texts.get(table) or ddl.TableText()
        names = Names()
        found += _keys(table, by_table.get(table, []), text, names, known)
        found += _checks(table, text, names, columns_of[table])
    return from_rows("constraints", found)


def _keys(
    table: str, keys: Sequence[Row], text: ddl.TableText, names: Names, known: Mapping[str, str]
) -> Iterator[Row]:
    declared = [c for c in text.constraints if c.kind == "foreign_key"]
    count = sum(kind == "foreign_key" for kind, _, _ in keys)
    for kind, number, group in keys:
        own = [row[4] for row in group]
        said = None
        if kind == "foreign_key":
            # Numbered from the last one written to the first.
            said = declared[count - 1 - number] if len(declared) == count else None
        else:
            said = next((c for c in text.constraints if c.kind == kind and _same(c, own)), None)
        name = names.of(said.name if said else None, table, own, kind)
        yield _key(table, name, kind, own, group, said, known)


def _checks(table: str, text: ddl.TableText, names: Names, columns: Sequence[str]) -> Iterator[Row]:
    for check in (c for c in text.constraints if c.kind == "check"):
        words = {word.lower() for word in check.columns}
        named = [column for column in columns if column.lower() in words]
        name = names.of(check.name, table, [], "check")
        definition = f"CHECK ({check.text})"
        yield (SCHEMA, table, name, "check", named, None, None, [], None, None, definition)


def _key(
    table: str,
    name: str,
    kind: str,
    own: list[str],
    group: Sequence[Row],
    said: ddl.Constraint | None,
    known: Mapping[str, str],
) -> Row:
    listed = ", ".join(map(quoted, own))
    if kind != "foreign_key":
        words = "PRIMARY KEY" if kind == "primary_key" else "UNIQUE"
        definition = f"{words} ({listed})"
        return (SCHEMA, table, name, kind, own, None, None, [], None, None, definition)
    _, _, _, _, _, parent, _, on_update, on_delete = group[0]
    parent = known.get(parent.lower(), parent)
    theirs = [row[6] for row in group if row[6] is not None]
    definition = f"FOREIGN KEY ({listed}) REFERENCES {quoted(parent)}"
    definition += f"({', '.join(map(quoted, theirs))})" if theirs else ""
    for event, action in (("UPDATE", on_update), ("DELETE", on_delete)):
        definition += f" ON {event} {action}" if action != "NO ACTION" else ""
    definition += f" {said.deferrable}" if said and said.deferrable else ""
    return (
        SCHEMA,
        table,
        name,
        kind,
        own,
        SCHEMA,
        parent,
        theirs,
        on_update,
        on_delete,
        definition,
    )


def _same(constraint: ddl.Constraint, own: Sequence[str]) -> bool:
    return [c.lower() for c in constraint.columns] == [c.lower() for c in own]


def indexes(rows: Rows) -> pa.Table:
    rows.sort(key=lambda row: (row[0], row[1], row[2]))
    found: Rows = []
    for (table, name), several in groupby(rows, key=lambda row: row[:2]):
        group = list(several)
        sql = group[0][5]
        # Only what is no plain column, and what follows the list, is taken from the text.
        plain = all(row[3] >= 0 for row in group)
        needs_text = sql and (not plain or "where" in sql.lower())
        text = ddl.index_text(sql) if needs_text else ddl.IndexText((), None)
        keys = [_index_key(row, place, text) for place, row in enumerate(group)]
        unique = not sql or sql.startswith("CREATE UNIQUE ")
        found.append((SCHEMA, table, name, keys, unique, "btree", text.predicate, sql))
    return from_rows("indexes", found)


def _index_key(row: Row, place: int, text: ddl.IndexText) -> str:
    if row[3] >= 0:
        return str(row[4])
    return text.keys[place] if place < len(text.keys) else "rowid"


def triggers(rows: Rows) -> pa.Table:
    found = []
    for table, name, sql in rows:
        timing, events = ddl.trigger_text(sql)
        found.append((SCHEMA, table, name, timing, list(events), sql, "origin"))
    return from_rows("triggers", found)


def statistics(rows: Rows) -> pa.Table:
    return from_rows(
        "statistics", [(SCHEMA, name, _first(stat), None, None) for name, stat in rows]
    )


def _first(stat: str | None) -> int | None:
    """The first number of sqlite_stat1's text: how many rows there are."""
    number = (stat or "").partition(" ")[0]
    return int(number) if number.isdecimal() else None


def nothing(kind: str) -> pa.Table:
    """Of what SQLite does not have: routines, sequences; nor does it record dependencies."""
    return from_rows(kind, [])
