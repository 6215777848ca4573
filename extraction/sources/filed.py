"""What sources that are files share."""

from __future__ import annotations

import socket


def no_tls(connection: socket.socket) -> bool:
    """There is no network on the way."""
    return False
