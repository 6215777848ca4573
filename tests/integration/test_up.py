"""The whole instance as a user starts it: a process of its own, from outside."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from dotenv import dotenv_values
from websockets.sync.client import connect

from dashboard.local.process import Child, StartFailed
from dashboard.local.servers import free_port
from workers.settings import CHECKOUT

STOPPED_WITHIN = 8  # the contract
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

PASSWORD = "an-admin-passes-here"
GENERATED = re.compile(r"password  (\S{12,})  \(not shown again\)")
# The smallest demo: what is measured here is the house, not the warehouse.
UP = [sys.executable, "manage.py", "up", "--demo-relations", "40"]


class Copy:
    """A copy of Surveyor on a directory and a port of its own."""

    def __init__(self, directory: Path, port: int, **extra: str) -> None:
        self.directory, self.port = directory, port
        self.environment = {
            "DATA_DIR": str(directory),
            "PORT": str(port),
            "WORKERS": "1",
            "ADMIN_PASSWORD": PASSWORD,
            **extra,
        }
        self.child: Child | None = None

    def start(self, command: list[str] | None = None) -> Child:
        self.lines: list[str] = []
        self.child = Child(
            "up", command or UP, self.environment, CHECKOUT, lambda _, line: self.lines.append(line)
        )
        self.child.wait_until(lambda: any("is ready" in line for line in self.lines), 90)
        return self.child

    def processes(self) -> set[int]:
        """Everything alive that was started for this directory, the supervisor too."""
        path = str(self.directory)
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                # Servers write their title over their command line and environment.
                text = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
                here = f"{text.decode(errors='replace')}\0{(process / 'cwd').readlink()}"
            except OSError:
                continue
            if path in here:
                found.add(int(process.name))
        return found

    def get(self, path: str) -> tuple[int, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
            return response.status, response.read().decode()


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    made = Copy(tmp_path / "data with space", free_port())
    yield made
    if made.child is not None:
        made.child.kill()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """A copy that runs through several tests."""
    made = Copy(tmp_path_factory.mktemp("running"), free_port())
    made.start()
    yield made
    assert made.child is not None
    made.child.kill()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """A copy that each test starts and stops: its first start is the slow one."""
    made = Copy(tmp_path_factory.mktemp("stopped"), free_port())
    yield made
    if made.child is not None:
        made.child.kill()


def until(condition: Callable[[], bool], seconds: float) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "did not come true in time"
        time.sleep(0.05)


def test_a_first_start_a_stop_and_a_second_start(copy: Copy) -> None:
    up = copy.start()
    assert copy.get("/healthz")[0] == 200
    assert copy.lines[-1].endswith(f"http://127.0.0.1:{copy.port}/")
    assert PASSWORD not in "\n".join(copy.lines)

    environment = copy.directory / "instance.env"
    assert stat.S_IMODE(environment.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.directory.stat().st_mode) == 0o700
    assert secrets_in_command_lines(copy) == []

    with sqlite3.connect(copy.directory / "surveyor.sqlite3") as database:
        assert database.execute("SELECT username, is_superuser FROM auth_user").fetchall() == [
            ("admin", 1)
        ]
        assert database.execute("SELECT name FROM dashboard_connection").fetchall() == [("demo",)]
        until(lambda: statuses(database) == ["succeeded"], 60)

    up.ask_to_stop()
    until(lambda: not copy.processes(), STOPPED_WITHIN)
    until(lambda: up.exit_code == 0, 1)

    copy.start()
    assert not any("password" in line for line in copy.lines)
    with sqlite3.connect(copy.directory / "surveyor.sqlite3") as database:
        assert statuses(database) == ["succeeded"]


def statuses(database: sqlite3.Connection) -> list[str]:
    return [status for (status,) in database.execute("SELECT status FROM dashboard_run")]


def secrets_in_command_lines(copy: Copy) -> list[str]:
    text = "\n".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in copy.processes())
    names = ("secret.key", "postgres/password", "postgres/reader-password", "valkey/password")
    names += ("openbao/operator-secret-id", "openbao/worker-secret-id", "openbao/seal.key")
    return [name for name in names if (copy.directory / name).read_text() in text]


def test_signing_in_and_watching_leave_the_terminal_to_what_matters(running: Copy) -> None:
    address = f"http://127.0.0.1:{running.port}"
    with requests.Session() as browser:
        assert sign_in(browser, address, PASSWORD) == 200
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    socket_address = f"{address.replace('http', 'ws')}/ws/runs/"
    with connect(socket_address, origin=address, additional_headers={"Cookie": cookies}) as ws:
        assert "state" in str(ws.recv(timeout=10))
    with requests.Session() as stranger:
        sign_in(stranger, address, "a wrong one")
    # A failure is told; the sign-in and the socket, which came before it, are not.
    until(lambda: any("AXES" in line for line in running.lines), 10)
    told = [line for line in running.lines if "AXES" in line or "uvicorn" in line]
    assert ["failure" in line for line in told] == [True]


def sign_in(browser: requests.Session, address: str, password: str) -> int:
    form = browser.get(f"{address}/sign-in/", timeout=10).text
    [token] = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
    data = {"username": "admin", "password": password, "csrfmiddlewaretoken": token}
    headers = {"Origin": address}
    return browser.post(f"{address}/sign-in/", data, headers=headers, timeout=10).status_code


def test_a_second_copy_on_the_same_directory_is_refused(running: Copy) -> None:
    second = run_up({**running.environment, "PORT": str(free_port())})
    assert second.returncode == 1
    assert re.search(r"is running on .* already \(process \d+, http://127", second.stderr)
    assert "Traceback" not in second.stderr
    assert running.get("/healthz")[0] == 200


def test_no_port_of_our_own_servers_is_a_source(running: Copy) -> None:
    listening = {
        connection.laddr.port
        for pid in running.processes()
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    source = int((running.directory / "demo-port").read_text())
    written = dotenv_values(running.directory / "instance.env")["DENIED_ENDPOINTS"] or ""
    assert listening - {int(entry.rpartition(":")[2]) for entry in written.split(",")} == {source}


def test_a_port_in_use_is_one_clear_line(copy: Copy) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", copy.port))
        other.listen()
        refused = run_up(copy.environment)
    assert refused.returncode == 1
    assert refused.stderr.strip() == (
        f"CommandError: Port {copy.port} is in use. Set PORT to a free one."
    )
    assert not copy.processes()
    assert list(copy.directory.iterdir()) == []


def test_wrong_settings_are_named(copy: Copy) -> None:
    refused = run_up({**copy.environment, "WORKERS": "many", "PORT": "70000"})
    assert refused.returncode == 1
    assert "WORKERS: Input should be a valid integer" in refused.stderr
    assert "PORT: Input should be less than or equal to 65535" in refused.stderr


def run_up(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        UP, env=os.environ | environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=60
    )


def test_a_kill_leaves_no_child_and_the_next_start_works(copy: Copy) -> None:
    up = copy.start()
    assert len(copy.processes()) >= 7
    os.kill(up.pid, signal.SIGKILL)
    until(lambda: not copy.processes(), 5)
    copy.start()
    assert copy.get("/healthz")[0] == 200


def test_what_dies_is_started_again(running: Copy) -> None:
    copy = running
    [worker] = [p for p in copy.processes() if command(p).endswith("-m workers")]
    [valkey] = [p for p in copy.processes() if is_valkey(p)]
    for pid in (worker, valkey):
        os.kill(pid, signal.SIGKILL)
    until(lambda: {worker, valkey}.isdisjoint(copy.processes()), 5)
    until(lambda: any(command(p).endswith("-m workers") for p in copy.processes()), 10)
    until(lambda: any(is_valkey(p) for p in copy.processes()), 10)
    assert any(line.startswith("valkey") and "ended (exit -9)" in line for line in copy.lines)


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").replace("\0", " ")
    except OSError:
        return ""


def is_valkey(pid: int) -> bool:
    return "-server" in command(pid) and "bao" not in command(pid)


@pytest.mark.parametrize(
    ("number", "group"),
    [
        (signal.SIGINT, False),
        (signal.SIGTERM, False),
        (signal.SIGINT, True),
        (signal.SIGKILL, False),
    ],
)
def test_what_happens_to_make_happens_to_everything(
    stopped: Copy, number: int, group: bool
) -> None:
    make = stopped.start(["make", "run", f"ARGS={' '.join(UP[3:])}"])
    (os.killpg if group else os.kill)(make.pid, number)
    until(lambda: not stopped.processes(), STOPPED_WITHIN)


def test_a_stop_while_starting_leaves_nothing(copy: Copy) -> None:
    up = copy.child = Child("up", UP, copy.environment, CHECKOUT)
    until(lambda: len(copy.processes()) >= 3, 30)
    up.ask_to_stop()
    until(lambda: not copy.processes(), STOPPED_WITHIN)
    until(lambda: up.exit_code == 0, 1)


def test_a_first_start_that_is_broken_off_still_tells_the_password(copy: Copy) -> None:
    copy.environment["ADMIN_PASSWORD"] = ""
    lines: list[str] = []
    up = copy.child = Child(
        "up", UP, copy.environment, CHECKOUT, lambda _, line: lines.append(line)
    )
    until(lambda: any("Preparing the demo" in line for line in lines), 60)
    up.ask_to_stop()
    until(lambda: up.exit_code is not None, STOPPED_WITHIN)
    assert any(GENERATED.search(line) for line in lines)


def test_two_copies_run_side_by_side(running: Copy, copy: Copy) -> None:
    copy.environment["ADMIN_PASSWORD"] = ""
    copy.start()
    assert running.get("/healthz")[0] == copy.get("/healthz")[0] == 200
    assert PBKDF2PasswordHasher().verify(PASSWORD, stored_password(running))
    [line] = [line for line in copy.lines if "password" in line]
    generated = GENERATED.search(line)
    assert generated
    assert PBKDF2PasswordHasher().verify(generated[1], stored_password(copy))


def stored_password(copy: Copy) -> str:
    with sqlite3.connect(copy.directory / "surveyor.sqlite3") as database:
        return database.execute("SELECT password FROM auth_user").fetchone()[0]


def test_a_server_that_fails_at_the_start_is_reported(copy: Copy) -> None:
    """A VAULT_ADDR without a role is a mistake that must not wait for the first run."""
    copy.environment |= {"VAULT_ADDR": "http://127.0.0.1:1"}
    with pytest.raises(StartFailed, match="VAULT_ROLE_ID is missing"):
        copy.start()
