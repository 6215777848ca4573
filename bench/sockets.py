"""From a worker's publish to a socket's client: `python -m bench.sockets`.

Starts a Redis and one web process of its own, opens the clients in this one, publishes real
frames as a worker does, ten a second, and says how long each took to every client: p50 and
p99 in milliseconds, and how many arrived. Progress may wait up to 100 ms to be merged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import django
from django.core.management import call_command
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from dashboard.local.process import Child
from dashboard.local.servers import ValkeyServer, start
from workers.contract import Event, Frame, PlanRecord, Progress, ShardPlan
from workers.progress import open_redis, write

SHARDS = 20
RATE = 10.0
DEADLINE = 30.0


@dataclass
class Round:
    """Latencies in seconds, one for each client and frame."""

    clients: int
    sent: int = 0
    latencies: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        ordered = sorted(self.latencies)
        return {
            "clients": self.clients,
            "published": self.sent,
            "arrived": len(ordered),
            "expected": self.sent * self.clients,
            "p50_ms": round(1000 * median(ordered), 1),
            "p99_ms": round(1000 * ordered[int(0.99 * (len(ordered) - 1))], 1),
            "max_ms": round(1000 * ordered[-1], 1),
        }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def web(directory: Path, redis_url: str) -> Iterator[tuple[str, str, str]]:
    """A migrated database with one open run, and a web process: address, token, run id."""
    port = free_port()
    os.environ |= {
        "DATA_DIR": str(directory),
        "REDIS_URL": redis_url,
        "TEMPORAL_ADDRESS": "127.0.0.1:9",
        "PORT": str(port),
        "SECRET_KEY": uuid.uuid4().hex * 2,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_LEVEL": "ERROR",
    }
    django.setup()
    call_command("migrate", verbosity=0)
    token, run_id = _prepare()
    command = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(port)]
    # A round that failed leaves its sockets open; the server must not wait for them.
    command += ["--timeout-graceful-shutdown", "2"]
    with subprocess.Popen([*command, "--log-level", "error", "--lifespan", "off"]) as process:
        try:
            _wait(port)
            yield f"ws://127.0.0.1:{port}/ws/runs/{run_id}/", token, run_id
        finally:
            process.terminate()


def _prepare() -> tuple[str, str]:
    from django.contrib.auth.models import Group, User

    from dashboard import tokens
    from dashboard.models import Run

    user = User.objects.create_user("bench")
    user.groups.add(Group.objects.get(name="viewer"))
    now = datetime.now(UTC)
    run = Run.objects.create(
        connection_name="bench", status="running", created_at=now, started_at=now
    )
    return tokens.create(user, "bench", user), str(run.pk)


def _wait(port: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("The web process did not start.")


async def _client(ws: ClientConnection, measured: Round, kind: str, ready: asyncio.Event) -> None:
    """Frames carry the time of their publishing: in an event's message, in a shard's failure."""
    seen: dict[int, float] = {}
    try:
        async for text in ws:
            now, message = time.time(), json.loads(text)
            if message["type"] == "state":
                _marks(message["shards"], seen)
                ready.set()
            elif message["type"] == kind == "event":
                measured.latencies.append(now - float(message["message"]))
            elif message["type"] == kind:
                measured.latencies += [now - sent for sent in _marks(message["shards"], seen)]
    except ConnectionClosed:
        return


def _marks(shards: list[dict[str, Any]], seen: dict[int, float]) -> list[float]:
    """The marks that are new; a shard is also told again when only its verdict has changed."""
    marks = {shard["id"]: float(shard["last_failure"] or 0) for shard in shards}
    new = {shard: mark for shard, mark in marks.items() if mark > seen.get(shard, 0.0)}
    seen |= new
    return list(new.values())


async def measure(
    url: str, token: str, run_id: str, redis_url: str, clients: int, seconds: float, kind: str
) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    measured = Round(clients)
    opening = [connect(url, additional_headers=headers, proxy=None) for _ in range(clients)]
    sockets = [await each for each in opening]
    ready = [asyncio.Event() for _ in sockets]
    readers = [
        asyncio.create_task(_client(ws, measured, kind, its))
        for ws, its in zip(sockets, ready, strict=True)
    ]
    for its in ready:
        await asyncio.wait_for(its.wait(), DEADLINE)
    redis = open_redis(redis_url)
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        await write(redis, _frame(run_id, measured.sent, kind))
        measured.sent += 1
        await asyncio.sleep(max(0.0, began + measured.sent / RATE - time.monotonic()))
    await asyncio.sleep(1)
    for ws in sockets:
        await ws.close()
    await asyncio.gather(*readers)
    await redis.aclose()
    return {"kind": kind, **measured.row()}


def _frame(run_id: str, number: int, kind: str) -> Frame:
    now = time.time()
    if kind == "event":
        return Frame("event", run_id, event=Event(run_id, "shard_done", repr(now), at=now))
    record = Progress(
        run_id,
        "extract",
        number % SHARDS,
        1,
        "w1",
        done=min(500, number),
        total=512,
        batches=4,
        beat_at=now,
        advanced_at=now,
        last_failure=repr(now),
    )
    return Frame("progress", run_id, records=[record])


def _plan(run_id: str) -> Frame:
    shards = [ShardPlan(i, f"schema {i}", 512, 4 * i, 4) for i in range(SHARDS)]
    return Frame(
        "plan", run_id, plan=PlanRecord(512 * SHARDS, SHARDS, 4 * SHARDS, time.time(), shards)
    )


async def rounds(url: str, token: str, run_id: str, redis_url: str, args: Any) -> None:
    redis = open_redis(redis_url)
    await write(redis, _plan(run_id))
    await redis.aclose()
    for clients in args.clients:
        for kind in ("progress", "event"):
            row = await measure(url, token, run_id, redis_url, clients, args.seconds, kind)
            print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--seconds", type=float, default=15)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="surveyor-sockets-") as scratch:
        server = ValkeyServer(Path(scratch) / "valkey")
        child: Child = start(server)
        try:
            with web(Path(scratch) / "web", server.url) as (url, token, run_id):
                asyncio.run(rounds(url, token, run_id, server.url, args))
        finally:
            child.stop()


if __name__ == "__main__":
    main()
