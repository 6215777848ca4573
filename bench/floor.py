"""What the server alone needs for the rows: the engine's own statements, written to nowhere."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench.verify import PINNED
from extraction.catalog import KINDS
from extraction.sources import postgresql_sql as sql

# Ids below belong to the server itself (access/transam.h, FirstNormalObjectId).
FIRST_USER_OBJECT = 16_384


@dataclass(frozen=True)
class Floor:
    """Seconds by kind, and what the server's process took; its parallel workers are not in it."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu: float = 0.0

    @property
    def wall(self) -> float:
        return sum(self.seconds.values())


def floor(url: str) -> Floor:
    """`COPY … TO '/dev/null'` for each kind: no wire, no Parquet, once for the whole catalogue,
    planned as the server likes, on a fresh connection as a session of ours is one. As a superuser, on this machine."""
    seconds = {}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(PINNED)
        before = _cpu(connection.info.backend_pid)
        for kind in KINDS:
            query = sql.read(kind, connection.info.server_version)
            everything = query.replace(f"= any {sql.IDS}", f">= {FIRST_USER_OBJECT}")
            began = time.monotonic()
            connection.execute(f"COPY ({everything}) TO '/dev/null'".encode())
            seconds[kind] = time.monotonic() - began
        return Floor(seconds, _cpu(connection.info.backend_pid) - before)


def _cpu(pid: int) -> float:
    """Seconds of a process so far (proc(5): utime and stime are fields 14 and 15)."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
