"""Orchestration only: what runs after what, with which limits."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from types import NoneType
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception
from temporalio.workflow import ActivityCancellationType, ActivityConfig

from workers.contract import (
    CHECK_SECONDS,
    CHECK_WAIT,
    CHECK_WORKFLOW,
    MAX_SESSIONS,
    RUN_WORKFLOW,
    CheckInput,
    CheckResult,
    FinishInput,
    Limits,
    PlanResult,
    RunInput,
    RunResult,
    ShardInput,
    ShardPlan,
    ShardResult,
    SweepInput,
    TellInput,
    problem_of,
)
from workers.endings import raise_cause
from workers.places import Piece, Places

Result = TypeVar("Result")

HEARTBEAT_TIMEOUT = timedelta(seconds=10)
# Waiting for a free worker is not a failure, and no run waits longer than a day.
RUN_LIMIT = timedelta(hours=24)
ATTEMPT_LIMIT = timedelta(hours=12)
# A lost worker costs an attempt, so attempts have no maximum; failures of the
# source carry their own delay and say themselves when to stop.
KEEP_TRYING = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=1.0, maximum_attempts=0
)
SWEEP_LIMIT = timedelta(minutes=2)
# The activity gives up first: it can say at which step.
CHECK_LIMIT = timedelta(seconds=CHECK_SECONDS + 2)

RUN_ACTIVITY = ActivityConfig(
    schedule_to_start_timeout=RUN_LIMIT,
    schedule_to_close_timeout=RUN_LIMIT,
    start_to_close_timeout=ATTEMPT_LIMIT,
    heartbeat_timeout=HEARTBEAT_TIMEOUT,
    retry_policy=KEEP_TRYING,
    # The run is not "cancelled" before its statements are gone from the source.
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
)
SWEEP_ACTIVITY = ActivityConfig(
    schedule_to_start_timeout=SWEEP_LIMIT,
    schedule_to_close_timeout=SWEEP_LIMIT,
    start_to_close_timeout=timedelta(minutes=1),
    heartbeat_timeout=HEARTBEAT_TIMEOUT,
    retry_policy=RetryPolicy(maximum_attempts=3),
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
)
TELL_ACTIVITY = ActivityConfig(
    schedule_to_close_timeout=timedelta(minutes=1), retry_policy=RetryPolicy(maximum_attempts=3)
)
CHECK_ACTIVITY = ActivityConfig(
    schedule_to_start_timeout=timedelta(seconds=CHECK_WAIT),
    schedule_to_close_timeout=timedelta(seconds=CHECK_WAIT) + CHECK_LIMIT,
    start_to_close_timeout=CHECK_LIMIT,
    heartbeat_timeout=HEARTBEAT_TIMEOUT,
    # Once only: a wrong password tried again may lock the account.
    retry_policy=RetryPolicy(maximum_attempts=1),
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
)


@workflow.defn(name=RUN_WORKFLOW)
class ExtractRun:
    """Plan, then the shards in parallel under the connection's limits, then finish."""

    @workflow.init
    def __init__(self, run: RunInput) -> None:
        self._run = run
        self._places = Places(run, self._tell)
        self._telling: list[asyncio.Task[None]] = []

    @workflow.run
    async def run(self, run: RunInput) -> RunResult:
        try:
            return await self._extract()
        except (asyncio.CancelledError, ActivityError) as error:
            if workflow.cancellation_reason() is not None:
                await asyncio.shield(self._sweep("cancelled"))
                raise asyncio.CancelledError from None
            await self._sweep("failed")
            if isinstance(error, ActivityError):
                raise_cause(error)
            raise

    @workflow.update(name="set_limits")
    def set_limits(self, limits: Limits) -> Limits:
        """How the source is used from now on: what reads, obeys within seconds. A version
        that is not newer than the last changes nothing; the limits in force are returned."""
        return self._places.obey(limits)

    @set_limits.validator
    def _check_limits(self, limits: Limits) -> None:
        wrong = problem_of(limits.options)
        if wrong:
            raise ApplicationError(wrong)

    @workflow.update(name="set_sessions")
    def set_sessions(self, sessions: int) -> int:
        """How many sessions the run may hold at once; those already open end by themselves."""
        self._places.set_sessions(sessions)
        return sessions

    @set_sessions.validator
    def _check_sessions(self, sessions: int) -> None:
        if not 1 <= sessions <= MAX_SESSIONS:
            raise ApplicationError(f"sessions must be between 1 and {MAX_SESSIONS}")

    async def _extract(self) -> RunResult:
        workflow.set_current_details("Reading the inventory")
        (plan,) = await self._places.read([Piece("plan", read_plan)])
        still_wanted()
        workflow.set_current_details(
            f"{plan.relations} relations in {plan.batches} batches, {len(plan.shards)} shards"
        )
        shards = await self._places.read([self._piece(plan.plan, s) for s in plan.shards])
        still_wanted()
        return await self._finish(plan, shards)

    def _piece(self, plan: str, shard: ShardPlan) -> Piece[ShardResult]:
        name = f"shard {shard.id}"

        async def read(run: RunInput) -> ShardResult:
            task = ShardInput(run, plan, shard)
            return await call("extract_shard", task, ShardResult, RUN_ACTIVITY, name)

        return Piece(name, read)

    async def _finish(self, plan: PlanResult, shards: list[ShardResult]) -> RunResult:
        workflow.set_current_details("Verifying every part and writing the manifest")
        task = FinishInput(
            run=self._run,
            plan=plan.plan,
            ledgers=[shard.ledger for shard in shards],
            at=workflow.now().isoformat(),
            load=sum((shard.load for shard in shards), plan.load),
        )
        result = await call("finish", task, RunResult, RUN_ACTIVITY, "verify")
        if workflow.cancellation_reason() is not None:
            await asyncio.shield(self._sweep("too_late"))
        workflow.set_current_details(f"Finished: {result.status}")
        return result

    async def _sweep(self, reason: str) -> None:
        workflow.set_current_details(f"Sweeping up: {reason}")
        run, places = self._run, self._places
        task = SweepInput(run.run_id, reason, places.unconfirmed, run.source, places.refused)
        try:
            await call("sweep", task, NoneType, SWEEP_ACTIVITY, "sweep")
        except ActivityError:
            # What is left over is a temporary file; the outcome of the run stays as it is.
            workflow.logger.warning("sweep failed")

    def _tell(self, code: str, message: str) -> None:
        """A line of the story; nothing waits for it."""
        self._telling.append(asyncio.create_task(tell(self._run.run_id, code, message)))


@workflow.defn(name=CHECK_WORKFLOW)
class CheckConnection:
    @workflow.run
    async def run(self, task: CheckInput) -> CheckResult:
        try:
            return await call("check", task, CheckResult, CHECK_ACTIVITY, "check")
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            raise_cause(error)


async def call(
    activity: str, task: object, result: type[Result], limits: ActivityConfig, summary: str
) -> Result:
    config = limits.copy()
    config["summary"] = summary
    answer: Result = await workflow.execute_activity(activity, task, result_type=result, **config)
    return answer


async def read_plan(run: RunInput) -> PlanResult:
    return await call("plan", run, PlanResult, RUN_ACTIVITY, "inventory")


async def tell(run_id: str, code: str, message: str) -> None:
    with suppress(ActivityError):
        await call("tell", TellInput(run_id, code, message), NoneType, TELL_ACTIVITY, code)


def still_wanted() -> None:
    """An activity that finished in spite of a cancel must not carry the run on."""
    if workflow.cancellation_reason() is not None:
        raise asyncio.CancelledError
