"""What each batch read, wrote and could not see.

An entry is written after its parts are durable and says by which attempt: it is
the checkpoint. A shard's ledger is the sum of its entries without attempts,
workers and times, so that it depends on the source and the plan alone.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

import orjson

from extraction.catalog import FORMAT_VERSION
from extraction.connection import Load, Unseen
from extraction.snapshot.layout import (
    canonical,
    entries_path,
    entry_path,
    get_by_digest,
    put_by_digest,
)
from extraction.snapshot.writer import Part
from extraction.storage import Storage


@dataclass(frozen=True)
class Errored:
    """A relation, or another item, whose rows of one kind could not be read."""

    kind: str
    schema: str
    name: str
    reason: str


@dataclass(frozen=True)
class BatchRecord:
    """`found` counts the items that still existed; `denied` says what is
    refused of a kind, for all of them."""

    batch: int
    found: int
    parts: list[Part] = field(default_factory=list)
    vanished: list[tuple[str, str]] = field(default_factory=list)
    denied: list[Unseen] = field(default_factory=list)
    errored: list[Errored] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class By(TypedDict):
    """Who wrote an entry, and what its session had asked of the source by then; for people
    and the load receipt, never for the snapshot."""

    attempt: int
    worker: str
    at: str
    statements: int
    load: dict[str, Any]


def record_of(document: Mapping[str, Any]) -> BatchRecord:
    return BatchRecord(
        document["batch"],
        document["found"],
        [Part(**part) for part in document["parts"]],
        [(schema, name) for schema, name in document["vanished"]],
        [Unseen(**denied) for denied in document["denied"]],
        [Errored(**errored) for errored in document["errored"]],
    )


def write_entry(
    storage: Storage, run_id: str, plan: str, shard: int, record: BatchRecord, by: By
) -> None:
    document = {"plan": plan, "by": by, "record": record.as_dict()}
    storage.put(entry_path(run_id, shard, record.batch, by["attempt"]), canonical(document))


def read_entries(
    storage: Storage, run_id: str, plan: str, shard: int, batches: Sequence[int]
) -> dict[int, BatchRecord]:
    """Per batch the entry of the highest attempt whose parts verify."""
    found: dict[int, tuple[int, BatchRecord]] = {}
    for path in storage.list(entries_path(run_id, shard)):
        attempt = _attempt(path)
        record = _adoptable(storage, path, plan)
        if record is None or record.batch not in batches:
            continue
        if record.batch not in found or attempt > found[record.batch][0]:
            found[record.batch] = (attempt, record)
    return {batch: record for batch, (_, record) in found.items()}


def load_of(storage: Storage, run_id: str, shard: int, attempt: int) -> Load:
    """What an attempt had asked of the source when it wrote its last entry."""
    newest = Load()
    for path in storage.list(entries_path(run_id, shard)):
        if _attempt(path) == attempt:
            newest = max(newest, _load(storage, path), key=lambda load: load.statements)
    return newest


def _load(storage: Storage, path: str) -> Load:
    try:
        return Load(**orjson.loads(storage.get(path))["by"]["load"])
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        return Load()


def write_ledger(
    storage: Storage, run_id: str, plan: str, shard: int, records: Sequence[BatchRecord]
) -> str:
    document = {
        "format": FORMAT_VERSION,
        "plan": plan,
        "shard": shard,
        "batches": [record.as_dict() for record in records],
    }
    return put_by_digest(storage, run_id, "ledger", document)


def read_ledger(storage: Storage, path: str) -> tuple[str, list[BatchRecord]]:
    """The plan it belongs to, and its batches."""
    document = get_by_digest(storage, path)
    return document["plan"], [record_of(batch) for batch in document["batches"]]


def verified(storage: Storage, part: Part) -> bool:
    """Is the part there, whole and unchanged? StorageFailed where that cannot be told."""
    try:
        return storage.size(part.path) == part.bytes and storage.digest(part.path) == part.sha256
    except FileNotFoundError:
        return False


def _attempt(path: str) -> int:
    number = posixpath.basename(path).split(".")[1]
    return int(number) if number.isdecimal() else 0


def _adoptable(storage: Storage, path: str, plan: str) -> BatchRecord | None:
    try:
        document = orjson.loads(storage.get(path))
        record = record_of(document["record"])
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        return None
    whole = document["plan"] == plan and all(verified(storage, part) for part in record.parts)
    return record if whole else None
