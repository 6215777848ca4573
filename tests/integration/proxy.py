"""A port in front of a server that counts what passes and can be cut in the ways networks are."""

from __future__ import annotations

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
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, how: Cut, after: int = 0) -> None:
        self._how, self._left = how, after

    def close(self) -> None:
        for one in (self._listener, *self._open):
            # Shut down first: a thread in recv keeps a closed one open.
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                server = socket.create_connection(self.target)
                self._open += [client, server]
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        swallows = False
        with suppress(OSError):
            while data := server.recv(65536):
                if swallows:
                    continue
                if self._how is not None and len(data) >= self._left:
                    self.received += self._left
                    client.sendall(data[: self._left])
                    how, self._how = self._how, None
                    if how == "black hole":
                        swallows = True
                        continue
                    if how == "rst":
                        linger = struct.pack("ii", 1, 0)
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    else:
                        client.shutdown(socket.SHUT_RDWR)
                    client.close()
                    return
                if self._how is not None:
                    self._left -= len(data)
                self.received += len(data)
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR)


@contextmanager
def line(host: str, port: int) -> Iterator[Line]:
    made = Line(host, port)
    try:
        yield made
    finally:
        made.close()
