"""A child process that cannot outlive us, with its last lines kept for the error message."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

Sink = Callable[[str, str], None]

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class StartFailed(Exception):
    """A server or a component did not start; the message says which, and its last words."""


def die_with_parent(signal_number: int = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process when the thread that started it ends (Linux)."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, int(signal_number))


class Child:
    """One process in a session of its own: Ctrl-C reaches only the supervisor.

    Start it from a thread that lives on (the main one): the kernel ends a child
    with the thread that started it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        sink: Sink | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.stop_signal = stop_signal
        self.tail: deque[str] = deque(maxlen=30)
        self._sink = sink
        self._process = subprocess.Popen(
            list(command),
            env={**os.environ, **(environment or {})},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self._pump = threading.Thread(target=self._read, name=f"log {name}", daemon=True)
        self._pump.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.tail.append(line.rstrip())
            if self._sink is not None:
                self._sink(self.name, line.rstrip())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def listening(self) -> list[int]:
        """TCP ports it accepts connections on, those it chose itself too."""
        try:
            found = psutil.Process(self.pid).net_connections("tcp")
        except psutil.Error:
            return []
        return sorted({c.laddr.port for c in found if c.status == psutil.CONN_LISTEN})

    def last_words(self) -> str:
        self._pump.join(0.5)
        return "\n".join(f"    {line}" for line in list(self.tail)[-12:])

    def wait_until(
        self, ready: Callable[[], bool], timeout: float = 30, every: float = 0.03
    ) -> None:
        """Return when `ready()`; raises StartFailed when it exits or takes longer."""
        deadline = time.monotonic() + timeout
        while not ready():
            if self.exit_code is not None:
                raise StartFailed(
                    f"{self.name} stopped at once (exit {self.exit_code}):\n{self.last_words()}"
                )
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{self.name} is not ready after {timeout:.0f} s:\n{self.last_words()}"
                )
            time.sleep(every)

    def ask_to_stop(self) -> None:
        if self.exit_code is None:
            self._process.send_signal(self.stop_signal)

    def stop(self, timeout: float = 5) -> None:
        self.ask_to_stop()
        self.end(timeout)

    def end(self, timeout: float) -> None:
        """Wait for what was asked, then end it and whatever it started.

        SIGQUIT first: PostgreSQL then ends its own processes, which no other signal reaches.
        """
        if not self._ends_within(timeout):
            self._process.send_signal(signal.SIGQUIT)
            if not self._ends_within(0.7):
                self.kill()

    def _ends_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(5)
