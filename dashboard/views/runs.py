from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboard import limits
from dashboard import runs as verbs
from dashboard.access import SignedInRequest, require
from dashboard.connections import ConnectionGone
from dashboard.limit_fields import OF_A_RUN, RunLimitsForm
from dashboard.live import picture as pictures
from dashboard.models import Connection, Run
from dashboard.templatetags.surveyor import TONES
from dashboard.temporal import TemporalUnavailable
from dashboard.views import errors
from dashboard.views.contexts import run_row, run_view
from dashboard.views.missing import missing_from
from extraction.selection import Selection

PAGE = 50


@require_GET
@never_cache
@require("viewer")
def index(request: SignedInRequest) -> HttpResponse:
    return render(request, "runs/list.html", _list(request))


@require_GET
@never_cache
@require("viewer")
def index_fragment(request: SignedInRequest) -> HttpResponse:
    """The list alone, for the script that keeps it current."""
    return render(request, "runs/_list.html", _list(request))


@require_GET
@never_cache
@require("viewer")
def show(request: SignedInRequest, run_id: UUID) -> HttpResponse:
    return render(request, "runs/run.html", _page(_run(run_id)))


@require_GET
@never_cache
@require("viewer")
def show_fragment(request: SignedInRequest, run_id: UUID) -> HttpResponse:
    return render(request, "runs/_run.html", _page(_run(run_id)))


@require_http_methods(["GET", "POST"])
@never_cache
@require("operator")
def cancel(request: SignedInRequest, run_id: UUID) -> HttpResponse:
    """GET asks on a page of its own, for a browser without script."""
    run = _run(run_id)
    if request.method == "GET":
        return render(request, "runs/cancel.html", {"run": run})
    try:
        verbs.cancel(run, request.user)
    except verbs.StateForbids as forbidden:
        page = {**_page(_run(run_id)), "conflict": str(forbidden)}
        return render(request, "runs/run.html", page, status=409)
    except TemporalUnavailable:
        return errors.unavailable(request, "Temporal does not answer, so nothing was cancelled.")
    return redirect("run", run_id)


@require_http_methods(["GET", "POST"])
@never_cache
@require("operator")
def change_limits(request: SignedInRequest, run_id: UUID) -> HttpResponse:
    run = _run(run_id)
    typed = request.POST.dict() if request.method == "POST" else None
    form = RunLimitsForm(typed and {k: typed[k] for k in OF_A_RUN if k in typed}, run.options)
    if request.method == "GET" and run.is_open:
        return render(request, "runs/limits.html", {"run": run, "form": form})
    if run.is_open and not form.is_valid():
        return render(request, "runs/limits.html", {"run": run, "form": form}, status=422)
    try:
        changed = limits.change(run, form.cleaned_data if run.is_open else {}, request.user)
    except limits.StateForbids as forbidden:
        page = {**_page(_run(run_id)), "conflict": str(forbidden)}
        return render(request, "runs/run.html", page, status=409)
    messages.success(request, f"Saved. {limits.sentence(changed)}")
    return redirect("run", run_id)


@require_POST
@require("operator")
def again(request: SignedInRequest, run_id: UUID) -> HttpResponse:
    """A new run with the same selection."""
    run = _run(run_id)
    if run.connection is None:
        page = {**_page(run), "conflict": "The connection of this run was deleted."}
        return render(request, "runs/run.html", page, status=409)
    selection = Selection(**run.input.get("selection", {}))
    try:
        new = verbs.start(run.connection, selection, request.user)
    except verbs.RunConflict as conflict:
        page = {**_page(run), "conflict": str(conflict), "open_run": conflict.open_run}
        return render(request, "runs/run.html", page, status=409)
    except ConnectionGone as gone:
        page = {**_page(_run(run_id)), "conflict": str(gone)}
        return render(request, "runs/run.html", page, status=409)
    messages.success(request, "Started.")
    return redirect("run", new.id)


def open_run(connection: Connection) -> Run | None:
    return connection.runs.filter(status__in=Run.OPEN).first()


def _run(run_id: UUID) -> Run:
    return get_object_or_404(Run.objects.select_related("connection"), pk=run_id)


def _page(run: Run) -> dict[str, Any]:
    return {
        "run": run,
        "view": run_view(run, pictures.of(run)),
        "workflow_url": _workflow_url(run),
        "missing": missing_from(run),
    }


def _workflow_url(run: Run) -> str:
    base = settings.ENV.temporal_ui_url.rstrip("/")
    if not base:
        return ""
    namespace = quote(settings.ENV.temporal_namespace, safe="")
    return f"{base}/namespaces/{namespace}/workflows/{quote(run.workflow_id, safe='')}"


def _list(request: SignedInRequest) -> dict[str, Any]:
    status, connection = _filters(request)
    scope = Run.objects.filter(connection=connection) if connection else Run.objects.all()
    found = scope.filter(status=status) if status else scope
    page = list(
        _after(found, request.GET.get("after", "")).select_related("connection")[: PAGE + 1]
    )
    rows = [run_row(run) for run in page[:PAGE]]
    return {
        "open_rows": [row for row in rows if row.run.is_open],
        "ended_rows": [row for row in rows if not row.run.is_open],
        "next": rows[-1].run.id if len(page) > PAGE else None,
        "counters": _counters(scope),
        "status": status,
        "connection": connection,
        "connections": Connection.objects.only("id", "name"),
        "first_page": "after" not in request.GET,
        "list_url": reverse("runs"),
    }


def _filters(request: SignedInRequest) -> tuple[str, UUID | None]:
    status = request.GET.get("status", "")
    try:
        connection = UUID(request.GET.get("connection", ""))
    except ValueError:
        connection = None
    return (status if status in Run.Status.values else ""), connection


def _after(runs: QuerySet[Run], cursor: str) -> QuerySet[Run]:
    """Those older than the run named by the cursor; all of them without one."""
    try:
        last = Run.objects.filter(pk=UUID(cursor)).values_list("created_at", "id").first()
    except ValueError:
        return runs
    if last is None:
        return runs
    at, pk = last
    return runs.filter(Q(created_at__lt=at) | Q(created_at=at, id__lt=pk))


def _counters(scope: QuerySet[Run]) -> list[dict[str, Any]]:
    counted = dict(scope.order_by().values_list("status").annotate(n=Count("id")))
    each = [
        {"status": status, "tone": TONES[status], "n": counted.get(status, 0)}
        for status in Run.Status.values
        if status != Run.Status.PAUSED or counted.get(status)
    ]
    return [{"status": "", "tone": "", "n": sum(counted.values())}, *each]
