from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from extraction.snapshot.export import FORMATS
from extraction.snapshot.ledger import verified
from extraction.snapshot.writer import write_part
from extraction.storage import Storage, open_storage
from extraction.tables import from_rows, schema_of

TRIGGER = ("s", "t", "g", "BEFORE", ["INSERT", "UPDATE"], "create …", "origin")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(f"file://{tmp_path}")


def test_a_part_is_named_by_its_digest_and_knows_its_keys(storage: Storage) -> None:
    rows = [("a", "o", None), ("b", "o", "=cmd()"), ("c", "ö", None)]
    part = write_part(storage, "run", "schemas", from_rows("schemas", rows))
    assert part is not None
    data = storage.get(part.path)
    assert part.sha256 == hashlib.sha256(data).hexdigest()
    assert part.path == f"snapshots/run/parts/{part.sha256}.parquet"
    assert (part.rows, part.bytes, part.first, part.last) == (3, len(data), ["a"], ["c"])
    assert part.schemas == {"a": 1, "b": 1, "c": 1}
    table = pq.read_table(storage.local_path(part.path))
    assert [tuple(row.values()) for row in table.to_pylist()] == rows
    assert verified(storage, part)
    storage.put(part.path, data[:-1] + b"x")
    assert not verified(storage, part)


def test_the_same_rows_are_the_same_bytes_in_whatever_order(storage: Storage) -> None:
    rows = [
        (f"s{n:06}", f"t{n}", n, n * 8192, datetime(2026, 1, 1, tzinfo=UTC)) for n in range(9_000)
    ]
    one = write_part(storage, "one", "statistics", from_rows("statistics", rows))
    other = write_part(storage, "other", "statistics", from_rows("statistics", rows[::-1]))
    assert one is not None and other is not None
    assert one.sha256 == other.sha256
    assert pq.ParquetFile(storage.local_path(one.path)).num_row_groups == 1


def test_no_rows_no_file(storage: Storage) -> None:
    assert write_part(storage, "run", "triggers", from_rows("triggers", [])) is None
    assert storage.list("snapshots") == []


def exported(storage: Storage, kind: str, rows: list[tuple[object, ...]], form: str) -> bytes:
    parts = [write_part(storage, "run", kind, from_rows(kind, [row])) for row in rows]
    paths = [storage.local_path(part.path) for part in parts if part]
    return b"".join(FORMATS[form](kind, paths))


def test_csv_disarms_formulas_and_writes_lists_as_json(storage: Storage) -> None:
    rows: list[tuple[object, ...]] = [("=1+1", "-x", '@a,"b"'), ("\tx", "ok", None)]
    text = exported(storage, "schemas", rows, "csv").decode()
    assert text == (
        "schema_name,owner,comment\r\n"
        "'=1+1,'-x,\"'@a,\"\"b\"\"\"\r\n"
        "'\tx,ok,\r\n"
    )  # fmt: skip
    assert '"[""INSERT"",""UPDATE""]"' in exported(storage, "triggers", [TRIGGER], "csv").decode()


def test_jsonl_is_one_object_a_line(storage: Storage) -> None:
    lines = exported(storage, "triggers", [TRIGGER, TRIGGER], "jsonl").splitlines()
    assert len(lines) == 2
    assert b'"events":["INSERT","UPDATE"]' in lines[0]
    when = ("s", "t", 1, 2, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
    line = exported(storage, "statistics", [when], "jsonl")
    assert b'"analyzed_at":"2026-01-02T03:04:05.000006Z"' in line


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_parquet_is_one_file_of_all_parts(storage: Storage, tmp_path: Path, rows: int) -> None:
    file = tmp_path / "all.parquet"
    many: list[tuple[object, ...]] = [(f"s{n}", "o", None) for n in range(rows)]
    file.write_bytes(exported(storage, "schemas", many, "parquet"))
    table = pq.read_table(file)
    assert table.schema == schema_of("schemas")
    assert table.column("schema_name").to_pylist() == [f"s{n}" for n in range(rows)]


def test_a_kind_without_rows_is_an_empty_file(storage: Storage) -> None:
    assert exported(storage, "schemas", [], "jsonl") == b""
    assert exported(storage, "schemas", [], "csv") == b"schema_name,owner,comment\r\n"
