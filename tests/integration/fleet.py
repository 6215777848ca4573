"""Real workers, a real source and runs started as the dashboard starts them."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from extraction.connection import Options, Target
from extraction.selection import Selection
from extraction.storage import Storage, open_storage
from extraction.vault import Vault, secret_for
from workers.contract import (
    RUN_WORKFLOW,
    TASK_QUEUE,
    CredentialRef,
    RunInput,
    RunResult,
    Source,
    workflow_id,
)
from workers.progress import Cut, open_redis, read_cut

PASSWORD = "canary-" + secrets.token_hex(8)
RELATIONS = 1200
# Pauses make a run of ten batches long enough to be interrupted.
SLOW = Options(sessions=2, pace=0.4)
CHECKOUT = Path(__file__).resolve().parent.parent.parent


async def until(condition: Callable[[], Any], limit: float = 20) -> Any:
    """What the condition gives once it is true; awaits it if it is a coroutine."""
    async with asyncio.timeout(limit):
        while True:
            value = condition()
            if isinstance(value, Awaitable):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.05)


@dataclass
class Fleet:
    """Worker processes with one environment. `log` holds what they wrote."""

    environment: dict[str, str]
    directory: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def log_path(self) -> Path:
        return self.directory / "workers.log"

    @property
    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def start(self, *names: str, **changes: str) -> None:
        for name in names:
            with self.log_path.open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "workers"],
                    cwd=CHECKOUT,
                    env={
                        **os.environ,
                        **self.environment,
                        "WORKER_NAME": name,
                        "LOG_FORMAT": "json",
                        **changes,
                    },
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def send(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait(10)

    def stop(self) -> None:
        """Let each close its polls: a task given to a dead one is lost for ten seconds."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        self.processes.clear()


@dataclass
class Cast:
    """Everything a test of runs needs, on the session's servers."""

    client: Client
    redis_url: str
    storage: Storage
    source: Source
    fleet: Fleet

    async def start(
        self,
        options: Options | None = None,
        selection: Selection | None = None,
        source: Source | None = None,
    ) -> Started:
        run_id = str(uuid.uuid4())
        chosen = source or self.source
        if options:
            chosen = Source(
                chosen.connection_id,
                chosen.connection_name,
                chosen.target,
                chosen.credential,
                options,
            )
        handle = await self.client.start_workflow(
            RUN_WORKFLOW,
            RunInput(run_id, chosen, selection or Selection(), "tests"),
            id=workflow_id(run_id),
            task_queue=TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            result_type=RunResult,
        )
        return Started(run_id, handle, self)


@dataclass
class Started:
    run_id: str
    handle: WorkflowHandle[Any, RunResult]
    cast: Cast

    async def result(self, limit: float = 40) -> RunResult:
        try:
            async with asyncio.timeout(limit):
                return await self.handle.result()
        except TimeoutError:
            log = self.cast.fleet.log[-6000:]
            raise AssertionError(f"no result after {limit} s; the workers said:\n{log}") from None

    async def cut(self) -> Cut:
        redis = open_redis(self.cast.redis_url)
        try:
            return await read_cut(redis, self.run_id)
        finally:
            await redis.aclose()

    async def codes(self) -> list[str]:
        return [event.code for _, event in (await self.cut()).events]

    async def until_code(self, code: str, limit: float = 20) -> None:
        async def told() -> bool:
            return code in await self.codes()

        await until(told, limit)

    async def until_done(self, relations: int, limit: float = 30) -> Cut:
        async def moved() -> Cut | None:
            cut = await self.cut()
            done = sum(record.done for record in cut.records if record.shard >= 0)
            return cut if done >= relations else None

        cut: Cut = await until(moved, limit)
        return cut

    @property
    def manifest_path(self) -> str:
        return f"snapshots/{self.run_id}/manifest.json"

    def manifest(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.cast.storage.get(self.manifest_path))
        return loaded

    def digests(self) -> list[str]:
        """The sha256 of every file but statistics, in the manifest's order."""
        return [f["sha256"] for f in self.manifest()["files"] if f["kind"] != "statistics"]


def vault_of(settings: Any) -> Vault:
    return Vault(
        settings.vault_addr,
        settings.vault_role_id,
        settings.vault_secret_id_file,
        settings.vault_mount,
    )


def rotated(vault_settings: Any, source: Source, target: Target, password: str) -> None:
    """A next version of a source's secret, which a run that has begun does not name."""
    secret = secret_for(target, target.username, password)
    credential = source.credential
    vault_of(vault_settings).write(credential.path, secret, credential.version)


def a_source(
    vault_settings: Any,
    target: Target,
    password: str,
    options: Options | None = None,
    bound_to: Target | None = None,
) -> Source:
    """A connection whose secret the dashboard's role has written."""
    vault = vault_of(vault_settings)
    identity = str(uuid.uuid4())
    path = f"connections/{identity}"
    version = vault.write(path, secret_for(bound_to or target, target.username, password), 0)
    return Source(identity, "warehouse", target, CredentialRef(path, version), options or Options())


def sessions(server: Any, run_id: str) -> list[tuple[Any, ...]]:
    """What runs in the source on behalf of a run."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        return connection.execute(
            "select pid, application_name, wait_event_type from pg_stat_activity"
            " where application_name like %s",
            (f"surveyor run {run_id}%",),
        ).fetchall()


def storage_of(settings: Any) -> Storage:
    return open_storage(settings.storage)


class Proxy:
    """Forwards a port, counts who came, and can be closed for a while."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self._server: asyncio.Server | None = None

    async def open(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server
        self._server.close()

    async def __aenter__(self) -> Proxy:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
