"""A source that is broken, malicious, moving or cut off: nothing is lost, mixed or believed."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dashboard.local.servers import PostgresServer, start
from extraction.connection import Options
from extraction.errors import SourceChanged, SourceUnreachable
from extraction.extract import Advance
from extraction.snapshot.layout import entries_path, manifest_path
from extraction.snapshot.reader import open_snapshot
from extraction.sources import postgresql_login
from tests.extraction.engine import Engine, digests, rows_of
from tests.integration.proxy import Cut, Line, line
from tests.integration.test_engine import engine_for, new_database

pytestmark = pytest.mark.integration

NAMES = [
    "a.b", 'q"uote', "it's", "new\nline", "tab\t", "%s%(x)s%%", "back\\slash", "../../etc/passwd",
    "a/b", "$1", ":bind", "{0}", "{{7*7}}", "\\N", "\\.", ";--", "/*", "ünï", "😀", "Ω" * 31, "x" * 63,
    "<script>alert(1)</script>", "=cmd|'/c calc'!A1", "@x", "rtl\u202etxt", "zero\u200bwidth",
    "bell\x07", "esc\x1b[31m", "del\x7f", "\ufeffbom", "line\u2028end", "e\u0301", " ", "a,b;c|d",
]  # fmt: skip


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def everywhere(name: str) -> str:
    """Statements that put the name wherever PostgreSQL takes one."""
    n, text = quoted(name), "'" + name.replace("'", "''") + "'"
    view, index, sequence = (quoted(name[:20] + end) for end in ("_v", "_i", "_s"))
    return f"""
create schema {n}; comment on schema {n} is {text};
create table {n}.{n} ({n} int constraint {n} check ({n} > 0), other text default {text});
comment on table {n}.{n} is {text}; comment on column {n}.{n}.{n} is {text};
create index {index} on {n}.{n} ({n}, lower({n}::text)) where {n} > 1;
create view {n}.{view} as select {n} from {n}.{n};
create function {n}.{n}({n} text) returns text language sql as $body$ select {text}::text $body$;
create function {n}.on_row() returns trigger language plpgsql as 'begin return new; end';
create trigger {n} before insert on {n}.{n} for each row execute function {n}.on_row();
create sequence {n}.{sequence};
"""


def test_hostile_names_come_back_as_they_are_in_every_kind(postgres: Any, tmp_path: Path) -> None:
    database = new_database(postgres)
    for name in NAMES:
        postgres.execute(database, everywhere(name))
    snapshot = engine_for(postgres, tmp_path / "storage", database).run()
    assert snapshot.manifest["status"] == "succeeded"
    rows = {kind: rows_of(snapshot, kind) for kind in snapshot.manifest["kinds"]}
    expected = sorted(NAMES)

    def named(kind: str, column: str, end: str = "") -> list[str]:
        return [
            row["schema_name"]
            for row in rows[kind]
            if row[column] == (row["schema_name"][:20] + end if end else row["schema_name"])
        ]

    assert [r["schema_name"] for r in rows["schemas"] if r["comment"]] == [
        *sorted([*NAMES, "public"])
    ]
    assert [r["comment"] for r in rows["schemas"] if r["schema_name"] != "public"] == expected
    assert named("relations", "relation_name") == named("relations", "comment") == expected
    assert named("relations", "relation_name", "_v") == expected
    assert named("columns", "column_name")[::2] == named("columns", "comment")
    assert sorted(set(named("columns", "comment"))) == expected
    for kind, column, end in (
        ("constraints", "constraint_name", ""),
        ("indexes", "index_name", "_i"),
        ("triggers", "trigger_name", ""),
        ("routines", "routine_name", ""),
        ("sequences", "sequence_name", "_s"),
        ("dependencies", "referenced_column", ""),
    ):
        assert named(kind, column, end) == expected, kind
    assert [path.name for path in tmp_path.iterdir()] == ["storage"]
    read = csv.DictReader(
        io.StringIO(b"".join(snapshot.rows("schemas", "csv")).decode(), newline="")
    )
    cells = [row["schema_name"] for row in read]
    assert [cell for cell in cells if cell[:1] in "=+-@\t\r"] == []
    assert sorted(
        cell.removeprefix("'") if cell[1:] in NAMES else cell for cell in cells
    ) == sorted([*NAMES, "public"])


def test_a_zero_byte_cannot_be_in_a_name_or_text(postgres: Any) -> None:
    """So none is looked for: the server itself refuses it."""
    for statement in ("select chr(0)", 'create table "a\0b" ()', "select E'a\\000b'"):
        with pytest.raises((psycopg.Error, ValueError)):
            postgres.execute("postgres", statement)


def test_bytes_that_are_no_text_are_escaped_in_every_kind(postgres: Any, tmp_path: Path) -> None:
    name = f"engine_{uuid.uuid4().hex[:12]}"
    postgres.execute(
        "postgres", f"create database {name} encoding 'SQL_ASCII' template template0 locale 'C'"
    )
    with psycopg.connect(postgres.url(name), autocommit=True, client_encoding="SQL_ASCII") as own:
        for statement in (
            b'create schema "s\xff"',
            b'create table "s\xff"."t\xe9" ("c\xc3" int check ("c\xc3" > 0), d text default \'\x80\')',
            b'comment on table "s\xff"."t\xe9" is \'caf\xe9 \xf0\x9f\x98\'',
            b'create index on "s\xff"."t\xe9" (lower("c\xc3"::text))',
            b'create view "s\xff"."v" as select "c\xc3" from "s\xff"."t\xe9"',
            b'create function "s\xff"."f\xfe"() returns text language sql as $$ select \'\xa0\'::text $$',
        ):
            own.execute(statement)
    snapshot = engine_for(postgres, tmp_path, name).run()
    assert snapshot.manifest["status"] == "succeeded"
    table, view = rows_of(snapshot, "relations")
    assert (table["schema_name"], table["relation_name"]) == ("s\\xff", "t\\xe9")
    assert table["comment"] == "caf\\xe9 \\xf0\\x9f\\x98"
    assert "c\\xc3" in view["definition"]
    columns = {row["column_name"]: row for row in rows_of(snapshot, "columns")}
    assert columns["d"]["default"] == "'\\x80'::text" and "c\\xc3" in columns
    (routine,) = rows_of(snapshot, "routines")
    assert routine["routine_name"] == "f\\xfe" and "'\\xa0'" in routine["definition"]
    (dependency,) = rows_of(snapshot, "dependencies")
    assert dependency["referenced_column"] == "c\\xc3"


@pytest.fixture
def wire(postgres: Any) -> Iterator[Line]:
    with line(postgres.host, postgres.port) as made:
        yield made


def through(engine: Engine, wire: Line, **changes: Any) -> Engine:
    return replace(engine, target=replace(engine.target, port=wire.port), **changes)


def test_a_comment_of_20_mb_is_cut_in_the_server(postgres: Any, tmp_path: Path, wire: Line) -> None:
    """On what can have one: relation, column, schema and routine. Little of it is sent."""
    long = "repeat(md5(random()::text), 655360)"
    says = " ".join(
        f"execute format('comment on {what} is %L', {long});"
        for what in ("table t", "column t.id", "schema public", "function f()")
    )
    database = new_database(
        postgres,
        "create table t (id int); create function f() returns int language sql as 'select 1';"
        f"do $$ begin {says} end $$",
    )
    snapshot = through(engine_for(postgres, tmp_path, database), wire).run()
    comments = [
        row["comment"]
        for kind in ("relations", "columns", "schemas", "routines")
        for row in rows_of(snapshot, kind)
    ]
    assert [len(comment) for comment in comments] == [65_536 + len(" [cut]")] * 4
    assert all(comment.endswith(" [cut]") for comment in comments)
    assert wire.received < 500_000


def test_tables_without_columns_and_with_as_many_as_there_can_be(
    postgres: Any, tmp_path: Path
) -> None:
    columns = ", ".join(f"c{number} int" for number in range(1600))
    database = new_database(postgres, f"create table none (); create table most ({columns});")
    snapshot = engine_for(postgres, tmp_path, database).run()
    assert [r["relation_name"] for r in rows_of(snapshot, "relations")] == ["most", "none"]
    rows = rows_of(snapshot, "columns")
    assert [(r["column_name"], r["position"]) for r in rows] == [
        (f"c{number}", number + 1) for number in range(1600)
    ]
    assert snapshot.manifest["status"] == "succeeded"


def test_a_database_of_empty_schemas_only_is_whole(postgres: Any, tmp_path: Path) -> None:
    database = new_database(postgres, "create schema a; create schema b")
    manifest = engine_for(postgres, tmp_path, database).run().manifest
    assert (manifest["status"], manifest["counts"]["relations"]) == ("succeeded", 0)
    assert {scope["status"] for scope in manifest["scopes"]} == {"complete"}


MOVES = {
    "renamed": ("alter table t010 rename to moved", {"t010"}),
    "dropped": ("drop table t010", {"t010"}),
    "dropped and made anew": ("drop table t010; create table t010 (other text)", set()),
    "column dropped": ("alter table t010 drop column a", set()),
    "column renamed": ("alter table t010 rename column a to b", set()),
    "schema renamed": ("alter schema public rename to elsewhere", {f"t{n:03}" for n in range(40)}),
}


@pytest.mark.parametrize("move", MOVES)
def test_what_changes_while_a_batch_is_read_is_read_as_it_was_or_named(
    postgres: Any, tmp_path: Path, move: str
) -> None:
    """The change falls between two kinds of one batch: no kind may tell of another moment."""
    script = "".join(
        f"create table t{n:03} (id int primary key, a int default 1, check (a > 0));"
        for n in range(40)
    )
    database = new_database(postgres, script)
    engine = engine_for(postgres, tmp_path, database)
    plan = engine.plan()
    statement, may_vanish = MOVES[move]
    moved: list[bool] = []

    def moves(advance: Advance) -> None:
        if advance.in_flight and not moved:
            moved.append(True)
            with psycopg.connect(postgres.url(database), autocommit=True) as other:
                other.execute(statement)

    ledgers = [engine.read(plan, shard.id, report=moves) for shard in plan.shards]
    finished = engine.finish(plan, ledgers)
    snapshot = open_snapshot(engine.storage, engine.run_id, finished.manifest)
    assert moved and finished.status == "succeeded"
    vanished = {one["name"] for one in snapshot.manifest["vanished"] if one["of"] == "relations"}
    assert vanished in (set(), may_vanish)
    read = {row["relation_name"] for row in rows_of(snapshot, "relations")}
    assert read == {f"t{n:03}" for n in range(40)} - vanished
    for kind in ("columns", "constraints", "indexes", "statistics"):
        assert {row["relation_name"] for row in rows_of(snapshot, kind)} <= read
    of_it = [r["column_name"] for r in rows_of(snapshot, "columns") if r["relation_name"] == "t010"]
    checks = [
        r["columns"] for r in rows_of(snapshot, "constraints") if r["relation_name"] == "t010"
    ]
    if "t010" in read:
        assert of_it in (["id", "a"], ["other"], ["id"], ["id", "b"])
        assert all(set(columns) <= set(of_it) for columns in checks)


@pytest.fixture
def wide(postgres: Any, tmp_path: Path) -> Engine:
    columns = ", ".join(f"column_{n} numeric({n + 1}, 2) default {n}" for n in range(30))
    script = "".join(f"create table t{n:03} ({columns});" for n in range(300))
    return engine_for(postgres, tmp_path, new_database(postgres, script))


@pytest.mark.parametrize("how", ["rst", "close", "black hole"])
def test_a_connection_cut_anywhere_loses_and_doubles_nothing(
    wide: Engine, wire: Line, how: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_login, "GRACE", 0.2)
    calm = through(wide, wire, run_id="calm")
    plan = calm.plan()
    shard = plan.shards[1]
    before = wire.received
    calm.read(plan, shard.id)
    whole = wire.received - before
    assert whole > 100_000
    # A broken connection says so at once; a silent one only has its limit.
    quick = Options(statement_timeout=0.8) if how == "black hole" else Options()
    cut = through(wide, wire, run_id="cut", options=quick)
    plan = cut.plan()
    for attempt, share in enumerate((0.02, 0.3, 0.6, 0.95), 1):
        wire.cut(how, int(whole * share))
        with pytest.raises(SourceUnreachable):
            cut.read(plan, shard.id, attempt)
        for path in cut.storage.list(entries_path(cut.run_id, shard.id)):
            cut.storage.local_path(path).unlink()  # the next cut falls as deep again
    finished = cut.finish(plan, [cut.read(plan, one.id, attempt=9) for one in plan.shards])
    assert finished.status == "succeeded"
    again = open_snapshot(cut.storage, cut.run_id, finished.manifest)
    assert digests(again) == digests(replace(wide, run_id="undisturbed").run())


def test_a_cut_keeps_what_has_an_entry(wide: Engine, wire: Line) -> None:
    plan = wide.plan()

    def cuts(advance: Advance) -> None:
        if advance.new_entry and advance.batch == 1:
            wire.cut("rst")

    with pytest.raises(SourceUnreachable):
        through(wide, wire).read(plan, 1, report=cuts)
    reports: list[Advance] = []
    through(wide, wire).read(plan, 1, attempt=2, report=reports.append)
    assert (reports[0].batch, reports[-1].batch) == (1, 2)
    assert sum(advance.new_entry for advance in reports) == 1


def test_another_server_at_the_same_address_is_never_mixed_in(
    postgres: Any, tmp_path: Path, wire: Line
) -> None:
    """The same database name, the same object ids, other contents: a failover gone wrong."""
    script = "".join(f"create table t{n:03} (id int);" for n in range(300))
    database = new_database(postgres, script)
    twin = PostgresServer(tmp_path / "twin", durable=False)
    child = start(twin)
    try:
        twin.create_database(database)
        twin.execute(database, script.replace("id int", "id int, only_in_the_twin int"))
        twin.execute("postgres", f"alter role {twin.user} password '{postgres.password}'")
        engine = through(engine_for(postgres, tmp_path / "storage", database), wire)
        plan = engine.plan()
        ledgers = [engine.read(plan, 0)]

        def fails_over(advance: Advance) -> None:
            if advance.new_entry and advance.batch == 1:
                wire.target = twin.host, twin.port
                wire.cut("rst")

        with pytest.raises(SourceUnreachable):
            engine.read(plan, 1, report=fails_over)
        with pytest.raises(SourceChanged):
            engine.read(plan, 1, attempt=2)
        assert not engine.storage.exists(manifest_path(engine.run_id))
        wire.target = postgres.host, postgres.port
        ledgers += [engine.read(plan, shard.id, attempt=3) for shard in plan.shards[1:]]
        finished = engine.finish(plan, ledgers)
    finally:
        child.stop()
    snapshot = open_snapshot(engine.storage, engine.run_id, finished.manifest)
    assert {row["column_name"] for row in rows_of(snapshot, "columns")} == {"id"}
    assert snapshot.manifest["counts"]["relations"] == 300
