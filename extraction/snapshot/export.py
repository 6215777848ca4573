"""The rows of a kind as JSONL, CSV or one Parquet file, streamed in bounded memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from extraction.tables import schema_of

BATCH_ROWS = 4096
# A spreadsheet would run these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def jsonl(kind: str, paths: Sequence[Path]) -> Iterator[bytes]:
    for batch in _batches(paths):
        yield b"".join(
            orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)
            for row in batch.to_pylist()
        )


def csv_text(kind: str, paths: Sequence[Path]) -> Iterator[bytes]:
    yield _lines([schema_of(kind).names])
    for batch in _batches(paths):
        yield _lines([[_cell(value) for value in row.values()] for row in batch.to_pylist()])


def parquet(kind: str, paths: Sequence[Path]) -> Iterator[bytes]:
    """One file with all rows; without rows a valid one with the columns."""
    sink = _Sink()
    with pq.ParquetWriter(sink, schema_of(kind), compression="zstd") as writer:
        for path in paths:
            for batch in _batches([path], 65_536):
                writer.write_batch(batch)
                yield from sink.taken()
    yield from sink.taken()


FORMATS: dict[str, Callable[[str, Sequence[Path]], Iterator[bytes]]] = {
    "jsonl": jsonl,
    "csv": csv_text,
    "parquet": parquet,
}


def _batches(paths: Sequence[Path], rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=rows, use_threads=False)


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        value = orjson.dumps(value).decode()
    elif isinstance(value, datetime):
        value = value.isoformat().replace("+00:00", "Z")
    elif isinstance(value, bool):
        return "true" if value else "false"
    elif isinstance(value, int):
        return str(value)
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


class _Sink(io.RawIOBase):
    """What a writer has written since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self._chunks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._chunks.append(bytes(data))
        return len(self._chunks[-1])

    def taken(self) -> Iterator[bytes]:
        chunks, self._chunks = self._chunks, []
        yield from chunks
