"""What sources that are files share: one is read by the library itself, in this process."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from extraction.connection import Item, Options, Oversized, Target
from extraction.sources.session import BaseSession, in_order

# A batch that answers with more text is halved, so that memory stays bounded.
LARGEST_READ = 32 * 2**20
ROWS_AT_ONCE = 2_000
MAX_MESSAGE = 200

Row = tuple[Any, ...]
Rows = list[Row]


class FileSession(BaseSession):
    """`identity` tells a file that takes another one's place from it, and outlives writes."""

    def __init__(
        self, connection: Connection, target: Target, path: Path, options: Options
    ) -> None:
        super().__init__(options)
        self._connection = connection
        self._driver: Any = connection.connection.driver_connection
        self._closed = False
        self.database = target.database
        self.identity = f"{target.database}/{path.stat().st_ino}"

    def _interrupt(self) -> None:
        self._driver.interrupt()

    def _give_up(self) -> None:
        self._driver.interrupt()

    def _lost(self) -> bool:
        return self._closed

    def end_siblings(self) -> list[int]:
        """None: a session lives in its worker's process and ends with it."""
        return []

    def close(self) -> None:
        self._closed = True
        engine = self._connection.engine
        with suppress(DBAPIError), self._translated():
            self._connection.close()
        engine.dispose()


def start_tls(connection: socket.socket) -> bool:
    """There is no network on the way."""
    return False


def bounded(cursor: Any, most: int | None) -> Rows:
    """All rows. Raises Oversized where their texts are longer than `most` characters."""
    if most is None:
        return list(cursor.fetchall())
    found: Rows = []
    length = 0
    while some := cursor.fetchmany(ROWS_AT_ONCE):
        length += sum(len(value) for row in some for value in row if type(value) is str)
        if length > most:
            raise Oversized
        found += some
    return found


def items_of(found: Sequence[Row]) -> list[Item]:
    return in_order([Item(*row) for row in found])


def safe(error: object) -> str:
    """The driver's first words. A file's catalogue holds names and definitions, no values."""
    text = " ".join(str(error).split())
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown[:MAX_MESSAGE]
