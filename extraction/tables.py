"""Rows of a kind as one Arrow table: typed as the catalog says, in the order of its key."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from extraction.catalog import KINDS, ColumnType

TYPES: dict[ColumnType, pa.DataType] = {
    "text": pa.string(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "texts": pa.list_(pa.string()),
    "time": pa.timestamp("us", tz="UTC"),
}


if find_spec("dateutil") is None:
    # pyarrow looks for it at every conversion of a value: a third of the time of small tables.
    sys.modules.setdefault("dateutil", None)  # type: ignore[arg-type]


def spare_memory() -> None:
    """For a process that reads: Arrow's own pool keeps what its threads have freed, some 75 MiB
    more at 11,900 relations than the system's, which is as fast."""
    pa.set_memory_pool(pa.system_memory_pool())


def schema_of(kind: str) -> pa.Schema:
    return pa.schema([(name, TYPES[t]) for name, t in KINDS[kind].columns.items()])


def table_of(kind: str, columns: Mapping[str, Any]) -> pa.Table:
    """Arrays or lists by column name, one for each column of the kind, in any order."""
    schema = schema_of(kind)
    arrays = [_array(columns[field.name], field.type) for field in schema]
    return in_order(kind, pa.Table.from_arrays(arrays, schema=schema))


def from_rows(kind: str, rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Rows with the kind's columns in the catalog's order."""
    names = list(KINDS[kind].columns)
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in names]
    return table_of(kind, dict(zip(names, columns, strict=True)))


def in_order(kind: str, table: pa.Table) -> pa.Table:
    """Sorted by the kind's key, texts by their bytes, in one chunk."""
    keys = [(name, "ascending") for name in KINDS[kind].key]
    return table.take(pc.sort_indices(table, sort_keys=keys)).combine_chunks()


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        return values if values.type == kind else values.cast(kind)
    return pa.array(values, kind)
