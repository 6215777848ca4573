"""Found by the interpreter at its start when this directory is on PYTHONPATH: how late the event
loop of a worker is. Appends lines of time and seconds to a file of its own in BENCH_LAG_DIR."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Coroutine
from functools import wraps
from pathlib import Path
from typing import Any

STEP = 0.01
LINES_AT_ONCE = 50


async def measure(path: Path) -> None:
    """Until cancelled; what is not written yet is written then."""
    lines: list[str] = []
    try:
        while True:
            before = time.monotonic()
            await asyncio.sleep(STEP)
            lines.append(f"{time.time():.3f} {time.monotonic() - before - STEP:.6f}\n")
            if len(lines) == LINES_AT_ONCE:
                _append(path, lines)
    finally:
        _append(path, lines)


def _append(path: Path, lines: list[str]) -> None:
    with path.open("a") as file:
        file.writelines(lines)
    lines.clear()


async def watched(main: Coroutine[Any, Any, Any], path: Path) -> Any:
    measuring = asyncio.create_task(measure(path))
    try:
        return await main
    finally:
        measuring.cancel()


if "BENCH_LAG_DIR" in os.environ and sys.orig_argv[1:3] == ["-m", "workers"]:
    original = asyncio.run

    @wraps(original)
    def run(main: Coroutine[Any, Any, Any], **options: Any) -> Any:
        path = Path(os.environ["BENCH_LAG_DIR"]) / f"{os.getpid()}.lag"
        return original(watched(main, path), **options)

    asyncio.run = run
