"""Any other database that SQLAlchemy knows, by batches of its Inspector.

The Inspector reads tables, views, columns, keys and indexes. What it cannot give is said to be
denied, never left out in silence.
"""

from __future__ import annotations

import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, TypeVar

import pyarrow as pa
from sqlalchemy import Connection, create_engine, event, inspect
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import Dialect as SQLDialect
from sqlalchemy.engine.reflection import Inspector, ObjectKind, ObjectScope
from sqlalchemy.exc import NoSuchModuleError, NoSuchTableError, SAWarning, SQLAlchemyError
from sqlalchemy.pool import NullPool

from extraction.connection import (
    DIALECTS,
    Credentials,
    Item,
    Options,
    Per,
    SourceMoved,
    Stopped,
    Target,
    Unseen,
)
from extraction.errors import DriverMissing, PermissionDenied, StatementFailed
from extraction.sources import inspector_rows as rows
from extraction.sources.inspector_errors import of_login, of_statement
from extraction.sources.inspector_urls import DRIVERS, Driver
from extraction.sources.session import BaseSession, in_order
from extraction.tables import from_rows

# What SQLAlchemy leaves out it says by a warning, which belongs to this module. A type that it does
# not know is no loss: the column is there.
warnings.filterwarnings("error", category=SAWarning, module=__name__.replace(".", r"\.") + "$")
warnings.filterwarnings("ignore", "Did not recognize type", SAWarning)

Answer = TypeVar("Answer")
Row = tuple[Any, ...]

NEVER = ("routines", "sequences", "triggers", "statistics")
NOT_READ = "SQLAlchemy's Inspector does not read {what} of {product}."
NO_FIX = "Nothing in the source mends it: this kind of database is read by the Inspector alone."
# What a kind is put together from, and how each is called.
_PARTS = {
    "columns": {"columns": "columns"},
    "constraints": {
        "pk_constraint": "primary keys",
        "foreign_keys": "foreign keys",
        "unique_constraints": "unique constraints",
        "check_constraints": "check constraints",
    },
    "indexes": {"indexes": "indexes"},
}


def open_session(
    target: Target,
    credentials: Credentials,
    options: Options,
    addresses: Sequence[str],
    label: str,
) -> InspectorSession:
    """One login by the host's name: its addresses were checked, the driver resolves it again."""
    driver = DRIVERS[target.dialect]
    login = driver.make(target, credentials, options, label)
    try:
        engine = create_engine(
            login.url, poolclass=NullPool, hide_parameters=True, connect_args=login.arguments
        )
    except (NoSuchModuleError, ImportError):
        raise _missing(target) from None
    try:
        connection = engine.connect()
    except ImportError:
        raise _missing(target) from None
    except Exception as error:
        engine.dispose()
        raise of_login(error) from None
    return InspectorSession(connection, target, options, driver)


def _missing(target: Target) -> DriverMissing:
    dialect = DIALECTS[target.dialect]
    return DriverMissing(
        f"The driver of {dialect.label} is not installed where the workers run.",
        f"Install the extra there: pip install 'surveyor[{dialect.extra}]'.",
    )


def role_script(target: Target) -> str:
    """Nothing that was tried: how rights are given differs in each of them."""
    return (
        f"-- {DIALECTS[target.dialect].label}: not tested here. Give a role of its own the right\n"
        "-- to connect and to read the catalogue (information schema, or the like), and no data.\n"
    )


def start_tls(connection: socket.socket) -> bool:
    """These speak TLS from the first byte."""
    return True


class InspectorSession(BaseSession):
    oldest = "0"

    def __init__(
        self, connection: Connection, target: Target, options: Options, driver: Driver
    ) -> None:
        super().__init__(options)
        self._connection, self._driver = connection, driver
        self.dialect = target.dialect
        self.view_dialect = driver.views
        self.product = DIALECTS[target.dialect].label
        version = connection.dialect.server_version_info or ()
        self.server_version = ".".join(map(str, version))
        self.database = target.database
        self.identity = f"{target.host}:{target.port}/{target.database}"
        self._inspector: Inspector = inspect(connection)
        self._views: set[tuple[str, str]] = set()
        self._materialized: set[tuple[str, str]] = set()
        self._watch = _Watch(self._overdue)
        event.listen(connection, "before_cursor_execute", self._before)
        event.listen(connection, "after_cursor_execute", self._after)

    def inventory(self, per: Per) -> list[Item]:
        if per == "schemas":
            return in_order([Item(schema, "", 0) for schema in self._schemas()])
        if per != "relations":
            return []
        return in_order([item for schema in self._schemas() for item in self._relations(schema)])

    def _schemas(self) -> list[str]:
        names = self._ask(lambda: self._inspector.get_schema_names())
        return [name for name in names if name.lower() not in self._driver.system]

    def _relations(self, schema: str) -> list[Item]:
        found = self._inspector
        tables = self._ask(lambda: found.get_table_names(schema))
        views = self._ask(lambda: found.get_view_names(schema))
        kept: list[str] = []
        with suppress(NotImplementedError):
            kept = self._ask(lambda: found.get_materialized_view_names(schema))
        self._views |= {(schema, name) for name in views}
        self._materialized |= {(schema, name) for name in kept}
        return [Item(schema, name, 0) for name in dict.fromkeys([*tables, *views, *kept])]

    def present(self, per: Per, items: Sequence[Item]) -> list[Item]:
        schemas = sorted({item.schema for item in items})
        there = set(self._schemas()) & set(schemas)
        if per == "schemas":
            return [item for item in items if item.schema in there]
        names = {(i.schema, i.name) for schema in there for i in self._relations(schema)}
        return [item for item in items if (item.schema, item.name) in names]

    def unseen(self, kinds: Sequence[str]) -> list[Unseen]:
        lacking = {kind: [kind] for kind in NEVER}
        for kind, parts in _PARTS.items():
            lacking[kind] = [what for part, what in parts.items() if not self._gives(part)]
        return [
            Unseen(kind, "", NOT_READ.format(what=what, product=self.product), NO_FIX)
            for kind in kinds
            for what in lacking.get(kind, [])
        ]

    def _gives(self, part: str) -> bool:
        """Whether the dialect has code of its own for it."""
        own = type(self._connection.dialect)
        many, one = f"get_multi_{part}", f"get_{part}"
        base = getattr(SQLDialect, one, None)
        return getattr(own, many) is not getattr(DefaultDialect, many) or (
            getattr(own, one, None) is not base
        )

    def receive(self, kind: str, items: Sequence[Item]) -> list[Row]:
        by_schema: dict[str, list[str]] = {}
        for item in items:
            by_schema.setdefault(item.schema, []).append(item.name)
        if kind == "schemas":
            return [(item.schema, None, None) for item in items]
        found: list[Row] = []
        for schema, names in by_schema.items():
            try:
                if kind == "relations":
                    found += self._read_relations(schema, names)
                elif kind in _PARTS:
                    found += self._read(kind, schema, names)
            except NotImplementedError:
                message = NOT_READ.format(what=kind, product=self.product)
                raise PermissionDenied(message, NO_FIX) from None
        self._rows += len(found)
        return found

    def _read(self, kind: str, schema: str, names: list[str]) -> list[Row]:
        parts = [
            self._multi(part, schema, names) if self._gives(part) else {} for part in _PARTS[kind]
        ]
        if kind == "columns":
            return list(rows.columns(parts[0], schema, self._connection.dialect))
        if kind == "indexes":
            return list(rows.indexes(parts[0], schema))
        return list(rows.constraints(schema, *parts))

    def _multi(self, part: str, schema: str, names: list[str]) -> rows.Reflected:
        """Of exactly these relations. Raises SourceMoved where one is left out."""
        ask: Callable[..., rows.Reflected] = getattr(self._inspector, f"get_multi_{part}")
        scope = {"kind": ObjectKind.ANY, "scope": ObjectScope.ANY}
        found = self._ask(lambda: ask(schema, filter_names=names, **scope))
        if part == "columns" and {name for _, name in found} < set(names):
            raise SourceMoved
        return {key: value for key, value in found.items() if key[1] in names}

    def _read_relations(self, schema: str, names: list[str]) -> Iterator[Row]:
        comments: rows.Reflected = {}
        if self._gives("table_comment"):
            with suppress(NotImplementedError):
                comments = self._multi("table_comment", schema, names)
        by_name = {name: (value or {}).get("text") for (_, name), value in comments.items()}
        for name in names:
            kind, text = "table", None
            if (schema, name) in self._materialized:
                kind, text = "materialized_view", self._text(schema, name)
            elif (schema, name) in self._views:
                kind, text = "view", self._text(schema, name)
            yield schema, name, kind, rows.cut(by_name.get(name)), text, None, None

    def _text(self, schema: str, name: str) -> str | None:
        return self._ask(lambda: self._inspector.get_view_definition(name, schema))

    def build(self, kind: str, items: Sequence[Item], received: list[Row]) -> pa.Table:
        return from_rows(kind, received)

    def begin(self) -> None:
        super().begin()
        # An Inspector remembers what it was told: each transaction has its own.
        self._inspector = inspect(self._connection)

    def end(self) -> None:
        if self._connection.in_transaction() and not self._connection.closed:
            with self._turns.turn(ahead=False), self._translated():
                self._connection.rollback()

    def fetch(self, statement: str) -> list[Row]:
        """One statement of ours, without parameters, under the session's limits."""
        return self._ask(lambda: list(map(tuple, self._connection.exec_driver_sql(statement))))

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        with self._running():
            return question()

    def _before(self, *_: Any) -> None:
        """One question may be several statements: each has its own deadline."""
        self._statements += 1
        if self._stopping.is_set():
            raise Stopped
        self._watch.begin(self._timeout)

    def _after(self, *_: Any) -> None:
        self._watch.end()

    def _overdue(self) -> None:
        with suppress(Exception):
            self._interrupt()

    def _interrupt(self) -> None:
        """What the driver offers; else the connection is cut, which ends the statement too."""
        driver = self._connection.connection.driver_connection
        for name in ("cancel", "interrupt", "close"):
            method = getattr(driver, name, None)
            if method is not None:
                method()
                return

    def _give_up(self) -> None:
        driver: Any = self._connection.connection.driver_connection
        driver.close()

    def _lost(self) -> bool:
        return self._connection.closed or self._connection.invalidated

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except NoSuchTableError:
            raise SourceMoved from None
        except SAWarning as warning:
            raise StatementFailed(f"SQLAlchemy's Inspector leaves it out: {warning}.") from None
        except SQLAlchemyError as error:
            raise of_statement(error, overdue=self._watch.expired) from None
        finally:
            self._watch.end()

    def _translated(self) -> AbstractContextManager[None]:
        return self._translating()

    def end_siblings(self) -> list[int]:
        """None can be told from others here: an older one ends at its statement limit."""
        return []

    def close(self) -> None:
        self._watch.end()
        engine = self._connection.engine
        with suppress(Exception):
            self._connection.close()
        engine.dispose()


class _Watch:
    """Calls when a statement takes longer than its limit."""

    def __init__(self, overdue: Callable[[], None]) -> None:
        self._overdue = overdue
        self._timer: threading.Timer | None = None
        self.expired = False

    def begin(self, seconds: float) -> None:
        self.end()
        self.expired = False
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _expire(self) -> None:
        self.expired = True
        self._overdue()
