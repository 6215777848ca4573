"""Limits that change while a run goes: obeyed within seconds, and nothing is lost by it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from temporalio.client import WorkflowUpdateFailedError

from extraction.connection import Options
from tests.integration.fleet import SLOW, Cast, Started, sessions, until
from tests.integration.test_worker_histories import replays
from workers.contract import Limits

pytestmark = pytest.mark.integration

OBEYED_WITHIN = 5.0
# A day's window that has just begun or will soon, to the second.
CLOCK = "%H:%M:%S"


async def limit(run: Started, version: int, **options: Any) -> Limits:
    answer: Limits = await run.handle.execute_update(
        "set_limits",
        Limits(version, Options(**options)),
        result_type=Limits,
    )
    return answer


def shards_open(server: Any, run: Started) -> set[str]:
    return {name for _, name, _ in sessions(server, run.run_id)}


async def calm_digests(cast: Cast) -> list[str]:
    run = await cast.start()
    await run.result()
    return run.digests()


async def lines(run: Started, code: str) -> list[str]:
    return [event.message for _, event in (await run.cut()).events if event.code == code]


async def test_fewer_sessions_are_obeyed_at_once_and_more_start_at_once(
    cast: Cast, postgres: Any
) -> None:
    cast.fleet.start("w1", "w2")
    calm = await calm_digests(cast)
    run = await cast.start(Options(sessions=3, pace=0.4))
    await until(lambda: len(shards_open(postgres, run)) == 3)
    lowered = time.monotonic()
    answer = await limit(run, 1, sessions=1, pace=0.4)
    assert answer.options.sessions == 1
    await until(lambda: len(shards_open(postgres, run)) == 1, OBEYED_WITHIN)
    assert time.monotonic() - lowered < OBEYED_WITHIN
    (told,) = await until_lines(run, "given_back")
    assert "at most 1 session from now on" in told

    async def two_gave_back() -> bool:
        records = (await run.cut()).records
        back = [r.state for r in records if r.reason == "its session was given back"]
        return back == ["waiting", "waiting"]

    await until(two_gave_back)
    raised = time.monotonic()
    await limit(run, 2, sessions=4, pace=0.0)
    assert (await run.result()).status == "succeeded"
    assert time.monotonic() - raised < 30
    resumed = await lines(run, "shard_resumed")
    assert any("at most 1 session from now on" in line for line in resumed)
    assert await lines(run, "source_failed") == []
    assert run.digests() == calm
    await replays(run.handle, "run-limits-changed")


async def until_lines(run: Started, code: str) -> list[str]:
    await run.until_code(code)
    return await lines(run, code)


async def test_a_statement_limit_reaches_sessions_that_are_open(cast: Cast, postgres: Any) -> None:
    """What hangs goes on under the new limit, not under the one its session began with."""
    cast.fleet.start("w1")
    with psycopg.connect(postgres.url("fleet")) as connection:
        connection.execute("LOCK TABLE pg_catalog.pg_trigger IN ACCESS EXCLUSIVE MODE")
        run = await cast.start(Options(sessions=1, lock_timeout=120, statement_timeout=120))

        def hanging() -> set[int]:
            found = sessions(postgres, run.run_id)
            return {pid for pid, _, waits in found if waits == "Lock"}

        hung = await until(hanging)
        await limit(run, 1, sessions=1, lock_timeout=0.3, statement_timeout=5)
        await until(lambda: not hung & hanging(), OBEYED_WITHIN)
        await run.until_code("source_failed")
        connection.rollback()
    assert "told to go on under the new limits" in (await lines(run, "limits_changed"))[0]
    assert "after it was told to stop" in (await lines(run, "session_closed"))[0]
    assert (await run.result()).status == "succeeded"


async def test_an_older_version_changes_nothing_and_a_wrong_one_is_refused(cast: Cast) -> None:
    cast.fleet.start("w1")
    run = await cast.start(SLOW)
    await limit(run, 2, sessions=1, pace=0.1)
    assert (await limit(run, 1, sessions=3, pace=9)).options.sessions == 1
    for wrong in ({"sessions": 0}, {"pace": -1}, {"hours": "late"}, {"timezone": "Mars"}):
        with pytest.raises(WorkflowUpdateFailedError):
            await limit(run, 3, **wrong)
    assert (await run.result()).status == "succeeded"


async def test_outside_the_allowed_hours_no_session_is_held_and_the_run_goes_on_by_itself(
    cast: Cast, postgres: Any
) -> None:
    cast.fleet.start("w1", "w2")
    calm = await calm_digests(cast)
    run = await cast.start(SLOW)
    await run.until_done(100)
    now = datetime.now(UTC)
    opens = (now + timedelta(seconds=8)).replace(microsecond=0)
    hours = f"{opens:{CLOCK}}-{now - timedelta(hours=1):{CLOCK}}"
    await limit(run, 1, sessions=2, pace=0.2, hours=hours)
    await until(lambda: not shards_open(postgres, run), OBEYED_WITHIN)
    (told,) = await until_lines(run, "hours_closed")
    assert told == f"Waiting: outside the allowed hours until {opens:%H:%M:%S} (UTC)."
    assert datetime.now(UTC) < opens
    # Not one statement is sent before the hours begin.
    await until(lambda: shards_open(postgres, run), 15)
    assert datetime.now(UTC) >= opens
    assert (await run.result()).status == "succeeded"
    assert len(await lines(run, "hours_open")) == 1
    assert run.digests() == calm
    await replays(run.handle, "run-hours-closed")


async def test_hours_that_end_stop_a_run_and_one_begun_outside_waits_before_the_plan(
    cast: Cast, postgres: Any
) -> None:
    cast.fleet.start("w1")
    now = datetime.now(UTC)
    closed = f"{now + timedelta(hours=2):%H:%M}-{now + timedelta(hours=3):%H:%M}"
    run = await cast.start(Options(sessions=2, pace=0.3, hours=closed))
    await run.until_code("hours_closed")
    assert shards_open(postgres, run) == set()
    assert (await run.cut()).records == []
    ends = (datetime.now(UTC) + timedelta(seconds=5)).replace(microsecond=0)
    hours = f"{now - timedelta(hours=1):{CLOCK}}-{ends:{CLOCK}}"
    await limit(run, 1, sessions=2, pace=5, hours=hours)
    await until(lambda: shards_open(postgres, run))

    def over() -> bool:
        return not shards_open(postgres, run) and datetime.now(UTC) >= ends

    await until(over, 15)
    assert (datetime.now(UTC) - ends).total_seconds() < OBEYED_WITHIN
    await limit(run, 2, sessions=2)
    assert (await run.result()).status == "succeeded"


async def test_a_run_without_hours_has_no_timer(cast: Cast) -> None:
    cast.fleet.start("w1")
    run = await cast.start()
    await run.result()
    history = json.loads((await run.handle.fetch_history()).to_json())
    kinds = {event["eventType"] for event in history["events"]}
    assert not any("TIMER" in kind for kind in kinds)
