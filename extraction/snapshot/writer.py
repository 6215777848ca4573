"""Rows of one kind, as one immutable Parquet file named by its digest.

The same rows always give the same bytes: one table in one chunk, one write,
fixed settings, a pinned pyarrow.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from extraction.catalog import KINDS, ColumnType
from extraction.snapshot.layout import part_path
from extraction.storage import Storage

ROWS_PER_CHUNK = 4096
ROW_GROUP = 65_536

_TYPES: dict[ColumnType, pa.DataType] = {
    "text": pa.string(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "texts": pa.list_(pa.string()),
    "time": pa.timestamp("us", tz="UTC"),
}


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


def schema_of(kind: str) -> pa.Schema:
    return pa.schema([(name, _TYPES[t]) for name, t in KINDS[kind].columns.items()])


def write_part(
    storage: Storage, run_id: str, kind: str, rows: Sequence[tuple[Any, ...]]
) -> Part | None:
    """Write rows that are in the order of the kind's key. No rows, no file."""
    if not rows:
        return None
    data = parquet(_table(kind, rows))
    sha256 = hashlib.sha256(data).hexdigest()
    path = part_path(run_id, sha256)
    storage.put(path, data)
    schemas = Counter(row[0] for row in rows)
    return Part(
        kind, path, len(rows), len(data), sha256, _key(kind, rows[0]), _key(kind, rows[-1]),
        dict(schemas),
    )  # fmt: skip


def parquet(table: pa.Table) -> bytes:
    """The settings are part of the format: another value is another snapshot."""
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=True,
        write_statistics=True,
    )
    return sink.getvalue()


def _table(kind: str, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    schema = schema_of(kind)
    batches = [
        pa.record_batch(
            [
                pa.array(column, field.type)
                for column, field in zip(
                    zip(*rows[start : start + ROWS_PER_CHUNK], strict=True), schema, strict=True
                )
            ],
            schema=schema,
        )
        for start in range(0, len(rows), ROWS_PER_CHUNK)
    ]
    return pa.Table.from_batches(batches, schema).combine_chunks()


def _key(kind: str, row: tuple[Any, ...]) -> list[str | int]:
    names = list(KINDS[kind].columns)
    return [row[names.index(name)] for name in KINDS[kind].key]
