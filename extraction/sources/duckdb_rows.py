"""The statements that read a DuckDB file, and its rows as the kinds of a snapshot.

Its table functions list a whole catalogue each time; a batch is picked by name.
"""

# ruff: noqa: S608
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import pyarrow as pa

from extraction.sources import ddl
from extraction.sources.duckdb_types import logical_type
from extraction.sources.filed import Row, Rows
from extraction.sources.naming import Names
from extraction.tables import from_rows

COMMENT_LIMIT = 65_536
_HERE = "database_name = current_database()"
_SYSTEM = "schema_name not in ('information_schema', 'pg_catalog')"
_OURS = f"{_HERE} and {_SYSTEM}"
_TABLES = f"duckdb_tables() where {_OURS} and not temporary and not internal"
_VIEWS = f"duckdb_views() where {_OURS} and not temporary and not internal"
_MACROS = f"duckdb_functions() where {_OURS} and not internal and function_type like '%macro'"


def _batch(name: str) -> str:
    return f"(schema_name, {name}) in (select unnest($1), unnest($2))"


def _comment(column: str = "comment") -> str:
    return (
        f"case when length({column}) <= {COMMENT_LIMIT} then {column} "
        f"else left({column}, {COMMENT_LIMIT}) || ' [cut]' end"
    )


INVENTORY = {
    "schemas": f"select schema_name, '', 0, 0 from duckdb_schemas() where {_OURS}",
    "relations": f"""
select schema_name, table_name, 0, column_count from {_TABLES}
union all select schema_name, view_name, 0, column_count from {_VIEWS}
""",
    "sequences": f"""
select schema_name, sequence_name, 0, 0 from duckdb_sequences() where {_OURS} and not temporary
""",
    "routines": f"select distinct schema_name, function_name, 0, 0 from {_MACROS}",
}
READ = {
    "schemas": f"""
select schema_name, null, {_comment()} from duckdb_schemas()
where {_OURS} and schema_name in (select unnest($1))
""",
    "relations": f"""
select schema_name, table_name, 'table', {_comment()}, null, null, null
from {_TABLES} and {_batch("table_name")}
union all
select schema_name, view_name, 'view', {_comment()}, sql, null, null
from {_VIEWS} and {_batch("view_name")}
""",
    "columns": f"""
select c.schema_name, c.table_name, c.column_name, c.column_index, c.data_type, c.is_nullable,
  c.column_default, {_comment("c.comment")},
  case when c.column_index = 1 and (t.sql ilike '%collate%' or t.sql ilike '%generated%')
    then t.sql end
from duckdb_columns() c left join duckdb_tables() t
  on t.{_HERE} and t.schema_name = c.schema_name and t.table_name = c.table_name
where c.{_HERE} and (c.schema_name, c.table_name) in (select unnest($1), unnest($2))
""",
    "constraints": f"""
select schema_name, table_name, constraint_index, constraint_type, constraint_name,
  constraint_column_names, referenced_table, referenced_column_names, constraint_text
from duckdb_constraints() where {_HERE} and constraint_type <> 'NOT NULL' and {_batch("table_name")}
""",
    "indexes": f"""
select schema_name, table_name, index_name, is_unique, sql
from duckdb_indexes() where {_HERE} and {_batch("table_name")}
""",
    "sequences": f"""
select schema_name, sequence_name, 'BIGINT', start_value, increment_by, null
from duckdb_sequences() where {_OURS} and {_batch("sequence_name")}
""",
    "routines": f"""
select schema_name, function_name, 'function', 'sql', array_to_string(parameters, ', '),
  case when function_type = 'table_macro' then 'TABLE' end, macro_definition, {_comment()}
from {_MACROS} and {_batch("function_name")}
""",
    "statistics": f"""
select schema_name, table_name, estimated_size, null, null from {_TABLES} and {_batch("table_name")}
""",
}
_KINDS = {"PRIMARY KEY": "primary_key", "UNIQUE": "unique", "CHECK": "check"}
_KINDS["FOREIGN KEY"] = "foreign_key"


def build(kind: str, rows: Rows) -> pa.Table:
    made = _MAKERS.get(kind)
    return from_rows(kind, list(made(rows)) if made else rows)


def _columns(rows: Rows) -> Iterator[Row]:
    texts = {row[:2]: ddl.table_text(row[8]) for row in rows if row[8]}
    nothing = ddl.TableText()
    for schema, table, name, position, kind, nullable, default, comment, _ in rows:
        text, logical = texts.get((schema, table), nothing), logical_type(kind)
        generated = "VIRTUAL" if name.lower() in text.generated else None
        yield (
            *(schema, table, name, position, kind, logical.word, logical.length),
            *(logical.precision, logical.scale, logical.items, nullable, default),
            *(None, generated, text.collations.get(name.lower()), comment),
        )


def _constraints(rows: Rows) -> Iterator[Row]:
    names: dict[tuple[str, str], Names] = defaultdict(Names)
    for row in sorted(rows, key=lambda row: row[:3]):
        schema, table, _, kind, given, columns, parent, theirs, text = row
        name = names[schema, table].of(given, table, columns, _KINDS[kind])
        foreign = kind == "FOREIGN KEY"
        # The only action that DuckDB knows.
        action = "NO ACTION" if foreign else None
        yield (
            *(schema, table, name, _KINDS[kind], columns, schema if foreign else None),
            *(parent if foreign else None, theirs if foreign else [], action, action, text),
        )


def _indexes(rows: Rows) -> Iterator[Row]:
    for schema, table, name, unique, sql in rows:
        text = ddl.index_text(sql)
        keys = [ddl.unquoted(key) if ddl.is_name(key) else key for key in text.keys]
        yield schema, table, name, keys, unique, "art", text.predicate, sql


_MAKERS: dict[str, Callable[[Rows], Iterator[Row]]] = {
    "columns": _columns,
    "constraints": _constraints,
    "indexes": _indexes,
}
