"""What a cancel promises: nothing runs in the source any more, and no snapshot appears."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from extraction import extract
from extraction.connection import AddressPolicy, Credentials, Options, Target, open_session
from extraction.selection import Selection
from tests.integration.fleet import PASSWORD, Cast, Proxy, Started, a_source, sessions, until
from tests.integration.test_worker_histories import replays
from workers import contract, workflows
from workers.__main__ import make_worker, needs
from workers.activities import Activities
from workers.contract import PlanResult, RunInput, ShardInput, ShardPlan, SweepInput
from workers.login import label_of
from workers.needs import Needs
from workers.temporal import connect

pytestmark = pytest.mark.integration

QUIET = "Cancelled; no statement runs in the source."


@pytest.fixture
async def injected(settings_env: Any) -> AsyncIterator[Needs]:
    settings = settings_env.worker.model_copy(update={"worker_name": "here"})
    async with needs(settings) as found:
        yield found


@asynccontextmanager
async def a_worker(injected: Needs) -> AsyncIterator[None]:
    """A worker in this process, as `python -m workers` makes it."""
    client = await connect(injected.settings, lazy=False, identity="here")
    async with make_worker(client, Activities(injected), injected.settings):
        yield


async def cancelled(run: Started) -> bool:
    with pytest.raises(WorkflowFailureError) as failure:
        await run.result()
    return isinstance(failure.value.cause, CancelledError)


async def told(run: Started, code: str) -> str:
    await run.until_code(code, limit=5)
    return next(e.message for _, e in (await run.cut()).events if e.code == code)


class Held:
    """Stands before or behind a function of `extract`, until the attempt is told to stop."""

    def __init__(self, function: Callable[..., Any], *, before: bool) -> None:
        self.function, self.before = function, before
        self.reached = threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        if self.before:
            self._wait(arguments[-1])
            return self.function(*arguments)
        result = self.function(*arguments)
        self._wait(arguments[-1])
        return result

    def _wait(self, stopped: Callable[[], bool]) -> None:
        self.reached.set()
        last = time.monotonic() + 15
        while not stopped():
            assert time.monotonic() < last
            time.sleep(0.02)


async def test_a_cancel_during_the_plan_ends_its_statement(
    cast: Cast, injected: Needs, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(session: Any, *_: Any) -> None:
        session.fetch("select pg_sleep(60)")

    monkeypatch.setattr(extract, "make_plan", slow)
    async with a_worker(injected):
        run = await cast.start()

        def asleep() -> bool:
            return any(waits == "Timeout" for *_, waits in sessions(postgres, run.run_id))

        await until(asleep)
        await run.handle.cancel()
        await until(lambda: not sessions(postgres, run.run_id), limit=3)
        assert await cancelled(run)
        assert await told(run, "cancelled") == QUIET
    assert not cast.storage.exists(run.manifest_path)


async def test_a_cancel_before_the_manifest_leaves_none(
    cast: Cast, injected: Needs, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(extract.finish, before=True)
    monkeypatch.setattr(extract, "finish", held)
    async with a_worker(injected):
        run = await cast.start()
        await until(held.reached.is_set)
        await run.handle.cancel()
        assert await cancelled(run)
        assert await told(run, "cancelled") == QUIET
    assert not cast.storage.exists(run.manifest_path)


async def test_a_cancel_after_the_manifest_comes_too_late_and_is_told_so(
    cast: Cast, injected: Needs, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(extract.finish, before=False)
    monkeypatch.setattr(extract, "finish", held)
    async with a_worker(injected):
        run = await cast.start()
        await until(held.reached.is_set)
        await run.handle.cancel()
        assert (await run.result()).status == "succeeded"
        assert "too late" in await told(run, "cancel_too_late")
        assert "cancelled" not in await run.codes()
        await replays(run.handle, "run-cancelled-too-late")
    assert run.manifest()["status"] == "succeeded"


async def test_the_workflow_names_the_sessions_that_nobody_says_to_be_closed(
    cast: Cast, settings_env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(workflows.RUN_ACTIVITY, "heartbeat_timeout", timedelta(seconds=1))
    scripted = Scripted()
    client = await connect(settings_env.worker, lazy=False, identity="scripted")
    async with scripted.worker(client):
        run = await cast.start(Options(sessions=4))
        await until(lambda: scripted.begun == {0, 1, 2})
        await run.handle.cancel()
        assert await cancelled(run)
        scripted.thawed.set()
    swept = scripted.swept
    assert swept is not None
    # The silent one and the one that waited for its next attempt, not the one that obeyed.
    assert sorted(swept.unconfirmed) == ["shard 1", "shard 2"]
    assert swept.source is not None
    assert swept.source.target == cast.source.target
    assert (swept.reason, swept.refused) == ("cancelled", False)


class Scripted:
    """Activities of which one obeys, one goes silent and one waits to be tried again."""

    def __init__(self) -> None:
        self.begun: set[int] = set()
        self.thawed = asyncio.Event()
        self.swept: SweepInput | None = None

    def worker(self, client: Client) -> Worker:
        return Worker(
            client,
            task_queue=contract.TASK_QUEUE,
            workflows=[workflows.ExtractRun],
            activities=[self.plan, self.extract_shard, self.sweep],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_heartbeat_throttle_interval=timedelta(seconds=0.2),
            default_heartbeat_throttle_interval=timedelta(seconds=0.2),
        )

    @activity.defn(name="plan")
    async def plan(self, run: RunInput) -> PlanResult:
        shards = [ShardPlan(number, "some", 10, number, 1) for number in range(3)]
        return PlanResult("plan.json", 30, 1, 3, "18", shards)

    @activity.defn(name="extract_shard")
    async def extract_shard(self, task: ShardInput) -> None:
        self.begun.add(task.shard.id)
        if task.shard.id == 1:
            await self.thawed.wait()
        if task.shard.id == 2:
            raise ApplicationError("later", next_retry_delay=timedelta(seconds=60))
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.1)

    @activity.defn(name="sweep")
    async def sweep(self, task: SweepInput) -> None:
        self.swept = task


class Left:
    """A session of a shard whose worker has gone silent while a statement runs."""

    def __init__(self, target: Target, run_id: str) -> None:
        self.session = open_session(
            target,
            Credentials(target.username, PASSWORD),
            Options(),
            AddressPolicy(True, frozenset()),
            label_of(run_id, "shard 3"),
        )
        self.thread = threading.Thread(target=self._sleep, daemon=True)
        self.thread.start()

    def _sleep(self) -> None:
        with pytest.raises(Exception, match="lost"):
            self.session.fetch("select pg_sleep(60)")  # type: ignore[attr-defined]
        self.session.close()


async def sweep(injected: Needs, task: SweepInput) -> None:
    await ActivityEnvironment().run(Activities(injected).sweep, task)


async def test_the_sweep_ends_what_a_silent_worker_left_before_it_says_so(
    cast: Cast, injected: Needs, postgres: Any, target: Target
) -> None:
    run = Started("11111111-0000-4000-8000-000000000001", None, cast)  # type: ignore[arg-type]
    left = Left(target, run.run_id)
    await until(lambda: sessions(postgres, run.run_id))
    backend = left.session.backend_id
    await sweep(injected, SweepInput(run.run_id, "cancelled", ["shard 3"], cast.source))
    assert sessions(postgres, run.run_id) == []
    left.thread.join(5)
    events = [event for _, event in (await run.cut()).events]
    assert [event.code for event in events] == ["session_ended", "swept", "cancelled"]
    assert f"session {backend}" in events[0].message
    assert events[2].message == QUIET


async def test_the_sweep_promises_nothing_about_a_source_it_cannot_reach(
    cast: Cast, injected: Needs, settings_env: Any, target: Target
) -> None:
    run = Started("11111111-0000-4000-8000-000000000002", None, cast)  # type: ignore[arg-type]
    away = a_source(settings_env.web, replace(target, port=1), PASSWORD)
    await sweep(injected, SweepInput(run.run_id, "cancelled", ["plan"], away))
    doubt = await told(run, "session_unknown")
    assert "refused" in doubt
    assert "60 s" in doubt
    assert await told(run, "cancelled") == "Cancelled."


async def test_a_refused_password_is_not_sent_again_by_the_sweep(
    cast: Cast, injected: Needs, settings_env: Any, target: Target
) -> None:
    run = Started("11111111-0000-4000-8000-000000000003", None, cast)  # type: ignore[arg-type]
    async with Proxy(target.port) as proxy:
        source = a_source(settings_env.web, replace(target, port=proxy.port), "wrong")
        await sweep(injected, SweepInput(run.run_id, "failed", ["shard 3"], source, refused=True))
        assert proxy.accepted == 0
    assert "refused the password" in await told(run, "session_unknown")


class Cut(Proxy):
    """A way to the source that can stop to answer, and break."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.mute = False
        self._ways: list[asyncio.StreamWriter] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ways.append(writer)
        if self.mute:
            self.accepted += 1
            await reader.read(-1)
        else:
            await super()._serve(reader, writer)

    async def break_off(self) -> None:
        await self.close()
        for way in self._ways:
            way.transport.abort()


async def test_a_source_that_is_cut_off_confirms_no_cancel(
    cast: Cast, injected: Needs, settings_env: Any, postgres: Any, target: Target, blocked: None
) -> None:
    way = Cut(target.port)
    await way.open()
    source = a_source(settings_env.web, replace(target, port=way.port), PASSWORD)
    async with a_worker(injected):
        run = await cast.start(Options(sessions=1, lock_timeout=120), source=source)

        def waiting() -> bool:
            return any(waits == "Lock" for *_, waits in sessions(postgres, run.run_id))

        await until(waiting)
        way.mute, before = True, way.accepted
        await run.handle.cancel()
        # The attempt asks the source to cancel, and is not answered.
        await until(lambda: way.accepted > before)
        await way.break_off()
        assert await cancelled(run)
        assert "It could not be told" in await told(run, "session_unknown")
        assert await told(run, "cancelled") == "Cancelled."


class Beats:
    """An attempt after one that went silent, in a worker of its own; it beats by hand only."""

    def __init__(self, injected: Needs, earlier: contract.Progress | None = None) -> None:
        settings = injected.settings.model_copy(update={"heartbeat_interval": 60.0})
        self._plan = Activities(replace(injected, settings=settings)).plan
        details = [asdict(earlier)] if earlier else []
        self._environment = ActivityEnvironment()
        self._environment.info = replace(
            ActivityEnvironment.default_info(), attempt=2, heartbeat_details=details
        )
        self._environment.on_heartbeat = lambda *_: self._count()
        self.seen = 0

    def _count(self) -> None:
        self.seen += 1

    async def stopped_after(self, beats: int, task: RunInput) -> ApplicationError:
        running = asyncio.create_task(self._environment.run(self._plan, task))
        await until(lambda: self.seen >= beats)
        self._environment.cancel(activity.ActivityCancellationDetails(cancel_requested=True))
        with pytest.raises(ApplicationError) as ended:
            await running
        return ended.value


async def test_an_attempt_stopped_before_it_has_a_session_promises_nothing(
    cast: Cast, injected: Needs
) -> None:
    run_id = "11111111-0000-4000-8000-000000000004"
    silent = contract.Progress(run_id, "plan", contract.PLAN_SHARD, 1, "frozen")
    beats = Beats(injected, silent)
    ended = await beats.stopped_after(1, RunInput(run_id, cast.source, Selection()))
    assert ended.type == contract.CANCEL_UNPROVEN


async def test_nor_does_one_that_the_source_has_not_let_in(
    cast: Cast, injected: Needs, settings_env: Any, target: Target
) -> None:
    run_id = "11111111-0000-4000-8000-000000000005"
    away = a_source(settings_env.web, replace(target, port=1), PASSWORD)
    # The third beat is that of an attempt that has failed.
    ended = await Beats(injected).stopped_after(3, RunInput(run_id, away, Selection()))
    assert ended.type == contract.CANCEL_UNPROVEN


async def test_a_cancelled_check_leaves_the_source(
    cast: Cast, injected: Needs, postgres: Any, target: Target
) -> None:
    async with a_worker(injected):
        with psycopg.connect(postgres.url(target.database)) as connection:
            connection.execute("LOCK TABLE pg_catalog.pg_attrdef IN ACCESS EXCLUSIVE MODE")
            source = replace(cast.source, options=Options(lock_timeout=120))
            handle = await cast.client.start_workflow(
                contract.CHECK_WORKFLOW,
                contract.CheckInput(source),
                id="check-cancelled",
                task_queue=contract.TASK_QUEUE,
            )
            await until(lambda: checks(postgres) == ["Lock"])
            await handle.cancel()
            await until(lambda: checks(postgres) == [], limit=4)
            with pytest.raises(WorkflowFailureError):
                await handle.result()
            connection.rollback()


async def test_a_check_that_takes_too_long_says_at_which_step(
    cast: Cast, injected: Needs, postgres: Any, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.activities.CHECK_SECONDS", 1.0)
    source = replace(cast.source, options=Options(lock_timeout=120))
    with psycopg.connect(postgres.url(target.database)) as connection:
        connection.execute("LOCK TABLE pg_catalog.pg_attrdef IN ACCESS EXCLUSIVE MODE")
        result = await ActivityEnvironment().run(
            Activities(injected).check, contract.CheckInput(source)
        )
        await until(lambda: checks(postgres) == [], limit=4)
        connection.rollback()
    assert [(step.name, step.ok) for step in result.steps[-2:]] == [
        ("version", True),
        ("catalogue", False),
    ]
    assert result.steps[-1].detail == "The source did not answer within 1 s."
    assert not result.ok


def checks(server: Any) -> list[str | None]:
    """What the sessions of checks wait for."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        rows = connection.execute(
            "select wait_event_type from pg_stat_activity where application_name = 'surveyor check'"
        ).fetchall()
    return [row[0] for row in rows]
