"""Connections: admins write, everybody reads, and nobody reads a secret."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest
from ninja import Router, Status

from dashboard import connections as verbs
from dashboard.api import problems
from dashboard.api.auth import by
from dashboard.api.bodies import body_of, documented
from dashboard.api.paging import Cursor, Limit, page
from dashboard.api.schemas import (
    REFUSALS,
    CheckOut,
    ConnectionIn,
    ConnectionList,
    ConnectionOut,
    CredentialIn,
)
from dashboard.forms import ConnectionForm, CredentialForm
from dashboard.models import Connection
from dashboard.story import iso

router = Router(tags=["connections"])


@router.get(
    "/connections", summary="Connections, newest first", response={200: ConnectionList, **REFUSALS}
)
def list_connections(request: HttpRequest, limit: Limit = 50, cursor: Cursor = "") -> Any:
    """Every connection, without any secret. `next` is the cursor of the following page, null at
    the end.
    """
    rows, following = page(Connection.objects.all(), limit, cursor)
    return {"items": [shown(row) for row in rows], "next": following}


@router.post(
    "/connections",
    summary="Create a connection",
    response={201: ConnectionOut, **REFUSALS},
    auth=by("admin"),
    openapi_extra=documented(ConnectionIn),
)
def create_connection(request: HttpRequest) -> Any:
    """Saves the password in Vault, then the connection. Needs the role admin."""
    form = ConnectionForm.from_api(body_of(request))
    if not form.is_valid():
        raise problems.of_form(form.errors)
    return Status(201, shown(verbs.create(form, request.user)))


@router.get(
    "/connections/{uuid:connection_id}",
    summary="One connection",
    response={200: ConnectionOut, **REFUSALS},
)
def get_connection(request: HttpRequest, connection_id: UUID) -> Any:
    """The settings of a connection and the version of its credential; never the secret."""
    return shown(_fetch(connection_id))


@router.patch(
    "/connections/{uuid:connection_id}",
    summary="Change a connection",
    response={200: ConnectionOut, **REFUSALS},
    auth=by("admin"),
    openapi_extra=documented(ConnectionIn, required=[]),
)
def edit_connection(request: HttpRequest, connection_id: UUID) -> Any:
    """Send only what changes. Where the server or the username changes, the password must be sent
    again: the old one is never sent elsewhere. Needs the role admin.
    """
    connection = _fetch(connection_id)
    form = ConnectionForm.from_api(body_of(request), instance=connection)
    if not form.is_valid():
        raise problems.of_form(form.errors)
    return shown(verbs.edit(connection, form, request.user))


@router.delete(
    "/connections/{uuid:connection_id}",
    summary="Delete a connection",
    response={204: None, **REFUSALS},
    auth=by("admin"),
)
def delete_connection(request: HttpRequest, connection_id: UUID) -> Any:
    """Destroys its credential; runs and snapshots stay. 409 while a run is open. Needs the role
    admin.
    """
    verbs.delete(_fetch(connection_id), request.user)
    return Status(204, None)


@router.put(
    "/connections/{uuid:connection_id}/credential",
    summary="Rotate the credential",
    response={200: ConnectionOut, **REFUSALS},
    auth=by("admin"),
    openapi_extra=documented(CredentialIn),
)
def rotate_credential(request: HttpRequest, connection_id: UUID) -> Any:
    """Saves a new version of username and password, which later runs use. Needs the role admin."""
    connection = _fetch(connection_id)
    body = body_of(request)
    unknown = [
        (key[:80], "This is not a field of a credential.") for key in body if key not in CREDENTIAL
    ]
    if unknown:
        raise problems.Invalid(*unknown)
    form = CredentialForm(body, connection=connection)
    if not form.is_valid():
        raise problems.of_form(form.errors)
    data = form.cleaned_data
    return shown(verbs.rotate(connection, data["username"], data["password"], request.user))


CREDENTIAL = ("username", "password")


@router.post(
    "/connections/{uuid:connection_id}/check",
    summary="Check a connection",
    response={200: CheckOut, **REFUSALS},
    auth=by("operator"),
)
def check_connection(request: HttpRequest, connection_id: UUID) -> Any:
    """A worker tries it from the network up to the catalogue and says how far it came, and what to
    do at the step that failed. Needs the role operator.
    """
    return asdict(verbs.check(_fetch(connection_id), request.user))


def _fetch(connection_id: UUID) -> Connection:
    found = Connection.objects.filter(pk=connection_id).first()
    if found is None:
        raise Http404("There is no connection of that id.")
    return found


def shown(connection: Connection) -> dict[str, Any]:
    return {
        "id": str(connection.pk),
        "name": connection.name,
        "dialect": connection.dialect,
        "host": connection.host,
        "port": connection.port,
        "database": connection.database,
        "username": connection.username,
        "tls": connection.tls,
        "options": asdict(connection.limits),
        "owner": connection.owner,
        "environment": connection.environment,
        "tags": connection.tags,
        "credential": {
            "kind": "vault",
            "version": connection.credential_version,
            "rotated_at": iso(connection.rotated_at),
        },
        "created_at": iso(connection.created_at),
        "updated_at": iso(connection.updated_at),
    }
