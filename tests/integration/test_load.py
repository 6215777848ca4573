"""The load receipt against what the server itself has written down."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from temporalio.client import WorkflowFailureError

from dashboard.local.servers import PostgresServer, start
from extraction.connection import Options, Target
from tests.conftest import DATA
from tests.integration.fleet import PASSWORD, SLOW, Cast, Proxy, Started, a_source, rotated, until
from workers.contract import Limits

pytestmark = pytest.mark.integration

WITHIN = 0.02


class Logged(PostgresServer):
    """A server that writes down every statement, with label and process before it."""

    def command(self) -> list[str]:
        settings = ("log_min_messages=log", "log_statement=all", "log_line_prefix=%a|%p|")
        return [*super().command(), *(part for s in settings for part in ("-c", s))]


@pytest.fixture(scope="module")
def written() -> list[str]:
    return []


@pytest.fixture(scope="module")
def postgres(written: list[str]) -> Iterator[Logged]:
    server = Logged(DATA / "postgres-logged", durable=False)
    child = start(server, lambda _, line: written.append(line))
    yield server
    child.stop()


class ServerLog:
    """What the server logs from now on."""

    def __init__(self, written: list[str]) -> None:
        self.written, self.offset = written, len(written)

    def lines(self) -> list[str]:
        return self.written[self.offset :]

    def _of(self, run: Started) -> list[tuple[str, str]]:
        pattern = re.compile(rf"surveyor run {run.run_id}[^|]*\|(\d+)\|(\w+): ")
        return [(found[1], found[2]) for line in self.lines() if (found := pattern.match(line))]

    def statements(self, run: Started) -> int:
        return sum(level == "LOG" for _, level in self._of(run))

    def sessions(self, run: Started) -> int:
        return len({pid for pid, level in self._of(run) if level == "LOG"})

    def refused(self) -> int:
        return sum("password authentication failed" in line for line in self.lines())


@pytest.fixture
def server_log(target: Target, written: list[str]) -> ServerLog:
    return ServerLog(written)


class Scale(Proxy):
    """A way to the source that weighs what comes back."""

    received = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(self._weigh(there, writer), self._forward(reader, back))

    async def _weigh(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            self.received += len(data)
            to.write(data)
            await to.drain()
        to.close()

    async def _forward(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                to.write(data)
                await to.drain()
        finally:
            to.close()


async def test_the_receipt_of_a_calm_run_is_what_the_server_saw(
    cast: Cast, server_log: ServerLog, settings_env: Any, target: Target
) -> None:
    async with Scale(target.port) as scale:
        source = a_source(settings_env.web, replace(target, port=scale.port), PASSWORD)
        cast.fleet.start("w1", "w2")
        run = await cast.start(source=source)
        load = (await run.result()).load
    assert load.statements == server_log.statements(run)
    assert load.sessions == server_log.sessions(run) == scale.accepted
    assert load.bytes == pytest.approx(scale.received, rel=WITHIN)
    assert load.rows > 0
    assert load.lost == 0


async def test_the_receipt_counts_what_a_killed_worker_had_asked(
    cast: Cast, server_log: ServerLog
) -> None:
    cast.fleet.start("w1", "w2")
    run = await cast.start(Options(sessions=1, pace=2.0))

    async def resting() -> str:
        """A worker that has just proven a batch, and pauses."""
        records = (await run.cut()).records
        held = [r for r in records if r.shard >= 0 and r.state == "working"]
        proven = [r for r in held if 1 <= r.batch < r.batches and not r.in_flight]
        return next((r.worker for r in proven if time.time() - r.advanced_at < 0.5), "")

    cast.fleet.kill(await until(resting))
    load = (await run.result(60)).load
    assert load.lost >= 1
    assert load.statements == pytest.approx(server_log.statements(run), rel=WITHIN)
    assert load.sessions == server_log.sessions(run)


async def test_the_receipt_counts_failed_attempts(
    cast: Cast, server_log: ServerLog, postgres: Any, target: Target
) -> None:
    cast.fleet.start("w1")
    with psycopg.connect(postgres.url(target.database)) as connection:
        connection.execute("LOCK TABLE pg_catalog.pg_trigger IN ACCESS EXCLUSIVE MODE")
        run = await cast.start(Options(sessions=1, lock_timeout=0.2))
        await run.until_code("source_failed")
        connection.rollback()
    load = (await run.result()).load
    assert load.statements == pytest.approx(server_log.statements(run), rel=WITHIN)
    assert load.sessions == server_log.sessions(run)
    assert load.lost == 0


async def test_a_cancelled_run_has_told_its_load(cast: Cast, server_log: ServerLog) -> None:
    cast.fleet.start("w1")
    run = await cast.start(SLOW)
    await run.until_done(200)
    await run.handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await run.result()

    async def told() -> bool:
        records = (await run.cut()).records
        spent = sum(r.load.statements + r.load_before.statements for r in records)
        return spent == pytest.approx(server_log.statements(run), rel=WITHIN)

    await until(told, 5)


@pytest.mark.parametrize("stored", [False, True])
async def test_a_password_that_changes_after_the_plan_is_refused_once(
    cast: Cast,
    server_log: ServerLog,
    postgres: Any,
    settings_env: Any,
    target: Target,
    stored: bool,
) -> None:
    """Four workers, and sessions that start one after another."""
    role = f"rotated_{stored}".lower()
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute(f"create role {role} login password 'first'")
        await _run_with_a_changed_password(cast, admin, role, stored, settings_env, target)
        admin.execute(f"drop role {role}")
    assert server_log.refused() == 1


async def _run_with_a_changed_password(
    cast: Cast,
    admin: psycopg.Connection[Any],
    role: str,
    stored: bool,
    settings_env: Any,
    target: Target,
) -> None:
    source = a_source(settings_env.web, replace(target, username=role), "first")
    cast.fleet.start("w1", "w2", "w3", "w4")
    run = await cast.start(Options(sessions=1, pace=0.2), source=source)
    await run.until_done(100)
    admin.execute(f"alter role {role} password 'second'")
    if stored:
        rotated(settings_env.web, source, source.target, "second")
        assert (await run.result()).status == "succeeded"
        return
    with pytest.raises(WorkflowFailureError) as failure:
        await run.result()
    assert getattr(failure.value.cause, "type", "") == "auth"


async def test_sessions_that_start_in_one_instant_send_it_once_a_process(
    cast: Cast, server_log: ServerLog, postgres: Any, settings_env: Any, target: Target
) -> None:
    """Two processes cannot know of each other in the same instant: that is the bound."""
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute("create role at_once login password 'first'")
        source = a_source(settings_env.web, replace(target, username="at_once"), "first")
        cast.fleet.start("w1", "w2")
        run = await cast.start(Options(sessions=1, pace=1.0), source=source)
        await run.until_done(100)
        admin.execute("alter role at_once password 'second'")
        rotated(settings_env.web, source, source.target, "second")
        more = Limits(1, Options(sessions=8, pace=0.0))
        await run.handle.execute_update("set_limits", more, result_type=Limits)
        assert (await run.result()).status == "succeeded"
        admin.execute("drop role at_once")
    print(f"refused logins of eight sessions on two workers: {server_log.refused()}")
    assert 1 <= server_log.refused() <= 2


async def test_a_wrong_password_reaches_the_server_once_whoever_takes_the_run(
    cast: Cast, server_log: ServerLog, settings_env: Any, target: Target
) -> None:
    cast.fleet.start("w1", "w2", "w3", "w4")
    run = await cast.start(source=a_source(settings_env.web, target, "wrong"))
    with pytest.raises(WorkflowFailureError):
        await run.result()
    assert server_log.refused() == 1
