"""MySQL 8 and MariaDB 10.5 and newer as a source: one login, one pinned read-only session.

Neither reads its catalogue in a transaction: every statement sees what is there when it runs.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pymysql
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from extraction.connection import (
    Credentials,
    Item,
    Load,
    Options,
    Oversized,
    Per,
    Stopped,
    Target,
    Unseen,
)
from extraction.errors import (
    SourceLocked,
    SourceTimeout,
    SourceUnreachable,
    StatementFailed,
    SurveyorError,
)
from extraction.sources import mysql_sql as sql
from extraction.sources.mysql_errors import LOCKED, PROTOCOL, of_statement, printable, unreadable
from extraction.sources.mysql_grants import Rights, account, parsed, pattern
from extraction.sources.mysql_login import GRACE, WatchedConnection, connect, patient
from extraction.sources.mysql_login import start_tls as start_tls
from extraction.sources.mysql_reader import Reader
from extraction.sources.mysql_rows import Rows
from extraction.sources.session import CANCEL_FOR, BaseSession

# A connection that names a schema reads that one, without a name it reads all of them.
DATABASE_OPTIONAL = True
# What is sent on a new connection before we can count.
LOGIN_STATEMENTS = 1
# What a view that names something missing, or whose definer is gone, makes the server warn
# of: its columns tell.
_OF_VIEWS = {1054, 1142, 1143, 1146, 1305, 1356, 1370, 1449}


def open_session(
    target: Target,
    credentials: Credentials,
    options: Options,
    addresses: Sequence[str],
    label: str,
) -> MySQLSession:
    """Log in at the first address that answers; a refused login is not tried elsewhere."""
    failure: SurveyorError = SourceUnreachable()
    for address in addresses:
        try:
            connection = connect(target, credentials, options, address, label)
        except SourceUnreachable as error:
            failure = error
            continue
        again = _Again(target, credentials, patient(options), address, label)
        try:
            return MySQLSession(connection, options, again)
        except BaseException:
            _closed(connection)
            raise
    raise failure


def role_script(target: Target) -> str:
    """SQL that makes the least-privileged user this source needs."""
    who = f"{_text(target.username or 'surveyor')}@'%'"
    where = f"{pattern(target.database)}.*" if target.database else "*.*"
    script = f"CREATE USER {who} IDENTIFIED BY '…';\n"
    script += f"GRANT SELECT, SHOW VIEW, TRIGGER ON {where} TO {who};\n"
    if target.dialect != "mariadb":
        script += f"GRANT SHOW_ROUTINE ON *.* TO {who};\n"
    elif target.database:
        script += f"GRANT SELECT ON mysql.proc TO {who};\n"
        script += f"-- From MariaDB 11.3 instead: GRANT SHOW CREATE ROUTINE ON {where} TO {who};\n"
    return script + (
        "-- No data is read. SELECT shows what columns there are, texts of views and routines and\n"
        "-- how sequences count; SHOW VIEW and TRIGGER the texts of those.\n"
    )


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


class _Again:
    """A second login, at most one, to end what the first one runs."""

    def __init__(
        self, target: Target, credentials: Credentials, options: Options, address: str, label: str
    ) -> None:
        self._how = (target, credentials, options, address, label)
        self._tried = False
        self._connection: Connection | None = None

    @property
    def logins(self) -> int:
        return int(self._tried)

    def kill_query(self, backend: int) -> None:
        if self._connection is None:
            if self._tried:
                return
            self._tried = True
            self._connection = connect(*self._how)
        driver = _driver_of(self._connection)
        with driver.within(self._how[2].statement_timeout):
            driver.ask(sql.KILL_QUERY % backend)

    def close(self) -> None:
        if self._connection is not None:
            _closed(self._connection)


class MySQLSession(BaseSession):
    # What the texts of views are written in, for whoever looks for what they read.
    view_dialect = "mysql"

    def __init__(self, connection: Connection, options: Options, again: _Again) -> None:
        super().__init__(options, LOGIN_STATEMENTS)
        self._connection, self._again = connection, again
        self._driver = _driver_of(connection)
        self.mariadb = "mariadb" in self._driver.get_server_info().lower()
        self.product = "MariaDB" if self.mariadb else "MySQL"
        self.oldest = "10.5" if self.mariadb else "8.0"
        self.dialect = again._how[0].dialect
        self._lock = "surveyor:" + hashlib.sha256(again._how[4].encode()).hexdigest()[:40]
        self._pin(options)

    def _pin(self, options: Options) -> None:
        limit = options.statement_timeout
        lock = max(1, round(options.lock_timeout))
        self._ask(
            sql.PIN[self.mariadb], [limit if self.mariadb else round(limit * 1000), lock, lock]
        )
        self._ask(sql.READ_ONLY)
        ((number, version, user, database, _, place, rest),) = self._ask(
            sql.WHO[self.mariadb], [self._lock]
        )
        self.backend_id = int(number or 0)
        self.server_version = (version or "").partition("-")[0]
        found = re.match(r"(\d+)\.(\d+)", self.server_version)
        self._number = (int(found[1]), int(found[2])) if found else (0, 0)
        self._user = user or ""
        # As the server spells it.
        self.database = database or ""
        self._reader = Reader(
            *(self._ask, sql.Statements(self.mariadb, self._number)),
            *(self._sees_texts, self.database),
        )
        self.identity = place or ""
        if rest:
            self.identity += "/" + hashlib.sha256(rest.encode()).hexdigest()[:16]
        self.identity += f"/{self.database}" if self.database else ""

    @property
    def load(self) -> Load:
        load = super().load
        return replace(load, sessions=load.sessions + self._again.logins)

    def inventory(self, per: Per) -> list[Item]:
        """Without the number of columns: counting them would open every table."""
        return self._reader.inventory(per)

    def present(self, per: Per, items: Sequence[Item]) -> list[Item]:
        return self._reader.present(per, items)

    def receive(self, kind: str, items: Sequence[Item]) -> Any:
        return self._reader.receive(kind, items)

    def build(self, kind: str, items: Sequence[Item], received: Any) -> pa.Table:
        return self._reader.build(kind, items, received)

    def moved(self, per: Per, items: Sequence[Item]) -> list[Item]:
        return self._reader.moved(items) if per == "relations" else []

    def end(self) -> None:
        """No transaction is held: only what was read together is forgotten."""
        self._reader.forget()

    def unseen(self, kinds: Sequence[str]) -> list[Unseen]:
        rights = self._rights()
        schemas = [item.schema for item in self.inventory("schemas")]
        views = self._reader.schemas_with_views()
        found = rights.unseen(kinds, schemas, views, None, self.database)
        if found and "PROCESS" in rights.grants.everywhere:
            hidden = self._reader.hidden(sql.COUNTED.format(table=sql.COUNTERS[self.mariadb]))
            return rights.unseen(kinds, schemas, views, hidden, self.database)
        return found

    def remedy(self, of: str) -> list[str]:
        rights = self._rights()
        schemas = [item.schema for item in self.inventory("schemas")]
        grants = [rights.grant(rights.lacking(of, schema, True), schema) for schema in schemas]
        return list(dict.fromkeys(itertools.chain.from_iterable(grants)))

    def _rights(self) -> Rights:
        statement = sql.GRANTS
        if not self.mariadb:
            ((roles,),) = self._ask(sql.ROLES)
            if roles and roles != "NONE":
                # As the server quotes them itself.
                statement = sql.GRANTS_USING + roles
        grants = parsed(line or "" for (line,) in self._ask(statement))
        return Rights(grants, account(self._user), self.mariadb, self._number)

    def _sees_texts(self, schema: str) -> bool:
        """Whether the user's grants show the text of every view of a schema."""
        return not self._rights().lacking("relations", schema, True)

    def fetch(self, statement: str) -> list[tuple[Any, ...]]:
        """One statement of ours, without parameters, under the session's limits."""
        return list(self._ask(statement))

    def _ask(
        self,
        statement: str,
        values: Sequence[object] = (),
        most: int | None = None,
        heed: bool = False,
    ) -> Rows:
        with self._running():
            self._statements += 1
            started = time.monotonic()
            with self._driver.within(self._timeout + GRACE):
                answer = self._driver.ask(statement, values or None, most)
        # An interrupted expression may have a value all the same.
        if self._stopping.is_set():
            raise Stopped
        if time.monotonic() - started >= self._timeout:
            raise SourceTimeout
        found: Rows = answer.rows or []
        self._rows += len(found)
        if answer.oversized:
            if most is None:
                raise StatementFailed("The database says more of one object than can be read.")
            raise Oversized
        if answer.warning_count and heed:
            self._heed()
        return found

    def _heed(self) -> None:
        """What cannot be opened is left out of an answer, with a warning only."""
        for level, code, message in self._ask(sql.WARNINGS):
            number = int(code or 0)
            if number in _OF_VIEWS or (level != "Error" and not self.mariadb):
                continue
            if number in LOCKED:
                raise SourceLocked
            raise StatementFailed(
                f"The database warned with number {number}: {printable(message or '')}"
            )

    def _interrupt(self) -> None:
        self._again.kill_query(self.backend_id)

    def _give_up(self) -> None:
        self._driver.give_up()

    def _lost(self) -> bool:
        return not self._driver.open

    def _translated(self) -> AbstractContextManager[None]:
        return _translated(self._driver)

    def end_siblings(self) -> list[int]:
        """End older sessions with our label: whoever has its lock. Wait until they are gone."""
        ended: list[int] = []
        last = time.monotonic() + CANCEL_FOR / 2
        while time.monotonic() < last:
            ((holder,),) = self._ask(sql.LOCK_HOLDER, [self._lock])
            if holder is None:
                if self._ask(sql.TAKE_LOCK, [self._lock]) == [("1",)]:
                    break
                continue
            number = int(holder)
            if number >= self.backend_id or not self._ask(sql.OWN_SESSION, [number]):
                break
            if number not in ended:
                ended.append(number)
                with suppress(StatementFailed):
                    self._ask(sql.KILL % number)
            time.sleep(0.05)
        return ended

    def _fileno(self) -> int | None:
        connection = self._driver._sock
        return connection.fileno() if self._driver.open and connection else None

    def close(self) -> None:
        self._again.close()
        with self._letting_go():
            _closed(self._connection)


def _driver_of(connection: Connection) -> WatchedConnection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, WatchedConnection)
    return driver


def _closed(connection: Connection) -> None:
    driver = connection.connection.driver_connection
    with suppress(DBAPIError, pymysql.Error):
        connection.close()
    if isinstance(driver, WatchedConnection):
        driver._force_close()
    connection.engine.dispose()


@contextmanager
def _translated(driver: WatchedConnection) -> Iterator[None]:
    try:
        yield
    except pymysql.Error as error:
        if driver.overdue:
            raise SourceUnreachable(
                "The database server stopped answering; the session was given up."
            ) from None
        raise of_statement(error) from None
    except PROTOCOL:
        # What follows would be taken for the answer to another question.
        driver._force_close()
        raise unreadable() from None
