"""The limits of a run that is open: saved with the row, then told to its workflow.

The row is the outbox: what Temporal could not be told is told by the reconciler. Each
change has a higher version, so that it does not matter in which order they arrive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import structlog
from django.db import transaction

from dashboard import audit, limit_fields, story, temporal
from dashboard.models import Connection, Run
from dashboard.temporal import TemporalUnavailable
from extraction.connection import Options
from workers.contract import Limits

log = structlog.get_logger(__name__)

Status = Run.Status


class StateForbids(Exception):
    """The state of the run does not allow this."""


def change(run: Run, wanted: Mapping[str, Any], actor: audit.Actor) -> Run:
    """Let an open run use its source otherwise. Raises StateForbids.

    That it could not be told yet is no failure: `sentence` says so.
    """
    with transaction.atomic():
        row = Run.objects.select_for_update().get(pk=run.pk)
        if not row.is_open:
            raise StateForbids(f"The run has ended already: it is {row.status}.")
        if row.status == Status.CANCELLING or row.cancel_requested_by:
            raise StateForbids("The run is being cancelled.")
        before = _save(row, wanted, actor)
    if before is not None:
        _spread(row, before, actor)
    return row


def follow(connection: Connection, before: Options, actor: audit.Actor) -> Run | None:
    """Within the transaction that saves a connection: its open run gets what changed there."""
    old, new = asdict(before), asdict(connection.limits)
    changed = {name: value for name, value in new.items() if value != old[name]}
    row = connection.runs.select_for_update().filter(status__in=Run.OPEN).first()
    if row is None or not changed:
        return None
    was = _save(row, changed, actor)
    if was is not None:
        transaction.on_commit(lambda: _spread(row, was, actor))
    return row


def _save(row: Run, wanted: Mapping[str, Any], actor: audit.Actor) -> Options | None:
    """What was in force before; None if that is what is wanted."""
    before = row.options
    changed = {n: v for n, v in wanted.items() if v != getattr(before, n)}
    if not changed:
        return None
    row.limits = {**row.limits, **changed}
    row.limits_version += 1
    row.save(update_fields=["limits", "limits_version"])
    audit.record(actor, "run.limits", row.connection_name, run=str(row.pk), changed=changed)
    return before


def _spread(row: Run, before: Options, actor: audit.Actor) -> None:
    text = limit_fields.said(before, row.options)
    story.tell(row, "limits_set", f"{audit.name_of(actor)} changed the limits: {text}")
    pass_on(row)
    story.announce(row)


def pass_on(run: Run) -> None:
    """Tell the workflow what the row says; if that fails, the reconciler will."""
    if run.status == Status.QUEUED:
        return
    try:
        known = temporal.set_limits(str(run.pk), Limits(run.limits_version, run.options))
    except TemporalUnavailable as error:
        log.info("limits not told yet", run=str(run.pk), reason=error.reason)
        return
    if known:
        Run.objects.filter(pk=run.pk, limits_told__lt=run.limits_version).update(
            limits_told=run.limits_version
        )
        run.limits_told = max(run.limits_told, run.limits_version)


def sentence(run: Run | None) -> str:
    """What becomes of a change, for who has just made it."""
    if run is None or not run.is_open:
        return ""
    current = Run.objects.get(pk=run.pk)
    if current.status == Status.QUEUED:
        return "The open run has not begun; it begins with these limits."
    if current.limits_told >= current.limits_version:
        return "The open run obeys from now on."
    return "The open run could not be told yet; it is told as soon as Temporal and a worker answer."
