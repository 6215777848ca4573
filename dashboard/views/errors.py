"""What a person, or a program, sees when something did not work."""

from __future__ import annotations

import sys

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin

MACHINES = ("/api/", "/healthz", "/readyz", "/static/")

TITLES = {
    400: "Bad request",
    403: "Not allowed",
    404: "Not found",
    405: "Not this way",
    500: "Internal error",
    503: "Unavailable",
}


def _answer(request: HttpRequest, status: int, detail: str) -> HttpResponse:
    if request.path.startswith("/api/"):
        problem = {
            "type": "about:blank",
            "title": TITLES[status],
            "status": status,
            "detail": detail,
            "errors": [],
        }
        return JsonResponse(problem, status=status, content_type="application/problem+json")
    if status >= 500:
        # Without the request: who is signed in lies in what may be down.
        return HttpResponse(render_to_string(f"{status}.html", {"detail": detail}), status=status)
    return render(request, f"{status}.html", {"detail": detail}, status=status)


class RefusedMethods(MiddlewareMixin):
    """A page for the empty 405 of a view that only a button leads to."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if response.status_code != 405 or request.path.startswith(MACHINES):
            return response
        page = _answer(request, 405, "There is nothing to see at this address.")
        page["Allow"] = response.get("Allow", "")
        return page


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 400, "The request could not be read.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 403, str(exception) or "Your role does not allow this.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 404, "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    if isinstance(sys.exc_info()[1], OperationalError):
        return _answer(request, 503, "The app database does not answer.")
    return _answer(request, 500, "Something failed in Surveyor.")


def unavailable(request: HttpRequest, detail: str) -> HttpResponse:
    """503 for a view whose verb needs something that is down."""
    return render(request, "503.html", {"detail": detail}, status=503)
