"""The vocabulary of a snapshot: its kinds, their columns and their order.

A kind's `per` says what its batches are cut by; `key` is the order of its
rows, in binary order of the text. Column types are a closed set:
text, int, bool, texts (a list of text), time (UTC, microseconds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["text", "int", "bool", "texts", "time"]

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Kind:
    name: str
    per: Literal["schema", "relation"]
    key: tuple[str, ...]
    columns: dict[str, ColumnType]


_KINDS = (
    Kind(
        "schemas",
        "schema",
        ("schema_name",),
        {"schema_name": "text", "owner": "text", "comment": "text"},
    ),
    Kind(
        "relations",
        "relation",
        ("schema_name", "relation_name"),
        {
            "schema_name": "text",
            "relation_name": "text",
            "kind": "text",
            "comment": "text",
            "definition": "text",
            "owner": "text",
            "partition_of": "text",
        },
    ),
    Kind(
        "columns",
        "relation",
        ("schema_name", "relation_name", "position"),
        {
            "schema_name": "text",
            "relation_name": "text",
            "column_name": "text",
            "position": "int",
            "data_type": "text",
            "logical_type": "text",
            "type_length": "int",
            "type_precision": "int",
            "type_scale": "int",
            "type_items": "text",
            "nullable": "bool",
            "default": "text",
            "identity": "text",
            "generated": "text",
            "collation": "text",
            "comment": "text",
        },
    ),
    Kind(
        "constraints",
        "relation",
        ("schema_name", "relation_name", "constraint_name"),
        {
            "schema_name": "text",
            "relation_name": "text",
            "constraint_name": "text",
            "kind": "text",
            "columns": "texts",
            "referenced_schema": "text",
            "referenced_relation": "text",
            "referenced_columns": "texts",
            "on_update": "text",
            "on_delete": "text",
            "definition": "text",
        },
    ),
    Kind(
        "indexes",
        "relation",
        ("schema_name", "relation_name", "index_name"),
        {
            "schema_name": "text",
            "relation_name": "text",
            "index_name": "text",
            "columns": "texts",
            "unique": "bool",
            "method": "text",
            "predicate": "text",
            "definition": "text",
        },
    ),
    Kind(
        "routines",
        "schema",
        ("schema_name", "routine_name", "arguments"),
        {
            "schema_name": "text",
            "routine_name": "text",
            "kind": "text",
            "language": "text",
            "arguments": "text",
            "returns": "text",
            "definition": "text",
            "comment": "text",
        },
    ),
    Kind(
        "sequences",
        "schema",
        ("schema_name", "sequence_name"),
        {
            "schema_name": "text",
            "sequence_name": "text",
            "data_type": "text",
            "start": "int",
            "increment": "int",
            "owned_by": "text",
        },
    ),
    Kind(
        "triggers",
        "relation",
        ("schema_name", "relation_name", "trigger_name"),
        {
            "schema_name": "text",
            "relation_name": "text",
            "trigger_name": "text",
            "timing": "text",
            "events": "texts",
            "definition": "text",
            "enabled": "text",
        },
    ),
    # What a view reads: relations, and columns where that is known.
    Kind(
        "dependencies",
        "relation",
        (
            *("schema_name", "relation_name"),
            *("referenced_schema", "referenced_relation", "referenced_column"),
        ),
        {
            "schema_name": "text",
            "relation_name": "text",
            "referenced_schema": "text",
            "referenced_relation": "text",
            "referenced_column": "text",
            # catalogue: the source records it itself; parsed: from the view's text
            "found_by": "text",
        },
    ),
    Kind(
        "statistics",
        "relation",
        ("schema_name", "relation_name"),
        {
            "schema_name": "text",
            "relation_name": "text",
            "row_estimate": "int",
            "bytes_estimate": "int",
            "analyzed_at": "time",
        },
    ),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}
