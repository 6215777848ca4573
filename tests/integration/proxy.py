"""A port in front of a server that counts what passes and can be cut in the ways networks are."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Cut = Literal["rst", "close", "black hole"]


class Line:
    """Everything that comes from the server is counted. `cut(how, after)`: once that many
    bytes have come from now on, the connection ends so; new ones are served as before."""

    def __init__(self, host: str, port: int) -> None:
        self.target = host, port
        self.received = 0
        self.connections = 0
        self._how: Cut | None = None
        self._left = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, how: Cut, after: int = 0) -> None:
        self._how, self._left = how, after

    def close(self) -> None:
        self._closed.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(self.target)
                threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        """One thread for both directions: a socket that another one reads cannot be reset."""
        with client, server, suppress(OSError):
            while not self._closed.is_set():
                for ready in select.select([client, server], [], [], 0.1)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is client:
                        server.sendall(data)
                    elif not self._down(client, data):
                        return

    def _down(self, client: socket.socket, data: bytes) -> bool:
        """Whether the connection goes on."""
        if self._how is None or len(data) < self._left:
            self._left -= len(data)
            self.received += len(data)
            client.sendall(data)
            return True
        how, self._how = self._how, None
        client.sendall(data[: self._left])
        if how == "black hole":
            # Nothing comes and nothing goes, until somebody hangs up.
            while not self._closed.wait(0.02):
                if select.select([client], [], [], 0)[0] and not client.recv(65536):
                    break
        elif how == "rst":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


@contextmanager
def line(host: str, port: int) -> Iterator[Line]:
    made = Line(host, port)
    try:
        yield made
    finally:
        made.close()
