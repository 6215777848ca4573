"""The API as one object: routes, who may call it, and errors as problem details."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, path
from ninja import NinjaAPI
from ninja.openapi.docs import DocsBase

from dashboard.api import connections, fleet, problems, runs, snapshots
from dashboard.api.auth import by

View = Callable[..., HttpResponseBase]


class _NoDocs(DocsBase):
    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        raise Http404


class Api(NinjaAPI):
    """Answers for everything below its root itself: sign-in is a page, and this has none."""

    def _get_urls(self) -> list[URLResolver | URLPattern]:
        urls: list[URLResolver | URLPattern] = super()._get_urls()
        for url in urls:
            if isinstance(url, URLPattern):
                bare = url.name == "api-root"
                url.callback = _plain(_signed_in(url.callback) if bare else url.callback)
        return [*urls, path("<path:rest>", _plain(_signed_in(_nothing_here)), name="nothing")]


def _plain(view: View) -> View:
    """No redirect to sign-in, no page for a wrong method, nothing kept by a cache."""

    @wraps(view, updated=())
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        if isinstance(response, HttpResponseNotAllowed):
            allowed = response.headers["Allow"]
            response = problems.problem(405, f"Allowed here: {allowed}.")
            response["Allow"] = allowed
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    answered.csrf_exempt = True  # type: ignore[attr-defined]
    return login_not_required(answered)


def _signed_in(view: View) -> View:
    """For what is no operation of the API: the same people, the same refusals."""

    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            if not any(auth(request) for auth in by("viewer")):
                return problems.unauthorized()
            return view(request, *args, **kwargs)
        except Exception as error:
            return api.on_exception(request, error)

    return guarded


def _nothing_here(request: HttpRequest, rest: str) -> HttpResponseBase:
    raise Http404


api = Api(
    title="Surveyor",
    version="1",
    description="Metadata extractions: connections, runs, snapshots and workers.",
    openapi_url="/openapi.json",
    docs=_NoDocs(),
    docs_url=None,
    docs_decorator=_signed_in,
    auth=by("viewer"),
    urls_namespace="api",
)
problems.answer_errors(api)
for router in (connections.router, runs.router, snapshots.router, fleet.router):
    api.add_router("", router)
