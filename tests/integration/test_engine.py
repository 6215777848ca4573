"""The engine against a real PostgreSQL: what is read, resumed, isolated and proven."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from extraction.catalog import KINDS
from extraction.connection import Target
from extraction.errors import SnapshotDamaged, SourceTimeout, StorageFailed
from extraction.extract import Advance, Plan, Stopped
from extraction.selection import Selection
from extraction.snapshot.layout import entries_path, manifest_path
from extraction.snapshot.ledger import read_ledger, write_ledger
from extraction.snapshot.reader import SEARCHED, open_snapshot
from extraction.storage import open_storage
from tests.extraction.engine import Engine, digests, manifest_digest, rows_of

pytestmark = pytest.mark.integration

HOSTILE = ["a.b", 'q"uote', "new\nline", "%s{0}", "ünï", "../../x", "<script>", "Ω" * 31, "tab\t"]

SHOP = """
create schema sales; comment on schema sales is 'what we sell';
create schema hr;
create type sales.mood as enum ('good', 'bad');
create domain sales.amount as numeric(12,2) check (value >= 0);
create domain sales.price as sales.amount;
create table sales.customers (id bigint generated always as identity primary key,
  name varchar(40) not null collate "C", mood sales.mood, tags text[],
  upper_name text generated always as (upper(name)) stored);
create table sales.orders (id serial, customer bigint references sales.customers
    on update cascade on delete set null deferrable, total sales.price default 0,
  placed timestamptz not null default now(), unique (customer, placed), check (total > -1),
  exclude using btree (id with =));
comment on column sales.orders.total is 'with tax';
create index on sales.orders (lower(total::text), placed desc) include (customer) where total > 0;
create view sales.recent as select id, total from sales.orders where placed > '2026-01-01';
create materialized view sales.totals as select sum(total) from sales.orders with no data;
create table hr.people (id int, born date) partition by range (born);
create table hr.people_2000 partition of hr.people for values from ('2000-01-01') to ('2001-01-01');
create unlogged table hr.scratch ();
create function sales.twice(n int default 2) returns int language sql as 'select n * 2';
create function sales.twice(n text) returns text language sql as 'select n || n';
create procedure sales.tidy() language sql as 'delete from sales.orders where total = 0';
create aggregate sales.adds (int) (sfunc = int4pl, stype = int);
create function sales.noted() returns trigger language plpgsql as 'begin return new; end';
create trigger noted before insert or update of total on sales.orders for each row
  execute function sales.noted();
alter table sales.orders disable trigger noted;
create sequence hr.badge increment by -5 start with -5;
"""


def engine_for(postgres: Any, root: Path, database: str) -> Engine:
    target = Target("postgresql", postgres.host, postgres.port, database, postgres.user, "disable")
    return Engine(target, postgres.password, open_storage(f"file://{root}"))


def new_database(postgres: Any, script: str = "") -> str:
    name = f"engine_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name)
    if script:
        postgres.execute(name, script)
    return name


@pytest.fixture(scope="module")
def shop(postgres: Any) -> str:
    return new_database(postgres, SHOP)


@pytest.fixture
def engine(postgres: Any, shop: str, tmp_path: Path) -> Engine:
    return engine_for(postgres, tmp_path, shop)


@pytest.fixture
def many(postgres: Any, tmp_path: Path) -> Engine:
    """Four batches of tables and one shard that has two of them."""
    script = "".join(f"create table public.t{n:03} (id int primary key);" for n in range(400))
    return engine_for(postgres, tmp_path, new_database(postgres, script))


def by_name(rows: list[dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    return {row[name]: row for row in rows}


def test_every_kind_is_read_in_the_order_of_its_key(engine: Engine) -> None:
    snapshot = engine.run()
    for kind in KINDS.values():
        rows = rows_of(snapshot, kind.name)
        keys = [[row[name] for name in kind.key] for row in rows]
        assert keys == sorted(keys), kind.name
        assert all(list(row) == list(kind.columns) for row in rows)
        assert len(rows) == snapshot.manifest["counts"][kind.name] > 0, kind.name
    assert snapshot.manifest["status"] == "succeeded"


def test_relations_and_columns(engine: Engine) -> None:
    snapshot = engine.run()
    relations = by_name(rows_of(snapshot, "relations"), "relation_name")
    assert {name: row["kind"] for name, row in relations.items()} == {
        "customers": "table",
        "orders": "table",
        "people": "partitioned_table",
        "people_2000": "table",
        "recent": "view",
        "scratch": "table",
        "totals": "materialized_view",
    }
    assert relations["people_2000"]["partition_of"] == "hr.people"
    assert "FROM sales.orders" in relations["recent"]["definition"]
    columns = {(r["relation_name"], r["column_name"]): r for r in rows_of(snapshot, "columns")}
    total = columns["orders", "total"]
    assert (total["data_type"], total["logical_type"], total["comment"]) == (
        "sales.price", "decimal", "with tax",
    )  # fmt: skip
    name = columns["customers", "name"]
    assert (name["data_type"], name["nullable"], name["collation"]) == (
        "character varying(40)", False, "C",
    )  # fmt: skip
    assert columns["customers", "id"]["identity"] == "ALWAYS"
    generated = columns["customers", "upper_name"]
    assert (generated["generated"], generated["default"]) == ("STORED", "upper((name)::text)")
    logical = {key[1]: row["logical_type"] for key, row in columns.items()}
    assert (logical["mood"], logical["tags"], logical["born"]) == ("enum", "array", "date")


def test_constraints_indexes_and_triggers(engine: Engine) -> None:
    snapshot = engine.run()
    constraints = by_name(rows_of(snapshot, "constraints"), "constraint_name")
    assert "orders_placed_not_null" not in constraints
    foreign = constraints["orders_customer_fkey"]
    assert (foreign["columns"], foreign["referenced_relation"], foreign["referenced_columns"]) == (
        ["customer"], "customers", ["id"],
    )  # fmt: skip
    assert (foreign["on_update"], foreign["on_delete"]) == ("CASCADE", "SET NULL")
    assert {row["kind"] for row in constraints.values()} == {
        *("primary_key", "unique", "foreign_key", "check", "exclusion"),
    }
    indexes = by_name(rows_of(snapshot, "indexes"), "index_name")
    index = indexes["orders_lower_placed_customer_idx"]
    assert index["columns"] == ["lower((total)::text)", "placed"]
    assert (index["unique"], index["method"]) == (False, "btree")
    assert "INCLUDE (customer)" in index["definition"] and "> " in index["predicate"]
    (trigger,) = rows_of(snapshot, "triggers")
    assert (trigger["timing"], trigger["events"], trigger["enabled"]) == (
        "BEFORE", ["INSERT", "UPDATE"], "disabled",
    )  # fmt: skip


def test_routines_sequences_and_statistics(engine: Engine) -> None:
    snapshot = engine.run()
    routines = [
        (r["routine_name"], r["kind"], r["arguments"]) for r in rows_of(snapshot, "routines")
    ]
    assert routines == [
        ("adds", "aggregate", "integer"),
        ("noted", "function", ""),
        ("tidy", "procedure", ""),
        ("twice", "function", "n integer DEFAULT 2"),
        ("twice", "function", "n text"),
    ]
    sequences = by_name(rows_of(snapshot, "sequences"), "sequence_name")
    assert sequences["badge"]["increment"] == -5
    assert sequences["orders_id_seq"]["owned_by"] == "sales.orders.id"
    assert sequences["customers_id_seq"]["owned_by"] == "sales.customers.id"
    names = [row["relation_name"] for row in rows_of(snapshot, "statistics")]
    assert "recent" not in names and len(names) == 6


def test_hostile_names_are_kept_and_lead_nowhere(postgres: Any, tmp_path: Path) -> None:
    quoted = [name.replace('"', '""') for name in HOSTILE]
    script = "".join(f'create schema "{n}"; create table "{n}"."{n}" ("{n}" int);' for n in quoted)
    engine = engine_for(postgres, tmp_path / "storage", new_database(postgres, script))
    snapshot = engine.run()
    found = [row["relation_name"] for row in rows_of(snapshot, "relations")]
    assert found == sorted(HOSTILE)
    for name in HOSTILE:
        relation = snapshot.relation(name, name)
        assert relation is not None
        assert [column["column_name"] for column in relation["columns"]] == [name]
        assert [row["schema_name"] for row in snapshot.schemas(name)] == [name]
    assert snapshot.relation("x' or '1'='1", "x") is None
    assert [path.name for path in tmp_path.iterdir()] == ["storage"]


def test_a_batch_is_one_statement_a_kind(many: Engine) -> None:
    plan = many.plan()
    with many.session() as session:
        before = session.load.statements
        session.begin()
        items = plan.batches[-1].items
        present = session.present("relations", items)
        for kind in plan.kinds_of("relations"):
            session.build(kind, present, session.receive(kind, present))
        session.end()
        # BEGIN, who is there, seven kinds, ROLLBACK; once a session: types, keywords, classes
        assert session.load.statements - before == 13


def test_a_role_that_may_only_connect_sees_everything(postgres: Any, engine: Engine) -> None:
    role = f"reader_{uuid.uuid4().hex[:8]}"
    postgres.execute("postgres", f"create role {role} login password 'only-connects'")
    reader = replace(
        engine,
        run_id="reader",
        target=replace(engine.target, username=role),
        password="only-connects",
    )
    try:
        snapshot = reader.run()
    finally:
        postgres.execute("postgres", f"drop role {role}")
    assert snapshot.manifest["status"] == "succeeded"
    assert digests(snapshot) == digests(engine.run())
    assert engine.run().manifest["notes"] == []
    assert snapshot.manifest["notes"] == [
        {"text": "The role has no USAGE on these schemas.", "count": 2, "names": ["hr", "sales"]},
    ]


def test_a_note_names_twenty_relations_that_may_not_be_read(postgres: Any, many: Engine) -> None:
    role = f"reader_{uuid.uuid4().hex[:8]}"
    database = many.target.database
    postgres.execute("postgres", f"create role {role} login password 'only-connects'")
    postgres.execute(database, f"grant select on t000 to {role}")
    reader = replace(many, target=replace(many.target, username=role), password="only-connects")
    try:
        (note,) = reader.plan(Selection(["public.t0*", "public.t1*"])).notes
    finally:
        postgres.execute(database, f"drop owned by {role}")
        postgres.execute("postgres", f"drop role {role}")
    assert (note.text, note.count) == ("The role has no SELECT on these relations.", 399)
    assert note.names == [f"public.t{number:03}" for number in range(1, 21)]


def test_bytes_that_are_no_text_are_escaped(postgres: Any, tmp_path: Path) -> None:
    name = f"engine_{uuid.uuid4().hex[:12]}"
    postgres.execute(
        "postgres", f"create database {name} encoding 'SQL_ASCII' template template0 locale 'C'"
    )
    postgres.execute(
        name,
        "do $$ begin execute convert_from(convert_to('create table public.\"caf', 'UTF8') || "
        "'\\xe9'::bytea || convert_to('\" (id int)', 'UTF8'), 'SQL_ASCII'); end $$",
    )
    postgres.execute(name, 'create table public."schön" (id int)')
    snapshot = engine_for(postgres, tmp_path, name).run()
    names = [row["relation_name"] for row in rows_of(snapshot, "relations")]
    assert names == ["caf\\xe9", "schön"]


class Died(Exception):
    pass


def dies_after(entries: int) -> Any:
    def report(advance: Advance) -> None:
        if advance.new_entry and advance.batch == entries:
            raise Died

    return report


def test_a_later_attempt_goes_on_where_the_earlier_died(many: Engine) -> None:
    plan = many.plan(Selection(kinds=["relations", "columns"]))
    whole = [replace(many, run_id="whole").read(p, s.id) for p in [
        replace(many, run_id="whole").plan(plan.selection)] for s in p.shards]  # fmt: skip
    with pytest.raises(Died):
        many.read(plan, 1, report=dies_after(1))
    reports: list[Advance] = []
    ledgers = [many.read(plan, 1, attempt=2, report=reports.append)]
    ledgers += [many.read(plan, shard.id) for shard in plan.shards[1:]]
    assert (reports[0].batch, reports[0].done, reports[0].new_entry) == (1, 128, False)
    assert (reports[-1].batch, reports[-1].done) == (2, 256)
    files = [path.rpartition("/")[2] for path in many.storage.list(entries_path(many.run_id, 1))]
    assert files == ["0.1.json", "1.2.json"]
    # Another run's parts lie elsewhere, so compare what they hold, not the ledgers' names.
    finished = many.finish(plan, ledgers)
    assert finished.counts == {"relations": 400, "columns": 400}
    whole_run = replace(many, run_id="whole")
    whole_finished = whole_run.finish(whole_run.plan(plan.selection), whole)
    assert digests(open_snapshot(many.storage, many.run_id, finished.manifest)) == digests(
        open_snapshot(many.storage, "whole", whole_finished.manifest)
    )


def test_the_ledger_does_not_depend_on_attempts(many: Engine) -> None:
    plan = many.plan(Selection(kinds=["relations"]))
    first = many.read(plan, 1)
    for path in many.storage.list(entries_path(many.run_id, 1)):
        many.storage.local_path(path).unlink()
    assert many.read(plan, 1, attempt=7) == first


def test_done_never_falls_and_in_flight_stays_in_the_batch(many: Engine) -> None:
    reports: list[Advance] = []
    plan = many.plan()
    many.read(plan, 1, report=reports.append)
    done = [advance.done for advance in reports]
    assert done == sorted(done) and done[-1] == 256
    assert {advance.in_flight for advance in reports} == {0, 18, 36, 54, 73, 91, 109, 128}
    assert sum(advance.new_entry for advance in reports) == 2


def test_an_altered_part_is_read_again(many: Engine) -> None:
    plan = many.plan(Selection(kinds=["relations"]))
    ledger = many.read(plan, 1)
    part = next(p for p in many.storage.list(f"snapshots/{many.run_id}/parts"))
    many.storage.put(part, b"x" * many.storage.size(part))
    assert many.read(plan, 1, attempt=2) == ledger
    assert len(many.storage.list(entries_path(many.run_id, 1))) == 3


def test_told_to_stop_it_stops_between_statements(many: Engine) -> None:
    plan = many.plan()
    asked: list[bool] = []

    def stopped() -> bool:
        asked.append(True)
        return len(asked) > 3

    with pytest.raises(Stopped):
        many.read(plan, 1, stopped=stopped)
    assert many.storage.list(entries_path(many.run_id, 1)) == []
    slow = replace(many, options=replace(many.options, pace=3600))
    with pytest.raises(Stopped):
        slow.read(plan, 1, stopped=lambda: bool(many.storage.list(entries_path(many.run_id, 1))))


@pytest.mark.parametrize(
    ("attempt", "sessions", "rests"), [(1, 1, True), (1, 2, False), (2, 1, False)]
)
def test_the_source_rests_between_shards_too(
    many: Engine, attempt: int, sessions: int, rests: bool
) -> None:
    """A shard that follows another in its session rests first; one that resumes does not."""
    plan = many.plan()
    slow = replace(many, options=replace(many.options, pace=3600, sessions=sessions))
    asked: list[bool] = []

    def stopped() -> bool:
        asked.append(True)
        return len(asked) > 40

    with pytest.raises(Stopped):
        slow.read(plan, 1, attempt, stopped=stopped)
    assert bool(many.storage.list(entries_path(many.run_id, 1))) is not rests


def test_a_locked_object_is_named_and_the_others_are_read(postgres: Any, tmp_path: Path) -> None:
    """The text of a view is not given while somebody holds what it reads."""
    script = "create table t (id int); create table held (id int);" + "".join(
        f"create view v{number} as select * from {table};"
        for number, table in enumerate(("t", "held", "t", "held", "t"))
    )
    database = new_database(postgres, script)
    engine = engine_for(postgres, tmp_path, database)
    quick = replace(engine, options=replace(engine.options, lock_timeout=0.2))
    with psycopg.connect(postgres.url(database)) as other:
        other.execute("lock table held in access exclusive mode")
        snapshot = quick.run()
    assert snapshot.manifest["status"] == "partial"
    assert [(e["kind"], e["name"]) for e in snapshot.manifest["errored"]] == [
        ("relations", "v1"),
        ("relations", "v3"),
    ]
    assert "lock" in snapshot.manifest["errored"][0]["reason"]
    assert [row["relation_name"] for row in rows_of(snapshot, "relations")] == [
        *("held", "t", "v0", "v2", "v4"),
    ]  # fmt: skip


def test_a_locked_catalogue_is_waited_for(postgres: Any, many: Engine) -> None:
    plan = many.plan()
    quick = replace(many, options=replace(many.options, lock_timeout=0.2))
    with psycopg.connect(postgres.url(many.target.database)) as other:
        other.execute("lock table pg_catalog.pg_trigger in access exclusive mode")
        with pytest.raises(SourceTimeout):
            quick.read(plan, 1)
    assert many.read(plan, 1)


def test_a_broken_object_is_isolated_and_named(postgres: Any, many: Engine) -> None:
    database = many.target.database
    postgres.execute(
        database, "update pg_constraint set conkey = '{99}' where conname = 't200_pkey'"
    )
    snapshot = many.run()
    (errored,) = snapshot.manifest["errored"]
    assert (errored["kind"], errored["schema"], errored["name"]) == (
        "constraints", "public", "t200",
    )  # fmt: skip
    assert errored["reason"] == "A key names a column that does not exist."
    assert snapshot.manifest["status"] == "partial"
    assert snapshot.manifest["completeness"]["errored"] == 1
    counts = snapshot.manifest["counts"]
    assert (counts["relations"], counts["constraints"]) == (400, 399)


def test_what_the_catalogue_refuses_is_denied_until_it_is_granted(
    postgres: Any, many: Engine
) -> None:
    database = many.target.database
    role = f"reader_{uuid.uuid4().hex[:8]}"
    postgres.execute("postgres", f"create role {role} login password 'sees-little'")
    revoked = (
        "pg_proc, pg_attrdef from public; revoke execute on function pg_get_expr(pg_node_tree, oid)"
    )
    postgres.execute(database, f"revoke select on {revoked} from public")
    reader = replace(many, target=replace(many.target, username=role), password="sees-little")
    try:
        refused = reader.run().manifest
        for fix in {fix for d in refused["denied"] for fix in d["fixes"]}:
            postgres.execute(database, fix)
        granted = reader.run().manifest
    finally:
        postgres.execute(database, f"drop owned by {role}")
        postgres.execute("postgres", f"drop role {role}")
    denied = [s["kind"] for s in refused["scopes"] if s["status"] == "denied"]
    assert denied == ["columns", "indexes", "routines"]
    assert (refused["status"], refused["completeness"]["denied"]) == ("partial", 3)
    assert refused["counts"]["constraints"] == 400
    fixes = {denied["kind"]: denied["fixes"] for denied in refused["denied"]}
    grant = f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_get_expr(pg_node_tree,oid) TO {role};"
    assert fixes["routines"] == [f"GRANT SELECT ON pg_catalog.pg_proc TO {role};"]
    assert fixes["columns"] == [f"GRANT SELECT ON pg_catalog.pg_attrdef TO {role};", grant]
    assert fixes["indexes"] == [grant]
    assert (granted["status"], granted["denied"]) == ("succeeded", [])


@pytest.mark.parametrize(
    ("listing", "kind", "pattern"),
    [("pg_proc", "routines", "sales.twice"), ("pg_class", "relations", "s*.orders")],
)
def test_what_is_selected_by_name_and_cannot_be_listed_is_denied(
    postgres: Any, engine: Engine, listing: str, kind: str, pattern: str
) -> None:
    role = f"reader_{uuid.uuid4().hex[:8]}"
    postgres.execute("postgres", f"create role {role} login password 'sees-little'")
    postgres.execute(engine.target.database, f"revoke select on {listing} from public")
    reader = replace(engine, target=replace(engine.target, username=role), password="sees-little")
    try:
        manifest = reader.run(Selection([pattern, "hr.*"], ["hr"], [kind])).manifest
    finally:
        postgres.execute(engine.target.database, f"grant select on {listing} to public")
        postgres.execute("postgres", f"drop role {role}")
    assert manifest["status"] == "partial"
    assert {s["schema"]: s["status"] for s in manifest["scopes"]} == {
        "hr": "filtered", "public": "filtered", "sales": "denied",
    }  # fmt: skip


def test_a_selection_reads_and_speaks_of_what_it_names(engine: Engine) -> None:
    selection = Selection(["sales", "hr.people"], ["sales.tw*"], ["relations", "routines"])
    manifest = engine.run(selection).manifest
    assert list(manifest["counts"]) == ["relations", "routines"]
    assert manifest["counts"] == {"relations": 5, "routines": 3}
    scopes = {(s["schema"], s["kind"]): s["status"] for s in manifest["scopes"]}
    assert scopes == {
        ("hr", "relations"): "filtered",
        ("hr", "routines"): "complete",
        ("public", "relations"): "filtered",
        ("public", "routines"): "filtered",
        ("sales", "relations"): "complete",
        ("sales", "routines"): "filtered",
    }
    assert manifest["status"] == "succeeded"


def finished_parts(engine: Engine) -> tuple[Plan, list[str]]:
    plan = engine.plan()
    return plan, [engine.read(plan, shard.id) for shard in plan.shards]


def test_finish_can_be_repeated_and_gives_the_same_bytes(engine: Engine) -> None:
    plan, ledgers = finished_parts(engine)
    first = engine.finish(plan, ledgers)
    assert engine.finish(plan, ledgers[::-1]) == first
    assert manifest_digest(engine.storage, engine.run_id) == first.manifest


def test_finish_writes_nothing_unless_everything_is_there(engine: Engine, many: Engine) -> None:
    plan, ledgers = finished_parts(engine)
    part = engine.storage.list(f"snapshots/{engine.run_id}/parts")[0]
    whole = engine.storage.get(part)
    for broken in (ledgers[:-1], [*ledgers, ledgers[0]], []):
        with pytest.raises(SnapshotDamaged):
            engine.finish(plan, broken)
    for altered in (whole[:-1] + b"x", whole[:-1]):
        engine.storage.put(part, altered)
        with pytest.raises(SnapshotDamaged):
            engine.finish(plan, ledgers)
    engine.storage.local_path(part).unlink()
    with pytest.raises(SnapshotDamaged):
        engine.finish(plan, ledgers)
    assert not engine.storage.exists(manifest_path(engine.run_id))
    engine.storage.put(part, whole)
    assert engine.finish(plan, ledgers).status == "succeeded"


def test_a_part_that_cannot_be_asked_for_is_waited_for(engine: Engine) -> None:
    plan, ledgers = finished_parts(engine)
    shard = plan.shards[0]
    _, records = read_ledger(engine.storage, ledgers[0])
    broken = replace(records[0], parts=[replace(records[0].parts[0], path="x" * 300)])
    records[0] = broken
    ledgers[0] = write_ledger(engine.storage, engine.run_id, plan.path, shard.id, records)
    with pytest.raises(StorageFailed) as caught:
        engine.finish(plan, ledgers)
    assert caught.value.retry == "wait"
    assert not engine.storage.exists(manifest_path(engine.run_id))


def test_a_snapshot_is_opened_through_its_manifest_only(engine: Engine) -> None:
    snapshot = engine.run()
    digest = manifest_digest(engine.storage, engine.run_id)
    for run_id, sha in ((engine.run_id, "0" * 64), ("another", digest)):
        with pytest.raises(SnapshotDamaged):
            open_snapshot(engine.storage, run_id, sha)
    path = snapshot.manifest["files"][0]["path"]
    data = bytearray(engine.storage.get(path))
    data[len(data) // 2] ^= 1
    engine.storage.put(path, bytes(data))
    with pytest.raises(SnapshotDamaged):
        open_snapshot(engine.storage, engine.run_id, digest).rows("schemas", "jsonl")
    engine.storage.put(path, bytes(data[:-1]))
    with pytest.raises(SnapshotDamaged):
        open_snapshot(engine.storage, engine.run_id, digest)


def test_a_snapshot_can_be_browsed(engine: Engine) -> None:
    snapshot = engine.run()
    assert [(s["schema_name"], s["relations"]) for s in snapshot.schemas()] == [
        ("hr", 3), ("public", 0), ("sales", 4),
    ]  # fmt: skip
    assert [s["schema_name"] for s in snapshot.schemas(limit=1, offset=1)] == ["public"]
    assert [r["relation_name"] for r in snapshot.relations("sales", "TO")] == [
        "customers",
        "totals",
    ]
    page = snapshot.relations("sales", limit=2, offset=1)
    assert [r["relation_name"] for r in page] == ["orders", "recent"]
    hits = {kind: snapshot.search("born", kind) for kind in SEARCHED}
    found = {(kind, row["name"]) for kind, (rows, _) in hits.items() for row in rows}
    assert found == {("columns", "born")}
    named = {kind: snapshot.search("", kind, limit=3) for kind in SEARCHED}
    assert {kind for kind, (_, total) in named.items() if total} >= {"indexes", "triggers"}
    assert all(len(rows) == min(3, total) for rows, total in named.values())
    orders = snapshot.relation("sales", "orders")
    assert orders is not None
    assert [c["column_name"] for c in orders["columns"]] == ["id", "customer", "total", "placed"]
    assert len(orders["triggers"]) == 1 and orders["statistics"] is not None
    assert snapshot.relation("sales", "nothing") is None
    assert [r["routine_name"] for r in snapshot.routines("hr")] == []
