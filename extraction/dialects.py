"""The kinds of databases that are read, and what a connection of each has."""

from __future__ import annotations

from dataclasses import dataclass

SERVER_FIELDS = ("host", "port", "database", "username", "password", "tls")
_ENCRYPTED = ("host", "port", "database", "username", "password")


@dataclass(frozen=True)
class Dialect:
    """`fields` are what a connection of it has, `optional` those that may stay empty; `database`
    says what that is where it is no name. `extra` is what has to be installed for its driver;
    `tested` says against what it is known to work."""

    label: str
    default_port: int
    module: str
    fields: tuple[str, ...] = SERVER_FIELDS
    optional: tuple[str, ...] = ()
    database: str = ""
    file: bool = False
    extra: str = ""
    tested: str = "not tested here"

    def has(self, field: str) -> bool:
        return field in self.fields

    @property
    def secret(self) -> bool:
        """Whether it takes a password."""
        return self.has("password")

    def needs(self, field: str) -> bool:
        return field in self.fields and field not in self.optional


def _file(label: str, module: str, tested: str, extra: str = "") -> Dialect:
    path = "its path below the workers' directory of file sources"
    return Dialect(
        label, 0, module, ("database",), database=path, file=True, extra=extra, tested=tested
    )


def _inspected(
    label: str,
    port: int,
    extra: str,
    fields: tuple[str, ...] = _ENCRYPTED,
    database: str = "",
    optional: tuple[str, ...] = (),
) -> Dialect:
    module = "extraction.sources.inspector"
    return Dialect(label, port, module, fields, optional, database=database, extra=extra)


DIALECTS = {
    "postgresql": Dialect(
        *("PostgreSQL", 5432, "extraction.sources.postgresql"), tested="tested with 15 and 18"
    ),
    "mysql": Dialect(
        *("MySQL", 3306, "extraction.sources.mysql"),
        optional=("database",),
        database="one schema, or empty for all",
    ),
    "mariadb": Dialect(
        *("MariaDB", 3306, "extraction.sources.mysql"),
        optional=("database",),
        database="one schema, or empty for all",
        tested="tested with 10.11",
    ),
    "sqlite": _file("SQLite", "extraction.sources.sqlite", "tested with 3.40"),
    "duckdb": _file("DuckDB", "extraction.sources.duckdb", "tested with 1.5", "duckdb"),
    "oracle": _inspected("Oracle", 1521, "oracle", database="the service name"),
    "mssql": _inspected("SQL Server", 1433, "mssql"),
    "snowflake": _inspected("Snowflake", 443, "snowflake"),
    "bigquery": _inspected("BigQuery", 0, "bigquery", ("database",), "the project"),
    "databricks": _inspected(
        *("Databricks", 443, "databricks", ("host", "port", "database", "password")),
        "the HTTP path of the warehouse",
    ),
    "trino": _inspected("Trino", 443, "trino", SERVER_FIELDS, "the catalog", ("password",)),
    "clickhouse": _inspected("ClickHouse", 8443, "clickhouse", SERVER_FIELDS),
}
