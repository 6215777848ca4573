"""Where the files of a run lie below the storage root, and how their JSON is spelled."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from extraction.errors import SnapshotDamaged
from extraction.storage import Storage


def root_of(run_id: str) -> str:
    return f"snapshots/{run_id}"


def manifest_path(run_id: str) -> str:
    return f"{root_of(run_id)}/manifest.json"


def part_path(run_id: str, sha256: str) -> str:
    return f"{root_of(run_id)}/parts/{sha256}.parquet"


def entries_path(run_id: str, shard: int) -> str:
    return f"{root_of(run_id)}/entries/{shard}"


def entry_path(run_id: str, shard: int, batch: int, attempt: int) -> str:
    return f"{entries_path(run_id, shard)}/{batch}.{attempt}.json"


def discard(storage: Storage, run_id: str) -> int:
    """The end of a run without a snapshot: no temporary file stays, and no manifest that no
    result names. How many files were swept."""
    storage.local_path(manifest_path(run_id)).unlink(missing_ok=True)
    return storage.sweep(root_of(run_id))


def canonical(document: dict[str, Any]) -> bytes:
    """The one spelling of a document: equal documents have equal bytes."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def put_by_digest(storage: Storage, run_id: str, name: str, document: dict[str, Any]) -> str:
    """Write `<name>-<sha256>.json`; its path."""
    data = canonical(document)
    path = f"{root_of(run_id)}/{name}-{hashlib.sha256(data).hexdigest()}.json"
    storage.put(path, data)
    return path


def get_by_digest(storage: Storage, path: str) -> dict[str, Any]:
    """Read what `put_by_digest` wrote. Raises SnapshotDamaged unless it is just that."""
    try:
        data = storage.get(path)
    except FileNotFoundError:
        raise SnapshotDamaged(f"{path} is missing.") from None
    expected = path.rpartition("-")[2].removesuffix(".json")
    if hashlib.sha256(data).hexdigest() != expected:
        raise SnapshotDamaged(f"{path} does not match its digest.")
    document: dict[str, Any] = orjson.loads(data)
    return document
