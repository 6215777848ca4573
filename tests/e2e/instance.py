"""A whole Surveyor, as `make run` starts it, in a directory of its own."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from dashboard.local.demo import connection_fields
from dashboard.local.servers import free_port

CHECKOUT = Path(__file__).resolve().parent.parent.parent
READY_WITHIN = 120
STOPS_WITHIN = 15


@dataclass(frozen=True)
class Instance:
    address: str
    directory: Path
    password: str

    @property
    def log(self) -> str:
        return (self.directory / "up.log").read_text(errors="replace")

    @property
    def source(self) -> dict[str, object]:
        """What to type for a connection to the demo source."""
        port = int((self.directory / "demo-port").read_text())
        return connection_fields(self.directory / "postgres", port)


@contextmanager
def running(directory: Path) -> Iterator[Instance]:
    port = free_port()
    instance = Instance(f"http://127.0.0.1:{port}", directory, secrets.token_urlsafe(12))
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = kept | {
        "DATA_DIR": str(directory),
        "PORT": str(port),
        "WORKERS": "3",
        "ADMIN_PASSWORD": instance.password,
    }
    with (directory / "up.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=CHECKOUT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(process, instance)
            yield instance
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOPS_WITHIN)


def _wait(process: subprocess.Popen[bytes], instance: Instance) -> None:
    """Until the address is printed, which `up` does last."""
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"up ended early:\n{instance.log}")
        if "ready" in instance.log and _answers(instance.address):
            return
        time.sleep(0.1)
    raise AssertionError(f"up did not become ready:\n{instance.log}")


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
