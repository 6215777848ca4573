"""Protocol router: HTTP to Django, sockets to the live consumers."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
http = get_asgi_application()

from channels.routing import ProtocolTypeRouter  # noqa: E402

from dashboard.checks import refuse_unsafe  # noqa: E402
from dashboard.live.routing import websockets  # noqa: E402

refuse_unsafe()
application = ProtocolTypeRouter({"http": http, "websocket": websockets})
