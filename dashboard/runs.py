"""The verbs on runs, start and cancel, and what is told about one.

A row is the outbox: a run is saved first and sent to Temporal after the commit.
What could not be sent stays queued, and the reconciler sends it later.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypedDict

import structlog
from django.db import IntegrityError, transaction

from dashboard import audit, connections, story, temporal
from dashboard.connections import ConnectionGone
from dashboard.limits import StateForbids as StateForbids
from dashboard.live import picture as pictures
from dashboard.live.picture import Picture, Totals
from dashboard.models import Connection, Run
from dashboard.story import Line, iso
from dashboard.temporal import TemporalUnavailable
from extraction.connection import Target
from extraction.selection import Selection
from workers.contract import CredentialRef, Memo, RunInput, Source

log = structlog.get_logger(__name__)

UNREACHABLE = "Temporal is unreachable"
Status = Run.Status


class RunConflict(Exception):
    """The connection has an open run already."""

    def __init__(self, open_run: Run) -> None:
        self.open_run = open_run
        super().__init__(
            f"{open_run.connection_name} has an open run already: {open_run.pk} ({open_run.status})."
        )


# --- start ------------------------------------------------------------------


def start(connection: Connection, selection: Selection, actor: audit.Actor) -> Run:
    """Save a run and send it to Temporal once it is committed.

    Raises InvalidSelection, RunConflict naming the open run, or ConnectionGone. A
    Temporal that cannot be reached is no failure: the run stays queued with the reason.
    """
    selection.matcher()
    try:
        return _saved(connection, selection, actor)
    except IntegrityError:
        _refuse(connection)
    try:
        # What was in the way has just ended.
        return _saved(connection, selection, actor)
    except IntegrityError:
        _refuse(connection)
        raise


def _refuse(connection: Connection) -> None:
    """Say what is in the way of a new run, if anything still is."""
    open_run = Run.objects.filter(connection=connection, status__in=Run.OPEN).first()
    if open_run is not None:
        raise RunConflict(open_run) from None
    if not Connection.objects.filter(pk=connection.pk).exists():
        raise ConnectionGone from None


def _saved(connection: Connection, selection: Selection, actor: audit.Actor) -> Run:
    run = _new(connection, selection, audit.name_of(actor))
    with transaction.atomic():
        run.save(force_insert=True)
        audit.record(actor, "run.start", connection.name, run=str(run.pk))
        transaction.on_commit(lambda: _committed(run))
    return run


def _new(connection: Connection, selection: Selection, started_by: str) -> Run:
    run_id = uuid.uuid4()
    source = connections.source_of(connection)
    return Run(
        id=run_id,
        connection=connection,
        connection_name=connection.name,
        input=asdict(RunInput(str(run_id), source, selection, started_by)),
        started_by=started_by,
        created_at=datetime.now(UTC),
    )


def _committed(run: Run) -> None:
    story.tell(run, "created", f"Run started by {run.started_by}")
    story.announce(run)
    send(run)


def send(run: Run) -> bool:
    """Start the workflow of a queued run; False: it waits, and the row says for what.

    Safe to repeat, and safe against a cancel: whoever asked to cancel is not overrun.
    """
    if not Run.objects.filter(pk=run.pk, status=Status.QUEUED, cancel_requested_by="").exists():
        return False
    try:
        temporal.start_run(input_of(run), memo_of(run))
    except TemporalUnavailable as error:
        wait(run, error.reason)
        return False
    if not confirm(run, datetime.now(UTC)):
        revoke(run)
    return True


def wait(run: Run, reason: str) -> None:
    """Note why a queued run has not begun; told once per reason."""
    changed = (
        Run.objects.filter(pk=run.pk, status=Status.QUEUED)
        .exclude(waiting_reason=reason)
        .update(waiting_reason=reason[:200])
    )
    if changed:
        run.waiting_reason = reason
        story.tell(run, "waiting", f"Waiting: {reason}", level="warning")
        story.announce(run)


def confirm(run: Run, started_at: datetime) -> bool:
    """Temporal has the run: queued becomes running, once."""
    changed = Run.objects.filter(pk=run.pk, status=Status.QUEUED).update(
        status=Status.RUNNING, started_at=started_at, waiting_reason=""
    )
    if changed:
        run.status, run.started_at, run.waiting_reason = Status.RUNNING, started_at, ""
        story.tell(run, "started", "Temporal confirmed the run")
        story.announce(run)
    return bool(changed)


def revoke(run: Run) -> bool:
    """Cancel a workflow whose start and the cancel of its queued row crossed each other."""
    crossed = Run.objects.filter(pk=run.pk, status=Status.CANCELLED, started_at=None).exists()
    return crossed and temporal.cancel_run(str(run.pk))


def memo_of(run: Run) -> Memo:
    """What lets a run be adopted whose row was lost."""
    return {
        "connection": str(run.connection_id or ""),
        "connection_name": run.connection_name,
        "selection": run.input.get("selection", {}),
        "started_by": run.started_by,
        "created_at": run.created_at.isoformat(),
    }


def input_of(run: Run) -> RunInput:
    """The input as it was saved, so that a late start is the same start, with the limits as
    they were set since."""
    values = run.input
    source = values["source"]
    return RunInput(
        run_id=values["run_id"],
        source=Source(
            connection_id=source["connection_id"],
            connection_name=source["connection_name"],
            target=Target(**source["target"]),
            credential=CredentialRef(**source["credential"]),
            options=run.options,
        ),
        selection=Selection(**values["selection"]),
        started_by=values["started_by"],
    )


# --- cancel -----------------------------------------------------------------


def cancel(run: Run, actor: audit.Actor) -> Run:
    """Ask for the end of a run. Raises StateForbids, or TemporalUnavailable for a running one.

    A queued run that Temporal does not know is cancelled at once; while Temporal
    cannot be asked, the wish is kept and the run will not be started.
    """
    run.refresh_from_db()
    if not run.is_open:
        raise StateForbids(f"The run has ended already: it is {run.status}.")
    if run.status == Status.CANCELLING or run.cancel_requested_by:
        raise StateForbids("The run is being cancelled already.")
    name = audit.name_of(actor)[:150]
    if run.status == Status.QUEUED:
        _cancel_queued(run, name)
    else:
        _cancel_running(run, name)
    audit.record(actor, "run.cancel", run.connection_name, run=str(run.pk))
    return run


def _cancel_queued(run: Run, name: str) -> None:
    # The wish comes first: from here on nobody starts this run any more.
    Run.objects.filter(pk=run.pk).update(cancel_requested_by=name)
    run.cancel_requested_by = name
    story.tell(run, "cancel_requested", f"{name} asked to cancel the run")
    try:
        known = temporal.cancel_run(str(run.pk))
    except TemporalUnavailable:
        story.announce(run)
        return
    if known:
        mark_cancelling(run)
    else:
        drop_queued(run)


def _cancel_running(run: Run, name: str) -> None:
    if not temporal.cancel_run(str(run.pk)):
        raise StateForbids("The run has just ended; its result is being written down.")
    Run.objects.filter(pk=run.pk).update(cancel_requested_by=name)
    run.cancel_requested_by = name
    story.tell(run, "cancel_requested", f"{name} asked to cancel the run")
    mark_cancelling(run)


def mark_cancelling(run: Run) -> None:
    """Temporal accepted the cancel."""
    open_states = [Status.QUEUED, Status.RUNNING, Status.PAUSED]
    changed = Run.objects.filter(pk=run.pk, status__in=open_states).update(
        status=Status.CANCELLING, waiting_reason=""
    )
    if changed:
        run.status, run.waiting_reason = Status.CANCELLING, ""
        story.announce(run)


def drop_queued(run: Run) -> bool:
    """End a queued run that never reached Temporal."""
    now = datetime.now(UTC)
    changed = Run.objects.filter(pk=run.pk, status=Status.QUEUED).update(
        status=Status.CANCELLED, finished_at=now, waiting_reason=""
    )
    if changed:
        run.status, run.finished_at, run.waiting_reason = Status.CANCELLED, now, ""
        story.tell(run, "cancelled", "The run was cancelled before it began")
        story.announce(run)
    return bool(changed)


# --- telling ----------------------------------------------------------------


class ConnectionRef(TypedDict):
    id: str | None
    name: str


class RunDict(TypedDict):
    """A run as API and sockets show it."""

    id: str
    connection: ConnectionRef
    status: str
    verdict: str
    phase: str
    progress: Totals
    counts: dict[str, int]
    completeness: dict[str, int]
    limits: dict[str, Any]
    load: dict[str, Any]
    error: dict[str, str] | None
    started_by: str
    retry_of: str | None
    created_at: str | None
    started_at: str | None
    finished_at: str | None
    workflow_id: str


SCOPES = ("complete", "denied", "errored", "filtered")


def run_dict(run: Run, picture: Picture | None = None) -> RunDict:
    """The one shape of a run; without a picture it is drawn here."""
    seen = picture or pictures.of(run, events=False)
    connection: Any = run.connection_id
    return RunDict(
        id=str(run.pk),
        connection=ConnectionRef(
            id=str(connection) if connection else None, name=run.connection_name
        ),
        status=run.status,
        verdict=str(seen.verdict),
        phase=seen.phase,
        progress=seen.progress,
        counts=run.counts,
        completeness={scope: run.completeness.get(scope, 0) for scope in SCOPES},
        limits={**asdict(run.options), "told": run.limits_told >= run.limits_version},
        load=seen.load,
        error=run.error,
        started_by=run.started_by,
        retry_of=str(run.retry_of_id) if run.retry_of_id else None,
        created_at=iso(run.created_at),
        started_at=iso(run.started_at),
        finished_at=iso(run.finished_at),
        workflow_id=run.workflow_id,
    )


def events(run: Run, after: int = 0, limit: int | None = None) -> list[Line]:
    return story.lines(run, after, limit)
