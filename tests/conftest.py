"""The servers of a test session, all real, started once and only when a test asks.

Nothing here touches the checkout's own data: DATA_DIR is a temporary directory
before Django loads, and what the shell has set for a real instance is dropped.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

DATA = Path(tempfile.mkdtemp(prefix="surveyor-tests-"))
OWNER = os.getpid()
for name in (
    *("REDIS_URL", "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "VAULT_ADDR", "VAULT_MOUNT"),
    *("VAULT_ROLE_ID", "VAULT_SECRET_ID_FILE", "DATABASE_URL", "STORAGE_URL", "SECRET_KEY"),
    *("PORT", "ALLOWED_ORIGINS", "DENIED_ENDPOINTS", "ALLOW_LOOPBACK_SOURCES", "WORKER_NAME"),
    "SOURCE_FILES",
    # With it every process of ours would flush each line, whether it means to or not.
    "PYTHONUNBUFFERED",
):
    os.environ.pop(name, None)
os.environ["DATA_DIR"] = str(DATA)
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forbid-skips", action="store_true", help="a skipped test is a failure")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--forbid-skips") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Whoever runs us in the background; our children would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Only now, with the environment as above; test modules import models at their top.
    import django

    django.setup()


@atexit.register
def _remove_data() -> None:
    if os.getpid() == OWNER:
        shutil.rmtree(DATA, ignore_errors=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """A file, as in production: SQLite in memory knows neither WAL nor a second connection."""
    from django.db import connections

    database = connections["default"].settings_dict
    if database["ENGINE"].endswith("sqlite3"):
        database["TEST"]["NAME"] = str(DATA / "test.sqlite3")


@pytest.fixture(scope="session")
def postgres() -> Iterator[object]:
    """A PostgreSQL: host, port, user, password, url(db), create_database(name), execute(db, sql)."""
    from dashboard.local.servers import PostgresServer, start

    server = PostgresServer(DATA / "postgres", durable=False)
    child = start(server)
    yield server
    child.stop()


@contextmanager
def _mariadb(name: str) -> Iterator[object]:
    from bench.mariadb import MariaDBServer
    from dashboard.local.servers import start

    server = MariaDBServer(DATA / name)
    child = start(server)
    yield server
    child.stop()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[object]:
    """A MariaDB: host, port, user, password, execute(db, *sql), load(file)."""
    with _mariadb("mariadb") as server:
        yield server


@pytest.fixture(scope="module")
def mariadb_alone(request: pytest.FixtureRequest) -> Iterator[object]:
    """One that nobody else makes schemas in."""
    with _mariadb(f"mariadb-{request.module.__name__}") as server:
        yield server


@pytest.fixture(scope="session")
def temporal_server() -> Iterator[object]:
    from dashboard.local.servers import TemporalServer, start

    server = TemporalServer(DATA / "temporal")
    child = start(server)
    yield server
    child.stop()


@pytest.fixture(scope="session")
def temporal(temporal_server) -> str:
    """The address of a Temporal server."""
    return temporal_server.address


@pytest.fixture(scope="session")
def redis_server() -> Iterator[object]:
    from dashboard.local.servers import ValkeyServer, start

    server = ValkeyServer(DATA / "valkey")
    child = start(server)
    yield server
    child.stop()


@pytest.fixture(scope="session")
def redis(redis_server) -> str:
    """The URL of a Redis, password included."""
    return redis_server.url


@dataclass(frozen=True)
class VaultFixture:
    """A Vault and what each role signs in with (`.role_id`, `.secret_id_file`)."""

    addr: str
    mount: str
    dashboard: object
    worker: object
    operator: object


@pytest.fixture(scope="session")
def vault() -> Iterator[VaultFixture]:
    from dashboard.local.openbao import OpenBaoServer
    from dashboard.local.servers import start

    server = OpenBaoServer(DATA / "openbao")
    child = start(server)
    roles = server.apply()
    yield VaultFixture(
        server.address, server.mount, roles["dashboard"], roles["worker"], server.operator
    )
    child.stop()


@dataclass(frozen=True)
class SettingsFixture:
    """Settings that point at the session's servers, as objects and as an environment.

    The environments are what a child process of either kind needs on top of os.environ.
    """

    worker: object
    web: object
    worker_environment: dict[str, str]
    web_environment: dict[str, str]


@pytest.fixture(scope="session")
def settings_env(temporal, redis, vault) -> SettingsFixture:
    from config.settings import WebSettings
    from workers.settings import WorkerSettings

    common = {
        "DATA_DIR": str(DATA),
        "REDIS_URL": redis,
        "TEMPORAL_ADDRESS": temporal,
        "VAULT_ADDR": vault.addr,
        "VAULT_MOUNT": vault.mount,
        "ALLOW_LOOPBACK_SOURCES": "true",
        "SECRET_KEY": "a-key-for-tests-only-a-key-for-tests-only-a-key-for-tests-only",
    }
    environments = {
        name: {
            **common,
            "VAULT_ROLE_ID": role.role_id,
            "VAULT_SECRET_ID_FILE": str(role.secret_id_file),
        }
        for name, role in (("worker", vault.worker), ("dashboard", vault.dashboard))
    }
    as_arguments = {
        name: {key.lower(): value for key, value in environment.items()}
        for name, environment in environments.items()
    }
    return SettingsFixture(
        WorkerSettings(**as_arguments["worker"]),
        WebSettings(**as_arguments["dashboard"]),
        environments["worker"],
        environments["dashboard"],
    )


@pytest.fixture
def instance(settings, settings_env) -> SettingsFixture:
    """Django itself pointed at the session's servers, for one test."""
    settings.ENV = settings_env.web
    address = settings_env.web.redis_url.get_secret_value()
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [{"address": address, "socket_timeout": None}]},
        }
    }
    return settings_env


@pytest.fixture(autouse=True)
def _quick_passwords(settings) -> None:
    """Hashing as slowly as in production would be most of a page test's time."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def _user(name: str, group: str | None):
    from django.contrib.auth.models import Group, User

    user = User.objects.create_user(name, password=f"{name}-passes-here")
    if group:
        user.groups.add(Group.objects.get_or_create(name=group)[0])
    return user


@pytest.fixture
def viewer(db):
    """The cast: viewer, operator and admin have their role, outsider has none.

    Each one's password is `<name>-passes-here`.
    """
    return _user("viewer", "viewer")


@pytest.fixture
def operator(db):
    return _user("operator", "operator")


@pytest.fixture
def admin(db):
    return _user("admin", "admin")


@pytest.fixture
def outsider(db):
    return _user("outsider", None)
