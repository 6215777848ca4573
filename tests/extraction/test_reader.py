"""A snapshot whose files are not what they were is never shown."""

from __future__ import annotations

import hashlib
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from extraction.catalog import KINDS
from extraction.errors import SnapshotDamaged, StorageFailed
from extraction.snapshot.layout import canonical, manifest_path
from extraction.snapshot.ledger import verified
from extraction.snapshot.reader import Snapshot, open_snapshot
from extraction.snapshot.writer import Part, write_part
from extraction.storage import Storage, open_storage
from extraction.tables import from_rows

RUN = "run"
READS: list[Callable[[Snapshot], object]] = [
    lambda snapshot: snapshot.relations("sales"),
    lambda snapshot: snapshot.relation("sales", "t07"),
    lambda snapshot: snapshot.search("t07", "relations"),
    lambda snapshot: snapshot.rows("relations", "jsonl"),
]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(f"file://{tmp_path}")


@pytest.fixture
def part(storage: Storage) -> Part:
    """Many relations of one schema."""
    row = dict.fromkeys(KINDS["relations"].columns)
    named = [
        {**row, "schema_name": "sales", "relation_name": f"t{n:02}", "kind": "table"}
        for n in range(40)
    ]
    written = write_part(
        storage, RUN, "relations", from_rows("relations", [list(row.values()) for row in named])
    )
    assert written is not None
    return written


@pytest.fixture
def opened(storage: Storage, part: Part) -> Callable[[], Snapshot]:
    data = canonical({"files": [part.as_dict()], "scopes": []})
    storage.put(manifest_path(RUN), data)
    return lambda: open_snapshot(storage, RUN, hashlib.sha256(data).hexdigest())


@contextmanager
def no_file_can_be_opened() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_changed_byte_anywhere_is_never_shown(
    storage: Storage, part: Part, opened: Callable[[], Snapshot]
) -> None:
    whole = storage.get(part.path)
    shown = [read(opened()) for read in READS[:3]]
    chosen = random.Random(5)
    for place in chosen.sample(range(len(whole)), 40):
        altered = bytearray(whole)
        altered[place] ^= 1 << chosen.randrange(8)
        storage.put(part.path, bytes(altered))
        for read in READS:
            with pytest.raises(SnapshotDamaged):
                read(opened())
    storage.put(part.path, whole)
    assert [read(opened()) for read in READS[:3]] == shown


def test_a_part_that_goes_while_it_is_read_is_missing(
    storage: Storage, part: Part, opened: Callable[[], Snapshot]
) -> None:
    snapshot = opened()
    storage.local_path(part.path).unlink()
    for read in (*READS, lambda _: opened()):
        with pytest.raises(SnapshotDamaged, match="missing"):
            read(snapshot)


def test_a_part_that_was_never_one_is_damaged(
    storage: Storage, part: Part, opened: Callable[[], Snapshot]
) -> None:
    # Its digest is right, so DuckDB is the first to find out.
    text = b"no parquet"
    odd = replace(part, bytes=len(text), sha256=hashlib.sha256(text).hexdigest())
    storage.put(odd.path, text)
    data = canonical({"files": [odd.as_dict()], "scopes": []})
    storage.put(manifest_path(RUN), data)
    snapshot = open_snapshot(storage, RUN, hashlib.sha256(data).hexdigest())
    for read in (*READS[:3], lambda snapshot: list(snapshot.rows("relations", "csv"))):
        with pytest.raises(SnapshotDamaged):
            read(snapshot)


def test_what_cannot_be_read_is_not_called_damaged(
    storage: Storage, part: Part, opened: Callable[[], Snapshot]
) -> None:
    snapshot = opened()
    with no_file_can_be_opened():
        for read in READS:
            with pytest.raises(StorageFailed):
                read(snapshot)
        with pytest.raises(StorageFailed):
            verified(storage, part)
    assert snapshot.relations("sales") and verified(storage, part)
    with pytest.raises(StorageFailed):
        verified(storage, replace(part, path="x" * 300))
    assert not verified(storage, replace(part, path="nothing-here"))
