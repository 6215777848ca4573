"""A run as workers would publish it, and a real web server with sockets."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.test import Client
from pydantic import SecretStr

from config.asgi import application
from dashboard import story
from dashboard.live import sources
from dashboard.local.servers import ValkeyServer, start
from dashboard.models import Run
from workers.contract import Event, Frame, PlanRecord, Progress, ShardPlan
from workers.progress import open_redis_sync, publish_sync

PATIENCE = 10.0
# Nothing listens on the discard port.
NOWHERE = "127.0.0.1:9"


def a_run(status: str = "running", **fields: Any) -> Run:
    now = datetime.now(UTC)
    started = None if status == "queued" else now
    values = {"connection_name": "warehouse", "created_at": now, "started_at": started}
    return Run.objects.create(id=uuid.uuid4(), status=status, **(values | fields))


def a_plan(shards: int = 3, relations: int = 100) -> PlanRecord:
    plans = [ShardPlan(i, f"schema {i}", relations, 4 * i, 4) for i in range(shards)]
    return PlanRecord(shards * relations, shards, 4 * shards, time.time(), plans)


def a_beat(run_id: str, shard: int = 0, **fields: Any) -> Progress:
    now = time.time()
    values: dict[str, Any] = {
        "phase": "extract",
        "attempt": 1,
        "worker": "w1",
        "total": 100,
        "batches": 4,
        "rate": 10.0,
        "started_at": now,
        "beat_at": now,
        "advanced_at": now,
    }
    return Progress(run_id=run_id, shard=shard, **(values | fields))


def point_at(settings: Any, monkeypatch: Any, *, redis: str, storage: Path, temporal: str) -> None:
    """Django pointed at these servers, with no memory of others."""
    settings.ENV = settings.ENV.model_copy(
        update={
            "redis_url": SecretStr(redis),
            "storage_url": f"file://{storage}",
            "temporal_address": temporal,
        }
    )
    monkeypatch.setattr(story, "_rests_until", 0.0)
    for name in ("until", "redis_until", "fleet_at"):
        monkeypatch.setattr(sources._Rest, name, 0.0)


class Publisher:
    """What the workers of one run say, into a real Redis."""

    def __init__(self, url: str, run_id: str) -> None:
        self.redis = open_redis_sync(url)
        self.run_id = run_id

    def plan(self, **fields: Any) -> int:
        return self._send(Frame("plan", self.run_id, plan=a_plan(**fields)))

    def beat(self, shard: int = 0, **fields: Any) -> int:
        record = a_beat(self.run_id, shard, **fields)
        return self._send(Frame("progress", self.run_id, records=[record]))

    def event(self, message: str, code: str = "shard_done", **fields: Any) -> int:
        event = Event(self.run_id, code, message, **{"at": time.time(), **fields})
        return self._send(Frame("event", self.run_id, event=event))

    def lifecycle(self, status: str) -> int:
        return self._send(Frame("lifecycle", self.run_id, status=status))

    def _send(self, frame: Frame) -> int:
        seq = publish_sync(self.redis, frame)
        assert seq is not None
        return seq


def end(run: Run, status: str = "succeeded", **fields: Any) -> None:
    """What the reconciler writes, row first."""
    values: dict[str, Any] = {"status": status, "finished_at": datetime.now(UTC)}
    Run.objects.filter(pk=run.pk).update(**(values | fields))


class Screen:
    """What a client shows after the messages it got: the contract, word for word."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.types: list[str] = []
        self.shards: dict[int, dict[str, Any]] = {}
        self.progress: dict[str, Any] = {}
        self.events: dict[int, str] = {}
        self.finished: dict[str, Any] | None = None
        self.run: dict[str, Any] = {}
        self.done_fell = False

    def show(self, text: str) -> None:
        message = json.loads(text)
        self.seqs.append(message["seq"])
        self.types.append(message["type"])
        getattr(self, f"_{message['type']}")(message)

    def _state(self, message: dict[str, Any]) -> None:
        self.run = message["run"]
        self._total(message["run"]["progress"])
        self.shards = {shard["id"]: shard for shard in message["shards"]}
        self.events |= {line["seq"]: line["message"] for line in message["events"]}

    def _progress(self, message: dict[str, Any]) -> None:
        self.shards |= {shard["id"]: shard for shard in message["shards"]}
        self._total(message["progress"])

    def _event(self, message: dict[str, Any]) -> None:
        self.events[message["seq"]] = message["message"]

    def _finished(self, message: dict[str, Any]) -> None:
        self.finished = self.run = message["run"]
        self.progress = message["run"]["progress"]

    def _total(self, progress: dict[str, Any]) -> None:
        self.done_fell |= progress["done"] < self.progress.get("done", 0)
        self.progress = progress

    def picture(self) -> dict[str, Any]:
        """All that does not depend on the moment of looking."""
        moving = {"beat_age_ms", "advance_age_ms"}
        return {
            "shards": {
                i: {k: v for k, v in shard.items() if k not in moving}
                for i, shard in self.shards.items()
            },
            "progress": {k: v for k, v in self.progress.items() if k != "eta_seconds"},
            "events": [self.events[seq] for seq in sorted(self.events)],
        }


async def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.02)


@contextmanager
def web_server() -> Iterator[str]:
    """The ASGI application on uvicorn in a thread of its own; yields host:port."""
    config = uvicorn.Config(
        application, host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="auto"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield f"{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


def session_cookie(user: Any) -> str:
    from django.conf import settings

    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


class Redis:
    """A Redis of our own, to stop and to empty."""

    def __init__(self, directory: Any) -> None:
        self.server = ValkeyServer(directory)
        self.child = start(self.server)
        self.url = self.server.url

    def stop(self) -> None:
        self.child.stop()

    def start(self) -> None:
        self.child = start(self.server)

    def start_empty(self) -> None:
        shutil.rmtree(self.server.directory / "appendonlydir", ignore_errors=True)
        self.child = start(self.server)


class Viewer:
    def __init__(self, socket: WebsocketCommunicator) -> None:
        self.socket, self.screen = socket, Screen()
        self.code: int | None = None

    async def listen(self) -> None:
        while True:
            message = await self.socket.output_queue.get()
            if message["type"] == "websocket.close":
                self.code = message["code"]
                return
            self.screen.show(message["text"])

    async def closed(self) -> int:
        await until(lambda: self.code is not None, 15)
        assert self.code is not None
        return self.code


async def opened(path: str, cookie: str) -> WebsocketCommunicator:
    headers = [(b"origin", b"http://testserver"), (b"cookie", cookie.encode())]
    socket = WebsocketCommunicator(application, path, headers)
    accepted, _ = await socket.connect(timeout=10)
    assert accepted
    return socket


@asynccontextmanager
async def watching(run: Run, cookie: str, after: int = 0) -> AsyncIterator[Viewer]:
    socket = await opened(f"/ws/runs/{run.pk}/" + (f"?after={after}" if after else ""), cookie)
    viewer = Viewer(socket)
    listening_task = asyncio.create_task(viewer.listen())
    try:
        await until(lambda: bool(viewer.screen.types))
        yield viewer
    finally:
        listening_task.cancel()
        await socket.disconnect()


async def in_thread(function: Any, *args: Any, **kwargs: Any) -> Any:
    return await sync_to_async(function, thread_sensitive=False)(*args, **kwargs)
