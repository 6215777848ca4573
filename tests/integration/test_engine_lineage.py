"""Dependencies by parsing, held against what PostgreSQL itself records of the same views."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from extraction.extract import Advance, Stopped
from extraction.parsers import Parsers
from extraction.selection import Selection
from extraction.snapshot.layout import entries_path
from extraction.sources.postgresql import PostgreSQLSession
from tests.extraction.engine import Engine, digests, rows_of
from tests.integration.test_engine import engine_for, new_database

pytestmark = pytest.mark.integration

READS = """
create schema sales; create schema hr;
create table sales.orders (id int, customer int, total numeric, placed date);
create table sales.customers (id int, name text, up int);
create table hr.people (id int, name text);
create view sales.plain as select id, total from sales.orders where placed > '2026-01-01';
create view sales.joined as select o.id, c.name from sales.orders o join sales.customers c
  on o.customer = c.id order by c.name;
create view hr.all_people as select * from hr.people;
create view hr.both as select name from hr.people union all select name from sales.customers;
create view sales.tree as with recursive t as (select id, up from sales.customers
  union all select c.id, c.up from sales.customers c join t on c.id = t.up) select id from t;
create view sales.correlated as select c.id from sales.customers c
  where exists (select 1 from sales.orders o where o.customer = c.id);
create view sales.lateral_one as select c.name, l.total from sales.customers c,
  lateral (select o.total from sales.orders o where o.customer = c.id limit 1) l;
create view sales.listed as select s.n, o.id from generate_series(1, 3) s(n)
  join sales.orders o on o.id = s.n;
create view sales.counted as select count(*) as many from sales.orders;
create view sales.on_views as select p.id, j.name from sales.plain p join sales.joined j using (id);
create view sales.nothing as select 1 as one;
create materialized view hr.kept as select max(id) as newest from hr.people;
"""


@pytest.fixture(scope="module")
def database(postgres: Any) -> str:
    return new_database(postgres, READS)


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    made = Parsers(2)
    yield made
    made.close()


@pytest.fixture
def recorded(postgres: Any, database: str, tmp_path: Path) -> Engine:
    return engine_for(postgres, tmp_path, database)


@pytest.fixture
def engine(recorded: Engine, parsers: Parsers, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(PostgreSQLSession, "view_dialect", "postgres")
    return replace(recorded, run_id="parsed", parsers=parsers)


def named(rows: list[dict[str, Any]]) -> set[tuple[str, str, str, str]]:
    keys = ("schema_name", "relation_name", "referenced_schema", "referenced_relation")
    return {tuple(row[key] for key in keys) for row in rows}  # type: ignore[misc]


def columns(rows: list[dict[str, Any]]) -> set[tuple[str, ...]]:
    keys = ("relation_name", "referenced_relation", "referenced_column")
    return {tuple(row[k] for k in keys) for row in rows if row["referenced_column"]}


def test_texts_name_what_the_catalogue_records(
    recorded: Engine, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = engine.run()
    rows = rows_of(parsed, "dependencies")
    monkeypatch.setattr(PostgreSQLSession, "view_dialect", "")
    own = rows_of(recorded.run(), "dependencies")
    assert {row["found_by"] for row in rows} == {"parsed"}
    assert {row["found_by"] for row in own} == {"catalogue"}
    assert named(rows) == named(own)
    assert columns(rows) == columns(own)
    assert not any(row["relation_name"] == "nothing" for row in rows)
    assert parsed.manifest["status"] == "succeeded"


def test_only_dependencies_can_be_asked_for(engine: Engine) -> None:
    whole = engine.run()
    alone = replace(engine, run_id="alone").run(Selection(kinds=["dependencies"]))
    assert list(alone.manifest["counts"]) == ["dependencies"]
    assert digests(alone) == [one for one in digests(whole) if one[0] == "dependencies"]


def test_two_runs_give_the_same_digests(engine: Engine) -> None:
    assert digests(engine.run()) == digests(replace(engine, run_id="again").run())


def test_a_view_that_cannot_be_parsed_is_named_and_the_others_are_read(engine: Engine) -> None:
    calm = rows_of(engine.run(), "dependencies")
    poisoned = Parsers(2, 0.4, "tests.extraction.parse_hooks:poisoned")
    try:
        snapshot = replace(engine, run_id="poisoned", parsers=poisoned).run()
    finally:
        poisoned.close()
    errored = {
        e["name"]: (e["kind"], e["schema"], e["reason"]) for e in snapshot.manifest["errored"]
    }
    assert errored == {
        "joined": ("dependencies", "sales", "could not be parsed: it takes longer than 0.4 s"),
        "all_people": ("dependencies", "hr", "could not be parsed: the parser does not survive it"),
    }
    left = [row for row in calm if row["relation_name"] not in errored]
    assert rows_of(snapshot, "dependencies") == left
    statuses = {(s["schema"], s["kind"]): s["status"] for s in snapshot.manifest["scopes"]}
    assert statuses["hr", "dependencies"] == statuses["sales", "dependencies"] == "errored"
    assert statuses["public", "dependencies"] == statuses["sales", "relations"] == "complete"
    assert snapshot.manifest["status"] == "partial"
    assert snapshot.manifest["counts"]["relations"] == len(rows_of(snapshot, "relations"))


def test_texts_that_are_refused_deny_what_is_read_from_them(postgres: Any, engine: Engine) -> None:
    role = f"reader_{uuid.uuid4().hex[:8]}"
    function = "function pg_get_viewdef(oid)"
    database = engine.target.database
    postgres.execute("postgres", f"create role {role} login password 'sees-little'")
    postgres.execute(database, f"revoke execute on {function} from public")
    reader = replace(engine, target=replace(engine.target, username=role), password="sees-little")
    try:
        manifest = reader.run().manifest
        only = replace(reader, run_id="only").run(Selection(kinds=["dependencies"])).manifest
    finally:
        postgres.execute(database, f"grant execute on {function} to public")
        postgres.execute("postgres", f"drop role {role}")
    assert [d["kind"] for d in manifest["denied"]] == ["relations", "dependencies"]
    assert [d["kind"] for d in only["denied"]] == ["dependencies"]
    grant = f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_get_viewdef(oid) TO {role};"
    assert {d["fix"] for d in [*manifest["denied"], *only["denied"]]} == {grant}
    assert (manifest["status"], only["status"]) == ("partial", "partial")


def test_views_whose_text_is_hidden_are_denied_by_schema(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MySQL hides it: the relation is listed, its text is null."""
    build = PostgreSQLSession.build

    def hiding(self: PostgreSQLSession, kind: str, items: Any, received: Any) -> pa.Table:
        table = build(self, kind, items, received)
        if kind != "relations":
            return table
        hidden = [
            None if row["schema_name"] == "hr" else row["definition"] for row in table.to_pylist()
        ]
        place = table.column_names.index("definition")
        return table.set_column(place, "definition", pa.array(hidden, pa.string()))

    monkeypatch.setattr(PostgreSQLSession, "build", hiding)
    manifest = engine.run().manifest
    assert [(d["kind"], d["schema"]) for d in manifest["denied"]] == [("dependencies", "hr")]
    statuses = {s["schema"]: s["status"] for s in manifest["scopes"] if s["kind"] == "dependencies"}
    assert statuses == {"hr": "denied", "public": "complete", "sales": "complete"}
    assert manifest["status"] == "partial"


def test_told_to_stop_while_parsing_it_stops_and_leaves_no_entry(engine: Engine) -> None:
    plan = engine.plan()
    shard = next(shard for shard in plan.shards if shard.total)
    parsing: list[Advance] = []
    slow = Parsers(1, 60, "tests.extraction.parse_hooks:slow")
    # Kinds are reported as whole sevenths of the batch until texts are parsed.
    sevenths = {shard.total * count // 8 for count in range(9)}

    def report(advance: Advance) -> None:
        if advance.in_flight and advance.in_flight not in sevenths:
            parsing.append(advance)

    try:
        with pytest.raises(Stopped):
            replace(engine, parsers=slow).read(plan, shard.id, 1, report, lambda: bool(parsing))
    finally:
        slow.close()
    assert engine.storage.list(entries_path(engine.run_id, shard.id)) == []
    assert replace(engine).read(plan, shard.id, attempt=2)
