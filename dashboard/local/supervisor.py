"""Runs everything of one instance: starts in order, restarts what dies, stops in reverse.

Only the main thread starts processes, because the kernel ends a child with the
thread that started it: that is what leaves nothing behind after a kill -9.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dashboard.local.console import Console, LogFile
from dashboard.local.instance import Instance
from dashboard.local.make import make_was_interrupted
from dashboard.local.process import Child, StartFailed
from dashboard.local.servers import Server, answers, private_directory, spawn
from workers.settings import CHECKOUT

# Everything has to be gone within eight seconds. A server may need to write its
# last checkpoint, so it gets what the components have left.
COMPONENTS_STOP = 4.5
ALL_STOP = 6.5
LONGEST_BACKOFF = 30.0
# Who ran this long has recovered: the next failure is a new one.
RECOVERED = 60.0


class Stopping(Exception):
    """Somebody asked us to stop while we were starting."""


@dataclass
class Part:
    """One process that is kept running."""

    name: str
    begin: Callable[[], Child]
    child: Child | None = None
    began_at: float = 0.0
    failures: int = 0
    restart_at: float = 0.0

    def start(self) -> Child:
        self.child = self.begin()
        self.began_at = time.monotonic()
        return self.child

    def has_ended(self) -> bool:
        return self.child is not None and self.child.exit_code is not None

    def plan_restart(self, now: float) -> float:
        """Seconds until the next start: doubled at each failure in a row."""
        self.failures = 1 if now - self.began_at > RECOVERED else self.failures + 1
        delay = min(0.5 * 2.0 ** (self.failures - 1), LONGEST_BACKOFF)
        self.restart_at = now + delay
        self.child = None
        return delay


@dataclass
class Background:
    """Work beside the main thread that starts no process that must not outlive us."""

    work: Callable[[], object]
    error: BaseException | None = None
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.error = error

    def is_done(self) -> bool:
        """Raises what the work raised."""
        if not self._thread.is_alive() and self.error is not None:
            raise self.error
        return not self._thread.is_alive()


class Supervisor:
    def __init__(self, instance: Instance, workers: int, console: Console) -> None:
        self.instance = instance
        self.workers = workers
        self.console = console
        self.servers: list[Part] = []
        self.components: list[Part] = []
        self._stop = threading.Event()
        self._logs = private_directory(instance.directory / "logs")

    def ask_to_stop(self, *_: object) -> None:
        self._stop.set()

    def start_servers(self, meanwhile: Callable[[], None]) -> None:
        """Start all servers side by side and do `meanwhile`; returns when every one answers."""
        preparations = [(s, Background(s.prepare)) for s in self.instance.servers]
        for server, preparation in preparations:
            self.wait(f"preparing {server.name}", preparation.is_done, 120)
            self._add_server(server)
        meanwhile()
        for part, server in zip(self.servers, self.instance.servers, strict=True):
            assert part.child is not None
            part.child.wait_until(self._unless_stopping(server.ready), 60)
        openbao = self.instance.openbao
        roles = openbao.apply() if openbao else {}
        self.instance.write_environment(roles, self._own_ports())

    def _own_ports(self) -> set[int]:
        """What our servers listen on; the demo source is there to be connected to."""
        own = (part for part in self.servers if part.name != self.instance.source.name)
        return {port for part in own if part.child for port in part.child.listening()}

    def start_components(self) -> None:
        """Web, reconciler and workers, side by side; returns when the page answers."""
        python = sys.executable
        self._add_component("web", [python, "-m", "dashboard.local.web"])
        self._add_component("reconcile", [python, "manage.py", "reconcile"])
        for number in range(1, self.workers + 1):
            self._add_component(f"w{number}", [python, "-m", "workers"])
        web = self.components[0].child
        assert web is not None
        page = f"{self.instance.url}/healthz"
        web.wait_until(self._unless_stopping(lambda: answers(page) == 200), 60, every=0.2)

    def run_once(self, name: str, command: list[str], timeout: float = 60) -> None:
        """One command that ends by itself. Raises StartFailed unless it succeeds."""
        child = self._child(name, command)
        try:
            self.wait(name, lambda: child.exit_code is not None, timeout)
        finally:
            child.stop(1)
        if child.exit_code:
            raise StartFailed(f"{name} failed:\n{child.last_words()}")

    def wait(self, what: str, done: Callable[[], bool], timeout: float) -> None:
        """Raises Stopping when asked to stop, StartFailed after the time."""
        deadline = time.monotonic() + timeout
        while not self._unless_stopping(done)():
            if time.monotonic() > deadline:
                raise StartFailed(f"{what} took longer than {timeout:.0f} s.")
            time.sleep(0.03)

    def keep_running(self) -> None:
        """Restart what dies, until somebody asks to stop."""
        while not self._stop.wait(0.2):
            if make_was_interrupted():
                return
            for part in (*self.servers, *self.components):
                self._look_after(part)

    def stop(self) -> None:
        """In reverse: components, then servers, each group at once and within its time."""
        now = time.monotonic()
        _stop_all(self.components, now + COMPONENTS_STOP)
        _stop_all(self.servers, now + ALL_STOP)

    def _look_after(self, part: Part) -> None:
        now = time.monotonic()
        if part.has_ended():
            assert part.child is not None
            code = part.child.exit_code
            delay = part.plan_restart(now)
            self.console.line(part.name, f"ended (exit {code}), starting again in {delay:g} s")
        elif part.child is None and now >= part.restart_at:
            try:
                part.start()
            except (StartFailed, OSError) as error:
                part.began_at = now
                part.plan_restart(now)
                self.console.line(part.name, str(error))

    def _add_server(self, server: Server) -> None:
        log = LogFile(self._logs / f"{server.name}.log")

        def begin() -> Child:
            if part.failures:
                server.prepare()
            return spawn(server, log.line)

        part = Part(server.name, begin)
        self.servers.append(part)
        part.start()

    def _add_component(self, name: str, command: list[str]) -> None:
        part = Part(name, lambda: self._child(name, command))
        self.components.append(part)
        part.start()

    def _child(self, name: str, command: list[str]) -> Child:
        return Child(name, command, self._environment(name), CHECKOUT, self.console.line)

    def _environment(self, name: str) -> dict[str, str]:
        """Where to look; the secrets themselves are in the files of the instance."""
        values = {
            "DATA_DIR": str(self.instance.directory),
            "PORT": str(self.instance.port),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        if name.startswith("w") and name[1:].isdigit():
            values["WORKER_NAME"] = name
            for key in ("VAULT_ROLE_ID", "VAULT_SECRET_ID_FILE"):
                if own := os.environ.get(f"WORKER_{key}"):
                    values[key] = own
        return values

    def _unless_stopping(self, ready: Callable[[], bool]) -> Callable[[], bool]:
        def asked() -> bool:
            if self._stop.is_set() or make_was_interrupted():
                raise Stopping
            return ready()

        return asked


def _stop_all(parts: list[Part], deadline: float) -> None:
    children = [part.child for part in reversed(parts) if part.child is not None]
    for child in children:
        child.ask_to_stop()
    for child in children:
        child.end(max(0.05, deadline - time.monotonic()))
