"""The cut, without a server: it depends on the inventory alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from extraction.catalog import KINDS
from extraction.connection import Item, Note, Per, Unseen
from extraction.errors import InvalidSelection, PermissionDenied, SnapshotDamaged
from extraction.extract import load_plan, make_plan
from extraction.plan import COLUMNS_IN_BATCH
from extraction.planned import Plan
from extraction.selection import Selection
from extraction.storage import Storage, open_storage


class Inventory:
    """A source that can only be listed."""

    dialect, database, identity, server_version = "postgresql", "shop", "1/2/shop", "18.6"

    def __init__(self, relations: Iterable[Item] = (), routines: Iterable[Item] = ()) -> None:
        self.items: dict[Per, list[Item]] = {
            "relations": list(relations), "routines": list(routines), "sequences": [], "schemas": [],
        }  # fmt: skip
        names = sorted({item.schema for items in self.items.values() for item in items})
        self.items["schemas"] = [Item(name, "", number) for number, name in enumerate(names)]

    def begin(self) -> None: ...
    def end(self) -> None: ...
    def unseen(self, kinds: object) -> list[Unseen]:
        return []

    def remedy(self, of: str) -> list[str]:
        return [f"GRANT {of}"]

    def inventory(self, per: Per) -> list[Item]:
        return self.items[per]

    def notes(self, schemas: Sequence[str]) -> list[Note]:
        return [Note("may not look into", len(schemas), list(schemas))]


def relations(count: int, schemas: int = 10, weight: int = 1) -> list[Item]:
    per_schema = -(-count // schemas)
    return [
        Item(f"s{n // per_schema:03}", f"t{n % per_schema:06}", n, weight) for n in range(count)
    ]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(f"file://{tmp_path}")


def plan_of(storage: Storage, source: Inventory, selection: Selection | None = None) -> Plan:
    return make_plan(source, selection or Selection(), storage, "run")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "size", "batches", "shards"),
    [
        (1, 1, 1, 1),
        (129, 128, 2, 1),
        (4_000, 128, 32, 16),
        (4_001, 1_024, 4, 2),
        (16_001, 2_048, 8, 4),
        (300_000, 2_048, 147, 49),
    ],
)
def test_batches_and_shards_by_the_number_of_relations(
    storage: Storage, count: int, size: int, batches: int, shards: int
) -> None:
    plan = plan_of(storage, Inventory(relations(count)), Selection(kinds=["columns"]))
    assert len(plan.batches) == batches
    assert max(len(batch.items) for batch in plan.batches) == size
    assert len(plan.shards) == shards
    assert plan.relations == count
    numbers = [number for shard in plan.shards for number in shard.numbers()]
    assert numbers == list(range(batches))
    assert [shard.id for shard in plan.shards] == list(range(1, shards + 1))


def test_wide_tables_make_smaller_batches(storage: Storage) -> None:
    plan = plan_of(storage, Inventory(relations(200, weight=1_600)), Selection(kinds=["columns"]))
    held = [sum(item.weight for item in batch.items) for batch in plan.batches]
    assert max(held) <= COLUMNS_IN_BATCH
    assert sum(len(batch.items) for batch in plan.batches) == 200


def test_overloads_of_a_routine_stay_in_one_batch(storage: Storage) -> None:
    routines = [Item("s", "f", n) for n in range(511)] + [
        Item("s", "g", n) for n in range(600, 700)
    ]
    plan = plan_of(storage, Inventory(routines=routines), Selection(kinds=["routines"]))
    names = [{item.name for item in batch.items} for batch in plan.batches]
    assert names == [{"f", "g"}] or names == [{"f"}, {"g"}]
    assert sum(len(batch.items) for batch in plan.batches) == 611


def test_schema_level_batches_are_shard_zero(storage: Storage) -> None:
    plan = plan_of(storage, Inventory(relations(3), [Item("s000", "f", 1)]))
    assert [batch.per for batch in plan.batches] == ["schemas", "routines", "relations"]
    first, second = plan.shards
    assert (first.id, first.label, first.total, first.batches) == (0, "schemas, routines", 0, 2)
    assert (second.id, second.label, second.total) == (1, "s000 – s002", 3)


def test_a_plan_is_read_back_as_it_was_written(storage: Storage) -> None:
    plan = plan_of(storage, Inventory(relations(300)), Selection(["s*"], ["s001"]))
    assert load_plan(storage, plan.path) == plan
    assert plan_of(storage, Inventory(relations(300)), plan.selection).path == plan.path


def test_an_altered_plan_is_refused(storage: Storage) -> None:
    plan = plan_of(storage, Inventory(relations(3)))
    storage.put(plan.path, storage.get(plan.path).replace(b"s001", b"s009"))
    with pytest.raises(SnapshotDamaged):
        load_plan(storage, plan.path)


def test_a_shard_is_loaded_with_its_own_items_alone(storage: Storage) -> None:
    plan = plan_of(storage, Inventory(relations(700)))
    last = plan.shards[-1]
    loaded = load_plan(storage, plan.path, last.id)
    assert [batch.items for batch in loaded.batches] == [
        batch.items if number in last.numbers() else [] for number, batch in enumerate(plan.batches)
    ]
    for items in storage.list("snapshots/run"):
        if "items-" in items:
            storage.put(items, b"{}")
    with pytest.raises(SnapshotDamaged):
        load_plan(storage, plan.path, last.id)


def test_a_selection_of_relations_takes_their_schemas_along(storage: Storage) -> None:
    plan = plan_of(storage, Inventory(relations(4, 2)), Selection(["*.t000001"], ["s001"]))
    assert plan.selected_schemas == ["s000"]
    assert [s.left_out for s in plan.schemas] == [{"relations": 1}, {"relations": 2}]
    assert [i.name for b in plan.batches if b.per == "relations" for i in b.items] == ["t000001"]


@pytest.mark.parametrize(
    ("include", "exclude", "message"),
    [
        (["nothing.here"], [], "Nothing in the source matches 'nothing.here'."),
        (["S000", "x*"], ["s001"], "Nothing in the source matches 'S000', 'x*'."),
        (["s001"], ["s*"], "Excluding 's*' leaves nothing of what was selected."),
        ([], ["*"], "Excluding '*' leaves nothing of what was selected."),
    ],
)
def test_a_selection_of_nothing_is_refused(
    storage: Storage, include: list[str], exclude: list[str], message: str
) -> None:
    with pytest.raises(InvalidSelection) as refused:
        plan_of(storage, Inventory(relations(4, 2)), Selection(include, exclude))
    assert (refused.value.message, refused.value.retry) == (message, "never")
    assert storage.list("snapshots") == []


def test_a_source_that_holds_nothing_is_a_plan_without_batches(storage: Storage) -> None:
    for selection in (Selection(), Selection(exclude=["tmp_*"])):
        plan = plan_of(storage, Inventory(), selection)
        assert (plan.batches, plan.shards, plan.relations) == ([], [], 0)
        assert plan.kinds == list(KINDS)
    with pytest.raises(InvalidSelection):
        plan_of(storage, Inventory(), Selection(["s000"]))


def test_patterns_that_match_nothing_are_named(storage: Storage) -> None:
    selection = Selection(["s000", "gone", "s001.gone", "s001.t00000?"], ["tmp_*", "s000.t*"])
    plan = plan_of(storage, Inventory(relations(4, 2)), selection)
    assert plan.unmatched == ["gone", "s001.gone"]
    assert plan.idle_excludes == ["tmp_*"]
    assert plan.notes == [Note("may not look into", 2, ["s000", "s001"])]
    assert load_plan(storage, plan.path) == plan


def test_a_name_that_may_be_in_a_refused_listing_is_not_called_missing(storage: Storage) -> None:
    class Refusing(Inventory):
        def inventory(self, per: Per) -> list[Item]:
            if per == "routines":
                raise PermissionDenied
            return super().inventory(per)

    plan = plan_of(storage, Refusing(relations(4, 2)), Selection(["s000.f", "gone.f"]))
    assert plan.unmatched == ["gone.f"]
    assert plan.selected_schemas == ["s000"]


def test_what_is_hidden_of_a_kind_that_is_not_selected_is_nothing_to_a_run(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Inventory(relations(3))
    hidden = [Unseen("columns", "s000"), Unseen("triggers", "s000"), Unseen("schemas")]
    monkeypatch.setattr(source, "unseen", lambda kinds: hidden)
    plan = plan_of(storage, source, Selection(kinds=["columns"]))
    # A schema that is not listed has columns too.
    assert [one.kind for one in plan.unseen] == ["columns", "schemas"]
