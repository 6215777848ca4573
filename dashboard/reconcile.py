"""Copies Temporal's truth into the rows: once per run, and only forwards.

Every open row is held against Temporal: what is saved but unknown there is
started, what ended is written down, what is gone is lost. Workflows that no row
knows get one. All writes are conditional, so any number of these may run.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import F, Value
from django.db.models.functions import Coalesce

from dashboard import abandoned, limits, runs, story, temporal
from dashboard.live import picture as pictures
from dashboard.models import Connection, Run
from dashboard.temporal import TemporalUnavailable
from dashboard.temporal_records import Listed, RunState
from extraction.connection import Options, Target
from extraction.errors import ErrorDict, StorageFailed
from extraction.selection import Selection
from workers.contract import CredentialRef, RunInput, Source

log = structlog.get_logger(__name__)

Status = Run.Status
RECENT_MINUTES = 10
FIRST_MINUTES = 24 * 60


@dataclass(frozen=True)
class Ending:
    """What a closed workflow makes of its row, and the line that tells it."""

    status: Run.Status
    line: str
    level: str
    error: ErrorDict | None = None
    fields: dict[str, Any] = field(default_factory=dict)


class Reconciler:
    """Sweeps, with what one sweep must remember for the next."""

    def __init__(self) -> None:
        self._missing: set[str] = set()
        self._abandoned = abandoned.Abandoned()
        self._minutes = FIRST_MINUTES
        self._reachable = True

    def sweep(self) -> None:
        """Everything once. A Temporal that cannot be asked changes no row but the waiting ones."""
        try:
            self.settle(Run.objects.filter(status__in=Run.OPEN).order_by("created_at"))
            adopt(temporal.list_recent(self._minutes))
            self._minutes = RECENT_MINUTES
            self._tell_reachable(now=True)
        except TemporalUnavailable as error:
            self._tell_reachable(now=False, reason=error.reason)
            self._missing.clear()
            for run in Run.objects.filter(status=Status.QUEUED, waiting_reason=""):
                runs.wait(run, error.reason)
        for run in story.unfinished():
            guarded(run.pk, partial(_close_story, run))

    def settle(self, open_runs: Iterable[Run], *, lose: bool = True) -> None:
        """Hold rows against Temporal; without `lose` none is given up. Raises TemporalUnavailable."""
        rows = {str(run.pk): run for run in open_runs}
        states = temporal.describe_runs(list(rows)) if rows else {}
        gone = {
            run_id
            for run_id, state in states.items()
            if state is None and rows[run_id].status != Status.QUEUED
        }
        # Asked once more, a sweep later, before a run is given up.
        doubtful = gone - self._missing if lose else gone
        for run_id, state in states.items():
            if run_id not in doubtful:
                guarded(run_id, partial(settle, rows[run_id], state))
        if lose:
            self._missing = doubtful
            self._abandoned.look(states)

    def _tell_reachable(self, *, now: bool, reason: str = "") -> None:
        if now != self._reachable:
            log.info("temporal reachable again") if now else log.warning(reason)
        self._reachable = now


def guarded(run_id: object, act: Callable[[], object]) -> None:
    """One run's trouble must not keep the others from their end; the next sweep tries again."""
    try:
        act()
    except (TemporalUnavailable, OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("run not settled", run=str(run_id))


def settle(run: Run, state: RunState | None) -> None:
    """One open row against what Temporal says of it; None: Temporal knows nothing."""
    if state is None:
        _settle_unknown(run)
    elif abandoned.is_abandoned(state):
        abandoned.sweep(run)
        end(run, Ending(Status.CANCELLED, abandoned.line_of(run), "warning"), state)
    elif state.is_closed:
        end(run, ending_of(state), state)
    else:
        _settle_open(run, state)


def _settle_unknown(run: Run) -> None:
    if run.status != Status.QUEUED:
        end(run, _lost("Temporal no longer knows this run: its history was deleted."), None)
    elif run.cancel_requested_by:
        runs.drop_queued(run)
    else:
        runs.send(run)


def _settle_open(run: Run, state: RunState) -> None:
    if run.status == Status.QUEUED:
        runs.confirm(run, state.started_at)
    if run.limits_told < run.limits_version:
        limits.pass_on(run)
    if run.cancel_requested_by and not state.cancel_requested:
        temporal.cancel_run(str(run.pk))
    elif state.cancel_requested and run.status != Status.CANCELLING:
        runs.mark_cancelling(run)


# --- endings ----------------------------------------------------------------


def ending_of(state: RunState) -> Ending:
    if state.outcome == "completed":
        return _completed(state)
    if state.outcome == "failed":
        error = state.error or _unreadable()
        return Ending(Status.FAILED, f"Failed: {error['message']}", "error", error)
    if state.outcome == "cancelled":
        return Ending(Status.CANCELLED, "Cancelled", "info")
    if state.outcome == "terminated":
        why = f" ({state.reason})" if state.reason else ""
        return _lost(f"The workflow was terminated in Temporal{why}.")
    return _lost("The workflow ran into its time limit in Temporal.")


def _completed(state: RunState) -> Ending:
    result = state.result
    if result is None:
        return Ending(Status.FAILED, "The result cannot be read", "error", _unreadable())
    whole = result.status == "succeeded"
    return Ending(
        status=Status.SUCCEEDED if whole else Status.PARTIAL,
        line=(
            "Succeeded: every selected scope is proven complete"
            if whole
            else "Finished, but some scopes are denied or errored"
        ),
        level="info" if whole else "warning",
        fields={
            "counts": result.counts,
            "completeness": result.completeness,
            "manifest": result.manifest,
            "load": {**asdict(result.load), "exact": result.load.lost == 0},
        },
    )


def _lost(message: str) -> Ending:
    error = ErrorDict(
        category="lost",
        message=message,
        audience="operator",
        fix="Start the run again. Nothing of it is shown as a result.",
    )
    return Ending(Status.FAILED, message, "error", error)


def _unreadable() -> ErrorDict:
    return ErrorDict(
        category="internal",
        message="The run ended in a way this version cannot read.",
        audience="developer",
        fix="Look at the workflow in Temporal.",
    )


def end(run: Run, ending: Ending, state: RunState | None) -> None:
    """Row, then story, then the message: who hears `finished` finds both."""
    story.backfill(run)
    final = _last_picture(run)
    now = datetime.now(UTC)
    started = state.started_at if state else run.created_at
    changed = Run.objects.filter(pk=run.pk, status__in=Run.OPEN).update(
        status=ending.status,
        error=ending.error,
        final=final,
        waiting_reason="",
        **({"load": final["load"]} if "load" in final and "load" not in ending.fields else {}),
        started_at=Coalesce(F("started_at"), Value(started)),
        finished_at=(state.closed_at if state else None) or now,
        **ending.fields,
    )
    if not changed:
        return
    run.refresh_from_db()
    log.info("run ended", run=str(run.pk), status=run.status)
    story.tell(run, "ended", ending.line, ending.level)
    _close_story(run)
    story.announce(run)


def _last_picture(run: Run) -> dict[str, Any]:
    """A picture that cannot be drawn keeps no run from its end."""
    try:
        return pictures.of(run).final()
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("no last picture", run=str(run.pk))
        return {}


def _close_story(run: Run) -> None:
    try:
        story.close(run)
    except StorageFailed as error:
        # The lines stay where they are, and the next sweep tries again.
        log.warning("story not stored", run=str(run.pk), reason=error.message)


# --- adoption ---------------------------------------------------------------


def adopt(found: Iterable[Listed]) -> None:
    """Give a row to every run workflow that has none."""
    listed = {run_id: item for item in found if (run_id := _run_id(item.workflow_id))}
    rows = Run.objects.filter(pk__in=listed).in_bulk()
    for run_id, item in listed.items():
        run = rows.get(run_id)
        if run is None:
            guarded(run_id, partial(_adopt, run_id, item))
        elif item.is_open and run.status == Status.CANCELLED and run.started_at is None:
            guarded(run_id, partial(runs.revoke, run))


def _run_id(workflow_id: str) -> uuid.UUID | None:
    prefix, _, text = workflow_id.partition("-")
    return story.uuid_of(text) if prefix == "run" else None


def _adopt(run_id: uuid.UUID, item: Listed) -> None:
    given = temporal.input_of(item.workflow_id) or _from_memo(run_id, item.memo)
    source = given.source
    run = Run(
        id=run_id,
        connection=_connection(source.connection_id),
        connection_name=source.connection_name[:80] or "unknown",
        input=asdict(given),
        status=Status.RUNNING,
        started_by=(given.started_by or str(item.memo.get("started_by", "")))[:150],
        created_at=item.started_at,
        started_at=item.started_at,
    )
    if _inserted(run):
        log.warning("run adopted", run=str(run_id))
        story.tell(run, "adopted", "Found running in Temporal without a row, and taken over")
        story.backfill(run)
        story.announce(run)


def _connection(connection_id: str) -> Connection | None:
    known = story.uuid_of(connection_id)
    return Connection.objects.filter(pk=known).first() if known else None


def _inserted(run: Run) -> bool:
    try:
        with transaction.atomic():
            run.save(force_insert=True)
    except IntegrityError:
        if run.connection is None or Run.objects.filter(pk=run.pk).exists():
            return False
        # Its connection has an open run already; this one is shown all the same.
        run.connection = None
        return _inserted(run)
    return True


def _from_memo(run_id: uuid.UUID, memo: dict[str, Any]) -> RunInput:
    """What can be said of a workflow whose input cannot be read."""
    selection = memo.get("selection")
    patterns = selection if isinstance(selection, dict) else {}
    return RunInput(
        run_id=str(run_id),
        source=Source(
            connection_id=str(memo.get("connection", "")),
            connection_name=str(memo.get("connection_name", "")),
            target=Target("", "", 0, "", ""),
            credential=CredentialRef("", 0),
            options=Options(),
        ),
        selection=Selection(
            *(
                [str(value) for value in patterns.get(name) or []]
                for name in ("include", "exclude", "kinds")
            )
        ),
        started_by=str(memo.get("started_by", "")),
    )
