"""A page to start a run from, whichever the connection."""

from __future__ import annotations

from django import forms
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from dashboard import runs
from dashboard.access import SignedInRequest, require
from dashboard.connections import ConnectionGone
from dashboard.models import Connection, Run
from dashboard.views.selection import SelectionForm


class StartForm(SelectionForm):
    connection = forms.ModelChoiceField(
        Connection.objects.all(),
        label="Connection",
        empty_label="Choose one",
        error_messages={
            "required": "Choose a connection.",
            "invalid_choice": "This connection is not there any more. Choose another.",
        },
    )
    field_order = ("connection",)


@require_http_methods(["GET", "POST"])
@never_cache
@require("operator")
def page(request: SignedInRequest) -> HttpResponse:
    if request.method == "GET":
        form = StartForm(initial={"connection": _only()})
        return render(request, "runs/start.html", {"form": form})
    form = StartForm(request.POST)
    if not form.is_valid():
        return render(request, "runs/start.html", {"form": form}, status=422)
    connection: Connection = form.cleaned_data["connection"]
    try:
        run = runs.start(connection, form.selection, request.user)
    except runs.RunConflict as conflict:
        return _refused(request, form, str(conflict), 409, conflict.open_run)
    except ConnectionGone as gone:
        return _refused(request, form, str(gone), gone.status)
    return redirect("run", run.id)


def _only() -> Connection | None:
    """The one connection there is; of several none is guessed."""
    first = list(Connection.objects.all()[:2])
    return first[0] if len(first) == 1 else None


def _refused(
    request: SignedInRequest,
    form: StartForm,
    notice: str,
    status: int,
    open_run: Run | None = None,
) -> HttpResponse:
    page = {"form": form, "notice": notice, "open_run": open_run}
    return render(request, "runs/start.html", page, status=status)
