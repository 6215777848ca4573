"""Bad input and dead dependencies, one by one, and what a person sees: `python -m bench.refusals`.

Each row: the status, the seconds, and the sentence. Bad when an answer takes over 5 s, is a
500, holds a traceback, or when something was lost or half-saved.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
from psycopg import sql

from bench.canary import demo_target
from bench.instance import Instance, instance

Row = tuple[bool, str]


class Refusals:
    def __init__(self, copy: Instance) -> None:
        self.copy = copy
        self.dsn = copy.settings["DEMO_SUPERUSER_DSN"]
        self.role = f"refused_{secrets.token_hex(3)}"
        self.password = secrets.token_urlsafe(12)
        self.bad = 0
        with psycopg.connect(self.dsn, autocommit=True) as admin:
            admin.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(self.role), sql.Literal(self.password)
                )
            )
        self.target = {**demo_target(copy), "username": self.role, "password": self.password}

    def row(self, what: str, ok: bool, seconds: float, said: str) -> None:
        self.bad += not ok
        print(f"{'ok ' if ok else 'BAD'} {what:26} {seconds:5.2f} s  {said}", flush=True)

    def ask(self, method: str, path: str, **kw: Any) -> tuple[httpx.Response, float]:
        begin = time.monotonic()
        answer = self.copy.api.request(method, path, **kw)
        return answer, time.monotonic() - begin

    def connection(self, **change: Any) -> httpx.Response:
        body = {**self.target, "name": f"c-{secrets.token_hex(4)}", **change}
        return self.copy.api.post("/connections", json=body)

    def problem(self, what: str, method: str, path: str, status: int, **kw: Any) -> None:
        """An answer that must be `status` with problem details."""
        answer, seconds = self.ask(method, path, **kw)
        body = answer.json()
        said = "; ".join(
            f"{e['field']}: {e['message']}" for e in body.get("errors") or []
        ) or body.get("detail", "")
        ok = (
            answer.status_code == status
            and bool(said)
            and "Traceback" not in answer.text
            and seconds < 5
        )
        self.row(what, ok, seconds, f"{answer.status_code} {said}")

    def fails(self, what: str, category: str, **change: Any) -> None:
        """A connection whose check names the failed step and whose run fails for that cause."""
        created = self.connection(**change).raise_for_status().json()
        answer, seconds = self.ask("POST", f"/connections/{created['id']}/check")
        steps = answer.json().get("steps") or [{}]
        last = steps[-1]
        self.row(
            f"{what} (check)",
            answer.status_code == 200 and last.get("ok") is False and bool(last.get("fix")),
            seconds,
            f"{last.get('name')}: {last.get('detail')} → {last.get('fix')}",
        )
        begin = time.monotonic()
        run = self.copy.start_run(created["name"])
        seen = self.copy.until(
            run,
            lambda r: bool(r["error"]) or category in r["verdict"] or "retrying" in r["verdict"],
            30,
        )
        error = seen["error"] or {}
        said = (
            f"{seen['status']}: {error.get('message') or seen['verdict']} → {error.get('fix', '')}"
        )
        ok = error.get("category", category) == category
        self.row(f"{what} (run)", ok, time.monotonic() - begin, said)
        if seen["status"] in {"running", "queued"}:
            self.copy.api.post(f"/runs/{run}/cancel").raise_for_status()
        self.copy.wait(run, 60)

    def logins(self) -> int:
        """Failed logins of our role that reached the server, from its log."""
        logs = [p for p in self.copy.data_dir.rglob("*.log") if p.is_file()] + [self.copy.log]
        needle = f'password authentication failed for user "{self.role}"'
        return sum(p.read_text(errors="replace").count(needle) for p in logs)


def named(*words: str) -> list[int]:
    """For a server whose title has overwritten its environment: words tell it apart alone."""
    lines = {p: p.read_bytes().replace(b"\0", b" ") for p in Path("/proc").glob("[0-9]*/cmdline")}
    return [
        int(p.parent.name) for p, line in lines.items() if all(w.encode() in line for w in words)
    ]


@contextmanager
def stopped(copy: Instance, *words: str) -> Iterator[None]:
    """Freeze the process whose command line holds the words."""
    pids = copy.processes(*words) or named(*words)
    if not pids:
        raise RuntimeError(f"no process {words}")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def bad_input(r: Refusals) -> None:
    taken = r.connection(name="taken").raise_for_status().json()
    base = {**r.target, "name": "x-new"}
    r.problem("name taken", "POST", "/connections", 422, json={**base, "name": "taken"})
    r.problem("port 70000", "POST", "/connections", 422, json={**base, "port": 70000})
    r.problem("host with a path", "POST", "/connections", 422, json={**base, "host": "/tmp"})
    r.problem(
        "unknown option", "POST", "/connections", 422, json={**base, "options": {"sslkey": "x"}}
    )
    r.problem(
        "edited host, old password",
        "PATCH",
        f"/connections/{taken['id']}",
        422,
        json={"host": "127.0.0.2"},
    )
    r.problem(
        "invalid pattern", "POST", "/runs", 422, json={"connection": "taken", "include": ["a.b.c"]}
    )
    r.problem("unknown connection", "POST", "/runs", 404, json={"connection": "nobody"})
    run = r.copy.start_run("demo")
    r.problem("second run while one open", "POST", "/runs", 409, json={"connection": "demo"})
    r.copy.api.post(f"/runs/{run}/cancel").raise_for_status()
    r.copy.wait(run)
    r.problem("cancel an ended run", "POST", f"/runs/{run}/cancel", 409)


def bad_sources(r: Refusals) -> None:
    before = r.logins()
    created = r.connection(password="wrong-" + secrets.token_hex(4)).raise_for_status().json()
    run = r.copy.wait(r.copy.start_run(created["name"]), 60)
    count = r.logins() - before
    said = f"{run['error']['message']} → {run['error']['fix']}; logins at the server: {count}"
    r.row("wrong password (run)", run["error"]["category"] == "auth" and count == 1, 0, said)
    before = r.logins()
    answer, seconds = r.ask("POST", f"/connections/{created['id']}/check")
    last = answer.json()["steps"][-1]
    r.row(
        "wrong password (check)",
        r.logins() - before == 1 and not last["ok"],
        seconds,
        f"{last['name']}: {last['detail']}",
    )
    r.fails("unknown host", "unreachable", host="nowhere.invalid", tls="disable")
    r.fails("closed port", "unreachable", port=1)
    r.fails("no such database", "config", database="absent")


def statement_timeout(r: Refusals) -> None:
    """A lock on a catalogue table makes the statement hang until its timeout."""
    name = f"slow-{secrets.token_hex(3)}"
    r.connection(name=name, options={"statement_timeout": 1, "lock_timeout": 1}).raise_for_status()
    with psycopg.connect(r.dsn, dbname=r.target["database"]) as admin:
        admin.execute("LOCK TABLE pg_catalog.pg_description IN ACCESS EXCLUSIVE MODE")
        begin = time.monotonic()
        run = r.copy.start_run(name)
        seen = r.copy.until(run, lambda x: bool(x["error"]) or "retrying" in x["verdict"], 60)
        r.row(
            "statement timeout",
            seen["status"] in {"running", "failed"},
            time.monotonic() - begin,
            seen["verdict"],
        )
    ended = r.copy.wait(run, 120)
    r.row("… and once it is free", ended["status"] == "succeeded", 0, ended["status"])


def dead_vault(r: Refusals) -> None:
    rows = len(r.copy.api.get("/connections").json()["items"])
    with stopped(r.copy, "bao", "server"):
        r.problem(
            "Vault down: new connection",
            "POST",
            "/connections",
            503,
            json={**r.target, "name": "half"},
        )
        r.row(
            "… nothing half-saved",
            len(r.copy.api.get("/connections").json()["items"]) == rows,
            0,
            f"{rows} connections as before",
        )
        run = r.copy.start_run("taken")
        seen = r.copy.until(run, lambda x: "vault" in x["verdict"].lower(), 30)
        r.row("Vault down: run waits", seen["status"] == "running", 0, seen["verdict"])
    r.row("… and goes on by itself", r.copy.wait(run, 60)["status"] == "succeeded", 0, "succeeded")


def dead_temporal(r: Refusals) -> None:
    with stopped(r.copy, "server", "start-dev"):
        answer, seconds = r.ask("POST", "/runs", json={"connection": "taken"})
        run = answer.json()
        r.row(
            "Temporal down: start",
            answer.status_code == 201 and seconds < 5,
            seconds,
            f"{run['status']}: {run['verdict']}",
        )
    r.row(
        "… and starts by itself",
        r.copy.wait(run["id"], 60)["status"] == "succeeded",
        0,
        "succeeded",
    )


def dead_redis(r: Refusals) -> None:
    port = str(urlsplit(r.copy.settings["REDIS_URL"]).port)
    with stopped(r.copy, "valkey", f":{port}"):
        answer, seconds = r.ask("POST", "/runs", json={"connection": "taken"})
        run = answer.json()
        r.row(
            "Redis down: start", answer.status_code == 201 and seconds < 5, seconds, run["verdict"]
        )
        ended = r.copy.wait(run["id"], 60)
        r.row("Redis down: run", ended["status"] == "succeeded", 0, ended["status"])


def full_storage(r: Refusals) -> None:
    """A storage of 1 MiB (a tmpfs, so root only): the run waits, and ends well once there is room."""
    storage = r.copy.data_dir / "storage"
    if os.geteuid() != 0:
        print("--- storage full: needs root for a tmpfs")
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(storage)], check=True)
    try:
        run = r.copy.start_run("taken")
        seen = r.copy.until(run, lambda x: "storage" in x["verdict"].lower(), 60)
        r.row("storage full: run waits", seen["status"] == "running", 0, seen["verdict"])
        subprocess.run(["mount", "-o", "remount,size=256m", str(storage)], check=True)
        ended = r.copy.wait(run, 60)
        r.row("… and ends well with room", ended["status"] == "succeeded", 0, ended["status"])
    finally:
        subprocess.run(["umount", "-l", str(storage)], check=True)


def main() -> int:
    with instance() as copy:
        copy.settle()
        refusals = Refusals(copy)
        for part in (
            bad_input,
            bad_sources,
            statement_timeout,
            dead_vault,
            dead_temporal,
            dead_redis,
            full_storage,
        ):
            part(refusals)
        text = copy.log.read_text(errors="replace")
        refusals.row(
            "tracebacks in the logs", "Traceback" not in text, 0, str(text.count("Traceback"))
        )
        return 1 if refusals.bad else 0


if __name__ == "__main__":
    sys.exit(main())
