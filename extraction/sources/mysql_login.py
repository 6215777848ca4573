"""One login to MySQL or MariaDB at a checked address. Fields only, never a URL or a file."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pymysql
from pymysql.connections import Connection as Driver
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from extraction.certificates import trusting_roots
from extraction.connection import Credentials, Options, Target
from extraction.errors import SourceUnreachable, SurveyorError
from extraction.sources.mysql_errors import PROTOCOL, ClearTextRefused, of_login, unreadable
from extraction.sources.mysql_wire import Answer

MAX_LABEL = 63
SSL_REQUEST = struct.pack("<iIB23s", 0x0020_8A00 | 0x800, 2**24 - 1, 45, b"")
_SSL = 0x800
# What the server's own limit is given before the connection is given up.
GRACE = 3.0
# What a server may say while it lets somebody in.
LONGEST_GREETING = 2**20
# Plugins that send the password as it is, or hardly hidden.
CLEAR_TEXT = {b"mysql_clear_password", b"dialog", b"mysql_old_password"}
# Asks for a public key that nobody vouches for, to send the password by.
KEY_REQUEST = {b"\x01", b"\x02"}
BY_KEY = {b"sha256_password"}


class WatchedConnection(Driver):
    """Reads answers of bounded size in bounded time, and says no password aloud.

    `most` is how many bytes of rows one answer may have; beyond it they are thrown away
    and `oversized` is set.
    """

    most: int | None = LONGEST_GREETING
    answer: Answer

    def __init__(self, user: str, guarded: bool, **how: Any) -> None:
        super().__init__(defer_connect=True, **how)
        # An empty name would become that of this process's account.
        self.user = user
        self.overdue = False
        self._guarded, self._signing_in = guarded, True

    def sign_in(self, connection: socket.socket) -> None:
        self.connect(connection)
        self._signing_in = False

    def ask(self, statement: str, values: Any = None, most: int | None = None) -> Answer:
        """One statement. Raises what the driver raises."""
        self.most = most
        with self.cursor() as cursor:
            cursor.execute(statement, values)
            return self.answer

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """A server that says nothing, or a byte now and then, is given up in time."""
        timer = threading.Timer(seconds, self.give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def give_up(self) -> None:
        """End the exchange that runs, if any, without waiting for the server."""
        self.overdue = True
        connection = self._sock
        if connection is not None:
            with suppress(OSError):
                # Not that of the TLS socket, which takes away what a reader still uses.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def write_packet(self, payload: Any) -> None:
        if self._signing_in and self._unsafe() and bytes(payload) in KEY_REQUEST:
            raise ClearTextRefused
        super().write_packet(payload)

    def _unsafe(self) -> bool:
        return self._guarded and not self._secure

    def _get_auth_plugin_handler(self, plugin_name: Any) -> Any:
        name = plugin_name.encode() if isinstance(plugin_name, str) else plugin_name
        if (name in CLEAR_TEXT and not self._secure) or (name in BY_KEY and self._unsafe()):
            raise ClearTextRefused
        return super()._get_auth_plugin_handler(plugin_name)

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        self._result = None
        answer = Answer(self)
        answer.read()
        self._result = self.answer = answer
        if answer.server_status is not None:
            self.server_status = answer.server_status
        return answer.affected_rows


def connect(
    target: Target, credentials: Credentials, options: Options, address: str, label: str
) -> Connection:
    engine = create_engine(
        URL.create(
            "mysql+pymysql",
            credentials.username,
            credentials.password,
            target.host,
            target.port,
            target.database or None,
        ),
        poolclass=NullPool,
        pool_reset_on_return=None,
        hide_parameters=True,
        isolation_level="AUTOCOMMIT",
        # Six questions whose answers serve statements that SQLAlchemy makes; it makes none here.
        _initialize=False,
    )
    dialled: list[WatchedConnection] = []

    # Not `creator`, which would lose what the dialect asks for.
    @event.listens_for(engine, "do_connect")
    def dial(_dialect: object, _record: object, _args: object, _how: Any) -> WatchedConnection:
        driver = _driver(target, credentials, options, address, label)
        dialled.append(driver)
        driver.sign_in(_socket(address, target.port, options.connect_timeout))
        return driver

    def give_up() -> None:
        for driver in dialled:
            driver.give_up()

    timer = threading.Timer(options.connect_timeout, give_up)
    timer.daemon = True
    timer.start()
    try:
        return engine.connect()
    except (DBAPIError, pymysql.Error, OSError, *PROTOCOL) as error:
        for driver in dialled:
            driver._force_close()
        raise _failed(error, any(driver.overdue for driver in dialled)) from None
    finally:
        timer.cancel()


def _failed(error: Exception, overdue: bool) -> SurveyorError:
    if overdue:
        return SourceUnreachable("The server did not answer in time.")
    raised = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(raised, pymysql.Error | OSError):
        return of_login(raised)
    return unreadable()


def _socket(address: str, port: int, timeout: float) -> socket.socket:
    connection = socket.create_connection((address, port), timeout)
    for level, name, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
    ):
        connection.setsockopt(level, name, value)
    return connection


def _driver(
    target: Target, credentials: Credentials, options: Options, address: str, label: str
) -> WatchedConnection:
    limit = options.statement_timeout + GRACE
    return WatchedConnection(
        credentials.username,
        guarded=address not in ("127.0.0.1", "::1"),
        # The name, which the certificate has to have; the socket goes to the address.
        host=target.host,
        port=target.port,
        # The driver would take a text for latin1.
        password=credentials.password.encode(),
        database=target.database or None,
        program_name=label.encode()[:MAX_LABEL].decode(errors="ignore"),
        charset="utf8mb4",
        autocommit=True,
        local_infile=False,
        connect_timeout=options.connect_timeout,
        read_timeout=limit,
        write_timeout=limit,
        **_tls(target.tls),
    )


def _tls(mode: str) -> dict[str, Any]:
    if mode not in ("require", "verify-full"):
        return {"ssl_disabled": True}
    context = trusting_roots()
    if mode == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return {"ssl": context}


def patient(options: Options) -> Options:
    """For the second connection that ends a statement: short in everything."""
    return replace(
        options, statement_timeout=2.0, connect_timeout=min(2.0, options.connect_timeout)
    )


def start_tls(connection: socket.socket) -> bool:
    """The server speaks first, and says whether it can."""
    greeting = _greeting(connection)
    version = greeting.index(b"\0", 1)
    (low,) = struct.unpack_from("<H", greeting, version + 14)
    if not low & _SSL:
        return False
    connection.sendall(struct.pack("<i", len(SSL_REQUEST))[:3] + b"\x01" + SSL_REQUEST)
    return True


def _greeting(connection: socket.socket) -> bytes:
    header = _exactly(connection, 4)
    greeting = _exactly(connection, int.from_bytes(header[:3], "little"))
    if greeting[0] != 10 or len(greeting) < 34:
        if greeting[0] == 0xFF:
            raise SourceUnreachable("The server lets nobody in at the moment, or not from here.")
        raise unreadable()
    return greeting


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise SourceUnreachable("The server closed the connection during login.")
        data += part
    if not size:
        raise unreadable()
    return data
