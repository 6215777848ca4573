"""What a snapshot of a SQLite file must hold, asked a second time: PRAGMA by PRAGMA, table by
table, as https://www.sqlite.org/pragma.html has it; texts are parsed by sqlglot. Nothing of the
engine's own statements or parser is used.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlglot
from sqlglot import exp

from bench.compare import Row, compare, snapshot_faults, snapshot_rows
from bench.engine import extract
from bench.report import Report
from extraction.catalog import KINDS
from extraction.connection import Target

MAGIC = b"SQLite format 3\0"
# A declared type by its first word; else by affinity, in this order, else NUMERIC.
WORDS = {
    **{"bool": "boolean", "boolean": "boolean", "date": "date", "time": "time", "any": "other"},
    **{"datetime": "timestamp", "timestamp": "timestamp", "timestamptz": "timestamp"},
    **{"uuid": "uuid", "guid": "uuid", "json": "json", "jsonb": "json", "xml": "xml"},
    **{"binary": "binary", "varbinary": "binary", "point": "geometry", "geometry": "geometry"},
}
AFFINITY = (("int", "integer"), ("char|clob|text", "string"), ("blob", "binary"))
REAL = "real|floa|doub"


def is_sqlite(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(MAGIC)) == MAGIC


def verify(file: Path, storage: Path) -> Report:
    """Extracts the file below `storage` and compares."""
    target = Target("sqlite", "", 0, file.name, "", "")
    run = extract(target, "", f"file://{storage}", files=file.parent)
    manifest = json.loads((storage / "snapshots" / run.run_id / "manifest.json").read_bytes())
    expected = ask(file)
    got = {name: list(snapshot_rows(storage, manifest, kind)) for name, kind in KINDS.items()}
    reads = expected["dependencies"], got["dependencies"]
    expected["dependencies"], got["dependencies"] = (_as_known(rows, reads[1]) for rows in reads)
    return Report(
        sqlite3.sqlite_version,
        run.finished.status,
        [compare(kind, expected[name], got[name]) for name, kind in KINDS.items()],
        list(snapshot_faults(storage, manifest)),
        "SQLite",
    )


def ask(file: Path) -> dict[str, list[Row]]:
    """For each kind the rows that the file's schema holds."""
    connection = sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    rows: dict[str, list[Row]] = {name: [] for name in KINDS}
    rows["schemas"].append({"schema_name": "main", "owner": None, "comment": None})
    for table in connection.execute("PRAGMA main.table_list").fetchall():
        if table["schema"] == "main" and not table["name"].lower().startswith("sqlite_"):
            for kind, row in _Table(connection, table).rows():
                rows[kind].append(row)
            if table["type"] == "view":
                rows["dependencies"] += _reads(connection, table["name"])
    connection.close()
    return rows


def _reads(connection: sqlite3.Connection, view: str) -> Iterator[Row]:
    """What SQLite itself asks leave for when it compiles the view."""
    found: set[tuple[str, str]] = set()
    types = {r["name"]: r["type"] for r in connection.execute("SELECT * FROM main.sqlite_schema")}

    def asked(action: int, table: str | None, column: str | None, *inside: str | None) -> int:
        # Inside a common table expression its name stands where the view's would.
        another = inside[1] != view and types.get(inside[1] or "") == "view"
        if action == sqlite3.SQLITE_READ and table and table in types and inside[1] and not another:
            found.add((table, column or ""))
        return sqlite3.SQLITE_OK

    connection.set_authorizer(asked)
    quoted = '"' + view.replace('"', '""') + '"'
    connection.execute(f"SELECT * FROM main.{quoted} LIMIT 0").close()
    connection.set_authorizer(None)
    for table, column in found:
        yield {
            **{"schema_name": "main", "relation_name": view, "referenced_schema": "main"},
            **{"referenced_relation": table, "referenced_column": column or None},
            "found_by": "parsed",
        }


def _as_known(rows: list[Row], got: list[Row]) -> list[Row]:
    """Where the text does not tell the columns, any of them will do: each relation once."""
    keys = ("relation_name", "referenced_relation")
    whole = {tuple(r[k] for k in keys) for r in got if r["referenced_column"] is None}
    kept = [row for row in rows if tuple(row[key] for key in keys) not in whole]
    unsure = [row for row in rows if tuple(row[key] for key in keys) in whole]
    each = {tuple(row[key] for key in keys): row for row in unsure}
    return [*kept, *({**row, "referenced_column": None} for row in each.values())]


class _Table:
    def __init__(self, connection: sqlite3.Connection, about: sqlite3.Row) -> None:
        self.connection, self.about, self.name = connection, about, about["name"]
        self.sql = self._one("SELECT sql FROM sqlite_schema WHERE name = ?", self.name)
        self.columns = self._pragma("table_xinfo", self.name)
        self.own = {"schema_name": "main", "relation_name": self.name}
        self.parsed: Any = None
        if about["type"] == "table":
            # What sqlglot does not know: ANY as a type, WITHOUT ROWID. PRAGMA says both.
            text = re.sub(r"(?i)\bany\b", "blob", self.sql)
            text = re.sub(r"(?i)\)\s*(?:without\s+rowid|strict|[,\s])+$", ")", text)
            self.parsed = sqlglot.parse_one(text, dialect="sqlite")

    def _one(self, statement: str, *values: str) -> Any:
        row = self.connection.execute(statement, values).fetchone()
        return row[0] if row else None

    def _pragma(self, pragma: str, name: str) -> list[sqlite3.Row]:
        quoted = '"' + name.replace('"', '""') + '"'
        return self.connection.execute(f"PRAGMA main.{pragma}({quoted})").fetchall()

    def rows(self) -> Iterator[tuple[str, Row]]:
        kinds = {"virtual": "virtual_table", "shadow": "shadow_table"}
        kind = kinds.get(self.about["type"], self.about["type"])
        nothing = dict.fromkeys(("comment", "owner", "partition_of"))
        text = self.sql if kind == "view" else None
        yield "relations", {**self.own, "kind": kind, "definition": text, **nothing}
        for column in self.columns:
            yield "columns", self.column(column)
        if kind == "view":
            yield from self.triggers()
            return
        for constraint in self.constraints():
            yield "constraints", {**self.own, **constraint}
        yield from self.indexes()
        yield from self.triggers()
        yield "statistics", self.statistics()

    def column(self, column: sqlite3.Row) -> Row:
        keys = [c for c in self.columns if c["pk"]]
        rowid = (
            column["pk"] == 1
            and len(keys) == 1
            and column["type"].upper() == "INTEGER"
            and not any(i["origin"] == "pk" for i in self._pragma("index_list", self.name))
        )
        declared = self._declared(column["name"])
        computed = declared.find(exp.ComputedColumnConstraint) if declared else None
        collated = declared.find(exp.CollateColumnConstraint) if declared else None
        collation = collated.this.name if collated else None
        word, sizes = _logical(column["type"])
        return {
            **self.own,
            **sizes,
            "column_name": column["name"],
            "position": column["cid"] + 1,
            "data_type": column["type"],
            "logical_type": word,
            "type_items": None,
            "nullable": not (column["notnull"] or rowid),
            "default": self._generated(computed) if computed else column["dflt_value"],
            "identity": "BY DEFAULT" if rowid else None,
            "generated": {2: "VIRTUAL", 3: "STORED"}.get(column["hidden"]),
            "collation": None if str(collation).upper() == "BINARY" else collation,
            "comment": None,
        }

    def _declared(self, name: str) -> Any:
        if self.parsed is None:
            return None
        found = (c for c in self.parsed.find_all(exp.ColumnDef) if c.name.lower() == name.lower())
        return next(found, None)

    def _generated(self, computed: Any) -> str:
        """The text as written, where it reads the same once it is parsed."""
        wanted = _normal(computed.this.unnest().sql(dialect="sqlite"))
        texts = (_inside(self.sql, m.end()) for m in re.finditer(r"(?i)\bas\s*\(", self.sql))
        return next(text for text in texts if _parsed(text) == wanted)

    def constraints(self) -> Iterator[dict[str, Any]]:
        keys = sorted((c for c in self.columns if c["pk"]), key=lambda c: c["pk"])
        if keys:
            own = [c["name"] for c in keys]
            named = self._named(exp.PrimaryKey, own) or f"{self.name}_pkey"
            yield _constraint(named, "primary_key", own, f"PRIMARY KEY ({_list(own)})")
        for index in self._pragma("index_list", self.name):
            if index["origin"] == "u":
                own = self._index_columns(index["name"])
                made = "_".join([self.name, *own, "key"])
                name = self._named(exp.UniqueColumnConstraint, own) or made
                yield _constraint(name, "unique", own, f"UNIQUE ({_list(own)})")
        foreign: dict[int, list[sqlite3.Row]] = {}
        for row in self._pragma("foreign_key_list", self.name):
            foreign.setdefault(row["id"], []).append(row)
        for rows in foreign.values():
            yield self._foreign(sorted(rows, key=lambda row: row["seq"]))
        for check in self.parsed.find_all(exp.CheckColumnConstraint) if self.parsed else ():
            yield self._check(check)

    def _foreign(self, rows: list[sqlite3.Row]) -> dict[str, Any]:
        own, first = [row["from"] for row in rows], rows[0]
        spelled = "SELECT name FROM sqlite_schema WHERE lower(name) = lower(?) AND type = 'table'"
        parent = self._one(spelled, first["table"]) or first["table"]
        theirs = [row["to"] for row in rows]
        columns = self._pragma("table_xinfo", parent)
        if theirs[0] is None:
            keys = sorted((c for c in columns if c["pk"]), key=lambda c: c["pk"])
            theirs = [c["name"] for c in keys]
        by_name = {c["name"].lower(): c["name"] for c in columns}
        theirs = [by_name.get(name.lower(), name) for name in theirs]
        text = f"FOREIGN KEY ({_list(own)}) REFERENCES {_quoted(parent)}({_list(theirs)})"
        for event in ("update", "delete"):
            action = first[f"on_{event}"]
            text += f" ON {event.upper()} {action}" if action != "NO ACTION" else ""
        said = self._reference(own)
        options = " ".join(said.args.get("options") or []) if said else ""
        if "DEFERRABLE" in options and "NOT DEFERRABLE" not in options:
            late = " INITIALLY DEFERRED" if "INITIALLY DEFERRED" in options else ""
            text += " DEFERRABLE" + late
        name = self._named(exp.ForeignKey, own) or "_".join([self.name, *own, "fkey"])
        return _constraint(
            *(name, "foreign_key", own, text, parent, theirs),
            *(first["on_update"], first["on_delete"]),
        )

    def _reference(self, own: list[str]) -> Any:
        for key in self.parsed.find_all(exp.ForeignKey):
            if [c.name.lower() for c in key.expressions] == [c.lower() for c in own]:
                return key.args.get("reference")
        declared = self._declared(own[0]) if len(own) == 1 else None
        return declared.find(exp.Reference) if declared else None

    def _check(self, check: Any) -> dict[str, Any]:
        wanted = _normal(check.this.sql(dialect="sqlite"))
        texts = (_inside(self.sql, m.end()) for m in re.finditer(r"(?i)\bcheck\s*\(", self.sql))
        text = next(text for text in texts if _parsed(text) == wanted)
        used = {column.name.lower() for column in check.find_all(exp.Column)}
        own = [c["name"] for c in self.columns if c["name"].lower() in used]
        parent = check.parent
        named = isinstance(parent, exp.Constraint | exp.ColumnConstraint) and parent.this
        name = parent.this.name if named else f"{self.name}_check"
        return _constraint(name, "check", own, f"CHECK ({text})")

    def _named(self, kind: type[exp.Expression], own: list[str]) -> str | None:
        """The name that was given to a constraint of these columns."""
        lower = [c.lower() for c in own]
        for constraint in self.parsed.find_all(exp.Constraint) if self.parsed else ():
            found = constraint.find(kind)
            names = [c.name.lower() for c in found.find_all(exp.Identifier)] if found else []
            if names[: len(lower)] == lower:
                return str(constraint.this.name)
        return None

    def _index_columns(self, name: str) -> list[str]:
        return [r["name"] for r in self._pragma("index_xinfo", name) if r["key"]]

    def indexes(self) -> Iterator[tuple[str, Row]]:
        statement = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?"
        listed = {i["name"]: i for i in self._pragma("index_list", self.name)}
        for name, sql in self.connection.execute(statement, (self.name,)).fetchall():
            keys, predicate = self._index_columns(name), None
            if sql:
                inside = _inside(sql, re.search(r"(?i)\bon\b[^(]*\(", sql).end())  # type: ignore[union-attr]
                texts = [part.strip() for part in re.split(r",(?![^(]*\))", inside)]
                order = r"(?i)\s+(asc|desc)$|\s+collate\s+\w+"
                keys = [
                    k if k is not None else re.sub(order, "", re.sub(order, "", t))
                    for k, t in zip(keys, texts, strict=True)
                ]
                if listed[name]["partial"]:
                    predicate = re.split(r"(?i)\)\s*where\s+", sql, maxsplit=1)[1]
            yield (
                "indexes",
                {
                    **self.own,
                    "index_name": name,
                    "columns": keys,
                    "unique": bool(listed[name]["unique"]),
                    "method": "btree",
                    "predicate": predicate,
                    "definition": sql,
                },
            )

    def triggers(self) -> Iterator[tuple[str, Row]]:
        statement = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?"
        for name, sql in self.connection.execute(statement, (self.name,)).fetchall():
            head = re.split(r"(?i)\bon\b", sql, maxsplit=1)[0]
            timing = re.search(
                r"(?i)\b(before|after|instead\s+of)\s+(?=delete|insert|update)", head
            )
            event = re.findall(r"(?i)\b(delete|insert|update)\b", head)[-1]
            about = {
                "trigger_name": name,
                "timing": " ".join(timing[1].upper().split()) if timing else "BEFORE",
                "events": [event.upper()],
                "definition": sql,
                "enabled": "origin",
            }
            yield "triggers", {**self.own, **about}

    def statistics(self) -> Row:
        estimate = None
        if self._one("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'"):
            stat = self._one("SELECT stat FROM sqlite_stat1 WHERE tbl = ? LIMIT 1", self.name)
            estimate = int(stat.split()[0]) if stat else None
        return {**self.own, "row_estimate": estimate, "bytes_estimate": None, "analyzed_at": None}


def _constraint(
    name: str,
    kind: str,
    own: list[str],
    definition: str,
    parent: str | None = None,
    theirs: list[str] | None = None,
    on_update: str | None = None,
    on_delete: str | None = None,
) -> dict[str, Any]:
    return {
        "constraint_name": name,
        "kind": kind,
        "columns": own,
        "referenced_schema": "main" if parent else None,
        "referenced_relation": parent,
        "referenced_columns": theirs or [],
        "on_update": on_update,
        "on_delete": on_delete,
        "definition": definition,
    }


def _logical(declared: str) -> tuple[str, dict[str, int | None]]:
    lower = declared.lower()
    sizes: dict[str, int | None] = dict.fromkeys(("type_length", "type_precision", "type_scale"))
    if not lower:
        return "other", sizes
    word = WORDS.get(re.split(r"[\s(]", lower, maxsplit=1)[0], "")
    for pattern, affinity in (*AFFINITY, (REAL, "float"), ("", "decimal")):
        word = word or (affinity if re.search(pattern, lower) else "")
    numbers = [int(n) for n in re.findall(r"\d+", lower.partition("(")[2])]
    if numbers and word in ("string", "binary"):
        sizes["type_length"] = numbers[0]
    elif numbers and word == "decimal":
        sizes |= {"type_precision": numbers[0], "type_scale": (*numbers, 0)[1]}
    elif numbers and word in ("time", "timestamp"):
        sizes["type_precision"] = numbers[0]
    return word, sizes


def _inside(sql: str, start: int) -> str:
    """What stands between the bracket before `start` and the one that closes it."""
    depth, text = 1, False
    for place in range(start, len(sql)):
        text ^= sql[place] == "'"
        depth += 0 if text else {"(": 1, ")": -1}.get(sql[place], 0)
        if not depth:
            return sql[start:place].strip()
    return sql[start:]


def _parsed(text: str) -> str:
    return _normal(sqlglot.parse_one(text, dialect="sqlite").sql(dialect="sqlite"))


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _list(names: list[str]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else f'"{name}"'
