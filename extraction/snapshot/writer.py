"""Rows of one kind, as one immutable Parquet file named by its digest.

The same rows always give the same bytes: one table in one chunk, one write,
fixed settings, a pinned pyarrow.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from extraction.catalog import KINDS
from extraction.snapshot.layout import part_path
from extraction.storage import Storage

ROW_GROUP = 65_536
SELDOM_TWICE = {"comment", "definition", "constraint_name", "index_name", "trigger_name"}


@dataclass(frozen=True)
class Part:
    """`first` and `last` are keys; `schemas` counts the rows of each schema."""

    kind: str
    path: str
    rows: int
    bytes: int
    sha256: str
    first: list[str | int]
    last: list[str | int]
    schemas: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def write_part(storage: Storage, run_id: str, kind: str, table: pa.Table) -> Part | None:
    """Write a table of the kind's schema, in the order of its key. No rows, no file."""
    if not table.num_rows:
        return None
    data = parquet(kind, table)
    sha256 = hashlib.sha256(data).hexdigest()
    path = part_path(run_id, sha256)
    storage.put(path, data)
    counted = pc.value_counts(table.column(0)).to_pylist()
    schemas = {entry["values"]: entry["counts"] for entry in counted}
    return Part(
        kind, path, table.num_rows, len(data), sha256, _key(kind, table, 0),
        _key(kind, table, table.num_rows - 1), schemas,
    )  # fmt: skip


def parquet(kind: str, table: pa.Table) -> bytes:
    """The settings are part of the format: another value is another snapshot."""
    texts, encodings = _columns(kind)
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=1,
        use_dictionary=texts,
        column_encoding=encodings,
        # What a reader passes over files by.
        write_statistics=["schema_name", "relation_name"],
    )
    return sink.getvalue()


@cache
def _columns(kind: str) -> tuple[list[str], dict[str, str]]:
    """Which columns repeat their texts, and how numbers are packed: two thirds of the size and
    of the time of one setting for all (docs/decisions/reading-postgresql.md)."""
    columns = KINDS[kind].columns.items()
    texts = [name for name, of in columns if of == "text" and name not in SELDOM_TWICE]
    lists = [f"{name}.list.element" for name, of in columns if of == "texts"]
    return texts + lists, {name: "DELTA_BINARY_PACKED" for name, of in columns if of == "int"}


def _key(kind: str, table: pa.Table, row: int) -> list[str | int]:
    return [table.column(name)[row].as_py() for name in KINDS[kind].key]
