from __future__ import annotations

import re
from random import Random

import pytest

from dashboard.local.warehouse import statements
from dashboard.local.warehouse_plan import Column, Planner, Table, schemas


def text(**options: int) -> str:
    return "\n".join(statements(**options))


def test_same_size_and_seed_give_the_same_warehouse():
    assert text(relations=90, seed=3) == text(relations=90, seed=3)


def test_another_seed_gives_another_warehouse():
    assert text(relations=90, seed=3) != text(relations=90, seed=4)


@pytest.mark.parametrize("relations", [2, 17, 300, 12_000])
def test_schemas_add_up_to_the_number_asked_for(relations: int):
    assert sum(schema.relations for schema in schemas(relations, Random(1))) == relations


@pytest.mark.parametrize("relations", [2, 17, 300])
def test_creates_exactly_that_many_relations(relations: int):
    created = re.findall(
        r"^CREATE (?:TABLE|VIEW|MATERIALIZED VIEW) ", text(relations=relations), re.MULTILINE
    )
    assert len(created) == relations


def test_names_are_unique_within_a_schema_of_any_size():
    rng = Random(1)
    schema = max(schemas(12_000, rng), key=lambda schema: schema.relations)
    Planner(rng, 12).fill(schema)
    names = [table.name for table in schema.tables] + [view.name for view in schema.views]
    assert len(names) == len(set(names)) > 300
    assert all(len(name.encode()) <= 63 for name in names)


def test_a_reference_to_tenant_does_not_repeat_a_key_that_holds_tenant_id():
    planner, key = Planner(Random(1), 12), (Column("id", "bigint"),)
    tables = []
    for number in range(200):
        planner.recent = [Table("identity", "tenant", key, key)]
        tables.append(planner.table("identity", f"t{number}", partitions=0))
    assert any(table.key[0].name == "tenant_id" for table in tables)
    assert any(table.references for table in tables)
    for table in tables:
        names = [column.name for column in table.columns]
        assert len(names) == len(set(names)), table.name


def test_tables_have_about_as_many_columns_as_asked_for():
    rng = Random(1)
    planner, tables = Planner(rng, 12), []
    for schema in schemas(600, rng):
        planner.fill(schema)
        tables += schema.tables
    mean = sum(len(table.columns) for table in tables) / len(tables)
    assert 11 < mean < 13


@pytest.mark.parametrize(
    "construct",
    [
        "PARTITION OF",
        "MATERIALIZED VIEW",
        "GENERATED ALWAYS AS IDENTITY",
        "STORED",
        "USING gin",
        "INCLUDE",
        "WHERE NOT is_deleted",
        "EXCLUDE USING gist",
        "ON DELETE CASCADE",
        "CREATE AGGREGATE",
        "CREATE PROCEDURE",
        "CREATE TRIGGER",
        "CREATE DOMAIN",
        "AS ENUM",
        "COMMENT ON COLUMN",
        "LEFT JOIN",
    ],
)
def test_has_what_warehouses_have(construct: str):
    assert construct in text(relations=600)
