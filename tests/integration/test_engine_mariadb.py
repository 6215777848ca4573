"""One session in a real MariaDB: what it proves, what it may do, how it ends."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extraction.check import check
from extraction.connection import (
    AddressPolicy,
    Credentials,
    Item,
    Options,
    Oversized,
    SourceMoved,
    Stopped,
    Target,
    open_session,
)
from extraction.errors import (
    AddressRefused,
    AuthenticationFailed,
    NoSuchDatabase,
    PermissionDenied,
    SourceTimeout,
    SourceUnreachable,
    StatementFailed,
    SurveyorError,
    TLSFailed,
)
from extraction.selection import Selection
from extraction.sources import mysql_reader
from extraction.sources.mysql import role_script
from extraction.storage import open_storage
from tests.extraction.engine import Engine, rows_of
from tests.integration.dialects import until

pytestmark = pytest.mark.integration

LOCAL = AddressPolicy(allow_loopback=True)
LABEL = "surveyor run 1 shard 2"


@pytest.fixture
def schema(mariadb: Any) -> Iterator[str]:
    name = f"shop_{uuid.uuid4().hex[:12]}"
    mariadb.execute("", f"create database {name}")
    yield name
    mariadb.execute("", f"drop database {name}")


@pytest.fixture
def target(mariadb: Any, schema: str) -> Target:
    return Target("mariadb", mariadb.host, mariadb.port, schema, mariadb.user, "disable")


def opened(server: Any, target: Target, label: str = LABEL, **options: float) -> Any:
    credentials = Credentials(target.username, server.password)
    return open_session(target, credentials, Options(**options), LOCAL, label)  # type: ignore[arg-type]


def engine_for(server: Any, target: Target, root: Path) -> Engine:
    return Engine(target, server.password, open_storage(f"file://{root}"))


def user_with(server: Any, *grants: str) -> str:
    name = f"reader_{uuid.uuid4().hex[:8]}"
    server.execute(
        "",
        f"create user {name}@'%' identified by '{server.password}'",
        *(f"grant {grant} to {name}@'%'" for grant in grants),
    )
    return name


def test_the_session_is_labelled_pinned_and_read_only(mariadb: Any, target: Target) -> None:
    mariadb.execute("", "set global sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'")
    try:
        session = opened(mariadb, target, lock_timeout=7)
    finally:
        mariadb.execute("", "set global sql_mode = default")
    with session:
        names = "sql_mode time_zone max_statement_time lock_wait_timeout innodb_lock_wait_timeout"
        names += " tx_read_only autocommit character_set_client"
        asked = ", ".join(f"@@session.{name}" for name in names.split())
        assert session.fetch(f"select {asked}") == [
            ("", "+00:00", "60.000000", "7", "7", "1", "1", "utf8mb4")
        ]
        with pytest.raises(StatementFailed, match="1792"):
            session.fetch("create table x (a int)")
        assert (session.product, session.dialect, session.database) == (
            *("MariaDB", "mariadb"), target.database,
        )  # fmt: skip
        assert session.server_version[:3] in ("10.", "11.", "12.")
        assert session.identity.endswith(f"/{target.database}")
        again = opened(mariadb, target, "another")
        assert again.identity == session.identity
        again.close()


def test_every_statement_is_counted(mariadb: Any, target: Target) -> None:
    def asked() -> int:
        text = "select variable_value from information_schema.global_status "
        return int(mariadb.execute("", f"{text} where variable_name = 'questions'")[0][0])

    before = asked()
    own = asked() - before
    before = asked()
    with opened(mariadb, target) as session:
        session.inventory("relations")
        session.unseen(["relations", "columns"])
        counted = session.load.statements
    # The goodbye is one too.
    assert asked() - before - own == counted + 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"database": "no_such_database"}, NoSuchDatabase),
        ({"username": "no_such_user"}, AuthenticationFailed),
        ({"username": ""}, AuthenticationFailed),
        ({"port": 1}, SourceUnreachable),
        ({"host": "nowhere.invalid"}, SourceUnreachable),
        ({"host": "169.254.169.254"}, AddressRefused),
        ({"tls": "require"}, TLSFailed),
        ({"tls": "verify-full"}, TLSFailed),
    ],
)
def test_a_refused_login_says_why(
    mariadb: Any, target: Target, change: dict[str, Any], error: type[SurveyorError]
) -> None:
    with pytest.raises(error) as caught:
        opened(mariadb, replace(target, **change))
    assert type(caught.value) is error
    assert caught.value.message and caught.value.fix
    assert mariadb.password not in repr(caught.value.as_dict())


def test_a_database_that_a_user_may_not_use(mariadb: Any, target: Target) -> None:
    with pytest.raises(PermissionDenied):
        opened(mariadb, replace(target, username=user_with(mariadb)))


@pytest.mark.parametrize("password", ["ünï-Ω-表", 'it\'s \\ "quoted" %s'])
def test_passwords_of_every_script_sign_in(mariadb: Any, target: Target, password: str) -> None:
    name = f"reader_{uuid.uuid4().hex[:8]}"
    text = password.replace("\\", "\\\\").replace("'", "''")
    mariadb.execute("", f"create user {name}@'%' identified by '{text}'")
    reader = replace(target, username=name, database="")
    with open_session(reader, Credentials(name, password), Options(), LOCAL, LABEL) as session:
        assert session.fetch("select 1") == [("1",)]


def test_a_check_climbs_every_step(mariadb: Any, target: Target) -> None:
    mariadb.execute(target.database, "create table t (id int)")
    for tried in (target, replace(target, database="")):
        credentials = Credentials(target.username, mariadb.password)
        report = check(tried, lambda c=credentials: c, Options(), LOCAL)
        assert report.ok, report.steps
        assert [step.name for step in report.steps] == [
            *("resolve", "connect", "tls", "login", "version", "catalogue"),
        ]


def test_an_interrupted_expression_is_no_answer(mariadb: Any, target: Target) -> None:
    with opened(mariadb, target, statement_timeout=0.3) as session:
        # The server gives it a value all the same.
        with pytest.raises(SourceTimeout):
            session.fetch("select benchmark(100000000000, 1 + 1)")
        session.begin()
        assert session.fetch("select 1") == [("1",)]


def test_cancel_signs_in_once_more_and_no_oftener(mariadb: Any, target: Target) -> None:
    outcome: list[BaseException] = []
    user = user_with(mariadb, f"all on `{target.database}`.*")
    with opened(mariadb, replace(target, username=user)) as session:

        def work() -> None:
            try:
                session.fetch("select sleep(60)")
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        asked = f"select 1 from information_schema.processlist where id = {session.backend_id} and info like '%sleep%'"
        until(lambda: mariadb.execute("", asked))
        # A password that was changed meanwhile must not lock the account.
        mariadb.execute("", f"set password for {user}@'%' = password('another')")
        failed = "select variable_value from information_schema.global_status where variable_name = 'aborted_connects'"
        before = int(mariadb.execute("", failed)[0][0])
        session_cancel = threading.Thread(target=session.cancel)
        session_cancel.start()
        until(lambda: int(mariadb.execute("", failed)[0][0]) > before)
        mariadb.execute("", f"kill query {session.backend_id}")
        thread.join(10)
        session_cancel.join(10)
        assert int(mariadb.execute("", failed)[0][0]) == before + 1
        assert [type(error) for error in outcome] == [Stopped]
        assert session.load.sessions == 2


def test_a_later_session_ends_earlier_ones_with_its_label(mariadb: Any, target: Target) -> None:
    with (
        opened(mariadb, target) as earlier,
        opened(mariadb, target, "another label") as other,
        opened(mariadb, target) as later,
    ):
        assert earlier.end_siblings() == []
        assert later.end_siblings() == [earlier.backend_id]
        assert later.end_siblings() == []
        assert other.inventory("schemas")
        with pytest.raises(SourceUnreachable):
            earlier.inventory("schemas")
        assert later.inventory("schemas")


def test_a_lock_that_somebody_else_holds_is_not_ours_to_end(mariadb: Any, target: Target) -> None:
    user = user_with(mariadb, f"select on `{target.database}`.*")
    with opened(mariadb, target) as theirs:
        with opened(mariadb, replace(target, username=user)) as session:
            assert session.end_siblings() == []
        assert theirs.inventory("schemas")


def test_a_lost_session_is_unreachable_not_broken(mariadb: Any, target: Target) -> None:
    with opened(mariadb, target) as session:
        mariadb.execute("", f"kill {session.backend_id}")
        for _ in range(2):
            with pytest.raises(SourceUnreachable):
                session.inventory("schemas")


def test_closing_leaves_no_session(mariadb: Any, target: Target) -> None:
    with opened(mariadb, target) as session:
        number = session.backend_id
    asked = f"select 1 from information_schema.processlist where id = {number}"
    until(lambda: not mariadb.execute("", asked))


def test_too_much_at_once_is_halved_and_memory_stays_bounded(
    mariadb: Any, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comment = "x" * 1000
    mariadb.execute(
        target.database,
        *(f"create table t{n} (a int comment '{comment}', b int)" for n in range(8)),
    )
    monkeypatch.setattr(mysql_reader, "LARGEST_READ", 3000)
    with opened(mariadb, target) as session:
        items = session.inventory("relations")
        with pytest.raises(Oversized):
            session.receive("columns", items)
        assert session.fetch("select 1") == [("1",)]
    snapshot = engine_for(mariadb, target, tmp_path).run()
    assert snapshot.manifest["status"] == "succeeded"
    assert snapshot.manifest["counts"]["columns"] == 16


def test_views_that_cannot_be_opened_are_named_and_the_rest_is_read(
    mariadb: Any, target: Target, tmp_path: Path
) -> None:
    mariadb.execute(
        target.database,
        "create table gone (a int)", "create table kept (a int primary key)",
        "create view broken as select a from gone", "create view above as select a from broken",
        "create definer = nobody@nowhere view orphaned as select a from kept",
        "create view fine as select a from kept", "drop table gone",
    )  # fmt: skip
    snapshot = engine_for(mariadb, target, tmp_path).run()
    errored = [(e["kind"], e["name"]) for e in snapshot.manifest["errored"]]
    assert errored == [("columns", "above"), ("columns", "broken")]
    assert "does not exist" in snapshot.manifest["errored"][0]["reason"]
    assert snapshot.manifest["status"] == "partial"
    texts = {r["relation_name"]: r["definition"] for r in rows_of(snapshot, "relations")}
    assert [name for name, text in texts.items() if text] == ["above", "broken", "fine", "orphaned"]
    owners = {r["relation_name"]: r["owner"] for r in rows_of(snapshot, "relations")}
    assert owners["orphaned"] == "nobody@nowhere"
    columns = [r["relation_name"] for r in rows_of(snapshot, "columns")]
    assert columns == ["fine", "kept", "orphaned"]


def test_a_table_whose_file_is_damaged_is_named_in_every_kind(
    mariadb: Any, target: Target, tmp_path: Path
) -> None:
    mariadb.execute(
        target.database, "create table sound (a int primary key)",
        "create table damaged (a int primary key)", "flush tables",
    )  # fmt: skip
    file = mariadb.data / target.database / "damaged.frm"
    sound = file.read_bytes()
    file.write_bytes(b"no table")
    mariadb.execute("", "flush tables")
    try:
        snapshot = engine_for(mariadb, target, tmp_path).run()
    finally:
        file.write_bytes(sound)
        mariadb.execute("", "flush tables")
    kinds = {e["kind"] for e in snapshot.manifest["errored"]}
    assert {"relations", "columns", "constraints", "indexes"} <= kinds
    assert {e["name"] for e in snapshot.manifest["errored"]} == {"damaged"}
    assert [r["relation_name"] for r in rows_of(snapshot, "indexes")] == ["sound"]


def test_a_table_is_not_missing_while_it_is_altered(mariadb: Any, target: Target) -> None:
    # One name alone would be looked up, two are searched for in a list.
    items = [Item(target.database, name, 0) for name in ("busy", "idle")]
    mariadb.execute(target.database, "create table busy (a int)", "create table idle (a int)")
    ended = threading.Event()
    altered: list[int] = []

    def alter() -> None:
        while not ended.is_set():
            mariadb.execute(target.database, "alter table busy force, algorithm = copy")
            altered.append(1)

    thread = threading.Thread(target=alter)
    thread.start()
    try:
        with opened(mariadb, target) as session:
            for _ in range(100):
                assert session.present("relations", items) == items
    finally:
        ended.set()
        thread.join()
    assert altered


def test_what_is_altered_while_it_is_read_is_read_again(
    mariadb: Any, target: Target, tmp_path: Path
) -> None:
    mariadb.execute(
        target.database, "create table r (a int)", "create table s (a int)",
        "create table t (a int)", "create table u (a int)",
    )  # fmt: skip
    # The server keeps the time of an ALTER in whole seconds.
    asked = "select 1 from information_schema.tables where table_name = 'u' and create_time < now() - interval 1 second"
    until(lambda: mariadb.execute(target.database, f"{asked} and table_schema = database()"))
    with opened(mariadb, target) as session:
        *earlier, t, u = session.inventory("relations")
        items = [t, u]
        for batch in (earlier, items):
            session.begin()
            assert session.present("relations", batch) == batch
            assert session.moved("relations", batch) == []
        mariadb.execute(target.database, "alter table u add b int, add key (b)")
        # Asked about alone, within the batch, it has moved all the same.
        session.present("relations", [u])
        assert [item.name for item in session.moved("relations", items)] == ["u"]
        session.begin()
        session.present("relations", items)
        assert session.moved("relations", items) == []
        mariadb.execute(target.database, "drop table u")
        assert [item.name for item in session.moved("relations", items)] == ["u"]
        session.begin()
        with pytest.raises(SourceMoved):
            session.receive("relations", items)


def test_the_user_that_the_form_prints_is_enough(
    mariadb: Any, target: Target, tmp_path: Path
) -> None:
    mariadb.execute(
        target.database, "create table t (a int primary key, b int references t (a))",
        "create view v as select a from t", "create procedure p() select 1",
        "create trigger g before insert on t for each row set new.b = 1", "create sequence s",
    )  # fmt: skip
    for database in (target.database, ""):
        name = f"read'er {uuid.uuid4().hex[:6]}"
        reader = replace(target, database=database, username=name)
        script = role_script(reader).replace("'…'", "'made-for-this'")
        mariadb.execute("", *(line for line in script.splitlines() if line[:2] != "--"))
        engine = replace(engine_for(mariadb, reader, tmp_path / name), password="made-for-this")
        manifest = engine.run(Selection([target.database])).manifest
        assert (manifest["status"], manifest["denied"]) == ("succeeded", [])
        counts = {"relations": 2, "routines": 1, "triggers": 1, "sequences": 1, "constraints": 2}
        assert counts.items() <= manifest["counts"].items()


def test_the_password_is_never_asked_of_an_option_file(
    mariadb: Any, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".my.cnf").write_text(f"[client]\npassword={mariadb.password}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MYSQL_PWD", mariadb.password)
    with pytest.raises(AuthenticationFailed):
        open_session(target, Credentials(target.username, ""), Options(), LOCAL, LABEL)
