from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, URLResolver, path
from django.views.generic import RedirectView

from dashboard import health
from dashboard.api import api
from dashboard.views import accounts, catalogue, connections, runs, start, workers

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="runs"), name="home"),
    path("sign-in/", accounts.SignIn.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("runs/", runs.index, name="runs"),
    path("runs/start/", start.page, name="run-start"),
    path("runs/fragment/", runs.index_fragment, name="runs-fragment"),
    path("runs/<uuid:run_id>/", runs.show, name="run"),
    path("runs/<uuid:run_id>/fragment/", runs.show_fragment, name="run-fragment"),
    path("runs/<uuid:run_id>/cancel/", runs.cancel, name="run-cancel"),
    path("runs/<uuid:run_id>/limits/", runs.change_limits, name="run-limits"),
    path("runs/<uuid:run_id>/again/", runs.again, name="run-again"),
    path("connections/", connections.index, name="connections"),
    path("connections/new/", connections.new, name="connection-new"),
    path("connections/<uuid:connection_id>/", connections.show, name="connection"),
    path("connections/<uuid:connection_id>/edit/", connections.edit, name="connection-edit"),
    path("connections/<uuid:connection_id>/rotate/", connections.rotate, name="connection-rotate"),
    path("connections/<uuid:connection_id>/delete/", connections.delete, name="connection-delete"),
    path("connections/<uuid:connection_id>/check/", connections.check, name="connection-check"),
    path("connections/<uuid:connection_id>/start/", connections.start, name="connection-start"),
    path("catalogue/", catalogue.index, name="catalogue"),
    path("catalogue/<uuid:run_id>/", catalogue.show, name="snapshot"),
    path("workers/", workers.index, name="workers"),
    path("workers/fragment/", workers.index_fragment, name="workers-fragment"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("api/v1/", api.urls),
]
