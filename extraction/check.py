"""Try a connection step by step, and say for the step that failed what to do.

The network is tried first, without a credential; then one login, never two.
"""

from __future__ import annotations

import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from extraction.address import AddressPolicy, resolve
from extraction.certificates import trusting_roots
from extraction.connection import (
    DIALECTS,
    Credentials,
    Options,
    Session,
    Stopped,
    Target,
    source_of,
)
from extraction.errors import (
    PermissionDenied,
    SourceTimeout,
    SourceUnreachable,
    StatementFailed,
    SurveyorError,
    TLSFailed,
)
from extraction.files import resolve_file

LABEL = "surveyor check"
CONNECT_TIMEOUT = 3.0
STATEMENT_TIMEOUT = 10.0
LIMIT = 15.0
SLOW = "See what keeps the source busy or its catalogue locked, then check again."
UNTRUSTED = (
    "Check the host name, and that the workers trust who signed the certificate (SSL_CERT_FILE); "
    "or choose another TLS mode for the connection."
)


@dataclass(frozen=True)
class CheckStep:
    """`name` is one of resolve, connect, tls, login, version, catalogue; of a file, one of
    file, open, version, catalogue."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class CheckReport:
    """`latency_ms` is how long a small question took. Stops at the first failed step."""

    ok: bool
    server_version: str
    latency_ms: float
    steps: list[CheckStep]


def check(
    target: Target,
    credentials: Callable[[], Credentials],
    options: Options,
    policy: AddressPolicy,
) -> CheckReport:
    """Never raises what it can report. `credentials` is asked after the network steps."""
    return Ladder(target, options).climb(credentials, policy)


class Ladder:
    """One try of a connection. `stop` and `gave_up` may be called from another thread."""

    def __init__(self, target: Target, options: Options, limit: float = LIMIT) -> None:
        self.target, self.limit = target, limit
        self.options = replace(
            options,
            connect_timeout=min(options.connect_timeout, CONNECT_TIMEOUT),
            statement_timeout=min(options.statement_timeout, STATEMENT_TIMEOUT),
        )
        self.steps: list[CheckStep] = []
        self.version, self.latency_ms = "", 0.0
        self._dialect = DIALECTS[target.dialect]
        self._file = self._dialect.file
        self._current = "file" if self._file else "resolve"
        self._session: Session | None = None
        self._stopping = threading.Event()

    def climb(self, credentials: Callable[[], Credentials], policy: AddressPolicy) -> CheckReport:
        """Until the first step that fails, or until stopped."""
        try:
            self._source(credentials, (self._found if self._file else self._network)(policy))
        except Stopped:
            return self.gave_up()
        except SurveyorError as error:
            self._failed(error)
        return self._report(self.steps)

    def stop(self) -> None:
        """End what runs in the source."""
        self._stopping.set()
        session = self._session
        if session is not None:
            session.cancel()

    def gave_up(self) -> CheckReport:
        """What to say when the time is up: which step took it."""
        late = SourceTimeout(f"The source did not answer within {self.limit:g} s.", SLOW)
        done = [step for step in self.steps if step.ok and step.name != self._current]
        return self._report([*done, CheckStep(self._current, False, late.message, late.fix)])

    def _report(self, steps: list[CheckStep]) -> CheckReport:
        ok = all(step.ok for step in steps)
        return CheckReport(ok, self.version, self.latency_ms, steps)

    def _found(self, policy: AddressPolicy) -> list[str]:
        with self._step("file") as say:
            path = resolve_file(self.target.database, policy)
            say(f"{self.target.database} is a file of {path.stat().st_size:,} bytes.")
        return [str(path)]

    def _network(self, policy: AddressPolicy) -> list[str]:
        host, port = self.target.host, self.target.port
        if not self._dialect.has("host"):
            return []
        with self._step("resolve") as say:
            addresses = resolve(host, port, policy, self.options.connect_timeout)
            say(f"{host} is {', '.join(addresses)}.")
        with self._step("connect") as say:
            address, connection = self._dial(addresses)
            say(f"{address} answers at port {port}.")
        with connection:
            if self._dialect.has("tls"):
                with self._step("tls") as say:
                    say(_handshake(connection, self.target))
        return [address, *(other for other in addresses if other != address)]

    def _source(self, credentials: Callable[[], Credentials], addresses: list[str]) -> None:
        with self._step("open" if self._file else "login") as say:
            session = source_of(self.target).open_session(
                self.target, credentials(), self.options, addresses, LABEL
            )
            signed_in = f"Signed in as {self.target.username} to {session.database}."
            say("Opened for reading alone." if self._file else signed_in)
        with session:
            self._session = session
            if self._stopping.is_set():
                raise Stopped
            with self._step("version") as say:
                say(self._understood(session))
            with self._step("catalogue") as say:
                say(self._read(session))

    def _failed(self, error: SurveyorError) -> None:
        # What TLS refuses during the login belongs to its own step.
        if isinstance(error, TLSFailed) and self._current == "login":
            self.steps = [step for step in self.steps if step.name != "tls"]
            self._current = "tls"
        self.steps.append(CheckStep(self._current, False, error.message, error.fix))

    @contextmanager
    def _step(self, name: str) -> Iterator[Callable[[str], None]]:
        self._current = name
        details: list[str] = []
        yield details.append
        self.steps.append(CheckStep(name, True, details[0]))

    def _dial(self, addresses: list[str]) -> tuple[str, socket.socket]:
        failure: OSError = OSError()
        for address in addresses:
            try:
                return address, socket.create_connection(
                    (address, self.target.port), self.options.connect_timeout
                )
            except OSError as error:
                failure = error
        raise _unreachable(failure)

    def _understood(self, session: Session) -> str:
        self.version = session.server_version
        started = time.monotonic()
        session.begin()
        session.inventory("schemas")
        self.latency_ms = round((time.monotonic() - started) * 1000, 2)
        if _number(self.version) < _number(session.oldest):
            raise StatementFailed(
                f"{session.product} {self.version} is older than {session.oldest}, "
                "the oldest that is read.",
                "Upgrade the server.",
            )
        return f"{session.product} {self.version}."

    def _read(self, session: Session) -> str:
        schemas = session.inventory("schemas")
        relations = session.inventory("relations")
        session.receive("columns", relations[:1])
        session.end()
        if not schemas:
            raise PermissionDenied("The catalogue shows no schema at all.")
        return f"{len(relations):,} relations in {len(schemas):,} schemas can be read."


def _number(version: str) -> tuple[int, ...]:
    """What a version begins with: `10.11.6-MariaDB` is 10, 11, 6."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else (sys.maxsize,)


def _handshake(connection: socket.socket, target: Target) -> str:
    """Ask for TLS as the server's protocol does, and verify as the connection will."""
    if target.tls == "disable":
        return "Off: the password travels in the clear." if not _local(connection) else "Off."
    try:
        if not source_of(target).start_tls(connection):
            raise TLSFailed(
                "The server does not offer TLS.",
                "Turn TLS on in the server, or turn it off for this connection.",
            )
        with _context(target.tls).wrap_socket(connection, server_hostname=target.host) as secure:
            return f"{secure.version()}, {'verified' if target.tls == 'verify-full' else 'encrypted, not verified'}."
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message.rstrip(".")
        raise TLSFailed(f"The server's certificate was refused: {reason}.", UNTRUSTED) from None
    except ssl.SSLError:
        raise TLSFailed("The TLS handshake with the server failed.") from None
    except OSError as error:
        raise _unreachable(error) from None


def _context(mode: str) -> ssl.SSLContext:
    context = trusting_roots()
    if mode != "verify-full":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _local(connection: socket.socket) -> bool:
    return str(connection.getpeername()[0]) in ("127.0.0.1", "::1")


def _unreachable(error: OSError) -> SourceUnreachable:
    if isinstance(error, ConnectionRefusedError):
        return SourceUnreachable(
            "Nothing answers at this host and port: the connection was refused.",
            "Check host and port, and that the server listens on this address.",
        )
    if isinstance(error, TimeoutError):
        return SourceUnreachable(
            "The server did not answer in time.", "Check the firewall between worker and server."
        )
    return SourceUnreachable("The server cannot be reached over the network.")
