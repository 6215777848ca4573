"""Is this process up, and what of all it needs is.

`/readyz` fails only with the app database: it is read most when something else
is down. `?strict=1` is for deployments that want everything.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Literal, TypedDict

import structlog
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import Error as DatabaseFailed
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis.exceptions import RedisError

from dashboard import connections, story, temporal
from dashboard.models import Run
from dashboard.temporal import TemporalUnavailable
from extraction.errors import StorageFailed
from extraction.storage import open_storage

log = structlog.get_logger(__name__)

LIMIT = 2.0
LEAST_FREE_BYTES = 200 * 1024 * 1024


class Health(TypedDict):
    status: Literal["ok", "degraded", "down"]
    reason: str


OK = Health(status="ok", reason="")


def _down(reason: str) -> Health:
    return Health(status="down", reason=reason)


@login_not_required
@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


@login_not_required
@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    found = examine()
    strict = request.GET.get("strict") == "1"
    unusable = found["database"]["status"] == "down"
    wanting = strict and any(health["status"] != "ok" for health in found.values())
    return JsonResponse(found, status=503 if unusable or wanting else 200)


def examine() -> dict[str, Health]:
    """Everything at once, each within LIMIT; what hangs longer is down."""
    probes = _probes()
    futures = {name: probes.ask(name) for name in CHECKS}
    wait(futures.values(), timeout=LIMIT)
    return {name: _outcome(name, future) for name, future in futures.items()}


def _outcome(name: str, future: Future[Health]) -> Health:
    if not future.done():
        if name == "database":
            future.cancel()
        return _down(f"No answer within {LIMIT:.0f} s")
    try:
        return future.result()
    except Exception:
        log.exception("health check failed", check=name)
        return _down("The check itself failed; the log has the details")


class _Probes:
    """The threads of one process, bounded: probes of something that hangs cannot pile up.

    A check that hangs holds one thread, and whoever asks meanwhile waits for the same
    answer. The database decides about the whole page, so it has threads of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Future[Health]] = {}
        self._database = ThreadPoolExecutor(8, thread_name_prefix="health-database")
        self._others = ThreadPoolExecutor(len(CHECKS), thread_name_prefix="health")

    def ask(self, name: str) -> Future[Health]:
        if name == "database":
            return self._database.submit(CHECKS[name])
        with self._lock:
            running = self._running.get(name)
            if running is None or running.done():
                running = self._running[name] = self._others.submit(CHECKS[name])
            return running


_by_process: dict[int, _Probes] = {}
_lock = threading.Lock()


def _probes() -> _Probes:
    with _lock:
        if os.getpid() not in _by_process:
            _by_process[os.getpid()] = _Probes()
        return _by_process[os.getpid()]


def _database() -> Health:
    try:
        list(Run.objects.values_list("pk", flat=True)[:1])
    except DatabaseFailed:
        return _down("The app database cannot be read")
    finally:
        connection.close()
    return OK


def _redis() -> Health:
    try:
        story.client().ping()
    except (RedisError, OSError):
        return _down("Redis is unreachable; pages show what heartbeats say")
    return OK


def _temporal() -> Health:
    try:
        temporal.ping()
    except TemporalUnavailable as error:
        return _down(f"{error.reason}; new runs wait")
    return OK


def _vault() -> Health:
    status, reason = connections.vault().health()
    if status == "standby":
        return Health(status="degraded", reason=reason or "Vault is standing by")
    return OK if status == "ok" else _down(reason or f"Vault is {status}")


def _storage() -> Health:
    try:
        root = Path(open_storage(settings.ENV.storage).root)
        if not os.access(root, os.W_OK):
            return _down("The snapshot storage cannot be written")
        free = shutil.disk_usage(root).free
    except (StorageFailed, OSError):
        return _down("The snapshot storage cannot be reached")
    if free < LEAST_FREE_BYTES:
        return Health(status="degraded", reason="The snapshot storage is nearly full")
    return OK


def _workers() -> Health:
    try:
        alive = sum(worker.is_alive for worker in temporal.workers())
    except TemporalUnavailable:
        return Health(status="degraded", reason="Unknown while Temporal is unreachable")
    return OK if alive else _down("No worker is running")


CHECKS: dict[str, Callable[[], Health]] = {
    "database": _database,
    "redis": _redis,
    "temporal": _temporal,
    "vault": _vault,
    "storage": _storage,
    "workers": _workers,
}
