"""What is read from the text of a CREATE statement, and what is left alone."""

from __future__ import annotations

import pytest

from extraction.sources.ddl import index_text, table_text, trigger_text
from extraction.sources.sqlite_types import logical_type


def found(sql: str) -> list[tuple[str, str | None, tuple[str, ...], str, str]]:
    listed = table_text(f"CREATE TABLE {sql}").constraints
    return [(c.kind, c.name, c.columns, c.text, c.deferrable) for c in listed]


def test_constraints_of_columns_and_of_the_table() -> None:
    sql = """t (  -- a comment, with (brackets
      [a b] int CONSTRAINT pk PRIMARY KEY, /* check (no) */ "c" text not null UNIQUE,
      d decimal(10, 2) default (1 + 2) constraint one check (d > 0) CHECK (d < 9),
      CONSTRAINT `two` UNIQUE ([a b], c desc), check (c <> 'x) check (' and "a b" in (1, 2)))"""
    assert found(sql) == [
        ("primary_key", "pk", ("a b",), "", ""),
        ("unique", None, ("c",), "", ""),
        ("check", "one", ("d",), "d > 0", ""),
        ("check", None, ("d",), "d < 9", ""),
        ("unique", "two", ("a b", "c"), "", ""),
        ("check", None, ("c", "and", "a b", "in"), "c <> 'x) check (' and \"a b\" in (1, 2)", ""),
    ]


@pytest.mark.parametrize(
    ("said", "deferrable"),
    [
        ("", ""),
        ("not deferrable initially deferred", ""),
        ("deferrable", "DEFERRABLE"),
        ("deferrable initially immediate", "DEFERRABLE"),
        ("on delete set default on update cascade deferrable initially deferred",
         "DEFERRABLE INITIALLY DEFERRED"),
    ],
)  # fmt: skip
def test_foreign_keys_and_when_they_are_checked(said: str, deferrable: str) -> None:
    key = ("foreign_key", None, ("x",), "", deferrable)
    assert found(f"t (x references p (q) {said})") == [key]
    assert found(f"t (x, foreign key (x) references p (q) {said})") == [key]
    named = f"t (x, y, constraint f foreign key (x, y) references p {said} check (x > 1))"
    assert found(named) == [
        ("foreign_key", "f", ("x", "y"), "", deferrable),
        ("check", None, ("x",), "x > 1", ""),
    ]


def test_a_check_after_set_default_is_one() -> None:
    assert found("t (a int default (1) references p (a) on delete set default check (b > 0))") == [
        ("foreign_key", None, ("a",), "", ""),
        ("check", None, ("b",), "b > 0", ""),
    ]


def test_collations_and_generated_columns() -> None:
    text = table_text(
        "CREATE TABLE t (a text collate nocase, b as (a || ')') stored, c int generated always as"
        "(  b + 1 ) virtual, \"D\" text default 'collate x')"
    )
    assert text.collations == {"a": "nocase"}
    assert text.generated == {"b": "a || ')'", "c": "b + 1"}


@pytest.mark.parametrize(
    ("sql", "keys", "predicate"),
    [
        ("CREATE INDEX i ON t (a)", ("a",), None),
        ("CREATE INDEX i ON t (a desc, lower(b) collate nocase asc)", ("a", "lower(b)"), None),
        ("CREATE INDEX \"on (\" ON t (f(a, ',')) WHERE a > 1 and b", ("f(a, ',')",), "a > 1 and b"),
    ],
)
def test_indexes(sql: str, keys: tuple[str, ...], predicate: str | None) -> None:
    assert index_text(sql) == (keys, predicate)


@pytest.mark.parametrize(
    ("sql", "timing", "event"),
    [
        ("CREATE TRIGGER after BEFORE DELETE ON t BEGIN UPDATE x SET a = 1; END", "BEFORE", "DELETE"),
        ("CREATE TRIGGER t INSTEAD OF UPDATE OF a ON v BEGIN SELECT 1; END", "INSTEAD OF", "UPDATE"),
        ("CREATE TRIGGER \"insert\" AFTER INSERT ON t BEGIN SELECT 1; END", "AFTER", "INSERT"),
        ("CREATE TRIGGER t INSERT ON t BEGIN SELECT 1; END", "BEFORE", "INSERT"),
    ],
)  # fmt: skip
def test_triggers(sql: str, timing: str, event: str) -> None:
    assert trigger_text(sql) == (timing, (event,))


@pytest.mark.parametrize("sql", ["", "CREATE TABLE", "CREATE TABLE t (", "CREATE TABLE t (a, ((,"])
def test_what_is_no_statement_gives_nothing(sql: str) -> None:
    assert table_text(sql).constraints == []
    assert index_text(sql).predicate is None


@pytest.mark.parametrize(
    ("declared", "word", "sizes"),
    [
        ("", "other", (None, None, None)),
        ("INTEGER", "integer", (None, None, None)),
        ("UNSIGNED BIG INT", "integer", (None, None, None)),
        ("NVARCHAR(160)", "string", (160, None, None)),
        ("DECIMAL(10,2)", "decimal", (None, 10, 2)),
        ("NUMERIC", "decimal", (None, None, None)),
        ("DOUBLE PRECISION", "float", (None, None, None)),
        ("FLOATING POINT", "integer", (None, None, None)),  # as SQLite itself takes it
        ("POINT", "geometry", (None, None, None)),
        ("BOOLEAN", "boolean", (None, None, None)),
        ("DATETIME", "timestamp", (None, None, None)),
        ("VARBINARY(16)", "binary", (16, None, None)),
        ("STRING", "decimal", (None, None, None)),
    ],
)
def test_types_by_name_and_by_affinity(
    declared: str, word: str, sizes: tuple[int | None, ...]
) -> None:
    logical = logical_type(declared)
    assert (logical.word, (logical.length, logical.precision, logical.scale)) == (word, sizes)
