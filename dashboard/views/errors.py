"""What a person, or a program, sees when something did not work."""

from __future__ import annotations

import sys

from django.contrib.auth.models import User
from django.db import OperationalError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin

from dashboard.access import role_of

MACHINES = ("/api/", "/healthz", "/readyz", "/static/")

TITLES = {
    400: "Bad request",
    403: "Not allowed",
    404: "Not found",
    405: "Not this way",
    500: "Internal error",
    503: "Unavailable",
}


def _answer(request: HttpRequest, status: int, detail: str, **more: object) -> HttpResponse:
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
    return render(request, f"{status}.html", {"detail": detail, **more}, status=status)


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
    detail = str(exception) or "Your role does not allow this."
    return _answer(request, 403, detail, admins=_whom_to_ask(request))


def _whom_to_ask(request: HttpRequest) -> list[str]:
    """The first names of those who give roles, for somebody signed in who has none."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated or role_of(user) != "none":
        return []
    admins = User.objects.filter(Q(groups__name="admin") | Q(is_superuser=True), is_active=True)
    return [name.get_username() for name in admins.distinct().order_by("username")[:3]]


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 404, "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    if isinstance(sys.exc_info()[1], OperationalError):
        return _answer(request, 503, "The app database does not answer.")
    return _answer(request, 500, "Something failed in Surveyor.")


def unavailable(request: HttpRequest, detail: str) -> HttpResponse:
    """503 for a view whose verb needs something that is down."""
    return render(request, "503.html", {"detail": detail}, status=503)
