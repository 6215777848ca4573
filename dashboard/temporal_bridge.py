"""One background thread with an event loop and one Temporal client per process.

Synchronous code waits for the loop with a limit; what goes wrong on the way is one
error with a reason a person can read.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, NoReturn, TypeVar

from django.conf import settings
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.client import Client, RetryConfig
from temporalio.service import RPCError, RPCStatusCode

from workers.temporal import connect

T = TypeVar("T")
Operation = Callable[[Client], Coroutine[Any, Any, T]]

LIMIT = 5.0
# The SDK retries an unavailable server for ten seconds by default; a page waits for us.
RETRY = RetryConfig(initial_interval_millis=100, max_elapsed_time_millis=2000, max_retries=4)


class TemporalUnavailable(Exception):
    """Temporal cannot be reached."""

    def __init__(self, reason: str = "Temporal is unreachable") -> None:
        self.reason = reason
        super().__init__(reason)


class _Bridge:
    """One thread, one event loop, one client that connects at its first call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Client | None = None
        self._client_of: object = None

    def submit(self, operation: Operation[T], limit: float) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(self._bounded(operation, limit), self._started())

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name="temporal-bridge", daemon=True
                ).start()
            return self._loop

    async def _bounded(self, operation: Operation[T], limit: float) -> T:
        try:
            async with asyncio.timeout(limit):
                return await operation(await self._connected())
        except TimeoutError:
            raise TemporalUnavailable(f"Temporal did not answer within {limit:.0f} s") from None
        except RPCError as error:
            raise _unavailable(error) from None
        except RuntimeError as error:
            if "connect" not in str(error).lower():
                raise
            raise TemporalUnavailable from None

    async def _connected(self) -> Client:
        if self._client is None or self._client_of is not settings.ENV:
            self._client = await connect(settings.ENV, retry_config=RETRY)
            self._client_of = settings.ENV
        return self._client


def _unavailable(error: RPCError) -> TemporalUnavailable:
    if error.status in {RPCStatusCode.UNAVAILABLE, RPCStatusCode.CANCELLED}:
        return TemporalUnavailable()
    if error.status == RPCStatusCode.DEADLINE_EXCEEDED:
        return TemporalUnavailable("Temporal did not answer in time")
    if error.status == RPCStatusCode.NOT_FOUND and _is_namespace_missing(error):
        return TemporalUnavailable("Temporal does not know the namespace")
    return TemporalUnavailable(f"Temporal refused: {error.status.name.lower()}")


_bridge = _Bridge()


def _forget_after_fork() -> None:
    # A client and its loop thread do not survive a fork; the child starts its own.
    global _bridge
    _bridge = _Bridge()


os.register_at_fork(after_in_child=_forget_after_fork)


def call(operation: Operation[T], limit: float = LIMIT) -> T:
    """Run an operation on the bridge's loop and wait for it, from synchronous code."""
    future = _bridge.submit(operation, limit)
    try:
        return future.result(limit + 1)
    except TimeoutError:
        future.cancel()
        raise TemporalUnavailable(f"Temporal did not answer within {limit:.0f} s") from None


def awaited(operation: Operation[T], limit: float = LIMIT) -> Awaitable[T]:
    """The same for asynchronous code on any other loop."""
    return asyncio.wrap_future(_bridge.submit(operation, limit))


def exit_cleanly(code: int) -> NoReturn:
    """End a short process that used the client: the interpreter's own way out may abort it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def is_missing(error: RPCError) -> bool:
    """The server is sure that there is no such workflow, or none that is open."""
    return error.status == RPCStatusCode.NOT_FOUND and not _is_namespace_missing(error)


def _is_namespace_missing(error: RPCError) -> bool:
    named = any(d.Is(NamespaceNotFoundFailure.DESCRIPTOR) for d in error.grpc_status.details)
    return named or "namespace" in error.message.lower()
