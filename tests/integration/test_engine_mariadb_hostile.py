"""What answers as MySQL may be anything: no password, no file and no time is given away."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from bench.mariadb import MariaDBServer
from dashboard.local.servers import start
from extraction.check import check
from extraction.connection import Credentials, Options, Stopped, Target, open_session
from extraction.errors import SourceUnreachable, SurveyorError, TLSFailed
from extraction.sources import mysql_login, session
from tests.extraction.engine import LOCAL
from tests.integration.dialects import until
from tests.integration.test_engine_tls import Authority, trusting

__all__ = ["trusting"]
pytestmark = pytest.mark.integration

LABEL = "surveyor run 1 shard 2"
PASSWORD = "canary-password"
QUICK = Options(statement_timeout=0.5, connect_timeout=1)
CAPABILITIES = 0x0008_A200 | 0x1  # protocol 4.1, secure connection, plugin auth


def packet(number: int, body: bytes) -> bytes:
    return struct.pack("<I", len(body))[:3] + bytes([number & 0xFF]) + body


def greeting(plugin: bytes) -> bytes:
    return packet(
        0,
        b"\x0a8.0.36\0" + struct.pack("<I", 7) + b"12345678\0"
        + struct.pack("<HBHHB", CAPABILITIES & 0xFFFF, 45, 2, CAPABILITIES >> 16, 21)
        + bytes(10) + b"123456789012\0" + plugin + b"\0",
    )  # fmt: skip


OK = b"\0\0\0\x02\0\0\0"
COLUMN = b"\x03def\0\0\0\x01v\0\x0c" + struct.pack("<HIBHBH", 45, 40, 0xFD, 0, 0, 0)
HEAD = packet(1, b"\x01") + packet(2, COLUMN) + packet(3, b"\xfe\0\0\x02\0")


class Rogue:
    """Greets, answers the login with `login`, and each question with what `then` sends."""

    def __init__(
        self,
        plugin: bytes = b"mysql_native_password",
        login: bytes = OK,
        then: Callable[[socket.socket], None] = lambda client: None,
    ) -> None:
        self.plugin, self.login, self.then = plugin, login, then
        self.heard = b""
        self.listener = socket.create_server(("127.0.0.2", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.sendall(greeting(self.plugin))
            self.heard += client.recv(65536)
            client.sendall(packet(2, self.login))
            while data := client.recv(65536):
                self.heard += data
                self.then(client)


@contextmanager
def rogue(*args: Any, **more: Any) -> Iterator[Rogue]:
    made = Rogue(*args, **more)
    try:
        yield made
    finally:
        made.listener.close()


def fails(port: int, options: Options = QUICK) -> SurveyorError:
    target = Target("mysql", "127.0.0.2", port, "", "reader", "disable")
    with pytest.raises(SurveyorError) as caught:
        open_session(target, Credentials("reader", PASSWORD), options, LOCAL, LABEL)
    assert PASSWORD not in repr(caught.value.as_dict())
    return caught.value


@pytest.mark.parametrize("plugin", [b"mysql_clear_password", b"dialog", b"mysql_old_password"])
def test_the_password_is_not_sent_as_it_is(plugin: bytes) -> None:
    with rogue(login=b"\xfe" + plugin + b"\0" + b"Password: \0") as server:
        assert type(fails(server.port)) is TLSFailed
        assert PASSWORD.encode() not in server.heard
    with rogue(plugin=plugin) as server:
        assert type(fails(server.port)) is TLSFailed
        assert PASSWORD.encode() not in server.heard


@pytest.mark.parametrize(
    ("plugin", "login"), [(b"caching_sha2_password", b"\x01\x04"), (b"sha256_password", b"\x01key")]
)
def test_no_key_that_nobody_vouches_for_is_used(plugin: bytes, login: bytes) -> None:
    with rogue(plugin=plugin, login=login) as server:
        assert type(fails(server.port)) is TLSFailed


def test_no_file_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("canary-in-a-file")

    def ask(client: socket.socket) -> None:
        client.sendall(packet(1, b"\xfb" + str(file).encode()))

    with rogue(then=ask) as server:
        assert type(fails(server.port)) is SourceUnreachable
        assert b"canary-in-a-file" not in server.heard


def endless(client: socket.socket) -> None:
    client.sendall(HEAD)
    number = 4
    while True:
        client.sendall(packet(number, b"\xfd" + struct.pack("<I", 60_000)[:3] + bytes(60_000)))
        number += 1


def large(client: socket.socket) -> None:
    client.sendall(HEAD)
    number = 4
    while True:
        client.sendall(packet(number, bytes(2**24 - 1)))
        number += 1


def dripping(client: socket.socket) -> None:
    for byte in HEAD * 1000:
        client.sendall(bytes([byte]))
        time.sleep(0.05)


def nonsense(client: socket.socket) -> None:
    client.sendall(packet(1, b"\x05") + packet(2, b"nonsense") + bytes(range(256)) * 20)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("then", [endless, large, dripping, nonsense, lambda client: None])
def test_a_login_ends_in_time_whatever_is_sent(then: Callable[[socket.socket], None]) -> None:
    with rogue(then=then) as server:
        started = time.monotonic()
        assert type(fails(server.port)) is SourceUnreachable
        assert time.monotonic() - started < 5


@pytest.mark.timeout(30)
@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH_9\r\n", b"\xff\xff\xff\0", bytes(200)])
def test_what_is_no_such_server_is_told(said: bytes) -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    client.sendall(said)
                    kept.append(client)

        kept: list[socket.socket] = []
        threading.Thread(target=accept, daemon=True).start()
        assert type(fails(listener.getsockname()[1])) is SourceUnreachable
        port = listener.getsockname()[1]
        for tls in ("disable", "require"):
            target = Target("mysql", "127.0.0.2", port, "", "reader", tls)
            report = check(target, lambda: Credentials("reader", PASSWORD), QUICK, LOCAL)
            assert not report.ok and report.steps[-1].name in ("tls", "login")


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(40)
def test_a_frozen_server_is_given_up(mariadb_alone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql_login, "GRACE", 0.5)
    monkeypatch.setattr("extraction.sources.mysql.GRACE", 0.5)
    monkeypatch.setattr(session, "CANCEL_FOR", 0.5)
    server = mariadb_alone
    pid = int((server.directory / "pid").read_text())
    target = Target("mariadb", server.host, server.port, "", server.user, "disable")
    credentials = Credentials(server.user, server.password)
    with open_session(target, credentials, QUICK, LOCAL, LABEL) as one:
        with frozen(pid):
            started = time.monotonic()
            with pytest.raises(SourceUnreachable, match="stopped answering"):
                one.inventory("schemas")
            assert time.monotonic() - started < 5
        with pytest.raises(SourceUnreachable):
            one.inventory("schemas")
    ended: list[BaseException] = []
    with open_session(target, credentials, Options(), LOCAL, LABEL) as one:

        def work() -> None:
            try:
                one.fetch("select sleep(60)")
            except BaseException as error:
                ended.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        asked = f"select 1 from information_schema.processlist where id = {one.backend_id} and info like '%sleep%'"
        until(lambda: server.execute("", asked))
        with frozen(pid):
            one.cancel()
            thread.join(10)
            assert [type(error) for error in ended] == [Stopped]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls"), "authority")


@pytest.fixture(scope="module")
def secure(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Named `localhost` in its certificate, and nothing else."""
    authority.server(x509.DNSName("localhost"))
    file = authority.roots.with_suffix(".server")
    server = MariaDBServer(
        tmp_path_factory.mktemp("secure") / "m", f"--ssl-cert={file}", f"--ssl-key={file}"
    )
    child = start(server)
    server.execute("", "create database shop")
    yield server
    child.stop()


def over_tls(server: Any, host: str, mode: str) -> tuple[Target, Credentials]:
    target = Target("mariadb", host, server.port, "", server.user, mode)
    return target, Credentials(server.user, server.password)


@pytest.mark.parametrize("mode", ["verify-full", "require"])
def test_tls_is_used_and_verified(
    secure: Any, authority: Authority, trusting: Any, mode: str
) -> None:
    trusting(authority.roots)
    target, credentials = over_tls(secure, "localhost", mode)
    with open_session(target, credentials, Options(), LOCAL, LABEL) as one:
        assert one.fetch("show session status like 'Ssl_cipher'")[0][1]
    report = check(target, lambda: credentials, Options(), LOCAL)
    assert report.ok, report.steps
    said = next(step.detail for step in report.steps if step.name == "tls")
    assert said.endswith(", verified." if mode == "verify-full" else "encrypted, not verified.")


def test_a_certificate_for_another_name_or_of_another_authority_is_refused(
    secure: Any, authority: Authority, trusting: Any, tmp_path: Path
) -> None:
    for roots, host in (
        (authority.roots, "127.0.0.1"),
        (Authority.make(tmp_path, "other").roots, "localhost"),
    ):
        trusting(roots)
        target, credentials = over_tls(secure, host, "verify-full")
        with pytest.raises(TLSFailed, match="certificate"):
            open_session(target, credentials, Options(), LOCAL, LABEL)
        report = check(target, lambda c=credentials: c, Options(), LOCAL)
        assert (report.steps[-1].name, report.steps[-1].ok) == ("tls", False)
    trusting(tmp_path / "other.pem")
    target, credentials = over_tls(secure, "127.0.0.1", "require")
    open_session(target, credentials, Options(), LOCAL, LABEL).close()


def test_disabled_tls_is_not_tried(secure: Any) -> None:
    target, credentials = over_tls(secure, "127.0.0.1", "disable")
    with open_session(target, credentials, Options(), LOCAL, LABEL) as one:
        assert one.fetch("show session status like 'Ssl_cipher'") == [("Ssl_cipher", "")]
