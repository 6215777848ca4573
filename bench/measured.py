"""A process run to its end, with what it took: wall, CPU, memory."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SAMPLED_EVERY = 0.05
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Ran:
    """Seconds and bytes. `status` is None for what was ended at its limit. The peak is the
    highest sum of resident sizes of the process and its children, as sampled."""

    status: int | None
    output: str
    errors: str
    wall: float
    cpu: float
    peak_memory: int


def run(
    command: Sequence[str | Path],
    given: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    limit: float | None = None,
) -> Ran:
    """`given` goes to its standard input; after `limit` seconds its process group is killed."""
    with (
        tempfile.TemporaryFile() as stdin,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
    ):
        stdin.write(given.encode())
        stdin.seek(0)
        began = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
        memory, late = Memory(process.pid), threading.Event()
        memory.start()
        alarm = threading.Timer(limit or threading.TIMEOUT_MAX, _kill, (process.pid, late))
        alarm.daemon = True
        alarm.start()
        try:
            # Not process.wait(): only this tells what it and its children used.
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            _kill(process.pid, late)
            raise
        finally:
            alarm.cancel()
            memory.done.set()
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        memory.join()
        stdout.seek(0)
        stderr.seek(0)
        return Ran(
            None if late.is_set() else process.returncode,
            stdout.read().decode(errors="replace"),
            stderr.read().decode(errors="replace"),
            wall,
            used.ru_utime + used.ru_stime,
            memory.peak,
        )


def _kill(group: int, late: threading.Event) -> None:
    late.set()
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class Memory(threading.Thread):
    """Not `ru_maxrss`, which begins with what the starting process had."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.done = pid, 0, threading.Event()

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, sum(map(resident, family(self.pid))))
            if self.done.wait(SAMPLED_EVERY):
                return


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def resident(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return 0
