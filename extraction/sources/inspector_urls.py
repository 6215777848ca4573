"""How SQLAlchemy reaches the databases that the Inspector reads: which fields of a connection
become which parts of a URL, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import URL

from extraction.connection import Credentials, Options, Target


@dataclass(frozen=True)
class Login:
    """What `create_engine` gets."""

    url: URL
    arguments: dict[str, Any] = field(default_factory=dict)


Make = Callable[[Target, Credentials, Options, str], Login]


@dataclass(frozen=True)
class Driver:
    """`system` are schemas that hold the source's own catalogue, in lower case; `views` is what
    sqlglot calls the language of views."""

    make: Make
    views: str
    system: frozenset[str] = frozenset({"information_schema"})


def _url(name: str, target: Target, credentials: Credentials, **query: str) -> URL:
    return URL.create(
        name,
        credentials.username or None,
        credentials.password or None,
        target.host or None,
        target.port or None,
        target.database or None,
        query,
    )


def _oracle(target: Target, credentials: Credentials, options: Options, label: str) -> Login:
    url = _url("oracle+oracledb", target, credentials, service_name=target.database)
    seconds = {"tcp_connect_timeout": options.connect_timeout}
    return Login(url.set(database=""), {**seconds, "program": label})


def _mssql(target: Target, credentials: Credentials, options: Options, label: str) -> Login:
    return Login(_url("mssql+mssqlpython", target, credentials, Encrypt="yes"))


def _snowflake(target: Target, credentials: Credentials, options: Options, label: str) -> Login:
    account = target.host.removesuffix(".snowflakecomputing.com")
    url = URL.create(
        "snowflake",
        credentials.username,
        credentials.password,
        account,
        database=target.database,
    )
    return Login(
        url,
        {
            "login_timeout": round(options.connect_timeout),
            "session_parameters": {
                "QUERY_TAG": label,
                "STATEMENT_TIMEOUT_IN_SECONDS": round(options.statement_timeout),
            },
        },
    )


def _bigquery(target: Target, credentials: Credentials, options: Options, label: str) -> Login:
    """The workers' own credentials of Google are used; the database is a project."""
    return Login(URL.create("bigquery", host=target.database))


def _databricks(target: Target, credentials: Credentials, options: Options, label: str) -> Login:
    """The password is a token; the database is the HTTP path of a warehouse."""
    url = URL.create(
        "databricks",
        "token",
        credentials.password,
        target.host,
        target.port,
        query={"http_path": target.database},
    )
    return Login(url, {"user_agent_entry": label})


def _trino(target: Target, credentials: Credentials, options: Options, label: str) -> Login:
    secure = target.tls != "disable"
    arguments: dict[str, Any] = {
        "http_scheme": "https" if secure else "http",
        "verify": target.tls == "verify-full",
        "source": label,
        "request_timeout": options.statement_timeout,
    }
    if not secure:
        # Trino takes no password without TLS, and none is sent.
        credentials = Credentials(credentials.username, "")
    return Login(_url("trino", target, credentials), arguments)


def _clickhouse(target: Target, credentials: Credentials, options: Options, label: str) -> Login:
    url = _url(
        "clickhousedb",
        target,
        credentials,
        secure=str(target.tls != "disable").lower(),
        verify=str(target.tls == "verify-full").lower(),
        connect_timeout=str(round(options.connect_timeout)),
        send_receive_timeout=str(round(options.statement_timeout)),
    )
    return Login(url)


DRIVERS = {
    "oracle": Driver(
        _oracle, "oracle", frozenset({"sys", "system", "xdb", "ctxsys", "mdsys", "outln", "wmsys"})
    ),
    "mssql": Driver(_mssql, "tsql", frozenset({"information_schema", "sys", "guest"})),
    "snowflake": Driver(_snowflake, "snowflake"),
    "bigquery": Driver(_bigquery, "bigquery"),
    "databricks": Driver(_databricks, "databricks"),
    "trino": Driver(_trino, "trino"),
    "clickhouse": Driver(_clickhouse, "clickhouse", frozenset({"information_schema", "system"})),
}
