"""A SQLite file as a source: opened for reading alone, by the library that Python has."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from extraction.connection import Credentials, Item, Options, Per, Target
from extraction.errors import (
    FileRefused,
    PermissionDenied,
    SourceLocked,
    SourceTimeout,
    SourceUnreachable,
    SourceUnsupported,
    StatementFailed,
    SurveyorError,
)
from extraction.sources import sqlite_rows as rows
from extraction.sources import sqlite_sql as sql
from extraction.sources.filed import LARGEST_READ, FileSession, Rows, bounded, items_of, safe
from extraction.sources.filed import start_tls as start_tls
from extraction.sources.session import in_order

# Steps of SQLite's virtual machine between two looks at the clock: a millisecond or so.
STEPS = 100_000


def open_session(
    target: Target,
    credentials: Credentials,
    options: Options,
    addresses: Sequence[str],
    label: str,
) -> SQLiteSession:
    """`addresses` is the one path that was checked. Raises FileRefused for what is no database."""
    path = Path(addresses[0])
    name = f"file:{quote(str(path))}"
    url = URL.create("sqlite+pysqlite", database=name, query={"mode": "ro", "uri": "true"})
    engine = create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={
            "timeout": options.lock_timeout,
            "isolation_level": None,
            "check_same_thread": False,
        },
    )
    with _translated():
        connection = engine.connect()
    try:
        return SQLiteSession(connection, target, path, options)
    except BaseException:
        connection.close()
        engine.dispose()
        raise


def role_script(target: Target) -> str:
    """A file has no roles."""
    return (
        "-- No role and no password: the workers open the file for reading alone.\n"
        "-- Let the user they run as read it, and in WAL mode also write to its directory.\n"
    )


class SQLiteSession(FileSession):
    dialect = view_dialect = "sqlite"
    product = "SQLite"
    oldest = "3.37"

    def __init__(
        self, connection: Connection, target: Target, path: Path, options: Options
    ) -> None:
        super().__init__(connection, target, path, options)
        self._until = float("inf")
        self._spelled: dict[str, str] = {}
        self.server_version = sqlite3.sqlite_version
        self._driver.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        self._driver.set_progress_handler(self._overdue, STEPS)
        for pragma in sql.PIN:
            self.fetch(f"pragma {pragma}")
        self._check_version()
        ((application,),) = self.fetch("pragma application_id")
        self.identity += f"/{application:x}"

    def _check_version(self) -> None:
        if sqlite3.sqlite_version_info < (3, 37):
            raise SourceUnsupported(
                f"The workers' SQLite library is {self.server_version}; files are read from"
                f" {self.oldest} on.",
                "Run the workers with a newer Python or SQLite library.",
            )

    def inventory(self, per: Per) -> list[Item]:
        statement = sql.INVENTORY.get(per)
        return items_of(self.fetch(statement)) if statement else []

    def present(self, per: Per, items: Sequence[Item]) -> list[Item]:
        if per == "schemas":
            return list(items)
        planned = {item.name for item in items}
        found = [i for i in items_of(self.fetch(sql.BY_ID, _ids(items))) if i.name in planned]
        missing = sorted(planned - {item.name for item in found})
        if missing:
            # Vanished, or made anew; a name that is no text cannot have moved unseen.
            found = in_order([*found, *items_of(self.fetch(sql.BY_NAME, json.dumps(missing)))])
        return found

    def receive(self, kind: str, items: Sequence[Item]) -> Rows:
        statement = sql.READ.get(kind)
        if statement is None:
            return []
        if kind == "statistics" and self.fetch(sql.HAS_ANALYZED):
            statement = sql.ANALYZED
        # Columns are counted by the plan already; what else there is may hold long texts.
        most = LARGEST_READ if len(items) > 1 and kind != "columns" else None
        wanted = "[0]" if kind == "schemas" else _ids(items)
        values = [wanted] * statement.count("?")
        return self.fetch(statement, *values, most=most, ahead=True)

    def build(self, kind: str, items: Sequence[Item], received: Any) -> pa.Table:
        if kind == "constraints":
            return rows.constraints(received, self._names)
        make = getattr(rows, kind, None)
        return make(received) if make else rows.nothing(kind)

    def _names(self) -> dict[str, str]:
        """Of all tables by their lower case; within one transaction they stay."""
        if not self._spelled:
            self._spelled = {n.lower(): n for (n,) in self.fetch(sql.TABLE_NAMES)}
        return self._spelled

    def begin(self) -> None:
        super().begin()
        self.fetch("begin")

    def end(self) -> None:
        self._spelled = {}
        if self._driver.in_transaction:
            with self._turns.turn(ahead=False), suppress(sqlite3.Error):
                self._driver.rollback()

    def fetch(
        self, statement: str, *values: str, most: int | None = None, ahead: bool = False
    ) -> Rows:
        """One statement of ours, under the session's limits. Raises Oversized where its texts
        are longer than `most` characters."""
        with self._running(ahead):
            self._statements += 1
            self._until = time.monotonic() + self._timeout
            try:
                found = self._all(statement, values, most)
            except (sqlite3.OperationalError, UnicodeDecodeError) as error:
                # SQLite itself keeps whatever bytes it was given as text.
                if "UTF-8" not in str(error) or self._driver.text_factory is _escaped:
                    raise
                self._driver.text_factory = _escaped
                found = self._all(statement, values, most)
        self._rows += len(found)
        return found

    def _all(self, statement: str, values: Sequence[str], most: int | None) -> Rows:
        return bounded(self._driver.execute(statement, values), most)

    def _overdue(self) -> bool:
        """Asked by SQLite while a statement runs: true ends it."""
        return self._stopping.is_set() or time.monotonic() > self._until

    def _translated(self) -> AbstractContextManager[None]:
        return _translated()


def _escaped(data: bytes) -> str:
    """Text as it is; bytes that are no UTF-8 as `\\xff`."""
    return data.decode("utf-8", "backslashreplace")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise _of(error.orig) from None
    except sqlite3.Error as error:
        raise _of(error) from None


def _of(error: BaseException | None) -> SurveyorError:
    name = str(getattr(error, "sqlite_errorname", "") or "")
    if name.startswith("SQLITE_NOTADB"):
        return FileRefused("The file is not a SQLite database, or it is encrypted.")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return SourceLocked("Somebody else holds the file for longer than the lock limit.")
    if name.startswith("SQLITE_INTERRUPT"):
        return SourceTimeout("A statement took longer than the statement timeout allows.")
    if name.startswith(("SQLITE_PERM", "SQLITE_AUTH")):
        return PermissionDenied("The workers may not read the file.")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
        return FileRefused(
            "The file cannot be opened for reading.",
            "Let the workers read it. In WAL mode, or after a crash of its writer, they also have"
            " to write to its directory.",
        )
    if name.startswith(("SQLITE_IOERR", "SQLITE_NOMEM")):
        return SourceUnreachable("The file cannot be read at the moment.")
    if name.startswith("SQLITE_CORRUPT"):
        return StatementFailed("The file is damaged.", "Repair it with sqlite3's .recover.")
    return StatementFailed(f"SQLite answered: {safe(error)}")


def _ids(items: Sequence[Item]) -> str:
    return json.dumps([item.id for item in items])
