"""Runs on real workers, against a real Temporal, PostgreSQL, Vault and Redis."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError

from extraction.connection import Options, Target
from extraction.selection import Selection
from tests.integration.fleet import (
    PASSWORD,
    RELATIONS,
    SLOW,
    Cast,
    Proxy,
    a_source,
    rotated,
    sessions,
    until,
)

pytestmark = pytest.mark.integration


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

    async def all_done() -> bool:
        return {record.state for record in (await run.cut()).records} == {"done"}

    await until(all_done, limit=2)
    shards = len(cut.plan.shards)

    async def all_told() -> bool:
        # Each worker tells its own lines; another's last one may come a moment later.
        return [e.code for _, e in (await run.cut()).events].count("shard_done") == shards

    await until(all_told, limit=5)
    codes = [event.code for _, event in (await run.cut()).events]
    assert codes[0] == "planned"
    assert codes.count("shard_started") == shards
    assert codes.index("finishing") < codes.index("finished")
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
    held = {pid for pid, *_ in sessions(postgres, run.run_id)}
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
    # The story is the receipt: which sessions were ended, and how long that took.
    said = [e.message for _, e in (await run.cut()).events if e.code == "session_closed"]
    closed = [
        re.fullmatch(r"Session (\d+) of shard \d+ is closed .*, (.*) s after .*", x) for x in said
    ]
    assert held <= {int(found[1]) for found in closed if found}
    assert all(found and float(found[2]) < 3 for found in closed)


async def test_a_source_that_fails_is_retried_in_sight_until_it_works(
    cast: Cast, postgres: Any, target: Target
) -> None:
    cast.fleet.start("w1")
    with psycopg.connect(postgres.url(target.database)) as connection:
        connection.execute("LOCK TABLE pg_catalog.pg_trigger IN ACCESS EXCLUSIVE MODE")
        run = await cast.start(Options(sessions=2, lock_timeout=0.2))
        await run.until_code("source_failed")

        async def locked_out() -> bool:
            records = (await run.cut()).records
            return any(r.state == "retrying" and "lock" in r.reason.lower() for r in records)

        await until(locked_out, limit=30)
        told = next(r for r in (await run.cut()).records if r.state == "retrying")
        connection.rollback()
    assert (await run.result()).status == "succeeded"
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


async def test_a_run_outlives_a_rotation(cast: Cast, settings_env: Any, target: Target) -> None:
    async with Proxy(target.port) as proxy:
        source = a_source(settings_env.web, replace(target, port=proxy.port), "the old one")
        rotated(settings_env.web, source, source.target, PASSWORD)
        cast.fleet.start("w1")
        run = await cast.start(source=source)
        result = await run.result()
    assert result.status == "succeeded"
    # The old password was sent once, not once a session; the receipt counts that login too.
    cut = await run.cut()
    assert cut.plan is not None
    assert proxy.accepted == result.load.sessions == 1 + len(cut.plan.shards) + 1
    said = [e.message for _, e in (await run.cut()).events if e.code == "credential_rotated"]
    assert len(said) == 1
    assert "version 1" in said[0]
    assert "version 2" in said[0]


async def test_a_newer_secret_for_another_target_is_not_sent(
    cast: Cast, settings_env: Any, target: Target
) -> None:
    async with Proxy(target.port) as proxy:
        source = a_source(settings_env.web, replace(target, port=proxy.port), "the old one")
        rotated(settings_env.web, source, target, PASSWORD)
        cast.fleet.start("w1")
        with pytest.raises(WorkflowFailureError) as failure:
            await (await cast.start(source=source)).result()
    assert isinstance(failure.value.cause, ApplicationError)
    assert failure.value.cause.type == "auth"
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


async def test_a_selection_of_nothing_fails_at_once_and_names_the_patterns(cast: Cast) -> None:
    cast.fleet.start("w1")
    run = await cast.start(selection=Selection(["no_such_schema", "nor.this"]))
    with pytest.raises(WorkflowFailureError) as failure:
        await run.result()
    error = failure.value.cause
    assert isinstance(error, ApplicationError)
    assert error.type == "config"
    assert "'no_such_schema', 'nor.this'" in error.message
    told = [e.message for _, e in (await run.cut()).events if e.code == "source_failed"]
    assert [message.endswith("Not tried again.") for message in told] == [True]
    assert not cast.storage.exists(run.manifest_path)


async def test_a_pattern_that_matches_nothing_is_told_and_listed(cast: Cast) -> None:
    cast.fleet.start("w1")
    selection = Selection(["public", "gone.orders"], ["tmp_*"], ["schemas"])
    run = await cast.start(selection=selection)
    assert (await run.result()).status == "succeeded"
    assert run.manifest()["unmatched"] == ["gone.orders"]
    cut = await run.cut()
    assert cut.plan and cut.plan.unmatched == ["gone.orders"]
    told = [(e.level, e.message) for _, e in cut.events if e.code == "pattern_unmatched"]
    assert told == [
        ("warning", "The include pattern 'gone.orders' matches nothing."),
        ("info", "The exclude pattern 'tmp_*' matches nothing."),
    ]


async def test_a_run_costs_little_beside_its_reading(cast: Cast) -> None:
    cast.fleet.start("w1")
    await (await cast.start(selection=Selection(kinds=["schemas"]))).result()
    started = time.monotonic()
    result = await (await cast.start(selection=Selection(kinds=["schemas"]))).result()
    took = time.monotonic() - started
    print(f"fixed cost of a run: {took:.2f} s")
    assert result.status == "succeeded"
    assert took < 2


async def test_what_the_source_refuses_is_told_kind_by_kind(
    cast: Cast, target: Target, postgres: Any
) -> None:
    cast.fleet.start("w1")
    postgres.execute(target.database, "revoke select on pg_proc, pg_sequence from public")
    try:
        run = await cast.start()
        result = await run.result()
    finally:
        postgres.execute(target.database, "grant select on pg_proc, pg_sequence to public")
    told = {event.message for _, event in (await run.cut()).events if event.code == "scope_denied"}
    assert result.status == "partial"
    denied = {kind["kind"] for kind in run.manifest()["denied"]}
    assert denied == {"routines", "sequences"}
    scopes = Counter(s["kind"] for s in run.manifest()["scopes"] if s["status"] == "denied")
    assert {message.partition(" schemas.")[0] for message in told} == {
        f"Denied: {kind} in {count}" for kind, count in scopes.items()
    }
