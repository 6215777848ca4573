from __future__ import annotations

import time

import pytest

from extraction.catalog import KINDS
from extraction.errors import InvalidSelection
from extraction.selection import Selection


def selects(schema: str, name: str, *include: str, exclude: tuple[str, ...] = ()) -> bool:
    return Selection(list(include), list(exclude)).matcher().item(schema, name)


@pytest.mark.parametrize(
    ("pattern", "schema", "name", "selected"),
    [
        ("sales", "sales", "orders", True),
        ("sales", "sales2", "orders", False),
        ("sales", "Sales", "orders", False),
        ("sal*", "sales", "orders", True),
        ("s?les", "sales", "orders", True),
        ("s?les", "soles2", "orders", False),
        ("sales.ord*", "sales", "orders", True),
        ("sales.ord*", "sales", "customers", False),
        ("*.orders", "anything", "orders", True),
        ("*.*", "a", "b", True),
        (r"a\.b.c", "a.b", "c", True),
        (r"a\.b.c", "a", "b.c", False),
        (r"sales.50\*", "sales", "50*", True),
        (r"sales.50\*", "sales", "500", False),
        ("sales.[a]", "sales", "[a]", True),
        ("sales.[a]", "sales", "a", False),
        ("sales.a*z", "sales", "a\nz", True),
        ("sales.*ab*ab", "sales", "abab", True),
        ("sales.*ab*ab", "sales", "ab", False),
    ],
)
def test_a_pattern_matches_whole_names_by_case(
    pattern: str, schema: str, name: str, selected: bool
) -> None:
    assert selects(schema, name, pattern) is selected


def test_exclude_wins_and_nothing_means_everything() -> None:
    assert selects("a", "b")
    assert not selects("a", "b", "a", exclude=("a.b",))
    assert not selects("a", "b", exclude=("a",))


def test_the_schema_itself_is_selected_by_a_pattern_without_a_name() -> None:
    matcher = Selection(["sales", "hr.people"], ["legal"]).matcher()
    asked = ("sales", "hr", "legal", "other")
    assert [matcher.schema(s) for s in asked] == [True, False, False, False]


@pytest.mark.parametrize("pattern", ["", "  ", "a.b.c", "a.", ".b", "a\\", "x" * 257])
def test_a_pattern_that_cannot_be_read_is_named(pattern: str) -> None:
    with pytest.raises(InvalidSelection) as caught:
        Selection(exclude=[pattern]).matcher()
    assert pattern[:50] in caught.value.message
    assert caught.value.fix


def test_kinds_keep_the_catalogs_order_and_unknown_ones_are_refused() -> None:
    assert Selection(kinds=["columns", "schemas"]).matcher().kinds == ("schemas", "columns")
    assert Selection().matcher().kinds == tuple(KINDS)
    with pytest.raises(InvalidSelection, match="tables"):
        Selection(kinds=["tables"]).matcher()


def test_no_pattern_makes_matching_slow() -> None:
    matcher = Selection(["s." + "*a" * 100 + "b"]).matcher()
    started = time.monotonic()
    assert not matcher.item("s", "a" * 63)
    assert time.monotonic() - started < 1
