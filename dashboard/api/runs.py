"""Runs: viewers read, operators start and cancel."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from django.http import Http404, HttpRequest
from ninja import Query, Router, Status

from dashboard import limits
from dashboard import runs as verbs
from dashboard.api import problems
from dashboard.api.auth import by
from dashboard.api.bodies import body_of, documented
from dashboard.api.paging import Cursor, Limit, page
from dashboard.api.schemas import REFUSALS, EventList, LimitsIn, RunIn, RunList, RunOut
from dashboard.limit_fields import RunLimitsForm
from dashboard.models import Connection, Run
from dashboard.story import uuid_of
from extraction.errors import InvalidSelection
from extraction.selection import Selection

router = Router(tags=["runs"])
EVENTS = 500

After = Annotated[int, Query(ge=0, le=2**63 - 1)]
EventLimit = Annotated[int, Query(ge=1, le=2000)]


@router.get("/runs", summary="Runs, newest first", response={200: RunList, **REFUSALS})
def list_runs(
    request: HttpRequest,
    limit: Limit = 50,
    cursor: Cursor = "",
    status: Run.Status | None = None,
    connection: UUID | None = None,
) -> Any:
    """All runs, or those of one status or connection. `next` is the cursor of the following page."""
    rows = Run.objects.all()
    if status:
        rows = rows.filter(status=status)
    if connection:
        rows = rows.filter(connection=connection)
    found, following = page(rows, limit, cursor)
    return {"items": [verbs.run_dict(run) for run in found], "next": following}


@router.post(
    "/runs", summary="Start a run", response={201: RunOut, **REFUSALS}, auth=by("operator")
)
def start_run(request: HttpRequest, body: RunIn) -> Any:
    """Of a connection, by id or name; without patterns and kinds it reads everything. 409 names the
    open run if there is one. With Temporal away it is saved and starts later. Needs the role operator.
    """
    connection = named(body.connection)
    selection = Selection(include=body.include, exclude=body.exclude, kinds=body.kinds)
    try:
        run = verbs.start(connection, selection, request.user)
    except InvalidSelection as error:
        raise problems.Invalid((faulty(selection), error.message)) from None
    return Status(201, verbs.run_dict(run))


@router.get("/runs/{uuid:run_id}", summary="One run", response={200: RunOut, **REFUSALS})
def get_run(request: HttpRequest, run_id: UUID) -> Any:
    """Status, verdict, progress as of now, and at the end counts and completeness."""
    return verbs.run_dict(fetch(run_id))


@router.post(
    "/runs/{uuid:run_id}/cancel",
    summary="Cancel a run",
    response={202: RunOut, **REFUSALS},
    auth=by("operator"),
)
def cancel_run(request: HttpRequest, run_id: UUID) -> Any:
    """Ends the statements in the source, then the run; 409 if it has ended. Needs the role operator."""
    return Status(202, verbs.run_dict(verbs.cancel(fetch(run_id), request.user)))


@router.patch(
    "/runs/{uuid:run_id}/limits",
    summary="Change the limits of an open run",
    response={202: RunOut, **REFUSALS},
    auth=by("operator"),
    openapi_extra=documented(LimitsIn, required=[]),
)
def change_limits(request: HttpRequest, run_id: UUID) -> Any:
    """Send only what changes. The run obeys within seconds: what is too much gives its session back
    and goes on later. `limits.told` is false while Temporal or every worker is away; then it is told
    later. 409 if the run has ended. Needs the role operator.
    """
    run = fetch(run_id)
    form = RunLimitsForm(body_of(request), run.options)
    if not form.is_valid():
        raise problems.of_form(form.errors)
    limits.change(run, form.cleaned_data, request.user)
    return Status(202, verbs.run_dict(fetch(run_id)))


@router.get(
    "/runs/{uuid:run_id}/events",
    summary="The story of a run",
    response={200: EventList, **REFUSALS},
)
def list_events(
    request: HttpRequest, run_id: UUID, after: After = 0, limit: EventLimit = EVENTS
) -> Any:
    """What happened, in the order of `seq`, later than `after`. `next` is the `after` of the following
    page, null at the end.
    """
    found = verbs.events(fetch(run_id), after, limit + 1)
    items = [{"run_id": str(run_id), **line} for line in found[:limit]]
    return {"items": items, "next": items[-1]["seq"] if len(found) > limit else None}


def fetch(run_id: UUID) -> Run:
    found = Run.objects.filter(pk=run_id).first()
    if found is None:
        raise Http404("There is no run of that id.")
    return found


def named(text: str) -> Connection:
    """The connection of that id or name, the name in any case."""
    key = uuid_of(text)
    if key:
        found = Connection.objects.filter(pk=key).first()
    else:
        found = None if "\x00" in text else Connection.objects.filter(name__iexact=text).first()
    if found is None:
        raise Http404("There is no connection of that name or id.")
    return found


def faulty(selection: Selection) -> str:
    """The part of a selection that cannot be read."""
    for name in ("include", "exclude", "kinds"):
        try:
            Selection(**{name: getattr(selection, name)}).matcher()
        except InvalidSelection:
            return name
    return ""
