"""Where a test may have this process killed: `CRASH_AT=part.before_rename:2` is the second time.

Only a process's own environment arms it, once, when it starts; a settings file, a source or a
user cannot. A process that serves others refuses to start with it.
"""

from __future__ import annotations

import itertools
import os
import signal

# What is written durably, in the order of a run; each is killed before, between and after.
WRITTEN = ("items", "plan", "part", "entry", "ledger", "manifest")
STEPS = ("before", "before_rename", "after")
POINTS = (
    *(f"{what}.{step}" for what in WRITTEN for step in STEPS),
    *("beat.before", "beat.after"),
    *("verification.before", "verification.within", "verification.after"),
    *("plan_result.before", "extract_result.before", "finish_result.before"),
)

_point, _, _time = os.environ.get("CRASH_AT", "").partition(":")
ARMED = bool(_point)
_reached = itertools.count(1)
_wanted = int(_time) if _time.isdecimal() else 1


def reached(point: str) -> None:
    """Call it only where ARMED, so that it costs nothing."""
    if point == _point and next(_reached) == _wanted:
        os.kill(os.getpid(), signal.SIGKILL)


def writing(path: str, step: str) -> None:
    """`path` is one of ours, made of numbers and digests."""
    name = path.rpartition("/")[2]
    if "/entries/" in path:
        what = "entry"
    elif name.endswith(".parquet"):
        what = "part"
    else:
        what = name.partition("-")[0].removesuffix(".json")
    reached(f"{what}.{step}")


def refusal(served: bool) -> str:
    """Why this process must not start; nothing where it may. `served`: others rely on it."""
    if ARMED and served:
        return "CRASH_AT is set: it is for tests, where nobody relies on this process."
    if ARMED and _point not in POINTS:
        return f"CRASH_AT names no point; there are {', '.join(POINTS)}."
    return ""
