"""PostgreSQL 12 to 18 as a source: one login, one pinned read-only session."""

from __future__ import annotations

import hashlib
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from operator import attrgetter
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from extraction.connection import Credentials, Item, Note, Options, Per, Target
from extraction.errors import PermissionDenied, SourceUnreachable, SurveyorError
from extraction.sources import postgresql_sql as sql
from extraction.sources.postgresql_copy import copied
from extraction.sources.postgresql_errors import of_statement
from extraction.sources.postgresql_grants import GRANTS, lacks, uses
from extraction.sources.postgresql_login import WatchedConnection, connect
from extraction.sources.postgresql_reader import Reader, Received
from extraction.sources.session import CANCEL_FOR, BaseSession, in_order

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
# What is sent on a new connection before we can count.
LOGIN_STATEMENTS = 7
# A batch that answers with more is halved, so that memory stays bounded.
LARGEST_READ = 32 * 2**20
# One object that is larger than this is named instead.
LARGEST_OBJECT = 64 * 2**20


def open_session(
    target: Target,
    credentials: Credentials,
    options: Options,
    addresses: Sequence[str],
    label: str,
) -> PostgreSQLSession:
    """Log in at the first address that answers; a refused login is not tried elsewhere."""
    failure: SurveyorError = SourceUnreachable()
    for address in addresses:
        try:
            connection = connect(target, credentials, options, address, label)
        except SourceUnreachable as error:
            failure = error
            continue
        return _prepared(connection, options)
    raise failure


def role_script(target: Target) -> str:
    """SQL that makes the least-privileged role this source needs."""
    role, database = _quoted(target.username or "surveyor"), _quoted(target.database)
    return (
        f"CREATE ROLE {role} LOGIN PASSWORD '…' NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;\n"
        f"GRANT CONNECT ON DATABASE {database} TO {role};\n"
        f"ALTER ROLE {role} SET default_transaction_read_only = on;\n"
        "-- Nothing more: the catalogue is readable by every role, and no data is read.\n"
    )


def start_tls(connection: socket.socket) -> bool:
    connection.sendall(SSL_REQUEST)
    return connection.recv(1) == b"S"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _prepared(connection: Connection, options: Options) -> PostgreSQLSession:
    try:
        return PostgreSQLSession(connection, options)
    except BaseException:
        connection.invalidate()
        connection.close()
        raise


class _Escaping(Loader):
    """Text as it is; bytes that are no UTF-8 as `\\xff`."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "backslashreplace")


class PostgreSQLSession(BaseSession):
    dialect = "postgresql"
    product = "PostgreSQL"
    oldest = "12"

    def __init__(self, connection: Connection, options: Options) -> None:
        super().__init__(options, LOGIN_STATEMENTS)
        self._connection = connection
        driver = connection.connection.driver_connection
        assert isinstance(driver, WatchedConnection)
        self._driver = driver
        self._transaction = 0
        self._reader = Reader(self._copy, self._fetch)
        self._escaping = self._lists = False
        self._pin(options)
        connection.rollback()  # in autocommit only a note to SQLAlchemy
        connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def _pin(self, options: Options) -> None:
        self._fetch(
            sql.PIN,
            statement_timeout=str(round(options.statement_timeout * 1000)),
            lock_timeout=str(round(options.lock_timeout * 1000)),
        )
        pid, version, number, encoding, database, oid = self._fetch(sql.WHO)[0]
        self.backend_id: int = pid
        self.server_version: str = version.split()[0]
        self.version_number: int = number
        self.database: str = database
        self.identity: str = f"{self._system()}/{oid}/{database}"
        if number >= 140_000:
            # Not every platform has it; without it the statement timeout is the bound.
            with suppress(SurveyorError):
                self._fetch(sql.WATCH_CLIENT)
        if encoding == "SQL_ASCII":
            self._fetch("select set_config('client_encoding', 'SQL_ASCII', false)")
            self._escape_text()

    def _system(self) -> str:
        try:
            return str(self._fetch(sql.SYSTEM)[0][0])
        except PermissionDenied:
            return "unknown"

    def inventory(self, per: Per) -> list[Item]:
        if not self._lists:
            self._lists = bool(self._fetch(sql.WHOLE_SCANS))
        return _items(self._fetch(sql.INVENTORY[per]))

    def present(self, per: Per, items: Sequence[Item]) -> list[Item]:
        if self._unchanged(per, items):
            return list(items)
        planned = {(item.schema, item.name) for item in items}
        found = _items(self._fetch(sql.BY_ID[per], ids=_ids(items)))
        kept = [item for item in found if (item.schema, item.name) in planned]
        ids = {item.id for item in kept}
        names = sorted({(item.schema, item.name) for item in items if item.id not in ids})
        if names:
            again = self._fetch(
                sql.BY_NAME[per], schemas=[n[0] for n in names], names=[n[1] for n in names]
            )
            kept = in_order([*kept, *(item for item in _items(again) if item.id not in ids)])
        return kept

    def _unchanged(self, per: Per, items: Sequence[Item]) -> bool:
        """Told by a digest, so that what is as planned costs the wire nothing."""
        if self._escaping:
            return False
        ((found,),) = self._fetch(sql.with_ids(sql.DIGEST[per], _ids(items)))
        lines = (f"{item.id} {item.schema} {item.name}" for item in sorted(items, key=_id))
        return bool(found == hashlib.sha256("\n".join(lines).encode()).hexdigest())

    def receive(self, kind: str, items: Sequence[Item]) -> Received:
        return self._copy(kind, items)

    def build(self, kind: str, items: Sequence[Item], received: Received) -> pa.Table:
        return self._reader.build(kind, items, received)

    def end(self) -> None:
        self._transaction += 1
        driver = self._driver
        if not driver.closed and driver.info.transaction_status != TransactionStatus.IDLE:
            self._statements += 1
            with self._translated():
                driver.rollback()

    def notes(self, schemas: Sequence[str]) -> list[Note]:
        return lacks(self._fetch, schemas)

    def remedy(self, of: str) -> list[str]:
        tables, functions = uses(of, self.version_number)
        try:
            found = self._fetch(GRANTS, tables=tables, functions=functions)
        except SurveyorError:
            self.begin()
            return []
        return [grant for (grant,) in found]

    def fetch(self, statement: str) -> list[tuple[Any, ...]]:
        """One statement of ours, without parameters, under the session's limits."""
        return self._fetch(statement)

    def _fetch(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        driver = self._driver
        with self._running():
            if driver.info.transaction_status == TransactionStatus.INERROR:
                # What is received meanwhile has failed; this question has nothing to do with it.
                driver.rollback()
            idle = driver.info.transaction_status == TransactionStatus.IDLE
            self._statements += 1 + (idle and not driver.autocommit)
            try:
                # Not through SQLAlchemy: an inventory has a hundred thousand rows.
                rows = driver.execute(statement.encode(), values or None).fetchall()
            except UnicodeDecodeError:
                rows = None
        if rows is None:
            self._escape_text()
            return self._fetch(statement, **values)
        self._rows += len(rows)
        return rows

    def _copy(self, kind: str, items: Sequence[Item]) -> Received:
        statement = sql.with_ids(sql.read(kind, self.version_number), _ids(items))
        begins = self._driver.info.transaction_status == TransactionStatus.IDLE
        with self._running(ahead=True):
            self._statements += 1 + begins
            most = LARGEST_READ if len(items) > 1 else LARGEST_OBJECT
            data, rows = copied(self._driver, statement, most)
        self._rows += rows
        return Received(data, self._transaction)

    def _escape_text(self) -> None:
        if self._escaping:
            raise SourceUnreachable("The database sends text that cannot be read.")
        self._escaping = True
        for name in ("text", "name"):
            self._driver.adapters.register_loader(name, _Escaping)

    def _interrupt(self) -> None:
        self._driver.cancel_safe(timeout=2.0)

    def _give_up(self) -> None:
        self._driver.give_up()

    def _lost(self) -> bool:
        # SQLAlchemy would log in again, without a label and without limits.
        return self._driver.closed

    def _translated(self) -> AbstractContextManager[None]:
        return _translated()

    def end_siblings(self) -> list[int]:
        """End older sessions with our label, and wait until they are gone."""
        ended = [pid for pid, _ in self._fetch(sql.END_SIBLINGS)]
        last = time.monotonic() + CANCEL_FOR / 2
        while ended and time.monotonic() < last:
            self.end()
            if not self._fetch(sql.STILL_THERE, ids=ended)[0][0]:
                break
            time.sleep(0.05)
        self.end()
        return ended

    def _fileno(self) -> int | None:
        with suppress(psycopg.Error):
            return None if self._driver.closed else self._driver.fileno()
        return None

    def close(self) -> None:
        with self._letting_go():
            engine = self._connection.engine
            with suppress(DBAPIError, psycopg.Error):
                self._connection.close()
            with suppress(psycopg.Error):
                self._driver.close()
            engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise of_statement(error.orig) from None
        raise SourceUnreachable() from None
    except psycopg.Error as error:
        raise of_statement(error) from None


_id = attrgetter("id")


def _ids(items: Sequence[Item]) -> list[int]:
    return list(map(_id, items))


def _items(rows: Sequence[tuple[Any, ...]]) -> list[Item]:
    return in_order([Item._make(row) for row in rows])
