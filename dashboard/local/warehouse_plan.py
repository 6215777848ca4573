"""What the demo warehouse consists of: a pure function of size and seed, no SQL run here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from dashboard.local.warehouse_words import COLUMNS, PREFIXES, REGIONS, SCHEMAS, SUFFIXES

SHARES = {"view": 0.14, "materialized_view": 0.03, "partition": 0.07}
PARTITIONS_PER_TREE = 6
RECENT_TABLES = 400


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    default: str = ""
    required: bool = False


@dataclass(frozen=True)
class Table:
    schema: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[Column, ...]
    references: tuple[Reference, ...] = ()
    partitions: int = 0


@dataclass(frozen=True)
class Reference:
    columns: tuple[str, ...]
    table: Table | None
    """None: the table itself."""
    on_delete: str = ""


@dataclass(frozen=True)
class View:
    schema: str
    name: str
    source: Table
    joined: Reference | None
    materialized: bool


@dataclass
class Schema:
    name: str
    nouns: tuple[str, ...]
    relations: int
    tables: list[Table] = field(default_factory=list)
    views: list[View] = field(default_factory=list)


def schemas(relations: int, rng: Random) -> list[Schema]:
    """Schemas of very different sizes whose relations add up to the number asked for."""
    count = max(2, min(relations // 70, 400))
    chosen = _schema_names(count, rng)
    weights = [rng.paretovariate(1.3) for _ in chosen]
    scale = relations / sum(weights)
    sizes = [min(max(1, int(weight * scale)), 900) for weight in weights]
    short = relations - sum(sizes)
    for index in range(abs(short)):
        position = index % count
        sizes[position] += 1 if short > 0 else -1 if sizes[position] > 1 else 0
    return [Schema(name, nouns, size) for (name, nouns), size in zip(chosen, sizes, strict=True)]


def _schema_names(count: int, rng: Random) -> list[tuple[str, tuple[str, ...]]]:
    base = list(SCHEMAS.items())
    rng.shuffle(base)
    regional = [(f"{region}_{name}", nouns) for region in REGIONS for name, nouns in base]
    numbered = [(f"{name}_v{n}", nouns) for n in range(2, 4) for name, nouns in base]
    return sorted((base + regional + numbered)[:count])


class Planner:
    """Fills schemas with tables and views; later tables refer to earlier ones."""

    def __init__(self, rng: Random, columns: int) -> None:
        self.rng = rng
        self.columns = columns
        self.recent: list[Table] = []

    def fill(self, schema: Schema) -> None:
        names = self._names(schema)
        views = int(schema.relations * SHARES["view"])
        materialized = int(schema.relations * SHARES["materialized_view"])
        remaining = schema.relations - views - materialized
        partitioned = int(schema.relations * SHARES["partition"]) // (PARTITIONS_PER_TREE + 1)
        for index in range(remaining - partitioned * PARTITIONS_PER_TREE):
            partitions = PARTITIONS_PER_TREE if index < partitioned else 0
            schema.tables.append(self.table(schema.name, next(names), partitions))
        for index in range(views + materialized):
            schema.views.append(self._view(schema, next(names), materialized=index >= views))

    def _names(self, schema: Schema) -> Iterator[str]:
        pairs = [(p, n, s) for n in schema.nouns for p in sorted(set(PREFIXES)) for s in SUFFIXES]
        self.rng.shuffle(pairs)
        plain = [("", noun, "") for noun in schema.nouns]
        for prefix, noun, suffix in plain + [pair for pair in pairs if pair not in plain]:
            yield f"{prefix}{noun}{suffix}"
        for number in range(1, 1_000_000):
            yield f"{schema.nouns[0]}_{number:04}"

    def table(self, schema: str, name: str, partitions: int) -> Table:
        key = self._key(partitions)
        references = () if self.rng.random() < 0.25 else tuple(self._references(key))
        linked = {column for reference in references for column in reference.columns}
        taken = {column.name for column in key} | linked
        wanted = max(2, round(self.rng.gauss(self.columns, self.columns / 3)))
        columns = (
            *key,
            *self._link_columns(references, key),
            *self._plain_columns(wanted - len(taken), taken),
        )
        table = Table(schema, name, columns, key, references, partitions)
        if not partitions:
            self.recent = [*self.recent[-RECENT_TABLES:], table]
        return table

    def _key(self, partitions: int) -> tuple[Column, ...]:
        if partitions:
            return (
                Column("id", "bigint", "always", required=True),
                Column("occurred_at", "timestamp with time zone", "now()", required=True),
            )
        roll = self.rng.random()
        if roll < 0.12:
            return (
                Column("tenant_id", "integer", required=True),
                Column("id", "bigint", "by default", required=True),
            )
        if roll < 0.30:
            return (Column("id", "uuid", "gen_random_uuid()", required=True),)
        if roll < 0.42:
            return (Column("id", "serial", required=True),)
        if roll < 0.50:
            return (Column("natural_key", "varchar(40)", required=True),)
        return (Column("id", "bigint", "always", required=True),)

    def _references(self, key: tuple[Column, ...]) -> Iterator[Reference]:
        taken = {column.name for column in key}
        for _ in range(self.rng.choice((0, 1, 1, 1, 2, 2, 3))):
            if not self.recent:
                return
            target = self.rng.choice(self.recent)
            columns = tuple(f"{target.name.lower()}_{column.name}" for column in target.key)
            if taken & set(columns):
                continue
            taken |= set(columns)
            on_delete = self.rng.choice(("", "", "CASCADE", "SET NULL", "RESTRICT"))
            yield Reference(columns, target, on_delete)
        if len(key) == 1 and self.rng.random() < 0.08:
            yield Reference((f"parent_{key[0].name}",), None)

    def _link_columns(
        self, references: tuple[Reference, ...], key: tuple[Column, ...]
    ) -> Iterator[Column]:
        for reference in references:
            targets = reference.table.key if reference.table else key
            for name, target in zip(reference.columns, targets, strict=True):
                yield Column(name, "integer" if target.type == "serial" else target.type)

    def _plain_columns(self, count: int, taken: set[str]) -> Iterator[Column]:
        pool = [column for column in COLUMNS if column[0] not in taken]
        for name, kind, default in self.rng.sample(pool, min(max(count - 2, 0), len(pool))):
            yield Column(name, kind, default, required=self.rng.random() < 0.3)
        yield Column("created_at", "timestamp with time zone", "now()", required=True)
        if count > 1:
            yield Column("updated_at", "timestamp with time zone")

    def _view(self, schema: Schema, name: str, *, materialized: bool) -> View:
        source = self.rng.choice(schema.tables)
        joins = [reference for reference in source.references if reference.table]
        joined = self.rng.choice(joins) if joins else None
        return View(schema.name, name, source, joined, materialized)
