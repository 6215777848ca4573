"""A copy of the whole product for a measurement: `manage.py up` in a directory of its own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

CHECKOUT = Path(__file__).resolve().parent.parent
OPEN = {"queued", "running", "paused", "cancelling"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Instance:
    """A running copy: its processes, its settings and its API as admin."""

    def __init__(self, data_dir: Path, port: int, workers: int, env: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.port = port
        self.log = data_dir.parent / f"{data_dir.name}.log"
        self.environ = {
            **os.environ,
            "DATA_DIR": str(data_dir),
            "PORT": str(port),
            "WORKERS": str(workers),
            **env,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.seconds_to_answer = 0.0
        self.api: httpx.Client = httpx.Client()

    def start(self, timeout: float = 120) -> None:
        """Start it and wait until the page answers. Raises TimeoutError with the log's tail."""
        begin = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=CHECKOUT,
                env=self.environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_for_page(begin + timeout)
        self.seconds_to_answer = time.monotonic() - begin
        self.api = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}/api/v1",
            headers={"Authorization": f"Bearer {self.token()}"},
            timeout=60,
        )

    def _wait_for_page(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise TimeoutError("the page does not answer:\n" + self.log.read_text()[-4000:])

    def stop(self, timeout: float = 15) -> float:
        """SIGTERM and wait; seconds it took."""
        assert self.process is not None
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout)
        return time.monotonic() - begin

    def manage(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *args],
            cwd=CHECKOUT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def token(self, user: str = "admin") -> str:
        done = self.manage("create_token", user, "--name", f"bench-{secrets.token_hex(3)}")
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-2000:])
        return done.stdout.split()[-1]

    @property
    def settings(self) -> dict[str, str]:
        """What `instance.env` says, and where the demo source takes its superuser."""
        pairs = {}
        for line in (self.data_dir / "instance.env").read_text().splitlines():
            name, sign, value = line.partition("=")
            if sign and not name.startswith("#"):
                pairs[name.strip().upper()] = value.strip().strip("'\"")
        return {**pairs, "DEMO_SUPERUSER_DSN": self._superuser()}

    def _superuser(self) -> str:
        """The demo server's superuser, from the files that only its owner can read."""
        directory = self.data_dir / "postgres"
        port = json.loads((directory / "ports.json").read_text())["port"]
        password = quote((directory / "password").read_text())
        return f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"

    def processes(self, *words: str) -> list[int]:
        """Pids of this copy's processes whose command line holds all the words."""
        mine = f"DATA_DIR={self.data_dir}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                line = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                if all(w in line for w in words) and mine in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return sorted(found)

    def workers(self) -> list[int]:
        return [
            pid
            for pid in self.processes("-m", "workers")
            if b"-m\0workers\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    def run(self, run_id: str) -> dict[str, Any]:
        answer = self.api.get(f"/runs/{run_id}")
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    def start_run(self, connection: str, **selection: Any) -> str:
        answer = self.api.post("/runs", json={"connection": connection, **selection})
        answer.raise_for_status()
        return str(answer.json()["id"])

    def wait(self, run_id: str, timeout: float = 300) -> dict[str, Any]:
        """The run once it has ended."""
        return self.until(run_id, lambda run: run["status"] not in OPEN, timeout)

    def until(self, run_id: str, condition: Any, timeout: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while True:
            run = self.run(run_id)
            if condition(run):
                return run
            if time.monotonic() > deadline:
                raise TimeoutError(f"run {run_id} is still {run['status']}: {run['verdict']}")
            time.sleep(0.2)

    def settle(self) -> None:
        """Wait until the demo's first run is there and no run is open."""
        deadline = time.monotonic() + 120
        while not self.api.get("/runs").json()["items"] and time.monotonic() < deadline:
            time.sleep(0.2)
        for item in self.api.get("/runs").json()["items"]:
            self.wait(item["id"])

    def digests(self, run_id: str) -> list[str]:
        """The sha256 of every file of the snapshot but statistics, in order."""
        manifest = self.api.get(f"/runs/{run_id}/snapshot").json()
        return [f["sha256"] for f in manifest["files"] if f["kind"] != "statistics"]


@contextmanager
def instance(workers: int = 3, **env: str) -> Iterator[Instance]:
    """A fresh copy in a temporary directory, stopped and removed at the end."""
    base = Path(tempfile.mkdtemp(prefix="surveyor-bench-"))
    copy = Instance(base / "data", free_port(), workers, env)
    try:
        copy.start()
        yield copy
    finally:
        if copy.process is not None and copy.process.poll() is None:
            copy.stop()
        shutil.rmtree(base, ignore_errors=True)
