from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import OuterRef, Subquery
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods

from dashboard import connections as verbs
from dashboard import limits, runs
from dashboard.access import SignedInRequest, require
from dashboard.forms import ConnectionForm, CredentialForm
from dashboard.models import Connection, Run
from dashboard.views import ladder as checks
from dashboard.views.contexts import run_row
from dashboard.views.runs import open_run
from dashboard.views.selection import SelectionForm
from extraction.connection import DIALECTS, Target, source_of

PAGE = 50
RECENT = 8
REFUSED = (verbs.Unavailable, verbs.ConnectionRefused)


@require_GET
@never_cache
@require("viewer")
def index(request: SignedInRequest) -> HttpResponse:
    page = Paginator(_with_runs(), PAGE).get_page(request.GET.get("page"))
    ids = [i for c in page for i in (c.open_id, c.ended_id) if i]
    found = Run.objects.in_bulk(ids)
    rows = [
        {"connection": c, "open": found.get(c.open_id), "ended": found.get(c.ended_id)}
        for c in page
    ]
    return render(request, "connections/list.html", {"page": page, "rows": rows})


@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("password")
@never_cache
@require("admin")
def new(request: SignedInRequest) -> HttpResponse:
    form = ConnectionForm(request.POST if request.method == "POST" else None)
    if request.method == "GET":
        return _form(request, form)
    if not form.is_valid():
        return _form(request, form, status=422)
    try:
        connection = verbs.create(form, request.user)
    except REFUSED as refused:
        return _form(request, form, status=refused.status, notice=str(refused))
    messages.success(request, f"Saved {connection.name}. Check it, then start its first run.")
    return redirect("connection", connection.id)


@require_GET
@never_cache
@require("viewer")
def show(request: SignedInRequest, connection_id: UUID) -> HttpResponse:
    return _page(request, _connection(connection_id))


@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("password")
@never_cache
@require("admin")
def edit(request: SignedInRequest, connection_id: UUID) -> HttpResponse:
    connection = _connection(connection_id)
    form = ConnectionForm(
        request.POST if request.method == "POST" else None, instance=_connection(connection_id)
    )
    if request.method == "GET":
        return _form(request, form, connection)
    if not form.is_valid():
        return _form(request, form, connection, status=422)
    before = connection.limits
    try:
        changed = verbs.edit(connection, form, request.user)
    except REFUSED as refused:
        return _form(request, form, connection, status=refused.status, notice=str(refused))
    told = limits.sentence(open_run(changed)) if changed.limits != before else ""
    messages.success(request, f"Saved. {told or 'The next run uses it.'}")
    return redirect("connection", connection_id)


@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("password")
@never_cache
@require("admin")
def rotate(request: SignedInRequest, connection_id: UUID) -> HttpResponse:
    connection = _connection(connection_id)
    form = CredentialForm(request.POST if request.method == "POST" else None, connection=connection)
    page = {"form": form, "connection": connection}
    if request.method == "GET":
        return render(request, "connections/rotate.html", page)
    if not form.is_valid():
        return render(request, "connections/rotate.html", page, status=422)
    data = form.cleaned_data
    try:
        verbs.rotate(connection, data["username"], data["password"], request.user)
    except REFUSED as refused:
        notice = {**page, "notice": str(refused)}
        return render(request, "connections/rotate.html", notice, status=refused.status)
    messages.success(request, "The new credential is stored. The next run uses it.")
    return redirect("connection", connection_id)


@require_http_methods(["GET", "POST"])
@never_cache
@require("admin")
def delete(request: SignedInRequest, connection_id: UUID) -> HttpResponse:
    connection = _connection(connection_id)
    page = {"connection": connection, "open_run": open_run(connection)}
    if request.method == "GET":
        return render(request, "connections/delete.html", page)
    try:
        verbs.delete(connection, request.user)
    except verbs.ConnectionBusy as busy:
        return render(
            request, "connections/delete.html", {**page, "busy": busy}, status=busy.status
        )
    except verbs.ConnectionGone as gone:
        raise Http404(str(gone)) from None
    messages.success(request, f"Deleted {connection.name}. Its runs and snapshots stay.")
    return redirect("connections")


@require_http_methods(["GET", "POST"])
@never_cache
@require("operator")
def check(request: SignedInRequest, connection_id: UUID) -> HttpResponse:
    """The result is shown on the connection's page, until the next one."""
    connection = _connection(connection_id)
    if request.method == "GET":  # the address of a refusal, loaded again
        return redirect("connection", connection_id)
    try:
        result = verbs.check(connection, request.user)
    except REFUSED as refused:
        return _page(request, connection, status=refused.status, notice=str(refused))
    checks.keep(request.session, connection, result)
    return redirect(f"{reverse('connection', args=[connection_id])}#check")


@require_http_methods(["GET", "POST"])
@never_cache
@require("operator")
def start(request: SignedInRequest, connection_id: UUID) -> HttpResponse:
    connection = _connection(connection_id)
    if request.method == "GET":
        return redirect(f"{reverse('connection', args=[connection_id])}#start")
    form = SelectionForm(request.POST)
    if not form.is_valid():
        return _page(request, connection, status=422, start=form)
    try:
        run = runs.start(connection, form.selection, request.user)
    except runs.RunConflict as conflict:
        return _page(request, connection, status=409, start=form, notice=str(conflict))
    except verbs.ConnectionGone as gone:
        raise Http404(str(gone)) from None
    return redirect("run", run.id)


def _connection(connection_id: UUID) -> Connection:
    return get_object_or_404(Connection, pk=connection_id)


def _page(
    request: SignedInRequest, connection: Connection, status: int = 200, **more: Any
) -> HttpResponse:
    recent = list(connection.runs.select_related("connection")[:RECENT])
    page = {
        "connection": connection,
        "limits": connection.limits,
        "rows": [run_row(run) for run in recent],
        "open_run": open_run(connection),
        "ended": connection.runs.exclude(status__in=Run.OPEN).first(),
        "last_good": connection.runs.filter(status=Run.Status.SUCCEEDED).first(),
        "role_sql": _role_script(connection.target),
        "kind": connection.dialect,
        "start": SelectionForm(),
        "checked": checks.kept(request.session, connection),
    }
    return render(request, "connections/connection.html", {**page, **more}, status=status)


def _form(
    request: SignedInRequest,
    form: ConnectionForm,
    connection: Connection | None = None,
    status: int = 200,
    notice: str = "",
) -> HttpResponse:
    page = {
        "form": form,
        "connection": connection,
        "notice": notice,
        "role_sql": _role_script(target := _typed_target(form)),
        "kind": target.dialect,
    }
    return render(request, "connections/form.html", page, status=status)


def _role_script(target: Target) -> str:
    return source_of(target).role_script(target)


def _typed_target(form: ConnectionForm) -> Target:
    """What the fields say so far, for the role to create."""

    def field(name: str, blank: str) -> str:
        bad = form.is_bound and name in form.errors
        return blank if bad else str(form[name].value() or blank)

    dialect = field("dialect", "postgresql")
    return Target(
        *(dialect if dialect in DIALECTS else "postgresql", "", 0),
        *(field("database", "your_database"), field("username", "surveyor")),
    )


def _with_runs() -> Any:
    latest = Run.objects.filter(connection=OuterRef("pk")).order_by("-created_at", "-id")
    return Connection.objects.annotate(
        open_id=Subquery(latest.filter(status__in=Run.OPEN).values("id")[:1]),
        ended_id=Subquery(latest.exclude(status__in=Run.OPEN).values("id")[:1]),
    )
