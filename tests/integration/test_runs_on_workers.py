"""Runs on real workers, against a real Temporal, PostgreSQL, Vault and Redis."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from dashboard.local import warehouse
from extraction.connection import Options, Target
from tests.integration.fleet import Cast, Fleet, a_source, sessions, storage_of, until
from workers.temporal import connect

pytestmark = pytest.mark.integration

PASSWORD = "canary-" + secrets.token_hex(8)
RELATIONS = 1200
# Pauses make a run of ten batches long enough to be interrupted.
SLOW = Options(sessions=2, pace=0.4)


@pytest.fixture(scope="module")
def target(postgres: Any) -> Target:
    server: warehouse.Server = {
        "host": postgres.host,
        "port": postgres.port,
        "user": postgres.user,
        "password": postgres.password,
    }
    warehouse.build(server, "fleet", relations=RELATIONS, seed=3, columns=6)
    warehouse.create_reader_role(server, "fleet", "fleet_reader", PASSWORD)
    return Target("postgresql", postgres.host, postgres.port, "fleet", "fleet_reader", "disable")


@pytest.fixture
async def cast(settings_env: Any, target: Target, tmp_path: Path) -> AsyncIterator[Cast]:
    fleet = Fleet(settings_env.worker_environment, tmp_path)
    client = await connect(settings_env.worker)
    yield Cast(
        client,
        settings_env.worker.redis_url.get_secret_value(),
        storage_of(settings_env.worker),
        a_source(settings_env.web, target, PASSWORD, Options(sessions=2)),
        fleet,
    )
    fleet.stop()


@pytest.fixture
def blocked(postgres: Any, target: Target) -> Iterator[None]:
    """While it lasts, whoever reads triggers in the source waits for a lock."""
    with psycopg.connect(postgres.url(target.database)) as connection:
        connection.execute("LOCK TABLE pg_catalog.pg_trigger IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


async def undisturbed(cast: Cast) -> list[str]:
    cast.fleet.start("calm1", "calm2")
    run = await cast.start()
    await run.result()
    cast.fleet.stop()
    return run.digests()


async def test_a_run_ends_with_a_verified_snapshot_and_its_story(cast: Cast) -> None:
    cast.fleet.start("w1", "w2")
    run = await cast.start()
    result = await run.result()
    cut = await run.cut()
    manifest = run.manifest()
    assert result.status == "succeeded"
    assert cut.plan is not None
    assert result.counts["relations"] == cut.plan.relations >= RELATIONS
    assert manifest["status"] == "succeeded"
    assert sum(record.done for record in cut.records if record.shard >= 0) == cut.plan.relations
    assert {record.state for record in cut.records} == {"done"}
    codes = [event.code for _, event in cut.events]
    assert codes[0] == "planned"
    assert codes[-2:] == ["finishing", "finished"]
    assert codes.count("shard_started") == codes.count("shard_done") == len(cut.plan.shards)
    assert result.load.statements > 0
    assert result.load.sessions == len(cut.plan.shards) + 1


async def test_killed_workers_change_nothing_in_the_snapshot(cast: Cast) -> None:
    calm = await undisturbed(cast)
    cast.fleet.start("w1", "w2")
    run = await cast.start(SLOW)
    cut = await run.until_done(200)
    victim = next(r.worker for r in cut.records if r.shard >= 0 and r.state == "working")
    before = sum(record.done for record in cut.records if record.shard >= 0)
    cast.fleet.kill(victim)
    killed = time.monotonic()
    await run.until_done(before + 300)
    assert time.monotonic() - killed < 15 + 5
    await run.until_code("shard_resumed", limit=20)
    result = await run.result()
    assert result.status == "succeeded"
    assert run.digests() == calm
    lost = [e.message for _, e in (await run.cut()).events if e.code == "shard_resumed"]
    assert any(f"worker {victim} went silent" in message for message in lost)


async def test_a_frozen_worker_that_wakes_up_changes_nothing(cast: Cast) -> None:
    calm = await undisturbed(cast)
    cast.fleet.start("w1")
    run = await cast.start(SLOW)
    await run.until_done(200)
    cast.fleet.send("w1", signal.SIGSTOP)
    cast.fleet.start("w2")
    await run.until_code("shard_resumed", limit=30)
    cast.fleet.send("w1", signal.SIGCONT)
    assert (await run.result()).status == "succeeded"
    assert run.digests() == calm


async def test_a_stopping_worker_hands_its_shard_over_at_once(cast: Cast) -> None:
    cast.fleet.start("w1")
    run = await cast.start(SLOW)
    await run.until_done(200)
    started = time.monotonic()
    cast.fleet.send("w1", signal.SIGTERM)
    code = await asyncio.to_thread(cast.fleet.processes["w1"].wait, 10)
    assert time.monotonic() - started < 5
    assert code == 0
    cast.fleet.start("w2")
    await run.until_code("shard_resumed", limit=8)
    assert (await run.result()).status == "succeeded"


async def test_cancel_ends_the_statement_and_leaves_no_manifest(
    cast: Cast, postgres: Any, blocked: None
) -> None:
    cast.fleet.start("w1", "w2")
    run = await cast.start(Options(sessions=2, lock_timeout=120, statement_timeout=120))

    def waiting() -> bool:
        return any(waits == "Lock" for *_, waits in sessions(postgres, run.run_id))

    await until(waiting)
    cancelled = time.monotonic()
    await run.handle.cancel()
    await until(lambda: not sessions(postgres, run.run_id), limit=5)
    assert time.monotonic() - cancelled < 3
    with pytest.raises(WorkflowFailureError) as failure:
        await run.result()
    assert isinstance(failure.value.cause, CancelledError)
    assert not cast.storage.exists(run.manifest_path)
    left = cast.storage.local_path(f"snapshots/{run.run_id}").rglob(".*")
    assert list(left) == []
    await run.until_code("cancelled", limit=3)


async def test_a_source_that_fails_is_retried_in_sight_until_it_works(
    cast: Cast, postgres: Any, target: Target
) -> None:
    cast.fleet.start("w1")
    with psycopg.connect(postgres.url(target.database)) as connection:
        connection.execute("LOCK TABLE pg_catalog.pg_trigger IN ACCESS EXCLUSIVE MODE")
        run = await cast.start(Options(sessions=2, lock_timeout=0.2))
        await run.until_code("source_failed")
        told = next(r for r in (await run.cut()).records if r.state == "retrying")
        connection.rollback()
    assert (await run.result()).status == "succeeded"
    assert "lock" in told.reason.lower()
    assert told.retry_at
    assert told.failures >= 1


async def test_a_wrong_password_is_tried_once(
    cast: Cast, settings_env: Any, target: Target
) -> None:
    async with Proxy(target.port) as proxy:
        source = a_source(settings_env.web, replace(target, port=proxy.port), "wrong")
        cast.fleet.start("w1")
        run = await cast.start(source=source)
        with pytest.raises(WorkflowFailureError) as failure:
            await run.result()
    error = failure.value.cause
    assert isinstance(error, ApplicationError)
    assert (error.type, error.details[0]["audience"]) == ("auth", "admin")
    assert proxy.accepted == 1


async def test_a_secret_bound_to_another_target_is_refused(
    cast: Cast, settings_env: Any, target: Target
) -> None:
    async with Proxy(target.port) as proxy:
        moved = replace(target, port=proxy.port)
        source = a_source(settings_env.web, moved, PASSWORD, bound_to=target)
        cast.fleet.start("w1")
        run = await cast.start(source=source)
        with pytest.raises(WorkflowFailureError) as failure:
            await run.result()
    assert isinstance(failure.value.cause, ApplicationError)
    assert failure.value.cause.type == "credential"
    assert proxy.accepted == 0


async def test_a_source_that_is_down_is_waited_for(
    cast: Cast, settings_env: Any, target: Target
) -> None:
    proxy = Proxy(target.port)
    await proxy.open()
    await proxy.close()
    source = a_source(settings_env.web, replace(target, port=proxy.port), PASSWORD)
    cast.fleet.start("w1")
    run = await cast.start(source=source)
    await run.until_code("source_failed")
    await proxy.open(proxy.port)
    assert (await run.result()).status == "succeeded"
    await proxy.close()


async def test_a_vault_that_is_down_is_waited_for_and_told(cast: Cast, settings_env: Any) -> None:
    proxy = Proxy(int(settings_env.worker.vault_addr.rsplit(":", 1)[1]))
    await proxy.open()
    await proxy.close()
    cast.fleet.start("w1", VAULT_ADDR=f"http://127.0.0.1:{proxy.port}")
    run = await cast.start()
    await run.until_code("waiting")

    async def said() -> bool:
        return any(r.state == "waiting" and r.retry_at for r in (await run.cut()).records)

    await until(said)
    await proxy.open(proxy.port)
    assert (await run.result()).status == "succeeded"
    codes = await run.codes()
    assert codes.count("waiting") == 1
    assert "source_failed" not in codes
    await proxy.close()


async def test_a_run_does_not_need_redis(cast: Cast) -> None:
    cast.fleet.start("w1", "w2")
    with_redis = await cast.start()
    await with_redis.result()
    cast.fleet.stop()
    cast.fleet.start("w1", "w2", REDIS_URL="redis://127.0.0.1:1/0")
    started = time.monotonic()
    without = await cast.start()
    assert (await without.result()).status == "succeeded"
    assert time.monotonic() - started < 20
    assert without.digests() == with_redis.digests()


async def test_no_password_reaches_temporal_redis_storage_or_logs(
    cast: Cast, settings_env: Any, target: Target, temporal_server: Any, redis_server: Any
) -> None:
    cast.fleet.start("w1")
    await (await cast.start()).result()
    wrong = a_source(settings_env.web, target, f"wrong-{PASSWORD}")
    with pytest.raises(WorkflowFailureError):
        await (await cast.start(source=wrong)).result()
    root = cast.storage.local_path("snapshots")
    files = [*temporal_server.directory.rglob("*"), *root.rglob("*"), cast.fleet.log_path]
    files += redis_server.directory.rglob("*")
    read = [file for file in files if file.is_file()]
    assert any(file.suffix == ".db" for file in read)
    assert [file for file in read if PASSWORD.encode() in file.read_bytes()] == []


class Proxy:
    """Forwards a port, counts who came, and can be closed for a while."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self._server: asyncio.Server | None = None

    async def open(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server
        self._server.close()

    async def __aenter__(self) -> Proxy:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
