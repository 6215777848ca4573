"""Thin methods with injected needs: unpack, let `extraction` work, report, return counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import TypeVar

import structlog
from temporalio import activity

from extraction import check, extract
from extraction.selection import quoted
from extraction.snapshot.layout import discard, root_of
from workers.attempt import Attempt, GaveBack
from workers.contract import (
    CHECK_SECONDS,
    FINISH_SHARD,
    PLAN_SHARD,
    SWEEP_SHARD,
    CheckInput,
    CheckResult,
    CheckStep,
    Event,
    FinishInput,
    Load,
    PlanRecord,
    PlanResult,
    Progress,
    RunInput,
    RunResult,
    ShardInput,
    ShardPlan,
    ShardResult,
    SweepInput,
    TellInput,
)
from workers.login import read_credentials
from workers.needs import Needs
from workers.sweep import end_sessions, uncertain

Result = TypeVar("Result")

# Reading every part back says nothing until it is through.
VERIFY_SILENCE_LIMIT = 1800.0
# The manifest names all of them.
PATTERNS_TOLD = 20
TOO_LATE = "The cancel came too late: the snapshot was already verified and written."


class Activities:
    def __init__(self, needs: Needs) -> None:
        self._needs = needs

    @property
    def all(self) -> list[Callable[..., object]]:
        return [self.plan, self.extract_shard, self.finish, self.sweep, self.tell, self.check]

    @activity.defn(name="plan")
    async def plan(self, run: RunInput) -> PlanResult:
        attempt = Attempt(self._needs, run.run_id, "plan", PLAN_SHARD, before=run.before)

        def work() -> extract.Plan:
            with attempt.session(run.source, "plan") as session:
                return extract.make_plan(session, run.selection, self._needs.storage, run.run_id)

        try:
            plan = await attempt.run(work)
        except GaveBack:
            return PlanResult("", 0, 0, 0, "", [], attempt.meter.total, attempt.number)
        result = _plan_result(plan, attempt.meter.total)
        self._needs.publisher.plan(run.run_id, _plan_record(result, plan.unmatched))
        _say_planned(attempt, plan)
        attempt.finished()
        return result

    @activity.defn(name="extract_shard")
    async def extract_shard(self, task: ShardInput) -> ShardResult:
        run, shard = task.run, task.shard
        attempt = Attempt(
            self._needs,
            run.run_id,
            "extract",
            shard.id,
            before=run.before,
            total=shard.total,
            batches=shard.batches,
        )
        story = _Story(attempt, shard)

        def work() -> extract.ShardOutcome:
            with attempt.session(run.source, f"shard {shard.id}") as session:
                return extract.read_shard(
                    session,
                    self._needs.storage,
                    run.run_id,
                    extract.load_plan(self._needs.storage, task.plan, shard.id),
                    shard.id,
                    attempt.number,
                    self._needs.worker,
                    run.source.options,
                    story.advance,
                    attempt.stopped,
                    self._needs.parsers,
                )

        try:
            outcome = await attempt.run(work)
        except GaveBack:
            done = attempt.record.done
            return ShardResult(shard.id, "", done, attempt.meter.total, attempt.number)
        attempt.finished()
        attempt.beater.say("shard_done", f"Shard {shard.id} ({shard.label}) is done.")
        return ShardResult(
            shard.id, outcome.ledger, outcome.done, attempt.meter.total, attempt.number
        )

    @activity.defn(name="finish")
    async def finish(self, task: FinishInput) -> RunResult:
        run = task.run
        attempt = Attempt(
            self._needs,
            run.run_id,
            "finish",
            FINISH_SHARD,
            silence_limit=VERIFY_SILENCE_LIMIT,
        )
        attempt.beater.say("finishing", f"Verifying the parts of {len(task.ledgers)} shards.")

        def work() -> extract.Finished:
            self._needs.storage.sweep(root_of(run.run_id))
            return extract.finish(
                self._needs.storage,
                run.run_id,
                task.plan,
                task.ledgers,
                task.at,
                run.selection,
                attempt.stopped,
            )

        finished = await attempt.run(work)
        attempt.finished()
        for line in said_at_end(finished):
            attempt.beater.say(*line)
        await self._close(run.run_id)
        return RunResult(
            finished.status, finished.manifest, finished.counts, finished.completeness, task.load
        )

    @activity.defn(name="sweep")
    async def sweep(self, task: SweepInput) -> None:
        """The end of a run without a snapshot, or the word that it has one all the same."""
        if task.reason == "too_late":
            self._say(task.run_id, "cancel_too_late", TOO_LATE, "warning")
        else:
            await self._sweep(task)
        await self._close(task.run_id)

    async def _sweep(self, task: SweepInput) -> None:
        needs, loop = self._needs, asyncio.get_running_loop()

        def say(code: str, message: str) -> None:
            loop.call_soon_threadsafe(self._say, task.run_id, code, message, "warning")

        spent: list[Load] = []
        async with self._beats():
            doubt = await self._in_thread(lambda: end_sessions(needs, task, say, spent.append))
            swept = await self._in_thread(lambda: discard(needs.storage, task.run_id))
        if spent:
            self._receipt(task.run_id, sum(spent, Load()))
        self._say(task.run_id, "swept", f"Removed {swept} temporary files.")
        if doubt:
            self._say(task.run_id, "session_unknown", uncertain(task, doubt), "warning")
        if task.reason == "cancelled":
            end = "." if doubt else "; no statement runs in the source."
            self._say(task.run_id, "cancelled", f"Cancelled{end}")

    def _receipt(self, run_id: str, load: Load) -> None:
        info, now = activity.info(), time.time()
        record = Progress(run_id, "finish", SWEEP_SHARD, info.attempt, self._needs.worker, "done")
        record.started_at = record.beat_at = record.advanced_at = now
        record.load = load
        self._needs.publisher.record(record)

    @activity.defn(name="tell")
    async def tell(self, task: TellInput) -> None:
        """A line that the workflow says: which has no hand of its own to write it."""
        event = Event(task.run_id, task.code, task.message, task.level, at=time.time())
        self._needs.publisher.event(event)

    @activity.defn(name="check")
    async def check(self, task: CheckInput) -> CheckResult:
        source, needs = task.source, self._needs
        ladder = check.Ladder(source.target, source.options, CHECK_SECONDS)
        climbing = self._in_thread(
            lambda: ladder.climb(lambda: read_credentials(needs, source), needs.policy)
        )
        try:
            async with self._beats():
                await asyncio.wait({climbing}, timeout=CHECK_SECONDS)
        finally:
            if not climbing.done():
                self._in_thread(ladder.stop)
        report = climbing.result() if climbing.done() else ladder.gave_up()
        steps = [CheckStep(step.name, step.ok, step.detail, step.fix) for step in report.steps]
        return CheckResult(report.ok, report.server_version, report.latency_ms, steps)

    async def _close(self, run_id: str) -> None:
        """The story is written before Temporal says that the run has ended."""
        self._needs.publisher.lifecycle(run_id, "closing")
        await self._needs.publisher.flush()

    @asynccontextmanager
    async def _beats(self) -> AsyncIterator[None]:
        """Meanwhile Temporal hears that we live, and a cancel reaches us."""
        task = asyncio.create_task(_beat(self._needs.settings.heartbeat_interval))
        try:
            yield
        finally:
            task.cancel()

    def _in_thread(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        loop = asyncio.get_running_loop()
        structlog.contextvars.bind_contextvars(worker=self._needs.worker)
        return loop.run_in_executor(self._needs.threads, copy_context().run, work)

    def _say(self, run_id: str, code: str, message: str, level: str = "info") -> None:
        self._needs.publisher.event(
            Event(run_id, code, message, level, worker=self._needs.worker, at=time.time())
        )


async def _beat(interval: float) -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(interval)


def _plan_result(plan: extract.Plan, load: Load) -> PlanResult:
    return PlanResult(
        plan.path,
        plan.relations,
        len(plan.selected_schemas),
        len(plan.batches),
        plan.server_version,
        [
            ShardPlan(shard.id, shard.label, shard.total, shard.first_batch, shard.batches)
            for shard in plan.shards
        ],
        load,
    )


def _plan_record(plan: PlanResult, unmatched: list[str]) -> PlanRecord:
    return PlanRecord(
        plan.relations, plan.schemas, plan.batches, time.time(), plan.shards, unmatched
    )


class _Story:
    """Tells how a shard began, once: a later attempt knows its batch at the first advance."""

    def __init__(self, attempt: Attempt, shard: ShardPlan) -> None:
        self._attempt = attempt
        self._name = f"Shard {shard.id} ({shard.label})"
        self._told = attempt.number == 1
        if self._told:
            attempt.beater.say("shard_started", f"{self._name} started on {attempt.record.worker}.")

    def advance(self, advance: extract.Advance) -> None:
        if not self._told:
            self._told = True
            self._resumed(advance)
        self._attempt.beater.advance(
            batch=advance.batch,
            batches=advance.batches,
            done=advance.done,
            in_flight=advance.in_flight,
            new=advance.new_entry,
        )

    def _resumed(self, advance: extract.Advance) -> None:
        attempt, lost = self._attempt, self._attempt.lost_worker
        why = attempt.before.why if attempt.earlier is None else ""
        because = f"; worker {lost} went silent" if lost else f"; {why}" if why else ""
        attempt.beater.say(
            "shard_resumed",
            f"{self._name} continues on {attempt.record.worker} after {advance.batch} of"
            f" {advance.batches} batches (attempt {attempt.number}{because}).",
            "warning" if lost else "info",
        )
        if attempt.earlier and attempt.earlier.in_flight:
            attempt.beater.say(
                "batch_retried",
                f"{self._name}: batch {advance.batch + 1} is read again.",
                "warning",
            )


def _say_planned(attempt: Attempt, plan: extract.Plan) -> None:
    attempt.beater.say(
        "planned",
        f"Planned {plan.relations} relations of {len(plan.selected_schemas)} schemas in"
        f" {len(plan.batches)} batches and {len(plan.shards)} shards.",
    )
    for text in plan.unmatched[:PATTERNS_TOLD]:
        message = f"The include pattern {quoted(text)} matches nothing."
        attempt.beater.say("pattern_unmatched", message, "warning")
    for text in plan.idle_excludes[:PATTERNS_TOLD]:
        message = f"The exclude pattern {quoted(text)} matches nothing."
        attempt.beater.say("pattern_unmatched", message)


def said_at_end(finished: extract.Finished) -> Iterator[tuple[str, str, str]]:
    """The lines of the story, as code, message and level."""
    for gap in finished.denied:
        schemas = "1 schema" if gap.schemas == 1 else f"{gap.schemas} schemas"
        where = f" in {schemas}" if gap.schemas else ""
        yield "scope_denied", f"Denied: {gap.kind}{where}. {gap.reason}".rstrip(), "warning"
    for kind, count in finished.errored.items():
        objects = "1 object" if count == 1 else f"{count} objects"
        yield "scope_errored", f"Errored: {kind} of {objects}, named in the manifest.", "warning"
    verified = f"Snapshot of {finished.counts.get('relations', 0)} relations verified"
    unseen = finished.completeness.get("denied", 0) + finished.completeness.get("errored", 0)
    if finished.status == "succeeded":
        yield "finished", f"{verified}; every selected scope is complete.", "info"
    elif unseen:
        yield "finished", f"{verified}; {unseen} scopes are not complete.", "warning"
    else:
        yield "finished", f"{verified}; whether the source hides more cannot be known.", "warning"
