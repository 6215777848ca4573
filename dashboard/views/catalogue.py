"""Reading a finished run's snapshot. Names are hostile: they travel in query strings only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import Case, IntegerField, OuterRef, Subquery, When
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from dashboard.access import SignedInRequest, require
from dashboard.models import Connection, Run
from dashboard.templatetags.surveyor import short_kind
from extraction.catalog import KINDS
from extraction.errors import SnapshotDamaged, StorageFailed
from extraction.snapshot.reader import SEARCHED, Snapshot, open_snapshot
from extraction.storage import open_storage

log = structlog.get_logger(__name__)

PAGE = 500
# Of each kind at first, and of one that was asked for.
EACH, FOUND = 3, 200
LONGEST_FILTER = 200
# A run that was asked for everything comes before any other.
WIDEST = Case(
    When(
        input__selection__include=[],
        input__selection__exclude=[],
        input__selection__kinds=[],
        then=0,
    ),
    default=1,
    output_field=IntegerField(),
)


@require_GET
@never_cache
@require("viewer")
def index(request: SignedInRequest) -> HttpResponse:
    """Of every connection its newest whole snapshot, and of those deleted since all.

    A later snapshot of a narrower selection never stands for the database; it is linked.
    """
    newest = Run.objects.exclude(manifest="").order_by("-created_at", "-id")
    own = newest.filter(connection=OuterRef("pk"))
    shown = own.order_by(WIDEST, "-created_at", "-id").values("id")[:1]
    ids = dict(
        Connection.objects.annotate(shown=Subquery(shown), newest=Subquery(own.values("id")[:1]))
        .exclude(shown=None)
        .order_by("name")
        .values_list("shown", "newest")
    )
    runs = Run.objects.select_related("connection").in_bulk([*ids, *ids.values()])
    entries = [
        {"run": runs[one], "newer": runs[last] if last != one else None}
        for one, last in ids.items()
        if one in runs and last in runs
    ]
    orphans = list(newest.filter(connection=None)[:PAGE])
    return render(request, "catalogue/list.html", {"entries": entries, "orphans": orphans})


@require_GET
@never_cache
@require("viewer")
def show(request: SignedInRequest, run_id: UUID) -> HttpResponse:
    run = get_object_or_404(Run.objects.select_related("connection"), pk=run_id)
    if not run.manifest:
        return render(request, "catalogue/none.html", {"run": run}, status=404)
    try:
        snapshot = open_snapshot(open_storage(settings.ENV.storage), str(run.id), run.manifest)
        page = _page(request, run, snapshot)
    except (SnapshotDamaged, StorageFailed) as error:
        log.error("snapshot_unreadable", run=str(run.id), category=error.category)
        return render(request, "catalogue/damaged.html", {"run": run, "error": error}, status=500)
    return render(request, "catalogue/snapshot.html", page)


def _page(request: SignedInRequest, run: Run, snapshot: Snapshot) -> dict[str, Any]:
    asked = {name: request.GET.get(name) for name in ("schema", "relation")}
    filters = {name: _filter(request, name) for name in ("q", "schemas", "relations")}
    offsets = {name: _offset(request, name) for name in ("schemas_from", "relations_from")}
    page: dict[str, Any] = {
        "run": run,
        **asked,
        "filters": filters,
        "schemas": _Listing(
            snapshot.schemas(filters["schemas"], PAGE + 1, offsets["schemas_from"]),
            offsets["schemas_from"],
        ),
        "kinds": [(kind, run.counts.get(kind, 0)) for kind in KINDS],
        "siblings": _siblings(run),
    }
    if filters["q"]:
        page["found"] = _found(snapshot, filters["q"], request.GET.get("of", ""))
        page["searched"] = list(SEARCHED)
        page["of"] = request.GET.get("of", "") in SEARCHED
    if asked["schema"] is not None:
        page |= _schema(snapshot, asked["schema"], filters["relations"], offsets["relations_from"])
    if asked["schema"] is not None and asked["relation"] is not None:
        page["detail"] = _detail(snapshot, asked["schema"], asked["relation"])
    return page


@dataclass(frozen=True)
class _Found:
    """What of one kind is called as somebody searches."""

    kind: str
    rows: list[dict[str, Any]]
    total: int

    @property
    def more(self) -> int:
        return self.total - len(self.rows)


def _found(snapshot: Snapshot, name: str, of: str) -> list[_Found]:
    """A few of every kind, or many of the one that was asked for."""
    limits = {of: FOUND} if of in SEARCHED else dict.fromkeys(SEARCHED, EACH)
    each = [_Found(kind, *snapshot.search(name, kind, limits[kind])) for kind in limits]
    return [found for found in each if found.total]


def _schema(snapshot: Snapshot, schema: str, name: str, offset: int) -> dict[str, Any]:
    return {
        "relations": _Listing(snapshot.relations(schema, name, PAGE + 1, offset), offset),
        "routines": snapshot.routines(schema),
        "sequences": snapshot.sequences(schema),
    }


def _detail(snapshot: Snapshot, schema: str, relation: str) -> dict[str, Any]:
    found = snapshot.relation(schema, relation)
    if found is None:
        raise Http404
    return {**found, "keyed": _keyed(found["constraints"])}


def _keyed(constraints: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Column name → PK, FK, UQ: what a column takes part in."""
    tags: dict[str, list[str]] = {}
    for constraint in constraints:
        tag = short_kind(constraint["kind"])
        for column in constraint["columns"] or [] if tag in {"PK", "FK", "UQ"} else []:
            held = tags.setdefault(column, [])
            if tag not in held:
                held.append(tag)
    return tags


class _Listing:
    """A page of rows that knows whether there are more."""

    def __init__(self, rows: Any, offset: int, limit: int = PAGE) -> None:
        fetched = list(rows)
        self.rows = fetched[:limit]
        self.offset = offset
        self.next = offset + limit if len(fetched) > limit else None
        self.previous = max(0, offset - limit) if offset else None


def _siblings(run: Run) -> list[Run]:
    """Other snapshots of the same connection, newest first."""
    if run.connection_id is None:
        return [run]
    return list(Run.objects.filter(connection=run.connection_id).exclude(manifest="")[:20])


def _filter(request: SignedInRequest, name: str) -> str:
    return request.GET.get(name, "")[:LONGEST_FILTER]


def _offset(request: SignedInRequest, name: str) -> int:
    value = request.GET.get(name, "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 9 else 0
