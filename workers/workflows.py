"""Orchestration only: what runs after what, with which limits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from types import NoneType
from typing import Any, NoReturn, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    TimeoutError,
    TimeoutType,
    is_cancelled_exception,
)
from temporalio.workflow import ActivityCancellationType, ActivityConfig

from workers.contract import (
    CANCEL_UNPROVEN,
    CHECK_SECONDS,
    CHECK_WORKFLOW,
    RUN_WORKFLOW,
    CheckInput,
    CheckResult,
    FinishInput,
    Load,
    PlanResult,
    RunInput,
    RunResult,
    ShardInput,
    ShardPlan,
    ShardResult,
    SweepInput,
)

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
CHECK_WAIT = timedelta(seconds=10)
# The activity gives up first: it can say at which step.
CHECK_LIMIT = timedelta(seconds=CHECK_SECONDS + 2)
# How Temporal says that it cancelled what no worker held at that moment.
NOT_STARTED = "ACTIVITY_ID_NOT_STARTED"
MAX_SESSIONS = 64

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
CHECK_ACTIVITY = ActivityConfig(
    schedule_to_start_timeout=CHECK_WAIT,
    schedule_to_close_timeout=CHECK_WAIT + CHECK_LIMIT,
    start_to_close_timeout=CHECK_LIMIT,
    heartbeat_timeout=HEARTBEAT_TIMEOUT,
    # Once only: a wrong password tried again may lock the account.
    retry_policy=RetryPolicy(maximum_attempts=1),
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
)


@workflow.defn(name=RUN_WORKFLOW)
class ExtractRun:
    """Plan, then the shards in parallel under the connection's session budget, then finish."""

    @workflow.init
    def __init__(self, run: RunInput) -> None:
        self._run = run
        self._sessions = run.source.options.sessions
        self._running = 0
        self._broken = False
        self._unconfirmed: list[str] = []
        self._refused = False

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

    @workflow.update(name="set_sessions")
    def set_sessions(self, sessions: int) -> int:
        """How many sessions the run may hold at once; those already open end by themselves."""
        self._sessions = sessions
        return sessions

    @set_sessions.validator
    def _check_sessions(self, sessions: int) -> None:
        if not 1 <= sessions <= MAX_SESSIONS:
            raise ApplicationError(f"sessions must be between 1 and {MAX_SESSIONS}")

    async def _extract(self) -> RunResult:
        workflow.set_current_details("Reading the inventory")
        plan = await self._in_source("plan", self._run, PlanResult, "plan", "inventory")
        still_wanted()
        workflow.set_current_details(
            f"{plan.relations} relations in {plan.batches} batches, {len(plan.shards)} shards"
        )
        shards = await self._read_shards(plan)
        still_wanted()
        return await self._finish(plan, shards)

    async def _read_shards(self, plan: PlanResult) -> list[ShardResult]:
        """In the plan's order. The first failure stops the others, and waits until they have."""
        tasks: list[asyncio.Task[ShardResult]] = []
        try:
            for shard in plan.shards:
                await workflow.wait_condition(
                    lambda: self._broken or self._running < self._sessions
                )
                if self._broken:
                    break
                self._running += 1
                tasks.append(asyncio.create_task(self._read_shard(plan.plan, shard)))
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read_shard(self, plan: str, shard: ShardPlan) -> ShardResult:
        try:
            task = ShardInput(self._run, plan, shard)
            name = f"shard {shard.id}"
            return await self._in_source("extract_shard", task, ShardResult, name, name)
        except BaseException:
            self._broken = True
            raise
        finally:
            self._running -= 1

    async def _in_source(
        self, activity: str, task: object, result: type[Result], session: str, summary: str
    ) -> Result:
        """An activity that holds a session in the source, and whether that is known to be over."""
        try:
            return await call(activity, task, result, RUN_ACTIVITY, summary)
        except ActivityError as error:
            if not confirmed(error):
                self._unconfirmed.append(session)
            self._refused |= is_refusal(error)
            raise

    async def _finish(self, plan: PlanResult, shards: list[ShardResult]) -> RunResult:
        workflow.set_current_details("Verifying every part and writing the manifest")
        task = FinishInput(
            run=self._run,
            plan=plan.plan,
            ledgers=[shard.ledger for shard in shards],
            at=workflow.now().isoformat(),
            load=total_load([plan.load, *(shard.load for shard in shards)]),
        )
        result = await call("finish", task, RunResult, RUN_ACTIVITY, "verify")
        if workflow.cancellation_reason() is not None:
            await asyncio.shield(self._sweep("too_late"))
        workflow.set_current_details(f"Finished: {result.status}")
        return result

    async def _sweep(self, reason: str) -> None:
        workflow.set_current_details(f"Sweeping up: {reason}")
        run = self._run
        task = SweepInput(run.run_id, reason, self._unconfirmed, run.source, self._refused)
        try:
            await call("sweep", task, NoneType, SWEEP_ACTIVITY, "sweep")
        except ActivityError:
            # What is left over is a temporary file; the outcome of the run stays as it is.
            workflow.logger.warning("sweep failed")


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


def still_wanted() -> None:
    """An activity that finished in spite of a cancel must not carry the run on."""
    if workflow.cancellation_reason() is not None:
        raise asyncio.CancelledError


def confirmed(error: ActivityError) -> bool:
    """Whether a worker said that its session is closed. Temporal's word is none: a worker
    that it no longer hears may still be at it."""
    cause = error.cause
    if isinstance(cause, CancelledError):
        return NOT_STARTED not in cause.details
    return isinstance(cause, ApplicationError) and cause.type != CANCEL_UNPROVEN


def is_refusal(error: ActivityError) -> bool:
    """A refused password is not sent again, not even to clear up."""
    return isinstance(error.cause, ApplicationError) and error.cause.type == "auth"


def raise_cause(error: ActivityError) -> NoReturn:
    """End the workflow with what the activity said: type = category, details = the ErrorDict."""
    cause = error.cause
    if isinstance(cause, ApplicationError):
        raise ApplicationError(
            cause.message, *cause.details, type=cause.type, non_retryable=True
        ) from None
    if isinstance(cause, TimeoutError):
        details = check_timed_out(cause) if error.activity_type == "check" else timed_out(error)
    else:
        details = unexplained(error)
    raise ApplicationError(
        details["message"], details, type=details["category"], non_retryable=True
    ) from None


def timed_out(error: ActivityError) -> dict[str, Any]:
    return {
        "category": "lost",
        "message": f"No worker finished “{error.activity_type}” in time.",
        "audience": "operator",
        "fix": "See on the workers page whether any worker is alive, then start the run again.",
    }


def check_timed_out(cause: TimeoutError) -> dict[str, Any]:
    if cause.type == TimeoutType.SCHEDULE_TO_START:
        happened = f"No worker took the check within {CHECK_WAIT.total_seconds():.0f} s."
    elif cause.type == TimeoutType.HEARTBEAT:
        happened = "The worker that tried the connection went silent."
    else:
        happened = f"The check did not end within {CHECK_LIMIT.total_seconds():.0f} s."
    return {
        "category": "lost",
        "message": happened,
        "audience": "operator",
        "fix": "See on the workers page whether any worker is alive, then check again.",
    }


def unexplained(error: ActivityError) -> dict[str, Any]:
    return {
        "category": "internal",
        "message": f"“{error.activity_type}” failed without saying why.",
        "audience": "developer",
        "fix": "Look at the worker's log for this run.",
    }


def total_load(loads: list[Load]) -> Load:
    total = Load()
    for load in loads:
        total = replace(
            total,
            sessions=total.sessions + load.sessions,
            statements=total.statements + load.statements,
            server_seconds=total.server_seconds + load.server_seconds,
            rows=total.rows + load.rows,
            bytes=total.bytes + load.bytes,
        )
    return total
