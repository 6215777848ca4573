"""A plan, and how it lies in storage: its outline in one file, the items of each shard in one
of their own, so that who reads a shard loads no more than that."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from extraction.catalog import FORMAT_VERSION, KINDS
from extraction.connection import Item, Note, Per, Unseen
from extraction.selection import Selection
from extraction.snapshot.layout import get_by_digest, put_by_digest
from extraction.storage import Storage

SCHEMA_LEVEL: tuple[Per, ...] = ("schemas", "routines", "sequences")
PERS: tuple[Per, ...] = (*SCHEMA_LEVEL, "relations")


@dataclass(frozen=True)
class PlannedSchema:
    """`left_out` counts by sort what the selection leaves out of a selected schema."""

    name: str
    selected: bool
    left_out: dict[str, int]


@dataclass(frozen=True)
class Batch:
    per: Per
    items: list[Item]


@dataclass(frozen=True)
class Shard:
    """Consecutive batches. `total` counts relations, 0 for schema-level batches."""

    id: int
    label: str
    total: int
    first_batch: int
    batches: int

    def numbers(self) -> range:
        return range(self.first_batch, self.first_batch + self.batches)


@dataclass(frozen=True)
class PlannedSource:
    dialect: str
    database: str
    identity: str
    version: str


@dataclass(frozen=True)
class Plan:
    """`path` is where it is stored, relative to the storage root."""

    path: str
    source: PlannedSource
    selection: Selection
    kinds: list[str]
    schemas: list[PlannedSchema]
    batches: list[Batch]
    shards: list[Shard]
    # What the source does not list, or hides: these scopes are denied.
    unseen: list[Unseen] = field(default_factory=list)
    # Patterns of include and of exclude that match nothing of what is listed.
    unmatched: list[str] = field(default_factory=list)
    idle_excludes: list[str] = field(default_factory=list)
    # What the role may not do in the selected schemas; nothing is missing for it.
    notes: list[Note] = field(default_factory=list)

    @property
    def identity(self) -> str:
        return self.source.identity

    @property
    def server_version(self) -> str:
        return self.source.version

    @property
    def relations(self) -> int:
        return sum(shard.total for shard in self.shards)

    @property
    def selected_schemas(self) -> list[str]:
        return [schema.name for schema in self.schemas if schema.selected]

    def shard(self, shard_id: int) -> Shard:
        return next(shard for shard in self.shards if shard.id == shard_id)

    def kinds_of(self, per: Per) -> list[str]:
        return [kind for kind in self.kinds if per_of(kind) == per]


def per_of(kind: str) -> Per:
    """What the batches of a kind list."""
    if KINDS[kind].per == "relation":
        return "relations"
    return next(per for per in SCHEMA_LEVEL if per == kind)


def load_plan(storage: Storage, path: str, shard: int | None = None) -> Plan:
    """With a shard, only its own batches hold their items."""
    document = get_by_digest(storage, path)
    plan = _outline(path, document)
    for one, items in zip(plan.shards, document["items"], strict=True):
        if shard in (None, one.id):
            for number, found in zip(
                one.numbers(), get_by_digest(storage, items)["batches"], strict=True
            ):
                plan.batches[number].items.extend(map(Item._make, found))
    return plan


def load_outline(storage: Storage, path: str) -> tuple[Plan, list[int]]:
    """The plan without any items, and how many each of its batches holds."""
    document = get_by_digest(storage, path)
    return _outline(path, document), document["sizes"]


def _outline(path: str, document: dict[str, Any]) -> Plan:
    return Plan(
        path,
        PlannedSource(**document["source"]),
        Selection(**document["selection"]),
        document["kinds"],
        [PlannedSchema(**schema) for schema in document["schemas"]],
        [Batch(per, []) for per in document["batches"]],
        [Shard(**shard) for shard in document["shards"]],
        [Unseen(**unseen) for unseen in document["unseen"]],
        document["unmatched"],
        document["idle_excludes"],
        [Note(**note) for note in document["notes"]],
    )


def stored(plan: Plan, storage: Storage, run_id: str) -> Plan:
    """Write the plan; the same with its path."""
    items = [_stored_items(plan, shard, storage, run_id) for shard in plan.shards]
    document: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "source": asdict(plan.source),
        "selection": asdict(plan.selection),
        "kinds": plan.kinds,
        "schemas": [asdict(schema) for schema in plan.schemas],
        "batches": [batch.per for batch in plan.batches],
        "sizes": [len(batch.items) for batch in plan.batches],
        "items": items,
        "shards": [asdict(shard) for shard in plan.shards],
        "unseen": [asdict(unseen) for unseen in plan.unseen],
        "unmatched": plan.unmatched,
        "idle_excludes": plan.idle_excludes,
        "notes": [asdict(note) for note in plan.notes],
    }
    return replace(plan, path=put_by_digest(storage, run_id, "plan", document))


def _stored_items(plan: Plan, shard: Shard, storage: Storage, run_id: str) -> str:
    batches = [list(map(list, plan.batches[number].items)) for number in shard.numbers()]
    return put_by_digest(storage, run_id, "items", {"shard": shard.id, "batches": batches})
