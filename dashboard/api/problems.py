"""Errors as RFC 9457 problem details, in the words of the verbs."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.forms.utils import ErrorDict as FormErrors
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from dashboard.connections import ConnectionRefused, Unavailable
from dashboard.runs import RunConflict, StateForbids
from dashboard.temporal import TemporalUnavailable
from extraction.errors import SnapshotDamaged, StorageFailed, SurveyorError

log = structlog.get_logger(__name__)

FieldError = dict[str, str]
CONTENT_TYPE = "application/problem+json"


class Invalid(Exception):
    """The request cannot be read as what it should be: 422 with a message per field."""

    def __init__(self, *errors: tuple[str, str]) -> None:
        self.errors = [{"field": field, "message": message} for field, message in errors]
        super().__init__("invalid")


class UnknownToken(AuthenticationError):
    """A bearer token was sent, and it is nobody's."""


def problem(
    status: int,
    detail: str,
    *,
    kind: str = "",
    errors: Sequence[FieldError] = (),
    **more: str,
) -> HttpResponse:
    body: dict[str, Any] = {
        "type": f"urn:surveyor:{kind}" if kind else "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "errors": list(errors),
        **more,
    }
    return HttpResponse(orjson.dumps(body), status=status, content_type=CONTENT_TYPE)


def unauthorized() -> HttpResponse:
    response = problem(401, "Sign in, or send a token as Authorization: Bearer.")
    response["WWW-Authenticate"] = 'Bearer realm="surveyor"'
    return response


def _unknown_token() -> HttpResponse:
    response = problem(401, "This token is unknown or revoked.", kind="token")
    response["WWW-Authenticate"] = 'Bearer realm="surveyor", error="invalid_token"'
    return response


def invalid(errors: Sequence[FieldError]) -> HttpResponse:
    return problem(422, "Some fields are not valid.", kind="invalid", errors=errors)


def of_form(errors: FormErrors) -> Invalid:
    return Invalid(
        *(
            ("" if field == "__all__" else field, str(message))
            for field, messages in errors.items()
            for message in messages
        )
    )


def answer_errors(api: NinjaAPI) -> None:
    for kind, answer in _ANSWERS.items():
        api.add_exception_handler(kind, answer)


def _http(request: HttpRequest, error: HttpError) -> HttpResponse:
    if isinstance(error, UnknownToken):
        return _unknown_token()
    if error.status_code == 401:
        return unauthorized()
    return problem(error.status_code, str(error))


def _not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return problem(404, _words(error) or "There is nothing here.")


def _validation(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return invalid([_field_error(entry) for entry in error.errors])


def _field_error(entry: dict[str, Any]) -> FieldError:
    # The first part says body, query or path; the second names the parameter object.
    where = [str(part) for part in entry["loc"][1:]]
    if where[:1] == ["body"]:
        where = where[1:]
    return {"field": ".".join(where), "message": str(entry["msg"])}


def _words(error: Exception) -> str:
    words = error.args[0] if error.args else ""
    return words if isinstance(words, str) else ""


def _unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    log.exception("request failed", path=request.path)
    return problem(500, "Something failed inside Surveyor. The log has the details.")


def _conflict(request: HttpRequest, error: RunConflict) -> HttpResponse:
    return problem(409, str(error), kind="open-run", run=str(error.open_run.pk))


_ANSWERS: dict[type[Exception], Any] = {
    Exception: _unexpected,
    HttpError: _http,
    Http404: _not_found,
    ValidationError: _validation,
    RequestDataTooBig: lambda request, error: problem(413, "The request is too large."),
    Invalid: lambda request, error: invalid(error.errors),
    RunConflict: _conflict,
    StateForbids: lambda request, error: problem(409, str(error), kind="state"),
    ConnectionRefused: lambda request, error: problem(error.status, str(error), kind="connection"),
    Unavailable: lambda request, error: problem(503, str(error), kind="unavailable"),
    TemporalUnavailable: lambda request, error: problem(503, error.reason, kind="unavailable"),
    OperationalError: lambda request, error: problem(
        503, "The app database cannot be used right now.", kind="unavailable"
    ),
    SnapshotDamaged: lambda request, error: problem(409, error.message, kind="damaged"),
    StorageFailed: lambda request, error: problem(503, error.message, kind="unavailable"),
    SurveyorError: lambda request, error: problem(503, error.message, kind=error.category),
}
