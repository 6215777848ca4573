"""DuckDB passes the suite of all dialects: this class is all that a new one has to name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from extraction.connection import Credentials, Options, Target, open_session
from extraction.errors import FileRefused, SourceLocked, SourceTimeout, SurveyorError
from extraction.storage import open_storage
from tests.extraction.engine import Engine
from tests.integration.dialects import DialectContract
from tests.integration.test_dialect_sqlite import FilePlace

pytestmark = pytest.mark.integration


class TestDuckDB(DialectContract):
    long_comments = True
    hanging = "select count(*) from range(1000000000) a, range(1000000000) b"
    script = (
        "create table t (id int primary key, name varchar not null default 'x' collate nocase,"
        " v int[] check (len(v) > 0), g decimal(9, 2) generated always as (id * 2), unique (name))",
        "create schema s; create view s.v as select id from t; comment on table t is 'hello'",
        "create table child (id int references t (id)); create unique index i on t (name, lower(name))",
        "create sequence q start 5 increment 2; create macro plus(a, b) as a + b",
    )
    golden = {
        "schemas": ("schema_name", [("main",), ("s",)]),
        "relations": ("schema_name relation_name kind comment", [
            ("main", "t", "table", "hello"), ("main", "child", "table", None), ("s", "v", "view", None)]),
        "columns": ("relation_name column_name logical_type nullable default generated type_items", [
            ("t", "id", "integer", False, None, None, None), ("t", "v", "array", True, None, None, "integer"),
            ("t", "name", "string", False, "'x'", None, None), ("v", "id", "integer", True, *[None] * 3),
            ("t", "g", "decimal", True, "CAST((id * 2) AS DECIMAL(9,2))", "VIRTUAL", None),
            ("child", "id", "integer", True, None, None, None)]),
        "constraints": ("constraint_name kind columns referenced_relation", [
            ("t_id_pkey", "primary_key", ("id",), None), ("t_v_check", "check", ("v",), None),
            ("t_name_key", "unique", ("name",), None), ("child_id_id_fkey", "foreign_key", ("id",), "t")]),
        "indexes": ("index_name columns unique", [("i", ("name", '(lower("name"))'), True)]),
        "sequences": ("sequence_name start increment", [("q", 5, 2)]),
        "routines": ("routine_name kind arguments", [("plus", "function", "a, b")]),
        "dependencies": ("relation_name referenced_schema referenced_relation referenced_column found_by", [
            ("v", "main", "t", "id", "parsed")]),
        "statistics": ("relation_name row_estimate", [("t", 0), ("child", 0)]),
    }  # fmt: skip
    place = FilePlace.fixture("duckdb", duckdb.connect)


@pytest.fixture
def place(tmp_path: Path) -> FilePlace:
    (tmp_path / "files").mkdir()
    return FilePlace("duckdb", duckdb.connect, tmp_path / "files")


def engine_for(place: FilePlace, target: Target, tmp_path: Path) -> Engine:
    storage = open_storage(f"file://{tmp_path / 'storage'}")
    return Engine(target, "", storage, policy=place.policy)


def test_nothing_is_written_and_nothing_beside_the_file_is_read(
    place: FilePlace, tmp_path: Path
) -> None:
    target = place.new("create table t (id int)")
    other = place.new("create table secret (id int)")
    before = sorted(place.root.iterdir())
    with engine_for(place, target, tmp_path).session() as session:
        for statement in (
            "create table x (id int)",
            "insert into t values (1)",
            f"attach '{place.root / other.database}' as other",
            f"copy t to '{place.root / 'out.csv'}'",
            "select * from read_text('/etc/passwd')",
            "install httpfs",
            "set enable_external_access = true",
            "set threads = 4",
        ):
            with pytest.raises(SurveyorError):
                session.fetch(statement)
            session.end()
    assert sorted(place.root.iterdir()) == before


def test_two_sessions_at_once_read_the_same_file(place: FilePlace, tmp_path: Path) -> None:
    engine = engine_for(place, place.new("create table t (id int)"), tmp_path)
    with engine.session() as one, engine.session() as other:
        for session in (one, other):
            session.begin()
            assert [item.name for item in session.inventory("relations")] == ["t"]
            with pytest.raises(SurveyorError):
                session.fetch("set threads = 4")


def test_what_is_no_database_is_refused_without_a_word_of_it(place: FilePlace) -> None:
    (place.root / "text.db").write_text("root:x:0:0\n" * 1000)
    target = Target("duckdb", "", 0, "text.db", "", "")
    with pytest.raises(FileRefused, match="not a DuckDB database") as caught:
        open_session(target, Credentials("", ""), Options(), place.policy, "label")
    assert "root:x" not in repr(caught.value.as_dict())


def test_a_file_that_somebody_writes_is_tried_again(place: FilePlace, tmp_path: Path) -> None:
    target = place.new("create table t (id int)")
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"
    path = str(place.root / target.database)
    writer = subprocess.Popen(
        [sys.executable, "-c", hold, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"held\n"
    engine = engine_for(place, target, tmp_path)
    try:
        with pytest.raises(SourceLocked):
            engine.plan()
    finally:
        writer.communicate(b"\n", timeout=10)
    assert engine.run().manifest["status"] == "succeeded"


def test_a_statement_has_a_deadline(place: FilePlace, tmp_path: Path) -> None:
    engine = engine_for(place, place.new("create table t (id int)"), tmp_path)
    with replace(engine, options=Options(statement_timeout=0.3)).session() as session:
        with pytest.raises(SourceTimeout):
            session.fetch(TestDuckDB.hanging)
        session.begin()
        assert session.inventory("relations")


def test_a_missing_driver_is_named_with_its_extra(place: FilePlace) -> None:
    target = place.new("create table t (id int)")
    code = """
import sys
sys.modules["duckdb"] = sys.modules["duckdb_sqlalchemy"] = None
from pathlib import Path
from extraction.connection import *
try:
    open_session(Target("duckdb", "", 0, sys.argv[1], "", ""), Credentials("", ""), Options(),
                 AddressPolicy(files=Path(sys.argv[2])), "label")
except Exception as error:
    print(type(error).__name__, error.message, error.fix)
"""
    arguments: list[Any] = [sys.executable, "-c", code, target.database, place.root]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == (
        "DriverMissing DuckDB is not installed where the workers run."
        " Install the extra there: pip install 'surveyor[duckdb]'.\n"
    )
