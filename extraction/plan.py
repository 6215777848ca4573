"""The inventory, cut into batches and shards before anything is read.

The cut depends on the inventory alone, never on the number of workers, so that
two runs of an unchanged source write the same files.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from extraction.connection import Item, Note, Per, Session, Unseen
from extraction.errors import InvalidSelection, PermissionDenied, StatementFailed
from extraction.planned import (
    PERS,
    SCHEMA_LEVEL,
    Batch,
    Plan,
    PlannedSchema,
    PlannedSource,
    Shard,
    per_of,
    stored,
)
from extraction.selection import Matcher, Pattern, Selection, quoted
from extraction.storage import Storage

# Relations in a batch, by the number of relations in all.
BATCH_SIZES = ((4_000, 128), (16_000, 1_024))
LARGEST_BATCH = 2_048
# Routines are few to a batch, for their texts are long.
SCHEMA_LEVEL_BATCHES: dict[Per, int] = {"schemas": 2_048, "routines": 512, "sequences": 2_048}
# Bounds the memory of a batch where tables are unusually wide.
COLUMNS_IN_BATCH = 40_000
MOST_SHARDS = 64
PATTERNS_NAMED = 10
EMPTY_FIX = (
    "Correct the patterns: they match whole names, by case, among the kinds that are read."
    " System schemas are never read."
)


def make_plan(session: Session, selection: Selection, storage: Storage, run_id: str) -> Plan:
    """List what is in scope and write `plan-<sha256>.json`. One statement per sort.

    Raises InvalidSelection if the patterns leave nothing to read.
    """
    matcher = selection.matcher()
    pers = {per_of(kind) for kind in matcher.kinds}
    everything, unseen = _inventory(session, pers, matcher.kinds)
    unlisted = len(everything) < len(pers | {"schemas"})
    schemas = _schemas(everything, matcher, unlisted)
    chosen = {schema.name for schema in schemas if schema.selected}
    unmatched = _unmatched(matcher.include, everything, unlisted)
    if not chosen and (selection.include or schemas):
        raise _empty(selection, unmatched)
    unseen = _relevant(unseen, matcher, everything, chosen)
    listed = pers & everything.keys()
    batches = _batches({per: _picked(per, everything[per], matcher, chosen) for per in listed})
    source = PlannedSource(
        session.dialect, session.database, session.identity, session.server_version
    )
    plan = Plan(
        *("", source, selection, list(matcher.kinds), schemas, batches, _shards(batches), unseen),
        unmatched=unmatched,
        idle_excludes=_unmatched(matcher.exclude, everything, unlisted),
        notes=_notes(session, sorted(chosen)),
    )
    return stored(plan, storage, run_id)


def _inventory(
    session: Session, pers: set[Per], kinds: Sequence[str]
) -> tuple[dict[Per, list[Item]], list[Unseen]]:
    """What there is, and what the source refuses to list or hides. Without schemas there is
    no run."""
    everything: dict[Per, list[Item]] = {}
    unseen: list[Unseen] = []
    session.begin()
    for per in PERS:
        if per not in pers and per != "schemas":
            continue
        try:
            everything[per] = session.inventory(per)
        except PermissionDenied as error:
            if per == "schemas":
                raise
            session.begin()
            fixes = session.remedy(per)
            unseen += [
                Unseen.mended_by(fixes, kind, "", error.message, error.fix)
                for kind in kinds
                if per_of(kind) == per
            ]
    unseen += session.unseen(kinds)
    session.end()
    return everything, unseen


def _relevant(
    unseen: Sequence[Unseen], matcher: Matcher, everything: dict[Per, list[Item]], chosen: set[str]
) -> list[Unseen]:
    """Of what is selected. Whether there are more schemas matters to every kind, but is nothing
    to a selection that names its schemas and finds them."""
    named = {pattern.plain_schema for pattern in matcher.include}
    found = bool(named) and named <= {item.schema for item in everything["schemas"]}
    return [
        one
        for one in unseen
        if one.kind in (*matcher.kinds, "schemas")
        and (one.schema in chosen if one.schema else not (found and one.kind == "schemas"))
    ]


def _notes(session: Session, schemas: list[str]) -> list[Note]:
    """Nothing where the source does not even tell that."""
    session.begin()
    try:
        return session.notes(schemas)
    except (PermissionDenied, StatementFailed):
        return []
    finally:
        session.end()


def _schemas(
    everything: dict[Per, list[Item]], matcher: Matcher, unlisted: bool
) -> list[PlannedSchema]:
    """Where a listing is refused, a schema that may hold something selected counts as selected."""

    def selected(schema: str) -> bool:
        if matcher.schema_excluded(schema):
            return False
        may_hold = unlisted and any(p.schema.fullmatch(schema) for p in matcher.include)
        return matcher.schema(schema) or schema in held or may_hold

    held: dict[str, Counter[str]] = {}
    left_out: dict[str, Counter[str]] = {}
    for per, items in everything.items():
        if matcher.everything:
            break
        for item in items if per != "schemas" else ():
            counters = held if matcher.item(item.schema, item.name) else left_out
            counters.setdefault(item.schema, Counter())[per] += 1
    return [
        PlannedSchema(item.schema, selected(item.schema), dict(left_out.get(item.schema, {})))
        for item in everything["schemas"]
    ]


def _unmatched(
    patterns: Sequence[Pattern], everything: dict[Per, list[Item]], unlisted: bool
) -> list[str]:
    """The patterns that match nothing; where a listing is refused, a name may be in there."""
    if not patterns:
        return []
    names: dict[str, set[str]] = {}
    for per, items in everything.items():
        for item in items:
            held = names.setdefault(item.schema, set())
            if per != "schemas":
                held.add(item.name)

    def matches(pattern: Pattern) -> bool:
        schemas = [schema for schema in names if pattern.schema.fullmatch(schema)]
        wanted = pattern.name
        if wanted is None or unlisted:
            return bool(schemas)
        return any(wanted.fullmatch(name) for schema in schemas for name in names[schema])

    return [pattern.text for pattern in patterns if not matches(pattern)]


def _empty(selection: Selection, unmatched: Sequence[str]) -> InvalidSelection:
    if selection.include and len(unmatched) == len(selection.include):
        return InvalidSelection(f"Nothing in the source matches {_named(unmatched)}.", EMPTY_FIX)
    return InvalidSelection(
        f"Excluding {_named(selection.exclude)} leaves nothing of what was selected.",
        "Exclude less, or include more.",
    )


def _named(patterns: Sequence[str]) -> str:
    more = len(patterns) - PATTERNS_NAMED
    shown = ", ".join(quoted(pattern) for pattern in patterns[:PATTERNS_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


def _picked(per: Per, items: Iterable[Item], matcher: Matcher, chosen: set[str]) -> list[Item]:
    """A schema that came into being between two statements has no scope: it is left."""
    if per == "schemas" or matcher.everything:
        return [item for item in items if item.schema in chosen]
    return [i for i in items if i.schema in chosen and matcher.item(i.schema, i.name)]


def _batches(picked: dict[Per, list[Item]]) -> list[Batch]:
    relations = picked.get("relations", [])
    size = next((s for most, s in BATCH_SIZES if len(relations) <= most), LARGEST_BATCH)
    batches = [
        Batch(per, items)
        for per in SCHEMA_LEVEL
        for items in _cut(picked.get(per, []), SCHEMA_LEVEL_BATCHES[per], _same_name)
    ]
    return batches + [Batch("relations", items) for items in _cut(relations, size, _never)]


def _cut(
    items: Sequence[Item], size: int, belongs: Callable[[Item, Item], bool]
) -> list[list[Item]]:
    """Slices of at most `size`, except that items which belong together stay so."""
    slices: list[list[Item]] = []
    weight = 0
    for item in items:
        full = not slices or len(slices[-1]) >= size or weight + item.weight > COLUMNS_IN_BATCH
        if full and not (slices and belongs(slices[-1][-1], item)):
            slices.append([])
            weight = 0
        slices[-1].append(item)
        weight += item.weight
    return slices


def _same_name(one: Item, other: Item) -> bool:
    """Overloads of a routine are ordered among themselves when they are read."""
    return (one.schema, one.name) == (other.schema, other.name)


def _never(_one: Item, _other: Item) -> bool:
    return False


def _shards(batches: Sequence[Batch]) -> list[Shard]:
    first = sum(batch.per != "relations" for batch in batches)
    pers = list(dict.fromkeys(batch.per for batch in batches[:first]))
    shards = [Shard(0, ", ".join(pers), 0, 0, first)] if first else []
    count = len(batches) - first
    each = max(2, math.ceil(count / MOST_SHARDS))
    for number, start in enumerate(range(first, len(batches), each), 1):
        part = batches[start : start + each]
        total = sum(len(batch.items) for batch in part)
        shards.append(Shard(number, _label(part), total, start, len(part)))
    return shards


def _label(batches: Sequence[Batch]) -> str:
    first, last = batches[0].items[0].schema, batches[-1].items[-1].schema
    return first if first == last else f"{first} – {last}"
