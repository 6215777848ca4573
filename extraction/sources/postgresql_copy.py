"""COPY … TO STDOUT into Arrow: rows of the catalogue without a Python object for each.

Measured against cursors in docs/decisions/reading-postgresql.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Literal

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn
from psycopg.waiting import Wait
from pyarrow import csv

from extraction.connection import Oversized

# "names" is an array of text, "numbers" are integers with spaces between.
RawType = Literal["int", "text", "bool", "names", "numbers"]

_CONVERT: dict[RawType, pa.DataType] = {
    "int": pa.int64(),
    "bool": pa.bool_(),
    # Bytes first: a database without an encoding sends what it has.
    "text": pa.binary(),
    "names": pa.binary(),
    "numbers": pa.binary(),
}


def copied(
    driver: psycopg.Connection[Any], statement: str, most: int | None
) -> tuple[bytearray, int]:
    """CSV, and its number of rows. Raises Oversized beyond `most` bytes, and ends the
    statement."""
    data = bytearray()
    with driver.cursor() as cursor, cursor.copy(_copy(statement)):
        # One wait for all rows: the driver's own loop has one in Python for each.
        rows = driver.wait(_received(driver.pgconn, data, most))
    return data, rows


def _received(pgconn: PGconn, data: bytearray, most: int | None) -> PQGen[int]:
    """Fills `data`, then takes the results off the connection. How many rows there were."""
    rows, get = 0, pgconn.get_copy_data
    limit = sys.maxsize if most is None else most
    while (got := get(1))[0] >= 0:
        if got[0]:
            data += got[1]
            rows += 1
        else:
            if len(data) > limit:
                raise Oversized
            yield from _more(pgconn)
    failed = None
    while True:
        while pgconn.is_busy():
            yield from _more(pgconn)
        result = pgconn.get_result()
        if result is None:
            break
        if result.status != ExecStatus.COMMAND_OK:
            failed = result
    if failed is not None:
        raise error_from_result(failed, encoding="utf-8")
    if len(data) > limit:
        raise Oversized
    return rows


def _more(pgconn: PGconn) -> PQGen[None]:
    yield Wait.R
    pgconn.consume_input()


def _copy(statement: str) -> bytes:
    return f"COPY ({statement}) TO STDOUT (FORMAT csv)".encode()


def parsed(data: bytes | bytearray, types: Sequence[RawType]) -> list[pa.Array]:
    """CSV as PostgreSQL writes it: null is nothing, the empty text is in quotes."""
    names = [str(number) for number in range(len(types))]
    wanted = dict(zip(names, (_CONVERT[t] for t in types), strict=True))
    if not data:
        return [_typed(pa.array([], _CONVERT[t]), t) for t in types]
    table = csv.read_csv(
        pa.BufferReader(pa.py_buffer(data)),
        csv.ReadOptions(column_names=names, block_size=len(data) + 1),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(
            column_types=wanted,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    return [
        _typed(column.combine_chunks(), t) for column, t in zip(table.columns, types, strict=True)
    ]


def _typed(array: pa.Array, kind: RawType) -> pa.Array:
    if kind in ("int", "bool"):
        return array
    text = _text(array)
    if kind == "names":
        return name_lists(text)
    if kind == "numbers":
        lists = split(text, " ")
        return pa.ListArray.from_arrays(lists.offsets, lists.values.cast(pa.int64()))
    return text


def _text(array: pa.Array) -> pa.StringArray:
    """Text as it is; bytes that are no UTF-8 as `\\xff`."""
    try:
        return array.cast(pa.string())
    except pa.ArrowInvalid:
        texts = (
            None if b is None else b.decode("utf-8", "backslashreplace") for b in array.to_pylist()
        )
        return pa.array(texts, pa.string())


def split(texts: pa.StringArray, separator: str) -> pa.ListArray:
    """Nothing and the empty text are empty lists."""
    texts = pc.fill_null(texts, "")
    lists = pc.split_pattern(texts, separator)
    filled = pc.not_equal(texts, "")
    counts = pc.if_else(filled, pc.list_value_length(lists), pa.scalar(0, pa.int32()))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(counts)])
    values = lists.flatten().filter(pc.take(filled, pc.list_parent_indices(lists)))
    return pa.ListArray.from_arrays(offsets, values)


def name_lists(literals: pa.StringArray) -> pa.ListArray:
    """PostgreSQL's own text of one-dimensional arrays of text."""
    if pc.any(pc.match_substring_regex(literals, r'["\\]')).as_py():
        return pa.array([_elements(text) for text in literals.to_pylist()], pa.list_(pa.string()))
    return split(pc.utf8_slice_codeunits(literals, 1, -1), ",")


def _elements(literal: str | None) -> list[str]:
    found: list[str] = []
    word, quoted, escaped = "", False, False
    for char in (literal or "{}")[1:-1]:
        if escaped or (quoted and char not in '"\\'):
            word, escaped = word + char, False
        elif char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == ",":
            found.append(word)
            word = ""
        else:
            word += char
    return [*found, word] if literal not in (None, "{}") else found
