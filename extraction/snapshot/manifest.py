"""The end of a run: prove that nothing is missing, then say what there is.

The manifest is a pure function of plan, ledgers and the workflow's time. It is
written last, atomically; a snapshot exists when it exists.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from extraction import crash
from extraction.catalog import FORMAT_VERSION
from extraction.connection import Stopped, Unseen
from extraction.errors import SnapshotDamaged
from extraction.planned import Plan, load_plan, per_of
from extraction.selection import Selection
from extraction.snapshot.layout import canonical, manifest_path
from extraction.snapshot.ledger import BatchRecord, read_ledger
from extraction.snapshot.writer import Part
from extraction.storage import Storage

ScopeStatus = Literal["complete", "filtered", "denied", "errored"]
Status = Literal["succeeded", "partial"]


@dataclass(frozen=True)
class Scope:
    """What completeness is said about. Filtered: all of what is selected, not all there is."""

    schema: str
    kind: str
    status: ScopeStatus
    rows: int


@dataclass(frozen=True)
class Gap:
    """A kind that is denied: in how many schemas, and why. In none: what is hidden may be more
    than what is listed."""

    kind: str
    schemas: int
    reason: str


@dataclass(frozen=True)
class Finished:
    """`manifest` is the sha256 of the manifest; `errored` counts by kind what the source
    failed on."""

    status: Status
    manifest: str
    counts: dict[str, int]
    completeness: dict[str, int]
    denied: list[Gap]
    errored: dict[str, int]


def finish(
    storage: Storage,
    run_id: str,
    plan_path: str,
    ledgers: Sequence[str],
    at: str,
    selection: Selection,
    stopped: Callable[[], bool] = lambda: False,
) -> Finished:
    """Verify every part and the coverage of the plan, then write the manifest.

    Raises SnapshotDamaged and writes nothing if anything is missing, doubled or
    altered; so does Stopped, soon after `stopped()` is true. The same arguments give
    the same bytes.
    """
    plan = load_plan(storage, plan_path)
    if plan.selection != selection:
        raise SnapshotDamaged("The plan was made for another selection.")
    records = _covering(plan, list(_records(storage, plan_path, ledgers)))
    _crash("before")
    for record in records:
        _unless(stopped)
        _verify(storage, plan, record)
        _crash("within")
    _crash("after")
    document = _document(plan, records, sorted(ledgers), at)
    data = canonical(document)
    _unless(stopped)
    storage.put(manifest_path(run_id), data)
    return Finished(
        document["status"],
        hashlib.sha256(data).hexdigest(),
        document["counts"],
        document["completeness"],
        _gaps(document),
        dict(Counter(errored["kind"] for errored in document["errored"])),
    )


def _gaps(document: dict[str, Any]) -> list[Gap]:
    schemas = Counter(s["kind"] for s in document["scopes"] if s["status"] == "denied")
    reasons = {cause["kind"]: cause["reason"] for cause in reversed(document["denied"])}
    return [Gap(kind, schemas[kind], reasons.get(kind, "")) for kind in {**schemas, **reasons}]


def _crash(step: str) -> None:
    if crash.ARMED:
        crash.reached(f"verification.{step}")


def _unless(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise Stopped


def _records(storage: Storage, plan_path: str, ledgers: Sequence[str]) -> Iterator[BatchRecord]:
    for path in ledgers:
        plan, records = read_ledger(storage, path)
        if plan != plan_path:
            raise SnapshotDamaged("A ledger belongs to another plan.")
        yield from records


def _covering(plan: Plan, records: Sequence[BatchRecord]) -> list[BatchRecord]:
    """The records in the plan's order, each batch once."""
    ordered = sorted(records, key=lambda record: record.batch)
    if [record.batch for record in ordered] != list(range(len(plan.batches))):
        raise SnapshotDamaged("The ledgers do not cover every batch of the plan exactly once.")
    return ordered


def _verify(storage: Storage, plan: Plan, record: BatchRecord) -> None:
    batch = plan.batches[record.batch]
    kinds = [part.kind for part in record.parts]
    if len(set(kinds)) != len(kinds) or not set(kinds) <= set(plan.kinds_of(batch.per)):
        raise SnapshotDamaged(f"Batch {record.batch} has parts that the plan does not ask for.")
    for part in record.parts:
        if not _sound(storage, part):
            raise SnapshotDamaged(f"{part.path} is missing or does not match its digest.")
    if batch.per != "relations":
        return
    # planned = extracted + vanished + quarantined, unless the kind is denied as a whole
    if len(batch.items) != record.found + len(record.vanished):
        raise SnapshotDamaged(f"Batch {record.batch} does not account for every relation.")
    if "relations" in plan.kinds and not any(
        denied.kind == "relations" for denied in record.denied
    ):
        read = sum(part.rows for part in record.parts if part.kind == "relations")
        broken = sum(errored.kind == "relations" for errored in record.errored)
        if record.found != read + broken:
            raise SnapshotDamaged(f"Batch {record.batch} has lost relations.")


def _sound(storage: Storage, part: Part) -> bool:
    try:
        data = storage.get(part.path)
    except FileNotFoundError:
        return False
    if len(data) != part.bytes or hashlib.sha256(data).hexdigest() != part.sha256:
        return False
    try:
        return int(pq.read_metadata(pa.BufferReader(data)).num_rows) == part.rows
    except (OSError, pa.ArrowException):
        return False


def _document(
    plan: Plan, records: Sequence[BatchRecord], ledgers: Sequence[str], at: str
) -> dict[str, Any]:
    scopes = _scopes(plan, records)
    statuses = Counter(scope.status for scope in scopes)
    # Where nothing at all is shown, there is no scope to call denied.
    partial = statuses["denied"] or statuses["errored"] or plan.unseen
    counts = dict.fromkeys(plan.kinds, 0)
    for record in records:
        for part in record.parts:
            counts[part.kind] += part.rows
    return {
        "format": FORMAT_VERSION,
        "status": "partial" if partial else "succeeded",
        "finished_at": at,
        "source": asdict(plan.source),
        "selection": asdict(plan.selection),
        "unmatched": plan.unmatched,
        "kinds": plan.kinds,
        "counts": counts,
        "completeness": {
            status: statuses[status] for status in ("complete", "denied", "errored", "filtered")
        },
        "scopes": [asdict(scope) for scope in scopes],
        "files": list(_files(plan, records)),
        "denied": [asdict(unseen) for unseen in _denied(plan, records)],
        "errored": [asdict(errored) for record in records for errored in record.errored],
        "vanished": [
            {"of": plan.batches[record.batch].per, "schema": schema, "name": name}
            for record in records
            for schema, name in record.vanished
        ],
        "notes": [asdict(note) for note in plan.notes],
        "plan": plan.path,
        "ledgers": list(ledgers),
    }


def _files(plan: Plan, records: Sequence[BatchRecord]) -> Iterator[dict[str, Any]]:
    """By kind, then by batch: read in this order, a kind is sorted by its key."""
    for kind in plan.kinds:
        for record in records:
            for part in record.parts:
                if part.kind == kind:
                    file = part.as_dict()
                    del file["schemas"]
                    yield file


def _denied(plan: Plan, records: Sequence[BatchRecord]) -> list[Unseen]:
    """Why scopes are denied, and what would mend it: each once."""
    found = [*plan.unseen, *(unseen for record in records for unseen in record.denied)]
    return list(dict.fromkeys(found))


def _scopes(plan: Plan, records: Sequence[BatchRecord]) -> list[Scope]:
    rows: Counter[tuple[str, str]] = Counter()
    denied: set[tuple[str, str]] = set()
    errored: set[tuple[str, str]] = set()
    for record in records:
        for part in record.parts:
            rows.update({(schema, part.kind): count for schema, count in part.schemas.items()})
        schemas = {item.schema for item in plan.batches[record.batch].items}
        denied |= {
            (schema, unseen.kind)
            for unseen in record.denied
            for schema in schemas
            if unseen.schema in ("", schema)
        }
        errored |= {(e.schema, e.kind) for e in record.errored}
    selected = plan.selected_schemas
    for unseen in plan.unseen:
        denied |= {(schema, unseen.kind) for schema in selected if unseen.schema in ("", schema)}
    scopes = []
    for schema in plan.schemas:
        for kind in plan.kinds:
            scope = (schema.name, kind)
            status: ScopeStatus = "complete"
            if scope in denied:
                status = "denied"
            elif scope in errored:
                status = "errored"
            elif not schema.selected or schema.left_out.get(per_of(kind)):
                status = "filtered"
            scopes.append(Scope(schema.name, kind, status, rows[scope]))
    return scopes
