"""The fleet: the processes that read, as Temporal knows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from dashboard import temporal
from dashboard.access import SignedInRequest, require
from dashboard.temporal_records import WorkerView
from dashboard.views import errors

UNKNOWN = "Temporal does not answer, so nobody knows which workers are there."
LOOKS = {"running": ("live", "ok"), "stopping": ("paused", "hold"), "lost": ("lost", "bad")}


@dataclass(frozen=True)
class WorkerLine:
    worker: WorkerView

    @property
    def icon(self) -> str:
        return LOOKS[self.worker.status][0]

    @property
    def tone(self) -> str:
        return LOOKS[self.worker.status][1]

    @property
    def slots(self) -> int | None:
        used, free = self.worker.slots_used, self.worker.slots_free
        return None if used is None or free is None else used + free

    @property
    def beat(self) -> float | None:
        age = self.worker.beat_age_ms
        return None if age is None else age / 1000


@require_GET
@never_cache
@require("viewer")
def index(request: SignedInRequest) -> HttpResponse:
    return _drawn(request, "workers/list.html")


@require_GET
@never_cache
@require("viewer")
def index_fragment(request: SignedInRequest) -> HttpResponse:
    """The list alone, for the script that keeps it current."""
    return _drawn(request, "workers/_list.html")


def _drawn(request: SignedInRequest, template: str) -> HttpResponse:
    try:
        workers = temporal.workers()
    except temporal.TemporalUnavailable:
        return errors.unavailable(request, UNKNOWN)
    return render(request, template, _page(workers))


def _page(workers: list[WorkerView]) -> dict[str, Any]:
    alive = [worker for worker in workers if worker.is_alive]
    return {
        "lines": [WorkerLine(worker) for worker in workers],
        "alive": len(alive),
        "used": sum(worker.slots_used or 0 for worker in alive),
        "free": sum(worker.slots_free or 0 for worker in alive),
    }
