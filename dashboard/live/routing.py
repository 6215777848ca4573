"""Sockets: origin or bearer first, then the user, then the route."""

from __future__ import annotations

from channels.routing import URLRouter

websockets = URLRouter([])
