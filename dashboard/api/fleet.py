"""The workers, as Temporal's worker heartbeats show them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest
from ninja import Router

from dashboard import temporal
from dashboard.api.schemas import REFUSALS, WorkerList
from dashboard.story import iso

router = Router(tags=["workers"])


@router.get("/workers", summary="The workers", response={200: WorkerList, **REFUSALS})
def list_workers(request: HttpRequest) -> Any:
    """Every worker that Temporal has heard of lately, with its slots and its last beat."""
    items = [{**asdict(w), "started_at": iso(w.started_at)} for w in temporal.workers()]
    return {"items": items, "next": None}
