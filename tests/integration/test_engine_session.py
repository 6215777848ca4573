"""One session in a real PostgreSQL: how it logs in, what it may do, how it ends."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from extraction.check import CheckReport, check
from extraction.connection import (
    AddressPolicy,
    Credentials,
    Options,
    Session,
    Stopped,
    Target,
    open_session,
)
from extraction.errors import (
    AddressRefused,
    AuthenticationFailed,
    NoSuchDatabase,
    SourceTimeout,
    SourceUnreachable,
    StatementFailed,
    SurveyorError,
    TLSFailed,
    VaultUnavailable,
)
from extraction.sources.postgresql import role_script
from tests.integration.dialects import counted, until

pytestmark = pytest.mark.integration

LOCAL = AddressPolicy(allow_loopback=True)
LABEL = "surveyor run 1 shard 2"
WRONG = "canary-wrong-password"


@pytest.fixture
def target(postgres: Any) -> Target:
    return Target("postgresql", postgres.host, postgres.port, "postgres", postgres.user, "disable")


@pytest.fixture
def session(postgres: Any, target: Target) -> Iterator[Any]:
    with opened(postgres, target) as session:
        yield session


def opened(postgres: Any, target: Target, **options: float) -> Any:
    credentials = Credentials(target.username, postgres.password)
    return open_session(target, credentials, Options(**options), LOCAL, LABEL)  # type: ignore[arg-type]


def active(postgres: Any, text: str) -> list[tuple[object, ...]]:
    return postgres.execute(
        "postgres",
        "select pid from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() "
        f"and query like '%{text}%'",
    )


def is_login(data: bytes) -> bool:
    """SASLInitialResponse: where a login with a password begins."""
    return data[:1] == b"p" and b"SCRAM" in data


def test_the_session_is_labelled_pinned_and_read_only(postgres: Any, target: Target) -> None:
    database = f"engine_{uuid.uuid4().hex[:12]}"
    postgres.create_database(database)
    for setting in ("search_path = public", "datestyle = 'German'", "intervalstyle = iso_8601"):
        postgres.execute("postgres", f"alter database {database} set {setting}")
    with opened(postgres, replace(target, database=database)) as session:
        asked = "search_path timezone datestyle intervalstyle extra_float_digits bytea_output"
        asked += " standard_conforming_strings transaction_read_only transaction_isolation"
        asked += " application_name statement_timeout lock_timeout"
        names = ", ".join(f"current_setting('{name}')" for name in asked.split())
        assert session.fetch(f"select {names}")[0] == (
            *("", "UTC", "ISO, YMD", "postgres", "3", "hex", "on", "on", "repeatable read"),
            *(LABEL, "1min", "2s"),
        )
        with pytest.raises(StatementFailed, match="25006"):
            session.fetch("create table public.x ()")
        session.begin()
        assert session.identity.endswith(f"/{database}")
        assert session.load.sessions == 1 and session.load.statements > 0


def test_a_databases_owner_has_no_code_run_by_whoever_reads_it(
    postgres: Any, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = f"engine_{uuid.uuid4().hex[:12]}"
    postgres.create_database(database)
    # Sequences, for they count what a rolled back or refused call would hide.
    traps = ("set_config(text, text, boolean)", "current_schema()", "version()")
    postgres.execute(database, "create schema evil")
    for number, trap in enumerate(traps):
        postgres.execute(
            database,
            f"create sequence evil.s{number}; create function evil.{trap} returns text "
            f"language sql as $$ select pg_catalog.nextval('evil.s{number}')::text $$",
        )
    postgres.execute("postgres", f"alter database {database} set search_path = evil, pg_catalog")
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=77MB")
    with opened(postgres, replace(target, database=database)) as session:
        assert session.inventory("schemas")
        limits = "statement_timeout", "transaction_read_only", "search_path", "work_mem"
        asked = ", ".join(f"pg_catalog.current_setting('{name}')" for name in limits)
        assert session.fetch(f"select {asked}") == [("1min", "on", "", "4MB")]
    for number, _ in enumerate(traps):
        assert postgres.execute(database, f"select is_called from evil.s{number}") == [(False,)]


def test_a_wrong_password_reaches_the_server_once(postgres: Any, target: Target) -> None:
    with counted(target, is_login) as (port, passwords):
        # A name with several addresses must not multiply the tries.
        through = replace(target, host="localhost", port=port)
        with pytest.raises(AuthenticationFailed) as caught:
            open_session(through, Credentials("postgres", WRONG), Options(), LOCAL, LABEL)
        assert len(passwords) == 1
        report = check(through, lambda: Credentials("postgres", WRONG), Options(), LOCAL)
        assert len(passwords) == 2
    assert [step.name for step in report.steps if not step.ok] == ["login"]
    error: BaseException | None = caught.value
    assert error is not None and error.__cause__ is None
    assert WRONG not in repr((report, caught.value, caught.value.as_dict()))
    assert WRONG not in repr(Credentials("postgres", WRONG))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"database": "no_such_database"}, NoSuchDatabase),
        ({"username": "no_such_role"}, AuthenticationFailed),
        ({"port": 1}, SourceUnreachable),
        ({"host": "nowhere.invalid"}, SourceUnreachable),
        ({"host": "169.254.169.254"}, AddressRefused),
        ({"tls": "require"}, TLSFailed),
        ({"tls": "verify-full"}, TLSFailed),
    ],
)
def test_a_refused_login_says_why(
    postgres: Any, target: Target, change: dict[str, Any], error: type[SurveyorError]
) -> None:
    with pytest.raises(error) as caught:
        opened(postgres, replace(target, **change))
    assert type(caught.value) is error
    assert caught.value.message and caught.value.fix
    assert postgres.password not in repr(caught.value.as_dict())


def test_loopback_and_denied_endpoints_are_not_even_tried(postgres: Any, target: Target) -> None:
    credentials = Credentials(target.username, postgres.password)
    denied = frozenset({f"127.0.0.1:{target.port}"})
    for policy in (AddressPolicy(), AddressPolicy(True, denied)):
        with pytest.raises(AddressRefused):
            open_session(target, credentials, Options(), policy, LABEL)


def test_cancel_ends_the_statement_in_the_server(postgres: Any, target: Target) -> None:
    outcome: list[BaseException] = []
    with opened(postgres, target) as session:

        def work() -> None:
            try:
                session.fetch("select pg_sleep(60) as cancel_me")
            except BaseException as error:
                outcome.append(error)

        assert session.deadline is None
        thread = threading.Thread(target=work)
        thread.start()
        until(lambda: active(postgres, "cancel_me"))
        assert 50 < session.deadline - time.time() <= 60
        started = time.monotonic()
        session.cancel()
        thread.join(5)
        assert time.monotonic() - started < 3
        assert [type(error) for error in outcome] == [Stopped]
        assert active(postgres, "cancel_me") == []
        assert session.deadline is None
        for call in (session.begin, lambda: session.fetch("select 1")):
            with pytest.raises(Stopped):
                call()


def test_a_statement_has_a_deadline(postgres: Any, target: Target) -> None:
    with opened(postgres, target, statement_timeout=0.3) as session:
        with pytest.raises(SourceTimeout):
            session.fetch("select pg_sleep(60)")
        session.begin()
        assert session.fetch("select 1") == [(1,)]


def test_a_lock_is_not_waited_for(postgres: Any, target: Target) -> None:
    table = f"public.locked_{uuid.uuid4().hex[:8]}"
    postgres.execute("postgres", f"create table {table} ()")
    with (
        psycopg.connect(postgres.url()) as other,
        opened(postgres, target, lock_timeout=0.2) as session,
    ):
        other.execute(f"lock table {table}")
        with pytest.raises(SourceTimeout, match="lock"):
            session.fetch(f"select count(*) from {table}")


def test_a_lost_session_is_unreachable_not_broken(postgres: Any, session: Session) -> None:
    postgres.execute("postgres", f"select pg_terminate_backend({session.backend_id}, 5000)")
    for _ in range(2):
        with pytest.raises(SourceUnreachable):
            session.inventory("schemas")


def test_a_later_session_ends_earlier_ones_with_its_label(postgres: Any, target: Target) -> None:
    credentials = Credentials(target.username, postgres.password)
    with (
        opened(postgres, target) as earlier,
        open_session(target, credentials, Options(), LOCAL, "another label") as other,
        opened(postgres, target) as later,
    ):
        assert later.end_siblings() == [earlier.backend_id]
        assert later.end_siblings() == []
        assert other.inventory("schemas")
        with pytest.raises(SourceUnreachable):
            earlier.inventory("schemas")


def test_closing_leaves_no_session(postgres: Any, target: Target) -> None:
    with opened(postgres, target) as session:
        pid = session.backend_id
        session.inventory("schemas")
    asked = f"select 1 from pg_stat_activity where pid = {pid}"
    until(lambda: not postgres.execute("postgres", asked))


def tried(postgres: Any, target: Target, password: str = "") -> CheckReport:
    credentials = Credentials(target.username, password or postgres.password)
    return check(target, lambda: credentials, Options(), LOCAL)


def test_a_check_climbs_every_step(postgres: Any, target: Target) -> None:
    report = tried(postgres, target)
    assert report.ok and report.latency_ms > 0
    assert report.server_version.split(".")[0].isdecimal()
    assert [(step.name, step.ok) for step in report.steps] == [
        (name, True) for name in ("resolve", "connect", "tls", "login", "version", "catalogue")
    ]


@pytest.mark.parametrize(
    ("change", "failed", "steps"),
    [
        ({"host": "nowhere.invalid"}, "resolve", 1),
        ({"host": "169.254.169.254"}, "resolve", 1),
        ({"port": 1}, "connect", 2),
        ({"tls": "require"}, "tls", 3),
        ({"database": "no_such_database"}, "login", 4),
    ],
)
def test_a_check_stops_at_the_first_failure_with_a_fix(
    postgres: Any, target: Target, change: dict[str, Any], failed: str, steps: int
) -> None:
    report = tried(postgres, replace(target, **change))
    assert not report.ok and len(report.steps) == steps
    last = report.steps[-1]
    assert (last.name, last.ok, bool(last.detail), bool(last.fix)) == (failed, False, True, True)


def test_a_check_asks_for_the_password_after_the_network(target: Target) -> None:
    def asked() -> Credentials:
        raise VaultUnavailable()

    assert tried_without(replace(target, port=1), asked).steps[-1].name == "connect"
    report = tried_without(target, asked)
    assert (report.steps[-1].name, report.steps[-1].detail) == ("login", VaultUnavailable().message)


def tried_without(target: Target, credentials: Callable[[], Credentials]) -> CheckReport:
    return check(target, credentials, Options(), LOCAL)


def test_the_role_that_the_form_prints_is_enough(postgres: Any, target: Target) -> None:
    role = f'read"er {uuid.uuid4().hex[:6]}'
    script = role_script(replace(target, username=role)).replace("'…'", "'made-for-this'")
    postgres.execute("postgres", script)
    try:
        assert tried(postgres, replace(target, username=role), "made-for-this").ok
    finally:
        quoted = role.replace('"', '""')
        postgres.execute("postgres", f'drop owned by "{quoted}"; drop role "{quoted}"')
