"""What happens to a batch in which something moves, is locked or is too large."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from extraction.connection import Item, Options, Oversized
from extraction.selection import Selection
from extraction.snapshot.reader import Snapshot, open_snapshot
from extraction.sources import postgresql
from extraction.sources.postgresql import PostgreSQLSession
from tests.extraction.engine import Engine, rows_of
from tests.integration.test_engine import engine_for, new_database

pytestmark = pytest.mark.integration

TABLES = "".join(f"create table public.t{n:02} (id int, name text);" for n in range(20))


def a_source(postgres: Any, tmp_path: Path, script: str) -> Engine:
    return engine_for(postgres, tmp_path, new_database(postgres, script))


def finished(engine: Engine, plan: Any) -> Snapshot:
    ledgers = [engine.read(plan, shard.id) for shard in plan.shards]
    return open_snapshot(engine.storage, engine.run_id, engine.finish(plan, ledgers).manifest)


def test_what_goes_while_a_batch_is_halved_is_not_lost_in_silence(
    postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = a_source(postgres, tmp_path, TABLES)
    receive, dropped = PostgreSQLSession.receive, []

    def received(self: PostgreSQLSession, kind: str, items: Sequence[Item]) -> Any:
        try:
            return receive(self, kind, items)
        except Oversized:
            if kind == "columns" and not dropped:
                postgres.execute(engine.target.database, "drop table t07")
                dropped.append(kind)
            raise

    monkeypatch.setattr(PostgreSQLSession, "receive", received)
    monkeypatch.setattr(postgresql, "LARGEST_READ", 400)
    snapshot = engine.run(Selection(kinds=["relations", "columns"]))
    assert dropped
    assert snapshot.manifest["vanished"] == [{"of": "relations", "schema": "public", "name": "t07"}]
    assert {r["relation_name"] for r in rows_of(snapshot, "relations")} == {
        r["relation_name"] for r in rows_of(snapshot, "columns")
    }
    assert snapshot.manifest["counts"] == {"relations": 19, "columns": 38}


@pytest.mark.parametrize("changes", [1, 9])
def test_a_relation_made_anew_while_a_batch_is_halved(
    postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: int
) -> None:
    engine = a_source(postgres, tmp_path, TABLES)
    receive, left = PostgreSQLSession.receive, [changes]

    def received(self: PostgreSQLSession, kind: str, items: Sequence[Item]) -> Any:
        try:
            return receive(self, kind, items)
        except Oversized:
            if kind == "relations" and left[0] and len(items) > 8:
                left[0] -= 1
                again = "drop table t19; create table t19 (id int, name text)"
                postgres.execute(engine.target.database, again)
            raise

    monkeypatch.setattr(PostgreSQLSession, "receive", received)
    monkeypatch.setattr(postgresql, "LARGEST_READ", 300)
    manifest = engine.run(Selection(kinds=["relations", "columns"])).manifest
    if changes == 1:
        assert (manifest["status"], manifest["counts"]["relations"]) == ("succeeded", 20)
    else:
        assert manifest["status"] == "partial"
        assert {e["name"] for e in manifest["errored"]} == {"t19"}


def test_an_overload_made_anew_is_read_beside_the_one_that_stayed(
    postgres: Any, tmp_path: Path
) -> None:
    one = "create function twice(n int) returns int language sql as 'select n * 2';"
    other = "create function twice(n text) returns text language sql as 'select n || n';"
    engine = a_source(postgres, tmp_path, one + other)
    plan = engine.plan(Selection(kinds=["routines"]))
    postgres.execute(engine.target.database, f"drop function twice(int); {one}")
    found = [row["arguments"] for row in rows_of(finished(engine, plan), "routines")]
    assert found == ["n integer", "n text"]


def test_a_batch_of_one_locked_object_names_it(postgres: Any, tmp_path: Path) -> None:
    script = "create table public.base (id int); create view public.only as select id from base;"
    engine = replace(a_source(postgres, tmp_path, script), options=Options(lock_timeout=0.2))
    selection = Selection(["public.only"], kinds=["relations"])
    plan = engine.plan(selection)
    with psycopg.connect(postgres.url(engine.target.database)) as holder:
        holder.execute("lock table base in access exclusive mode")
        locked = finished(engine, plan).manifest
    free = replace(engine, run_id=str(uuid.uuid4())).run(selection).manifest
    assert (locked["status"], [e["name"] for e in locked["errored"]]) == ("partial", ["only"])
    assert (free["status"], free["counts"]["relations"]) == ("succeeded", 1)


def test_an_answer_that_grows_too_large_with_its_last_row_is_halved(
    postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comment = f"comment on table t19 is '{'x' * 5000}';"
    engine = a_source(postgres, tmp_path, TABLES + comment)
    monkeypatch.setattr(postgresql, "LARGEST_READ", 4000)
    snapshot = engine.run(Selection(kinds=["relations"]))
    assert (snapshot.manifest["status"], len(rows_of(snapshot, "relations"))) == ("succeeded", 20)


def test_one_object_that_is_too_large_is_named(
    postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comment = f"comment on table t07 is '{'x' * 50_000}';"
    engine = a_source(postgres, tmp_path, TABLES + comment)
    monkeypatch.setattr(postgresql, "LARGEST_READ", 4000)
    monkeypatch.setattr(postgresql, "LARGEST_OBJECT", 30_000)
    snapshot = engine.run(Selection(kinds=["relations"]))
    (errored,) = snapshot.manifest["errored"]
    assert (errored["name"], errored["reason"]) == (
        "t07", "It is larger than what is read of one object.",
    )  # fmt: skip
    assert len(rows_of(snapshot, "relations")) == 19


def test_options_of_an_operator_class_are_in_the_definition(postgres: Any, tmp_path: Path) -> None:
    script = (
        "create table t (doc tsvector);"
        "create index lossy on t using gist (doc pg_catalog.tsvector_ops (siglen='256'));"
    )
    engine = a_source(postgres, tmp_path, script)
    ((expected,),) = postgres.execute(
        engine.target.database, "select pg_get_indexdef('lossy'::regclass)"
    )
    (row,) = rows_of(engine.run(Selection(kinds=["indexes"])), "indexes")
    assert "siglen" in row["definition"]
    assert row["definition"].split("USING")[1] == expected.split("USING")[1]


def test_a_right_lost_after_the_plan_is_denied(postgres: Any, many_routines: Engine) -> None:
    engine = many_routines
    role = f"reader_{uuid.uuid4().hex[:8]}"
    postgres.execute("postgres", f"create role {role} login password 'sees-less'")
    reader = replace(engine, target=replace(engine.target, username=role), password="sees-less")
    plan = reader.plan(Selection(kinds=["relations", "routines"]))
    postgres.execute(engine.target.database, "revoke select on pg_proc from public")
    try:
        manifest = finished(reader, plan).manifest
    finally:
        postgres.execute("postgres", f"drop role {role}")
    assert manifest["status"] == "partial"
    (denied,) = manifest["denied"]
    assert denied["kind"] == "routines"
    assert denied["fix"] == f"GRANT SELECT ON pg_catalog.pg_proc TO {role};"
    assert manifest["counts"]["relations"] == 20


@pytest.fixture
def many_routines(postgres: Any, tmp_path: Path) -> Engine:
    script = "create function one() returns int language sql as 'select 1';"
    return a_source(postgres, tmp_path, TABLES + script)
