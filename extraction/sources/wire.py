"""What the kernel knows of a connection: bytes received, and whether the other side is gone."""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# struct tcp_info of Linux: tcpi_bytes_received, there since 4.1.
_RECEIVED = struct.Struct("@Q")
_RECEIVED_AT = 128
# How long the other side may take to let go.
GONE_WITHIN = 1.0


def received(fd: int) -> int | None:
    """Bytes the network brought on a TCP connection, TLS included; None where it cannot be told."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        connection = socket.socket(fileno=fd)
        try:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        finally:
            connection.detach()
    except OSError:
        return None
    if len(info) < _RECEIVED_AT + _RECEIVED.size:
        return None
    count: int = _RECEIVED.unpack_from(info, _RECEIVED_AT)[0]
    return count


@contextmanager
def until_gone(fd: int) -> Iterator[None]:
    """Inside, the connection is closed; afterwards the server has let go of it too, or a
    second has passed. A server closes its end once the session is off its list."""
    try:
        held = os.dup(fd)
    except OSError:
        yield
        return
    try:
        yield
        _drain(held)
    finally:
        os.close(held)


def _drain(fd: int) -> None:
    """Until the end of the stream; what still comes is nobody's any more."""
    end = time.monotonic() + GONE_WITHIN
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    with suppress(OSError):  # reset: gone as well
        while (left := end - time.monotonic()) > 0:
            if poll.poll(left * 1000) and not os.read(fd, 65536):
                return
