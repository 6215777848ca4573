"""One login to PostgreSQL at a checked address. Fields only, never a URL from outside."""

from __future__ import annotations

import os

import psycopg
from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from extraction.connection import Credentials, Options, Target
from extraction.errors import SourceUnreachable, SurveyorError
from extraction.sources.postgresql_errors import of_login

MAX_LABEL = 63


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
    try:
        return engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except DBAPIError as error:
        raise _of_login(error, credentials.username, target.database) from None
    except psycopg.Error as error:
        raise of_login(error, credentials.username, target.database) from None


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
        return {"sslmode": "verify-full", "sslrootcert": "system"}
    return {"sslmode": "require" if mode == "require" else "disable"}
