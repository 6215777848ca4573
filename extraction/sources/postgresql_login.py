"""One login to PostgreSQL at a checked address. Fields only, never a URL from outside."""

from __future__ import annotations

import math
import os
import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from extraction.certificates import roots
from extraction.connection import Credentials, Options, Target
from extraction.errors import SourceUnreachable, SurveyorError
from extraction.sources.postgresql_errors import Overdue, of_login

MAX_LABEL = 63
# What the server's own limit is given before the connection is given up.
GRACE = 3.0
# Until then a database's owner decides whose functions an unqualified name calls.
FORGET_PATH = "select pg_catalog.set_config('search_path', '', false)"

Result = TypeVar("Result")


class WatchedConnection(psycopg.Connection[Any]):
    """Ends itself when an answer is overdue: a server may let in and then say nothing more.

    `limit` is how many seconds one exchange may take, `until` when (in monotonic
    time) the last one has to be over; any thread may set it.
    """

    limit = math.inf
    until = math.inf

    def wait(
        self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None
    ) -> Result:
        return super().wait(self._watched(gen), interval, timeout)

    def _watched(self, gen: PQGen[Result]) -> PQGen[Result]:
        end = time.monotonic() + self.limit
        try:
            awaited = next(gen)
            while True:
                ready = yield awaited
                if time.monotonic() > min(end, self.until):
                    gen.close()
                    self.pgconn.finish()
                    raise Overdue
                awaited = gen.send(ready)
        except StopIteration as stop:
            answer: Result = stop.value
            return answer

    def give_up(self) -> None:
        """End the exchange that runs, if any, without waiting for the server."""
        self.until = -math.inf


def connect(
    target: Target, credentials: Credentials, options: Options, address: str, label: str
) -> Connection:
    url = URL.create(
        "postgresql+psycopg",
        credentials.username,
        credentials.password,
        target.host,
        target.port,
        target.database,
    )
    engine = create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        use_native_hstore=False,
        connect_args=_connect_args(target, options, address, label),
    )
    # Not `creator`, which would lose what the dialect asks for.
    event.listen(engine, "do_connect", _dialled)
    try:
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except DBAPIError as error:
        raise _of_login(error, credentials.username, target.database) from None
    except psycopg.Error as error:
        raise of_login(error, credentials.username, target.database) from None
    driver = connection.connection.driver_connection
    assert isinstance(driver, WatchedConnection)
    driver.limit, driver.until = options.statement_timeout + GRACE, math.inf
    return connection


def _dialled(_dialect: object, _record: object, _args: object, how: Any) -> WatchedConnection:
    """The statements that SQLAlchemy sends first get as long as the login itself."""
    driver = WatchedConnection.connect(autocommit=True, **how)
    try:
        driver.until = time.monotonic() + how["connect_timeout"]
        driver.execute(FORGET_PATH)
        driver.autocommit = False
    except BaseException:
        driver.close()
        raise
    return driver


def _of_login(error: DBAPIError, user: str, database: str) -> SurveyorError:
    if isinstance(error.orig, psycopg.Error):
        return of_login(error.orig, user, database)
    return SourceUnreachable()


def _connect_args(
    target: Target, options: Options, address: str, label: str
) -> dict[str, str | int | None]:
    name = label.encode()[:MAX_LABEL].decode(errors="ignore")
    return {
        "hostaddr": address,
        "application_name": name,
        "client_encoding": "utf8",
        "options": "",
        "connect_timeout": max(2, round(options.connect_timeout)),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        # Nothing of this machine's account may leak into the login.
        "passfile": f"{os.devnull}/none",
        "sslcertmode": "disable",
        "gssencmode": "disable",
        # A pooler in front of the source may move the session between statements.
        "prepare_threshold": None,
        **_tls(target.tls),
    }


def _tls(mode: str) -> dict[str, str | int | None]:
    if mode == "verify-full":
        return {"sslmode": "verify-full", "sslrootcert": roots()}
    return {"sslmode": "require" if mode == "require" else "disable"}
