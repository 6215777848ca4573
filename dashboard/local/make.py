"""`make run` is two processes: make, and us below it. What happens to make is meant for us.

GNU make passes a SIGTERM on to its children. A SIGINT sent to make alone it does
not: it waits for them, taking for granted that the terminal has told them too.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from dashboard.local.process import die_with_parent

_make = 0


def follow_make() -> None:
    """Stop when make is interrupted or gone, if it is make that started us."""
    global _make
    parent = os.getppid()
    if _status(parent).get("Name") not in {"make", "gmake"}:
        return
    die_with_parent(signal.SIGTERM)
    if _catches_interrupt(parent):  # a shell may have told it to ignore them
        _make = parent


def make_was_interrupted() -> bool:
    """While make handles its SIGINT it no longer catches another one."""
    return bool(_make) and not _catches_interrupt(_make)


def _catches_interrupt(pid: int) -> bool:
    caught = int(_status(pid).get("SigCgt", "0"), 16)
    return bool(caught & (1 << (signal.SIGINT - 1)))


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
