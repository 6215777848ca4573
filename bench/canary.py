"""Plant passwords, run well and badly, then look for them everywhere: `python -m bench.canary`.

Every sink is read raw: Temporal's SQLite file, Redis (MONITOR and all keys), the app
database, logs, storage, HTML and API answers, command lines. Each pattern is also looked
for URL-, base64-, hex- and UTF-16-encoded. A control string takes the ways a leak would
take (an owner's name, a pattern of a run, a username): the scan must find that one.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import redis
from psycopg import sql

from bench.instance import Instance, instance


def patterns(canary: str) -> list[bytes]:
    raw = canary.encode()
    inner = base64.b64encode(b"x" + raw + b"yy")[4:-4]  # whatever stands around it
    return [
        raw,
        quote(canary, safe="").encode(),
        json.dumps(canary)[1:-1].encode(),
        base64.b64encode(raw).rstrip(b"=")[:-1],
        inner,
        raw.hex().encode(),
        canary.encode("utf-16-le"),
        raw[: len(raw) // 2],
        raw[len(raw) // 2 :],
    ]


def hits(data: bytes, canaries: list[str]) -> int:
    return sum(p in data for canary in canaries for p in patterns(canary))


class Monitor(threading.Thread):
    """What passes through Redis while it listens."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.seen = bytearray()
        self.client = redis.Redis.from_url(url, socket_timeout=None)

    def run(self) -> None:
        # The instance ends, and Redis with it, before the scan does.
        with (
            suppress(redis.ConnectionError),
            self.client.monitor() as monitor,  # type: ignore[no-untyped-call]
        ):
            for command in monitor.listen():
                self.seen += str(command["command"]).encode() + b"\n"


def files(root: Path, *skip: str) -> Iterator[tuple[str, bytes]]:
    for path in root.rglob("*"):
        if path.is_file() and not any(s in path.parts for s in skip):
            yield str(path.relative_to(root)), path.read_bytes()


def redis_values(url: str) -> bytes:
    client = redis.Redis.from_url(url)
    dumped = bytearray()
    for key in client.scan_iter(count=1000):
        dumped += key + b"\n"
        kind = client.type(key)
        if kind == b"string":
            dumped += repr(client.get(key)).encode()
        elif kind == b"hash":
            dumped += repr(client.hgetall(key)).encode()
        elif kind == b"stream":
            dumped += repr(client.xrange(key)).encode()
        else:
            dumped += client.dump(key) or b""
    return bytes(dumped)


def command_lines() -> bytes:
    lines = bytearray()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines += entry.read_bytes() + b"\n"
        except (FileNotFoundError, ProcessLookupError):
            continue
    return bytes(lines)


def api_answers(copy: Instance) -> bytes:
    body = bytearray()
    for path in ("/connections", "/runs", "/workers", "/openapi.json"):
        body += copy.api.get(path).content
    for item in copy.api.get("/connections").json()["items"]:
        body += copy.api.get(f"/connections/{item['id']}").content
    for item in copy.api.get("/runs").json()["items"]:
        body += copy.api.get(f"/runs/{item['id']}").content
        body += copy.api.get(f"/runs/{item['id']}/events").content
        body += copy.api.get(f"/runs/{item['id']}/snapshot").content
    return bytes(body)


def pages(copy: Instance, password: str) -> bytes:
    """The HTML an admin sees, Django admin included."""
    client = httpx.Client(base_url=f"http://127.0.0.1:{copy.port}", follow_redirects=True)
    form = client.get("/sign-in/")
    match = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
    assert match, "no sign-in form"
    client.post(
        "/sign-in/",
        data={"csrfmiddlewaretoken": match[1], "username": "admin", "password": password},
        headers={"Referer": f"http://127.0.0.1:{copy.port}/sign-in/"},
    ).raise_for_status()
    paths = ["/runs/", "/connections/", "/catalogue/", "/admin/", "/admin/dashboard/connection/"]
    for item in copy.api.get("/connections").json()["items"]:
        paths += [f"/connections/{item['id']}/{tail}" for tail in ("", "edit/", "rotate/")]
        paths += [
            f"/admin/dashboard/connection/{item['id']}/{tail}" for tail in ("change/", "history/")
        ]
    paths += [f"/runs/{item['id']}/" for item in copy.api.get("/runs").json()["items"]]
    body = bytearray()
    for path in paths:
        answer = client.get(path)
        if answer.status_code != 200:
            raise RuntimeError(f"{path} answers {answer.status_code}")
        body += answer.content
    return bytes(body)


def demo_target(copy: Instance) -> dict[str, Any]:
    for item in copy.api.get("/connections").json()["items"]:
        if item["name"] == "demo":
            return {k: item[k] for k in ("dialect", "host", "port", "database")} | {
                "tls": item["tls"]
            }
    raise RuntimeError("no demo connection")


def exercise(copy: Instance, canaries: list[str], superuser: str) -> None:
    """One connection that works, one refused, one to nowhere; create, rotate, check, run."""
    target = demo_target(copy)
    role = f"canary_{secrets.token_hex(3)}"
    with psycopg.connect(superuser, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                sql.Identifier(role), sql.Literal(canaries[0])
            )
        )
    good = {**target, "name": "canary-good", "username": role, "password": canaries[0]}
    wrong = {**target, "name": "canary-wrong", "username": role, "password": canaries[1]}
    nowhere = {**wrong, "name": "canary-nowhere", "port": 1, "password": canaries[2]}
    created = [
        copy.api.post("/connections", json=body).raise_for_status().json()
        for body in (good, wrong, nowhere)
    ]
    for body in ({**good, "password": canaries[2], "port": 70000}, good):
        copy.api.post("/connections", json=body)  # refused: bad port, name taken
    copy.api.put(
        f"/connections/{created[1]['id']}/credential",
        json={"username": role, "password": canaries[1]},
    ).raise_for_status()
    for connection in created:
        copy.api.post(f"/connections/{connection['id']}/check")
    ended = {c["name"]: copy.wait(copy.start_run(c["name"]), 120)["status"] for c in created[:2]}
    if ended != {"canary-good": "succeeded", "canary-wrong": "failed"}:
        raise RuntimeError(f"runs ended otherwise: {ended}")
    run = copy.start_run("canary-nowhere")
    copy.until(run, lambda r: r["status"] == "running")
    copy.api.post(f"/runs/{run}/cancel").raise_for_status()
    copy.wait(run)


def plant(copy: Instance, control: str) -> None:
    """Put the control where everybody may read it, as a careless change would a password."""
    target = demo_target(copy)
    body = {**target, "name": "control", "username": control, "password": "x", "owner": control}
    copy.api.post("/connections", json=body).raise_for_status()
    copy.wait(copy.start_run("control", include=[f"{control}.*"]))


def scan(
    copy: Instance, canaries: list[str], control: str, monitor: Monitor, password: str
) -> bool:
    url = copy.settings["REDIS_URL"]
    sinks: dict[str, bytes] = {
        "redis MONITOR": bytes(monitor.seen),
        "redis keys": redis_values(url),
    }
    sinks["command lines"] = command_lines()
    sinks["API answers"] = api_answers(copy)
    sinks["pages and admin"] = pages(copy, password)
    sinks["logs"] = copy.log.read_bytes()
    for name, data in files(copy.data_dir, "postgres", "pg", "demo", "openbao", "vault"):
        top = name.split("/")[0]
        sinks[f"data/{top}"] = sinks.get(f"data/{top}", b"") + data
    print(f"{'sink':32} {'bytes':>12} {'hits':>5} {'control':>8}")
    leaks = controls = 0
    for name, data in sorted(sinks.items()):
        found, seen = hits(data, canaries), hits(data, [control])
        print(f"{name:32} {len(data):12,} {found:5} {seen:8}")
        leaks, controls = leaks + found, controls + bool(seen)
    print(f"{leaks} hits; the control was found in {controls} of {len(sinks)} sinks")
    return leaks == 0 and controls >= 4


def main() -> int:
    admin_password = secrets.token_urlsafe(12)
    canaries = [f"Cn{i}/{secrets.token_hex(9)}+q" for i in range(3)]
    with instance(ADMIN_PASSWORD=admin_password) as copy:
        copy.settle()
        monitor = Monitor(copy.settings["REDIS_URL"])
        monitor.start()
        exercise(copy, canaries, copy.settings["DEMO_SUPERUSER_DSN"])
        control = f"Control{secrets.token_hex(9)}"
        plant(copy, control)
        return 0 if scan(copy, canaries, control, monitor, admin_password) else 1


if __name__ == "__main__":
    sys.exit(main())
