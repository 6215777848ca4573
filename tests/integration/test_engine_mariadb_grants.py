"""What a user's grants prove in a real MariaDB: nothing hidden is taken for absent."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extraction.connection import BY_HAND, Target
from extraction.selection import Selection
from extraction.storage import open_storage
from tests.extraction.engine import Engine, rows_of
from workers.activities import said_at_end

pytestmark = pytest.mark.integration

MADE = (
    "create table {s}.t (a int primary key, b int references t (a), check (b > 0))",
    "create view {s}.v as select a from {s}.t",
    "create trigger {s}.g before insert on {s}.t for each row set new.b = 1",
    "create procedure {s}.p() select 1",
    "create sequence {s}.s start with 3",
)
KINDS = ("relations", "columns", "constraints", "indexes", "routines", "sequences", "triggers")


@pytest.fixture(scope="module")
def server(mariadb_alone: Any) -> Iterator[Any]:
    for schema in ("`open_`", "`openX`", "secret"):
        mariadb_alone.execute("", f"create database {schema}", *(m.format(s=schema) for m in MADE))
    return mariadb_alone


class Reader:
    def __init__(self, server: Any, root: Path, *grants: str, database: str = "") -> None:
        self.server, self.root, self.database = server, root, database
        self.name = f"reader_{uuid.uuid4().hex[:8]}"
        server.execute("", f"create user {self.name}@'%' identified by 'sees-little'")
        self.grant(*(f"grant {grant} to {self.name}@'%'" for grant in grants))

    def grant(self, *statements: str) -> None:
        self.server.execute("", *statements)

    def engine(self) -> Engine:
        target = Target(
            *("mariadb", self.server.host, self.server.port, self.database, self.name, "disable")
        )
        storage = open_storage(f"file://{self.root / uuid.uuid4().hex}")
        return Engine(target, "sees-little", storage)

    def run(self, *include: str) -> Any:
        return self.engine().run(Selection(list(include)))

    def mended(self, *include: str) -> Any:
        """After every statement that the run before printed."""
        denied = self.run(*include).manifest["denied"]
        assert denied
        self.grant(*dict.fromkeys(fix for one in denied for fix in one["fixes"]))
        return self.run(*include)


@pytest.fixture
def reader(server: Any, tmp_path: Path) -> Any:
    return lambda *grants, **more: Reader(server, tmp_path, *grants, **more)


def denied(snapshot: Any) -> set[tuple[str, str]]:
    return {(one["kind"], one["schema"]) for one in snapshot.manifest["denied"]}


def counts(snapshot: Any) -> dict[str, int]:
    return {kind: snapshot.manifest["counts"][kind] for kind in KINDS}


ONE_SCHEMA = dict(zip(KINDS, (2, 3, 3, 2, 1, 1, 1), strict=True))


def test_a_user_without_a_right_is_told_that_nothing_can_be_known(reader: Any) -> None:
    user = reader()
    snapshot = user.run()
    assert (snapshot.manifest["status"], denied(snapshot)) == ("partial", {("schemas", "")})
    assert snapshot.manifest["counts"]["relations"] == 0
    mended = user.mended()
    assert (mended.manifest["status"], mended.manifest["denied"]) == ("succeeded", [])
    assert counts(mended) == {kind: 3 * n for kind, n in ONE_SCHEMA.items()}


def test_rights_on_one_schema_are_enough_for_it_alone(reader: Any) -> None:
    user = reader("select, show view, trigger on `open\\_`.*", "select on mysql.proc")
    assert denied(user.run()) == {("schemas", "")}
    assert "select the schemas by name" not in user.run().manifest["denied"][0]["reason"]
    for snapshot in (user.run("open_"), user.run("open_.*")):
        assert snapshot.manifest["status"] == "succeeded"
        assert counts(snapshot) == ONE_SCHEMA
    assert user.run("open_*").manifest["status"] == "partial"
    user.database = "open_"
    assert user.run().manifest["status"] == "succeeded"


@pytest.mark.parametrize(
    ("grant", "kinds"),
    [
        ("select", {"relations", "dependencies", "constraints", "routines", "triggers"}),
        ("references", {"relations", "dependencies", "routines", "triggers", "sequences"}),
        ("select, show view", {"routines", "triggers"}),
        ("select, trigger", {"relations", "dependencies", "routines"}),
        ("show view", {
            *("relations", "dependencies", "columns", "constraints", "indexes", "statistics"),
            *("routines", "triggers", "sequences"),
        }),
        ("execute", {
            *("relations", "dependencies", "columns", "constraints", "indexes", "statistics"),
            *("routines", "triggers", "sequences"),
        }),
    ],
)  # fmt: skip
def test_each_right_proves_its_kinds_and_the_printed_grants_mend_the_rest(
    reader: Any, grant: str, kinds: set[str]
) -> None:
    user = reader(f"{grant} on `open\\_`.*", database="open_")
    snapshot = user.run()
    assert snapshot.manifest["status"] == "partial"
    assert denied(snapshot) == {(kind, "open_") for kind in kinds} | (
        {("sequences", "")} if grant in ("references", "show view") else set()
    )
    scopes = {(s["kind"], s["status"]) for s in snapshot.manifest["scopes"]}
    assert {kind for kind, status in scopes if status == "denied"} == kinds
    mended = user.mended()
    assert (mended.manifest["status"], mended.manifest["denied"]) == ("succeeded", [])
    assert counts(mended) == ONE_SCHEMA


def test_texts_that_are_not_shown_are_denied_not_empty(reader: Any) -> None:
    snapshot = reader("select on `open\\_`.*", database="open_").run()
    view = next(r for r in rows_of(snapshot, "relations") if r["kind"] == "view")
    assert view["definition"] is None
    assert ("relations", "open_") in denied(snapshot)


def test_a_right_on_a_pattern_is_kept_by_the_grant_that_replaces_it(reader: Any) -> None:
    """The server obeys the nearest pattern alone."""
    user = reader("select on `open%`.*", "show view on `open_`.*", database="open_")
    fixes = "\n".join(one["fix"] for one in user.run().manifest["denied"])
    assert "GRANT SHOW VIEW, SELECT ON `open\\_`.*" in fixes
    assert user.mended().manifest["status"] == "succeeded"


def test_a_name_of_several_lines_puts_nothing_into_the_statements(server: Any, reader: Any) -> None:
    names = ("`A\nx`", "`A\n; drop database open_; -- x`", "`a;b``c`")
    server.execute("", *(f"create database {name}" for name in names))
    try:
        manifest = reader(*(f"execute on {name}.*" for name in names)).run().manifest
    finally:
        server.execute("", *(f"drop database {name}" for name in names))
    columns = [one for one in manifest["denied"] if one["kind"] == "columns"]
    assert [one["schema"] for one in columns] == ["A\n; drop database open_; -- x", "A\nx", "a;b`c"]
    assert [(one["fix"], one["fixes"]) for one in columns[:2]] == [(BY_HAND, [])] * 2
    assert "`a;b``c`.* TO" in columns[2]["fixes"][0]
    assert not [fix for one in manifest["denied"] for fix in one["fixes"] if "drop" in fix]


@pytest.mark.parametrize("grants", [(), ("select, show view on `open\\_`.*",)])
def test_a_partial_run_without_a_denied_scope_has_its_cause(
    reader: Any, grants: tuple[str, ...]
) -> None:
    engine = reader(*grants).engine()
    plan = engine.plan(Selection(kinds=["columns"]))
    finished = engine.finish(plan, [engine.read(plan, shard.id) for shard in plan.shards])
    assert (finished.status, finished.completeness["denied"]) == ("partial", 0)
    (denied, end) = said_at_end(finished)
    assert denied[1].startswith("Denied: schemas. Whether there are schemas that are not listed")
    assert end[1].endswith("verified; whether the source hides more cannot be known.")
    assert {denied[2], end[2]} == {"warning"}


def test_a_role_that_is_set_counts(server: Any, reader: Any) -> None:
    role = f"role_{uuid.uuid4().hex[:8]}"
    user = reader(database="open_")
    user.grant(
        f"create role {role}",
        f"grant select, show view, trigger on `open\\_`.* to {role}",
        f"grant select on mysql.proc to {role}",
        f"grant {role} to {user.name}@'%'",
        f"set default role {role} for {user.name}@'%'",
    )
    assert user.run().manifest["status"] == "succeeded"


def test_rights_on_single_tables_and_columns_prove_nothing(reader: Any) -> None:
    user = reader("select on `open_`.t", "select (a) on `open_`.v", database="open_")
    snapshot = user.run()
    assert ("relations", "open_") in denied(snapshot)
    assert snapshot.manifest["status"] == "partial"
    assert user.mended().manifest["status"] == "succeeded"


def test_who_may_see_the_servers_counters_hears_how_much_is_hidden(reader: Any) -> None:
    snapshot = reader("process on *.*", "select on `open\\_`.*").run()
    reasons = {one["kind"]: one["reason"] for one in snapshot.manifest["denied"]}
    assert "in 2 schemas" in reasons["schemas"]
    snapshot = reader("process on *.*", "execute on `open\\_`.*", database="open_").run()
    reasons = {one["kind"]: one["reason"] for one in snapshot.manifest["denied"]}
    # The table and the sequence.
    assert "InnoDB counts 2 tables there" in reasons["columns"]


def test_no_hash_of_a_password_is_kept(reader: Any, tmp_path: Path) -> None:
    user = reader("select on `open\\_`.*")
    assert user.run().manifest["denied"]
    for file in tmp_path.rglob("*.json"):
        assert "PASSWORD" not in file.read_text()
