"""A finished snapshot, read where it lies.

DuckDB reads the parts; names from the source are always bound as parameters,
and file names are ours. Everything raises SnapshotDamaged rather than show what
does not match its digest, and StorageFailed where that cannot be told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import duckdb
import orjson
import pyarrow as pa

from extraction.catalog import KINDS
from extraction.errors import SnapshotDamaged, StorageFailed
from extraction.snapshot import export
from extraction.snapshot.layout import manifest_path
from extraction.storage import Storage

Row = dict[str, Any]
Format = Literal["jsonl", "csv", "parquet"]

DETAILS = ("columns", "constraints", "indexes", "triggers")
SEARCHED = {
    "schemas": "schema_name",
    "relations": "relation_name",
    "columns": "column_name",
    "constraints": "constraint_name",
    "indexes": "index_name",
    "triggers": "trigger_name",
    "routines": "routine_name",
    "sequences": "sequence_name",
}
# Files whose digest is remembered; a snapshot of 100,000 relations has some hundred.
REMEMBERED = 8_192
_DUCKDB: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "memory_limit": "256MB",
    "autoinstall_known_extensions": False,
}


def open_snapshot(storage: Storage, run_id: str, manifest_sha: str) -> Snapshot:
    """Verify the manifest's digest and that every part is there in its size."""
    try:
        data = storage.get(manifest_path(run_id))
    except FileNotFoundError:
        raise SnapshotDamaged("The snapshot's manifest is missing.") from None
    if hashlib.sha256(data).hexdigest() != manifest_sha:
        raise SnapshotDamaged("The snapshot's manifest is not the one the run ended with.")
    manifest = orjson.loads(data)
    for file in manifest["files"]:
        if not storage.exists(file["path"]) or storage.size(file["path"]) != file["bytes"]:
            raise SnapshotDamaged(f"{file['path']} is missing or has another size.")
    return Snapshot(storage, manifest, data)


class Snapshot:
    """`data` is the manifest as it is stored."""

    def __init__(self, storage: Storage, manifest: dict[str, Any], data: bytes) -> None:
        self.storage = storage
        self.manifest = manifest
        self.data = data

    def schemas(self, name_filter: str = "", limit: int = 200, offset: int = 0) -> list[Row]:
        """With `relations`, their number. In order of their names."""
        counts = {s["schema"]: s["rows"] for s in self._scopes("relations")}
        names = {s["schema"] for s in self.manifest["scopes"] if s["rows"]}
        known = {row["schema_name"]: row for row in self._select("schemas")}
        empty = {"owner": None, "comment": None}
        rows = [
            {"schema_name": name, **empty, **known.get(name, {}), "relations": counts.get(name, 0)}
            for name in sorted(names | known.keys())
            if name_filter.lower() in name.lower()
        ]
        return rows[offset : offset + limit]

    def relations(
        self, schema: str, name_filter: str = "", limit: int = 200, offset: int = 0
    ) -> list[Row]:
        """Without their definitions, which may be long."""
        return self._select(
            "relations",
            "schema_name = ? and contains(lower(relation_name), lower(?))",
            [schema, name_filter],
            columns="* exclude (definition)",
            key=[schema],
            page=(limit, offset),
        )

    def search(self, name_filter: str, kind: str, limit: int = 100) -> tuple[list[Row], int]:
        """What of a kind in SEARCHED is called so, and how many there are in all.

        Rows are `{schema_name, relation_name, name}`; the relation is that it belongs to.
        """
        column = SEARCHED[kind]
        relation = "relation_name" if "relation_name" in KINDS[kind].columns else "null"
        found = self._select(
            kind,
            f"contains(lower({column}), lower(?))",
            [name_filter],
            columns=f"schema_name, {relation} as relation_name, {column} as name, "
            "count(*) over () as total",
            page=(limit, 0),
        )
        total = found[0]["total"] if found else 0
        return [{k: v for k, v in row.items() if k != "total"} for row in found], total

    def relation(self, schema: str, name: str) -> Row | None:
        """The relation with its columns, constraints, indexes, triggers and statistics."""
        where, key = "schema_name = ? and relation_name = ?", [schema, name]
        found = self._select("relations", where, key, key=key)
        details: Row = {kind: self._select(kind, where, key, key=key) for kind in DETAILS}
        if not found and not any(details.values()):
            return None
        statistics = self._select("statistics", where, key, key=key)
        names = dict.fromkeys(KINDS["relations"].columns)
        row: Row = {**names, "schema_name": schema, "relation_name": name}
        return {
            **row,
            **(found[0] if found else {}),
            **details,
            "statistics": statistics[0] if statistics else None,
        }

    def routines(self, schema: str) -> list[Row]:
        return self._select("routines", "schema_name = ?", [schema], key=[schema])

    def sequences(self, schema: str) -> list[Row]:
        return self._select("sequences", "schema_name = ?", [schema], key=[schema])

    def rows(self, kind: str, format: Format) -> Iterator[bytes]:
        """All rows of a kind as a stream. Every part is verified before the first byte."""
        paths = self._paths(self._files(kind))
        return _readable(kind, export.FORMATS[format](kind, paths))

    def _scopes(self, kind: str) -> list[Row]:
        return [scope for scope in self.manifest["scopes"] if scope["kind"] == kind]

    def _files(self, kind: str, key: Sequence[str] = ()) -> list[Row]:
        """The files of a kind that may hold rows whose key begins so."""
        size = len(key)
        return [
            file
            for file in self.manifest["files"]
            if file["kind"] == kind and file["first"][:size] <= list(key) <= file["last"][:size]
        ]

    def _paths(self, files: Sequence[Row]) -> list[Path]:
        """Where the files lie, each one proven to be what the manifest says."""
        return [self._proven(file["path"], file["sha256"]) for file in files]

    def _proven(self, path: str, sha256: str) -> Path:
        try:
            digest = _digest(self.storage.root, path, self.storage.stamp(path))
        except FileNotFoundError:
            raise SnapshotDamaged(f"{path} is missing.") from None
        if digest != sha256:
            raise SnapshotDamaged(f"{path} does not match its digest.")
        return self.storage.local_path(path)

    def _select(
        self,
        kind: str,
        where: str = "true",
        values: Sequence[str] = (),
        *,
        columns: str = "*",
        key: Sequence[str] = (),
        page: tuple[int, int] | None = None,
    ) -> list[Row]:
        """`where` and `columns` are texts of this file; what comes from outside is bound."""
        paths = [str(path) for path in self._paths(self._files(kind, key))]
        if not paths:
            return []
        order = ", ".join(KINDS[kind].key)
        limit = "limit ? offset ?" if page else ""
        statement = f"select {columns} from read_parquet(?) where {where} order by {order} {limit}"  # noqa: S608
        try:
            return _fetched(statement, [paths, *values, *(page or ())])
        except duckdb.OutOfMemoryException:
            raise StorageFailed(
                f"Reading the {kind} takes more memory than a page may use.",
                "Narrow the search, or download the kind as a whole.",
            ) from None
        except duckdb.Error:
            raise SnapshotDamaged(f"A part of the {kind} cannot be read.") from None


@lru_cache(REMEMBERED)
def _digest(root: Path, path: str, stamp: tuple[int, ...]) -> str:
    """Read once for as long as nobody writes the file: every page would pay for it."""
    return Storage(root).digest(path)


def _readable(kind: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except (FileNotFoundError, pa.ArrowException):
        raise SnapshotDamaged(f"A part of the {kind} cannot be read.") from None
    except OSError as error:
        raise StorageFailed(f"A part of the {kind} cannot be read: {error.strerror}.") from None


def _fetched(statement: str, values: list[Any]) -> list[Row]:
    with duckdb.connect(":memory:", config=_DUCKDB) as connection:
        connection.execute("set timezone = 'UTC'")
        cursor = connection.execute(statement, values)
        # By Arrow: DuckDB's own rows need another library for times with a zone.
        rows: list[Row] = cursor.to_arrow_table().to_pylist()
        return rows
