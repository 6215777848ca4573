"""Two sets of rows as multisets, and a snapshot's files as its manifest describes them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from extraction.catalog import KINDS, Kind

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """`missing` were expected and not got, `extra` the other way round; doubles count."""

    kind: str
    expected: int
    got: int
    missing: list[Row] = field(default_factory=list)
    extra: list[Row] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.missing and not self.extra

    def explain(self, limit: int = 5) -> Iterator[str]:
        """A line per difference: which row, and which cells of it where both sides have one."""
        key = KINDS[self.kind].key
        by_key: dict[str, list[Row]] = {}
        for row in self.extra:
            by_key.setdefault(_name(row, key), []).append(row)
        lines = 0
        for row in self.missing:
            twins = by_key.get(_name(row, key))
            lines += 1
            if lines <= limit:
                yield _changed(row, twins.pop(), key) if twins else f"missing {_name(row, key)}"
            elif twins:
                twins.pop()
        for row in (row for rows in by_key.values() for row in rows):
            lines += 1
            if lines <= limit:
                yield f"extra {_name(row, key)}"
        if lines > limit:
            yield f"… and {lines - limit} more"


def compare(kind: Kind, expected: Iterable[Row], got: Iterable[Row]) -> Comparison:
    """Every column of the kind in every row. Raises KeyError when a row lacks a column."""
    wanted, found = list(expected), list(got)
    texts = {id(row): _text(row, kind) for row in (*wanted, *found)}
    missing = Counter(texts[id(row)] for row in wanted)
    extra = Counter(texts[id(row)] for row in found)
    missing, extra = missing - extra, extra - missing
    return Comparison(
        kind.name,
        len(wanted),
        len(found),
        _those(wanted, texts, missing),
        _those(found, texts, extra),
    )


def _those(rows: list[Row], texts: dict[int, str], count: Counter[str]) -> list[Row]:
    left = Counter(count)
    chosen = []
    for row in rows:
        if left[texts[id(row)]] > 0:
            left[texts[id(row)]] -= 1
            chosen.append(row)
    return chosen


def _text(row: Row, kind: Kind) -> str:
    return json.dumps([row[name] for name in kind.columns], default=_plain, ensure_ascii=False)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    raise TypeError(f"{type(value).__name__} in a row")


def _name(row: Row, key: tuple[str, ...]) -> str:
    return json.dumps([row[name] for name in key], ensure_ascii=False)


def _changed(wanted: Row, found: Row, key: tuple[str, ...]) -> str:
    cells = [name for name in wanted if wanted[name] != found[name]]
    shown = (f"{name}: expected {_shown(wanted[name], found[name])}" for name in cells)
    return f"changed {_name(wanted, key)}: {', '.join(shown)}"


def _shown(wanted: object, found: object) -> str:
    """Both cells; of long texts only what stands around the first difference."""
    if isinstance(wanted, str) and isinstance(found, str) and max(len(wanted), len(found)) > 200:
        pairs = enumerate(zip(wanted, found, strict=False))
        place = next((n for n, (a, b) in pairs if a != b), min(len(wanted), len(found)))
        start, end = max(place - 20, 0), place + 80
        return f"{wanted[start:end]!r}, got {found[start:end]!r} at character {place}"
    return f"{wanted!r:.300}, got {found!r:.300}"


def snapshot_rows(root: Path, manifest: Mapping[str, Any], kind: Kind) -> list[Row]:
    """The rows of a kind, in the manifest's order, read from the parts themselves."""
    rows: list[Row] = []
    for file in manifest["files"]:
        if file["kind"] == kind.name:
            rows += pq.read_table(root / file["path"]).to_pylist()
    return rows


def snapshot_faults(root: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What contradicts the manifest: sizes, digests, row counts, the order of keys."""
    for file in manifest["files"]:
        data = (root / file["path"]).read_bytes()
        if len(data) != file["bytes"] or hashlib.sha256(data).hexdigest() != file["sha256"]:
            yield f"{file['path']}: not the bytes that the manifest names"
        if pq.read_metadata(root / file["path"]).num_rows != file["rows"]:
            yield f"{file['path']}: not the number of rows that the manifest names"
    for kind in KINDS.values():
        keys = [_order(row, kind.key) for row in snapshot_rows(root, manifest, kind)]
        if keys != sorted(keys):
            yield f"{kind.name}: rows are not in the order of their keys"


def _order(row: Row, key: tuple[str, ...]) -> tuple[Any, ...]:
    """Texts by their bytes; nothing comes last."""
    values = (row[name] for name in key)
    return tuple(
        (value is None, value.encode("utf-8", "surrogateescape"))
        if isinstance(value, str)
        else (value is None, value)
        for value in values
    )
