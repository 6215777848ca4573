"""The worker process: polls the task queue until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from extraction import crash
from extraction.connection import AddressPolicy
from extraction.parsers import Parsers
from extraction.storage import open_storage
from extraction.tables import spare_memory
from extraction.vault import Vault
from workers import logs
from workers.activities import Activities
from workers.contract import TASK_QUEUE
from workers.needs import Needs
from workers.progress import open_redis
from workers.publisher import Publisher
from workers.settings import WorkerSettings, load
from workers.temporal import connect, worker_runtime
from workers.workflows import CheckConnection, ExtractRun

# Below the heartbeat interval's usual share of the timeout (8 s), so that a cancel
# and the picture arrive within half a second.
HEARTBEAT_THROTTLE = timedelta(seconds=0.5)
GRACE = timedelta(seconds=3)
EXIT_LIMIT = 4.5
UNREACHABLE_PAUSE = 1.0

log = structlog.get_logger(__name__)


def worker_name(settings: WorkerSettings) -> str:
    return settings.worker_name or f"{socket.gethostname()}-{os.getpid()}"


@asynccontextmanager
async def needs(settings: WorkerSettings) -> AsyncIterator[Needs]:
    """What the activities get, with the publisher running; closed in good order."""
    redis = open_redis(settings.redis_url.get_secret_value())
    publisher = Publisher(redis)
    publishing = asyncio.create_task(publisher.run())
    # An activity holds one thread and needs a second one to be cancelled.
    threads = ThreadPoolExecutor(2 * settings.max_concurrent_activities, "extraction")
    parsers = Parsers()
    try:
        yield Needs(
            settings,
            Vault(
                settings.vault_addr,
                settings.vault_role_id,
                settings.vault_secret_id_file,
                settings.vault_mount,
            ),
            open_storage(settings.storage),
            publisher,
            AddressPolicy(
                settings.allow_loopback_sources,
                frozenset(settings.denied_endpoints),
                settings.source_files,
            ),
            worker_name(settings),
            threads,
            parsers,
        )
    finally:
        publishing.cancel()
        with suppress(asyncio.CancelledError):
            await publishing
        await publisher.flush()
        await redis.aclose()
        threads.shutdown(wait=False, cancel_futures=True)
        parsers.close()


def make_worker(client: Client, activities: Activities, settings: WorkerSettings) -> Worker:
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[ExtractRun, CheckConnection],
        activities=activities.all,
        identity=worker_name(settings),
        max_concurrent_activities=settings.max_concurrent_activities,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        graceful_shutdown_timeout=GRACE,
        # Shards go to whoever polls, not all to the worker that runs the workflow.
        disable_eager_activity_execution=True,
        workflow_runner=workflow_runner(),
    )


def workflow_runner() -> SandboxedWorkflowRunner:
    """The sandbox, with our own passive modules passed through: no reload at every run."""
    restrictions = SandboxRestrictions.default.with_passthrough_modules(
        "workers.contract", "extraction.connection", "extraction.hours", "extraction.selection"
    )
    return SandboxedWorkflowRunner(restrictions=restrictions)


async def connected(settings: WorkerSettings, stop: asyncio.Event) -> Client | None:
    """A client once Temporal answers, saying so meanwhile; None when told to stop first."""
    runtime, said = worker_runtime(), False
    while not stop.is_set():
        try:
            # Workers refuse a lazy client.
            return await connect(
                settings, lazy=False, identity=worker_name(settings), runtime=runtime
            )
        except RuntimeError:
            if not said:
                log.warning("waiting for Temporal", address=settings.temporal_address)
            said = True
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), UNREACHABLE_PAUSE)
    return None


async def serve(settings: WorkerSettings, stop: asyncio.Event) -> None:
    name = worker_name(settings)
    client = await connected(settings, stop)
    if client is None:
        return
    async with needs(settings) as injected, make_worker(client, Activities(injected), settings):
        log.info("worker is polling", worker=name, queue=TASK_QUEUE)
        await stop.wait()
        log.info("worker is stopping", worker=name)
    log.info("worker stopped", worker=name)


async def run(settings: WorkerSettings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(serve(settings, stop))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait({serving}, timeout=EXIT_LIMIT)
    if not serving.done():
        log.warning("worker did not stop in time; its work goes on elsewhere")
        return 0
    serving.result()
    return 0


def exit_now(code: int) -> None:
    """End without the interpreter's teardown, in which the Temporal client can abort."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    settings = load(WorkerSettings)
    # Sources on loopback are for one machine that tries things out.
    if refusal := crash.refusal(served=not settings.allow_loopback_sources):
        raise SystemExit(refusal)
    spare_memory()
    logs.configure(settings.log_format, settings.log_level, component="worker")
    try:
        code = asyncio.run(run(settings))
    except Exception as error:
        log.error("worker ended", error=type(error).__name__, frames=logs.where(error))
        code = 1
    exit_now(code)


if __name__ == "__main__":
    main()
