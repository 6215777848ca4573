"""What a person sees of `make run`: our own lines, and those of the processes, each with its name."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import TextIO

COLOURS = (36, 32, 33, 35, 34, 96, 92, 93)
LOG_LIMIT = 20_000_000


class Console:
    """Lines of whole processes never mix. JSON logs pass untouched, for a collector."""

    def __init__(self, stream: TextIO | None = None, json: bool = False) -> None:
        self._stream = stream or sys.stdout
        self._json = json
        self._colour = self._stream.isatty() and "NO_COLOR" not in os.environ
        self._names: list[str] = []
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        self._print(text)

    def line(self, name: str, text: str) -> None:
        """A line of a process: the sink of a Child."""
        self._print(text if self._json else f"{self._prefix(name)} {text}")

    def _prefix(self, name: str) -> str:
        prefix = f"{name:<9} |"
        if not self._colour:
            return prefix
        if name not in self._names:
            self._names.append(name)
        return f"\033[{COLOURS[self._names.index(name) % len(COLOURS)]}m{prefix}\033[0m"

    def _print(self, text: str) -> None:
        # Whoever read us may be gone; the processes go on.
        with self._lock, contextlib.suppress(OSError):
            print(text, file=self._stream, flush=True)


class LogFile:
    """Where a server's own lines go, 0600, begun anew once it is large: a sink of a Child."""

    def __init__(self, path: Path) -> None:
        large = path.exists() and path.stat().st_size > LOG_LIMIT
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if large else os.O_APPEND)
        self._file = os.fdopen(os.open(path, flags, 0o600), "w", buffering=1)

    def line(self, _name: str, text: str) -> None:
        self._file.write(text + "\n")
