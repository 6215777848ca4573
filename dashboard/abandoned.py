"""Runs that are to be cancelled while no worker is left to do it.

A cancel is a worker's work: it ends the statement in the source and sweeps up. With
no worker alive it would never end, and its connection would stay locked. Then the
workflow is terminated with a reason of ours, which every reconciler reads as a cancel:
the decision lies in Temporal, so it is made once, and survives whoever made it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog
from django.conf import settings

from dashboard import temporal
from dashboard.models import Run
from dashboard.temporal_records import ALIVE_SECONDS, RunState
from extraction.errors import StorageFailed
from extraction.snapshot.layout import discard
from extraction.storage import open_storage

log = structlog.get_logger(__name__)

# Of a cancel without a worker; a worker that is only restarted is back sooner.
PATIENCE = 15.0
REASON = "Cancelled by Surveyor: no worker was alive to end it"


class Abandoned:
    """Remembers between sweeps since when each cancel has had no worker."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def look(self, states: Mapping[str, RunState | None]) -> None:
        """Terminate what waited long enough. Raises TemporalUnavailable."""
        now = time.monotonic()
        waiting = [run_id for run_id, state in states.items() if state and _waits(state)]
        if not waiting or any(worker.is_alive for worker in temporal.workers()):
            self._since = {}
            return
        self._since = {run_id: self._since.get(run_id, now) for run_id in waiting}
        for run_id, since in self._since.items():
            if now - since >= PATIENCE and temporal.terminate_run(run_id, REASON):
                log.warning("run ended without a worker", run=run_id)


def _waits(state: RunState) -> bool:
    """To be cancelled, and none of its activities has been heard lately."""
    now = time.time()
    beats = [activity.beat_at for activity in state.pending if activity.beat_at]
    heard = any(now - beat < ALIVE_SECONDS for beat in beats)
    return state.cancel_requested and not state.is_closed and not heard


def is_abandoned(state: RunState) -> bool:
    return state.outcome == "terminated" and state.reason == REASON


def sweep(run: Run) -> None:
    try:
        discard(open_storage(settings.ENV.storage), str(run.pk))
    except StorageFailed as error:
        log.warning("run not swept", run=str(run.pk), reason=error.message)


def line_of(run: Run) -> str:
    limit = run.options.statement_timeout
    return (
        "Cancelled. No worker was alive: the run was ended without one; a statement still"
        f" running in the source ends at its own limit of {limit:g} s."
    )
