"""Sockets: origin or bearer first, then the user, then the route."""

from __future__ import annotations

from typing import Any, cast

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from django.urls import path, re_path

from dashboard.live.admission import Admission
from dashboard.live.consumers import RunSocket, RunsSocket, nowhere

routes: list[Any] = [
    path("ws/runs/<uuid:run_id>/", RunSocket.as_asgi()),
    path("ws/runs/", RunsSocket.as_asgi()),
    re_path(r"", cast(Any, nowhere)),
]

websockets = AuthMiddlewareStack(Admission(URLRouter(routes)))
