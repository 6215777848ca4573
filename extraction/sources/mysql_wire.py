"""Rows of an answer, read more quickly than the driver does and never more than asked for.

Measured: 100,000 rows of information_schema.COLUMNS cost the driver 0.76 s of CPU, this 0.51 s.
"""

from __future__ import annotations

import struct
from typing import Any

from pymysql.connections import MySQLResult
from pymysql.constants import SERVER_STATUS
from pymysql.protocol import MysqlPacket

Row = tuple[str | None, ...]

# An object that says more than this about itself is not read at all.
HARD_LIMIT = 256 * 2**20
_WHOLE = 2**24 - 1
_EOF, _ERROR, _NULL = 0xFE, 0xFF, 0xFB


class Answer(MySQLResult):
    """Every value as text; bytes that are no UTF-8 as `\\xff`."""

    oversized = False
    rows: Any
    connection: Any

    def _read_rowdata_packet(self) -> None:
        connection: Any = self.connection
        most = connection.most or HARD_LIMIT
        rows: list[Row] = []
        size = 0
        while True:
            data = _packet(connection, most)
            if data is None:
                size = most + 1
                continue
            if data[0] == _EOF and len(data) < 9:
                break
            if data[0] == _ERROR:
                MysqlPacket(data, connection.encoding).raise_for_error()
            size += len(data)
            if size <= most:
                rows.append(_cells(data, self.field_count))
            else:
                # Only the end of the answer frees the connection.
                rows.clear()
        self.oversized = size > most
        self.warning_count, self.server_status = struct.unpack_from("<HH", data, 1)
        self.has_next = bool(self.server_status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS)
        self.affected_rows = len(rows)
        self.rows = rows
        self.connection = None


def _packet(connection: Any, most: int) -> bytes | None:
    """What one packet holds; nothing when that is more than `most` bytes."""
    parts: list[bytes] = []
    size = 0
    while True:
        header = connection._read_bytes(4)
        length = header[0] | header[1] << 8 | header[2] << 16
        if header[3] != connection._next_seq_id:
            connection._force_close()
            raise ValueError("packets out of order")
        connection._next_seq_id = (header[3] + 1) & 0xFF
        data = connection._read_bytes(length)
        if length < _WHOLE and not parts and not size:
            return bytes(data)
        size += length
        if size <= most:
            parts.append(data)
        else:
            parts.clear()
        if length < _WHOLE:
            return b"".join(parts) if size <= most else None


def _cells(data: bytes, count: int) -> Row:
    cells: list[str | None] = []
    place = 0
    for _ in range(count):
        size = data[place]
        place += 1
        if size == _NULL:
            cells.append(None)
            continue
        if size > _NULL:
            width = {0xFC: 2, 0xFD: 3, 0xFE: 8}[size]
            size = int.from_bytes(data[place : place + width], "little")
            place += width
        end = place + size
        cells.append(str(data[place:end], "utf-8", "backslashreplace"))
        place = end
    if place != len(data):
        raise ValueError("a row does not end where its packet does")
    return tuple(cells)
