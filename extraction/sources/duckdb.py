"""A DuckDB file as a source: opened for reading alone, one thread, nothing from outside."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.exc import DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from extraction.connection import Credentials, Item, Options, Per, Target
from extraction.errors import (
    DriverMissing,
    FileRefused,
    SourceLocked,
    SourceTimeout,
    StatementFailed,
    SurveyorError,
)
from extraction.sources import duckdb_rows as rows
from extraction.sources.filed import LARGEST_READ, FileSession, Rows, bounded, items_of, safe
from extraction.sources.filed import start_tls as start_tls

# A query of the catalogue is small; a worker reads many sources at once.
CONFIG = {
    "threads": "1",
    "memory_limit": "256MB",
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # Here, not by a statement: sessions of one process share what was opened first.
    "lock_configuration": "true",
}
_ERRORS: tuple[tuple[str, type[SurveyorError], str], ...] = (
    ("set lock", SourceLocked, "Another process has the file open for writing."),
    ("not a valid duckdb", FileRefused, "The file is not a DuckDB database."),
    ("serialization", FileRefused, "The file was written by a version that is not read here."),
    ("interrupt", SourceTimeout, "A statement took longer than the statement timeout allows."),
    ("io error", FileRefused, "The file cannot be opened for reading."),
)


def open_session(
    target: Target,
    credentials: Credentials,
    options: Options,
    addresses: Sequence[str],
    label: str,
) -> DuckDBSession:
    """`addresses` is the one path that was checked. Raises FileRefused for what is no database."""
    path = Path(addresses[0])
    with _translated():
        try:
            engine = create_engine(
                URL.create("duckdb", database=str(path)),
                poolclass=NullPool,
                hide_parameters=True,
                connect_args={"read_only": True, "config": CONFIG},
            )
        except (NoSuchModuleError, ImportError):
            raise DriverMissing(
                "DuckDB is not installed where the workers run.",
                "Install the extra there: pip install 'surveyor[duckdb]'.",
            ) from None
        connection = engine.connect()
    try:
        return DuckDBSession(connection, target, path, options)
    except BaseException:
        connection.close()
        engine.dispose()
        raise


def role_script(target: Target) -> str:
    """A file has no roles."""
    return (
        "-- No role and no password: the workers open the file for reading alone.\n"
        "-- Let the user they run as read it. While another process writes, nobody else reads.\n"
    )


class DuckDBSession(FileSession):
    dialect = view_dialect = "duckdb"
    product = "DuckDB"
    oldest = "1.2"

    def __init__(
        self, connection: Connection, target: Target, path: Path, options: Options
    ) -> None:
        super().__init__(connection, target, path, options)
        self._in_transaction = False
        self.server_version = str(self.fetch("select version()")[0][0]).removeprefix("v")

    def inventory(self, per: Per) -> list[Item]:
        return items_of(self.fetch(rows.INVENTORY[per]))

    def present(self, per: Per, items: Sequence[Item]) -> list[Item]:
        there = {(item.schema, item.name) for item in self.inventory(per)}
        return [item for item in items if (item.schema, item.name) in there]

    def receive(self, kind: str, items: Sequence[Item]) -> Rows:
        statement = rows.READ.get(kind)
        if statement is None:
            return []
        most = LARGEST_READ if len(items) > 1 and kind != "columns" else None
        names = [[item.schema for item in items], [item.name for item in items]]
        return self.fetch(statement, names if "$2" in statement else names[:1], most)

    def build(self, kind: str, items: Sequence[Item], received: Rows) -> pa.Table:
        return rows.build(kind, received)

    def begin(self) -> None:
        super().begin()
        self.fetch("begin transaction")
        self._in_transaction = True

    def end(self) -> None:
        if self._in_transaction and not self._closed:
            with self._turns.turn(ahead=False), _translated():
                self._in_transaction = False
                self._driver.execute("rollback")

    def fetch(self, statement: str, values: Sequence[Any] = (), most: int | None = None) -> Rows:
        """One statement of ours, under the session's limits. Raises Oversized where its texts
        are longer than `most` characters."""
        with self._running():
            self._statements += 1
            overdue = threading.Timer(self._timeout, self._driver.interrupt)
            overdue.daemon = True
            overdue.start()
            try:
                found = bounded(self._driver.execute(statement, list(values)), most)
            finally:
                overdue.cancel()
        self._rows += len(found)
        return found

    def _translated(self) -> AbstractContextManager[None]:
        return _translated()


@contextmanager
def _translated() -> Iterator[None]:
    """Not by class: the driver may not be installed, and most of its errors are one class."""
    try:
        yield
    except DBAPIError as error:
        raise _of(error.orig) from None
    except Exception as error:
        if type(error).__module__.lstrip("_").partition(".")[0] != "duckdb":
            raise
        raise _of(error) from None


def _of(error: object) -> SurveyorError:
    words = str(error).lower()
    for needle, kind, message in _ERRORS:
        if needle in words.partition("\n")[0]:
            return kind(message)
    return StatementFailed(f"DuckDB answered: {safe(error)}")
