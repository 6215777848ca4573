"""A server that lets in and then says nothing more: no thread waits for it for ever."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from extraction.check import check
from extraction.connection import Credentials, Options, Stopped, Target, open_session
from extraction.errors import SourceUnreachable
from extraction.sources import postgresql, postgresql_login
from tests.extraction.engine import LOCAL
from tests.integration.dialects import until
from tests.integration.test_engine_session import LABEL, active

pytestmark = pytest.mark.integration

QUICK = Options(statement_timeout=0.5, connect_timeout=1)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


WELCOME = (
    message(b"R", struct.pack("!i", 0))
    + message(b"S", b"server_version\x0016.0\0")
    + message(b"S", b"client_encoding\0UTF8\0")
    + message(b"K", struct.pack("!ii", 1, 2))
    + message(b"Z", b"I")
)
NOTICE = message(b"N", b"\0")


@contextmanager
def letting_in(then: bytes) -> Iterator[int]:
    """The port of a server that lets everybody in and answers nothing but `then`, for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()
    clients: list[socket.socket] = []

    def serve(client: socket.socket) -> None:
        # A check looks first whether anybody answers, and hangs up.
        with suppress(OSError, struct.error):
            size = struct.unpack("!i", client.recv(4, socket.MSG_WAITALL))[0]
            client.recv(size - 4, socket.MSG_WAITALL)
            client.sendall(WELCOME)
            while then and not ended.wait(0.05):
                client.sendall(then)

    def accept() -> None:
        with suppress(OSError):
            while True:
                clients.append(listener.accept()[0])
                threading.Thread(target=serve, args=(clients[-1],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        ended.set()
        for open_socket in (listener, *clients):
            open_socket.close()


class Working:
    """A statement in a thread of its own, and how it ended."""

    def __init__(self, session: Any, statement: str) -> None:
        self.end: BaseException | None = None
        self._session, self._statement = session, statement
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            self._session.fetch(self._statement)
        except BaseException as error:
            self.end = error


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def target(postgres: Any) -> Target:
    return Target("postgresql", postgres.host, postgres.port, "postgres", postgres.user, "disable")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("then", [b"", NOTICE], ids=["nothing", "notices"])
def test_a_login_ends_though_the_server_says_nothing(then: bytes) -> None:
    with letting_in(then) as port:
        silent = Target("postgresql", "127.0.0.1", port, "shop", "reader", "disable")
        with pytest.raises(SourceUnreachable, match="did not answer in time"):
            open_session(silent, Credentials("reader", "-"), QUICK, LOCAL, LABEL)
        report = check(silent, lambda: Credentials("reader", "-"), QUICK, LOCAL)
    assert [(step.name, step.ok) for step in report.steps][-1] == ("login", False)


@pytest.mark.timeout(20)
def test_a_statement_ends_soon_after_its_limit_though_the_server_is_frozen(
    postgres: Any, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_login, "GRACE", 0.5)
    credentials = Credentials(target.username, postgres.password)
    with open_session(target, credentials, QUICK, LOCAL, LABEL) as session:
        with frozen(session.backend_id):
            started = time.monotonic()
            with pytest.raises(SourceUnreachable, match="stopped answering"):
                session.inventory("schemas")
            assert time.monotonic() - started < 5
        session.end()
        with pytest.raises(SourceUnreachable):
            session.inventory("schemas")


@pytest.mark.timeout(30)
def test_a_cancel_ends_the_thread_though_the_server_is_frozen(
    postgres: Any, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "CANCEL_FOR", 0.5)
    credentials = Credentials(target.username, postgres.password)
    with open_session(target, credentials, Options(), LOCAL, LABEL) as session:
        work = Working(session, "select pg_sleep(60) as frozen_one")
        until(lambda: active(postgres, "frozen_one"))
        with frozen(session.backend_id):
            session.cancel()
            work.thread.join(5)
            assert not work.thread.is_alive()
    # Stopped, but nobody may take that for the server's word.
    assert isinstance(work.end, Stopped)
    assert isinstance(work.end.__context__, SourceUnreachable)
    until(lambda: not active(postgres, "frozen_one"))
