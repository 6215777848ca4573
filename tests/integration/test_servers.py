from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from dashboard.local.openbao import OpenBaoServer
from dashboard.local.process import Child, StartFailed
from dashboard.local.servers import (
    PostgresServer,
    TemporalServer,
    ValkeyServer,
    answers,
    is_free,
    kept_port,
    start,
)
from workers.workflows import HEARTBEAT_TIMEOUT

pytestmark = pytest.mark.integration


def listening(pid: int) -> set[str]:
    """Local addresses on which the process or its children listen."""
    pids = {str(pid), *subprocess.getoutput(f"pgrep -P {pid}").split()}
    lines = subprocess.getoutput("ss -ltnpH").splitlines()
    return {
        line.split()[3].rsplit(":", 1)[0]
        for line in lines
        if any(f"pid={p}," in line for p in pids)
    }


@pytest.mark.parametrize("kind", [TemporalServer, ValkeyServer, PostgresServer, OpenBaoServer])
def test_a_server_starts_on_loopback_only_and_stops(kind, tmp_path: Path) -> None:
    server = kind(tmp_path / "server")
    child = start(server)
    try:
        assert server.ready()
        assert listening(child.pid) == {"127.0.0.1"}
    finally:
        child.stop()
    assert child.exit_code == 0
    assert not server.ready()
    assert is_free(server.port)


POLL = """
import asyncio, sys
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueRequest
from temporalio.client import Client

async def poll():
    client = await Client.connect(sys.argv[1])
    print("polling", flush=True)
    await client.workflow_service.poll_activity_task_queue(
        PollActivityTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="frozen"))
    )

asyncio.run(poll())
"""


def test_a_frozen_worker_loses_its_polls_before_a_heartbeat_timeout(temporal: str) -> None:
    """Else the next attempt of what it held is handed to it again, and is lost too."""
    worker = subprocess.Popen([sys.executable, "-c", POLL, temporal], stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"polling\n"
        [ours] = [c.laddr.port for c in psutil.Process(worker.pid).net_connections("tcp")]
        worker.send_signal(signal.SIGSTOP)
        until(lambda: ours not in remote_ports_at(temporal), HEARTBEAT_TIMEOUT.total_seconds() - 2)
    finally:
        worker.kill()
        worker.wait()


def remote_ports_at(address: str) -> set[int]:
    """Of the connections the server at `address` holds open."""
    port = int(address.rpartition(":")[2])
    return {
        connection.raddr.port
        for connection in psutil.net_connections("tcp")
        if connection.laddr.port == port and connection.status == psutil.CONN_ESTABLISHED
    }


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.1)


@pytest.mark.parametrize("kind", [ValkeyServer, PostgresServer, OpenBaoServer])
def test_secrets_are_in_private_files_and_not_on_the_command_line(kind, tmp_path: Path) -> None:
    server = kind(tmp_path / "server")
    child = start(server)
    try:
        command = Path(f"/proc/{child.pid}/cmdline").read_text()
        environment = Path(f"/proc/{child.pid}/environ").read_text()
    finally:
        child.stop()
    files = [p for p in server.directory.iterdir() if p.is_file()]
    secrets = [p for p in files if "password" in p.name or "secret" in p.name or "key" in p.name]
    assert secrets
    for path in secrets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text() not in command + environment
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700


def test_postgres_keeps_its_data_and_its_address(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "postgres")
    child = start(server)
    server.create_database("kept")
    server.execute("kept", "CREATE TABLE t AS SELECT 42 AS n")
    child.stop()
    again = PostgresServer(tmp_path / "postgres")
    child = start(again)
    try:
        assert again.url("kept") == server.url("kept")
        assert again.execute("kept", "SELECT n FROM t") == [(42,)]
    finally:
        child.stop()


def test_postgres_starts_again_after_a_kill(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "postgres")
    start(server).kill()
    child = start(server)
    child.stop()
    assert child.exit_code == 0


def test_valkey_keeps_its_data(tmp_path: Path) -> None:
    import redis

    server = ValkeyServer(tmp_path / "valkey")
    child = start(server)
    redis.Redis.from_url(server.url).set("kept", "42")
    child.stop()
    child = start(ValkeyServer(tmp_path / "valkey"))
    try:
        assert redis.Redis.from_url(server.url).get("kept") == b"42"
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=server.port).get("kept")
    finally:
        child.stop()


def test_openbao_keeps_its_data_and_renews_secret_ids(tmp_path: Path) -> None:
    server = OpenBaoServer(tmp_path / "openbao")
    child = start(server)
    first = server.apply()
    old = first["worker"].secret_id_file.read_text()
    child.stop()
    child = start(server)
    try:
        second = server.apply()
        assert second["worker"].role_id == first["worker"].role_id
        assert second["worker"].secret_id_file.read_text() != old
    finally:
        child.stop()


def test_a_first_start_of_openbao_cut_short_is_begun_anew(tmp_path: Path) -> None:
    server = OpenBaoServer(tmp_path / "openbao")
    (server.directory / "raft").mkdir()
    (server.directory / "raft" / "vault.db").write_bytes(b"half a file")
    child = start(server)
    child.stop()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey")
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.port))
        other.listen()
        with pytest.raises(StartFailed, match=r"(?s)valkey stopped at once.*ddress already in use"):
            start(server)


def test_a_taken_port_is_replaced(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey")
    child = start(server)
    try:
        assert kept_port(tmp_path / "valkey" / "ports.json") != server.port
    finally:
        child.stop()


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    """Also a PostgreSQL behind unshare, when the parent is killed outright."""
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from dashboard.local.servers import PostgresServer, start\n"
        "child = start(PostgresServer(Path(sys.argv[1])))\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = Child("parent", [sys.executable, "-c", script, str(tmp_path / "postgres")])
    parent._process.wait(30)
    assert parent.exit_code == -9
    parent._pump.join(5)
    pid = int(parent.tail[-1])
    watcher = Child("gone", ["sleep", "10"])
    try:
        watcher.wait_until(lambda: not Path(f"/proc/{pid}").exists(), timeout=5)
    finally:
        watcher.kill()


def test_the_session_fixtures_answer(postgres, temporal_server, redis, vault) -> None:
    assert postgres.execute("postgres", "SELECT 1") == [(1,)]
    assert temporal_server.ready()
    assert answers(f"{vault.addr}/v1/sys/health") == 200
