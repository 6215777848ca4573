"""The independent verifier: equal where the engine is right, and able to see where it is not."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import verify_sqlite
from bench.compare import compare, snapshot_faults, snapshot_rows
from bench.load import Server, address, load
from bench.verify import ask, lines, verify
from dashboard.local import warehouse
from dashboard.local.servers import start
from extraction.catalog import KINDS
from tests.integration import test_dialect_sqlite as sqlite

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
ODD = Path(__file__).with_name("odd.sql")


@pytest.fixture(scope="module")
def newest(tmp_path_factory) -> Iterator[Server]:
    """The wheel's PostgreSQL, which knows more kinds of things than a distribution's."""
    server = Server(tmp_path_factory.mktemp("newest"))
    child = start(server)
    yield server
    child.stop()


def assert_equal(report) -> None:
    text = "\n".join(lines(report, 10))
    assert report.passed, text
    assert [comparison.kind for comparison in report.comparisons] == list(KINDS)
    assert all(comparison.expected for comparison in report.comparisons), text


def load_odd(server, database: str) -> None:
    server.create_database(database)
    where, errors = load(server, database, ODD)
    assert where == database
    assert [error for error in errors if "left_invalid" not in error] == []


def test_odd_schema_on_the_newest_server(newest, tmp_path):
    load_odd(newest, "odd")
    assert_equal(verify(newest, "odd", tmp_path))


def test_odd_schema_on_the_server_at_hand(postgres, tmp_path):
    load_odd(postgres, "odd")
    assert_equal(verify(postgres, "odd", tmp_path))


@pytest.fixture(scope="module")
def demo(postgres, tmp_path_factory):
    """A small warehouse, its report, and where its snapshot lies."""
    warehouse.build(address(postgres), "verified_warehouse", relations=300)
    storage = tmp_path_factory.mktemp("storage")
    return verify(postgres, "verified_warehouse", storage), storage


def test_demo_warehouse(demo):
    assert_equal(demo[0])


@pytest.fixture
def snapshot(demo, postgres):
    """What the server holds, the manifest, and a part of 128 columns or more to damage."""
    storage = demo[1]
    manifest = json.loads(next(storage.glob("snapshots/*/manifest.json")).read_bytes())
    file = next(file for file in manifest["files"] if file["kind"] == "columns")
    part = storage / file["path"]
    before = part.read_bytes()
    yield ask(postgres, "verified_warehouse")[1]["columns"], storage, manifest, part
    part.write_bytes(before)


def dropped(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 7), table.slice(8)])


def doubled(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table.slice(7, 1)])


def changed(table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index("nullable")
    cells = table.column(place).to_pylist()
    cells[7] = not cells[7]
    return table.set_column(place, table.field(place), pa.array(cells, table.field(place).type))


@pytest.mark.parametrize(
    ("damage", "missing", "extra", "said"),
    [
        (dropped, 1, 0, "missing ["),
        (doubled, 0, 1, "extra ["),
        (changed, 1, 1, "nullable: expected "),
    ],
)
def test_catches_a_planted_bug(snapshot, damage, missing, extra, said):
    expected, storage, manifest, part = snapshot
    kind = KINDS["columns"]
    assert compare(kind, expected, snapshot_rows(storage, manifest, kind)).equal
    pq.write_table(damage(pq.read_table(part)), part)
    comparison = compare(kind, expected, snapshot_rows(storage, manifest, kind))
    assert (len(comparison.missing), len(comparison.extra)) == (missing, extra)
    assert not comparison.equal
    assert said in "\n".join(comparison.explain())
    assert any("not the bytes" in fault for fault in snapshot_faults(storage, manifest))


def test_says_where_long_texts_differ():
    row = dict.fromkeys(KINDS["schemas"].columns, "public")
    wanted, found = ({**row, "comment": "x" * 70_000 + end} for end in ("one", "two"))
    (line,) = compare(KINDS["schemas"], [wanted], [found]).explain()
    assert line.endswith("xone', got 'xxxxxxxxxxxxxxxxxxxxtwo' at character 70000")


def test_sees_rows_out_of_order(snapshot):
    _, storage, manifest, part = snapshot
    table = pq.read_table(part)
    pq.write_table(table.take(list(reversed(range(table.num_rows)))), part)
    assert "columns: rows are not in the order of their keys" in snapshot_faults(storage, manifest)


def test_a_file_that_names_missing_roles_and_copies_rows_loads(postgres, tmp_path):
    file = tmp_path / "roles.sql"
    file.write_text(
        'CREATE TABLE t (a int);\nALTER TABLE t OWNER TO "Some One";\nGRANT SELECT ON t TO nobody_yet;\n'
        "COPY t (a) FROM stdin;\n1\n2\n\\.\n"
    )
    postgres.create_database("loaded")
    assert load(postgres, "loaded", file) == ("loaded", [])
    assert postgres.execute("loaded", "SELECT count(*) FROM t") == [(2,)]
    assert postgres.execute("loaded", "SELECT tableowner FROM pg_tables WHERE tablename = 't'") == [
        ("Some One",)
    ]


def test_an_error_in_the_file_is_told_and_the_rest_loads(postgres, tmp_path):
    file = tmp_path / "broken.sql"
    file.write_text("CREATE TABLE a ();\nCREATE TABLE b (x no_such_type);\nCREATE TABLE c ();\n")
    postgres.create_database("broken")
    _, errors = load(postgres, "broken", file)
    assert len(errors) == 1
    assert "no_such_type" in errors[0]
    assert postgres.execute("broken", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")[
        0
    ] == (2,)


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.verify", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_the_command_says_equal_and_ends_well(tmp_path):
    file = tmp_path / "small.sql"
    file.write_text("CREATE TABLE a (id int PRIMARY KEY);\n")
    done = run_command(str(file), "--json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["passed"], result["load_errors"]) == (0, True, [])
    assert [c["got"] for c in result["comparisons"] if c["kind"] == "columns"] == [1]


def test_a_file_that_holds_nothing_is_no_success(tmp_path):
    file = tmp_path / "empty.sql"
    file.write_text("SELECT 1;\n")
    done = run_command(str(file))
    assert done.returncode == 2
    assert "nothing was compared" in done.stderr


def test_no_file_is_said(tmp_path):
    done = run_command(str(tmp_path / "absent.sql"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "absent.sql" in done.stderr


def sqlite_file(path: Path) -> Path:
    with sqlite3.connect(path) as connection:
        for statement in sqlite.TestSQLite.script:
            connection.execute(statement)
    return path


def test_an_odd_sqlite_file_is_equal_and_a_change_of_it_is_seen(tmp_path):
    file = sqlite_file(tmp_path / "odd.db")
    report = verify_sqlite.verify(file, tmp_path / "storage")
    assert report.passed, "\n".join(lines(report, 10))
    (manifest,) = (tmp_path / "storage").glob("snapshots/*/manifest.json")
    with sqlite3.connect(file) as connection:
        connection.execute("alter table plain add column later int check (later > 0)")
        connection.execute("drop trigger noted")
    expected = verify_sqlite.ask(file)
    differing = [
        name
        for name, kind in KINDS.items()
        if not compare(
            kind,
            expected[name],
            snapshot_rows(tmp_path / "storage", json.loads(manifest.read_bytes()), kind),
        ).equal
    ]
    assert differing == ["columns", "constraints", "triggers"]


def test_the_command_reads_a_sqlite_file_where_it_lies(tmp_path):
    done = run_command(str(sqlite_file(tmp_path / "odd.db")), "--json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["passed"], result["product"]) == (0, True, "SQLite")


def test_what_views_read_is_what_sqlite_asks_leave_for(tmp_path):
    file = tmp_path / "views.db"
    with sqlite3.connect(file) as connection:
        for statement in (
            "create table T (Id integer primary key, a, b, doc)",
            "create table u (id, x, y)",
            "create view plain as select a, ID from t where B > 0",
            "create view star as select * from T",
            "create view joined as select t.a, u.y from t join u on t.id = u.x order by u.id",
            "create view vague as select a, y from t, u",
            "create view tree as with c(n) as (select id from t union all select x from u, c"
            " where c.n = u.id) select n from c",
            "create view nested as select p.a from plain p where exists"
            " (select 1 from u where u.x = p.id)",
            "create view listed as select a from t where b in u",
            "create view made as select t.a, j.value from t, json_each(t.doc) j",
        ):
            connection.execute(statement.replace(" in u", " in (select y from u)"))
    report = verify_sqlite.verify(file, tmp_path / "storage")
    assert report.passed, "\n".join(lines(report, 20))
    (found,) = [c for c in report.comparisons if c.kind == "dependencies"]
    assert found.expected == found.got > 15
