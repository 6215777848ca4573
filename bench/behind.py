"""What happens behind the app's back, and how soon the page is right: `python -m bench.behind`.

Terminates a run's workflow, deletes a history, starts a workflow no row knows, and kills
the web process between saving a run and starting it. Prints seconds until the run's API
answer agrees with Temporal, and counts workflows per run.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.instance import Instance, instance

TEMPORAL = Path(sys.executable).parent / "temporal"


def temporal(copy: Instance, *args: str) -> str:
    done = subprocess.run(
        [str(TEMPORAL), *args, "--address", copy.settings["TEMPORAL_ADDRESS"]],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"temporal {' '.join(args)}: {done.stderr[-500:]}")
    return done.stdout


def workflows(copy: Instance, run_id: str) -> int:
    query = f'WorkflowId="run-{run_id}"'
    listed = temporal(copy, "workflow", "list", "--query", query, "--output", "json")
    return len(json.loads(listed or "[]"))


def seconds_until(check: Callable[[], bool], limit: float) -> float:
    begin = time.monotonic()
    while not check():
        if time.monotonic() - begin > limit:
            return float("inf")
        time.sleep(0.1)
    return time.monotonic() - begin


def report(what: str, seconds: float, bar: float, detail: str) -> bool:
    ok = seconds <= bar
    print(
        f"{'ok ' if ok else 'BAD'} {what:44} {seconds:5.1f} s (bar {bar:.0f} s)  {detail}",
        flush=True,
    )
    return ok


def running(copy: Instance) -> str:
    run = copy.start_run("demo")
    copy.until(run, lambda r: r["status"] == "running" and r["progress"]["done"] > 0)
    return run


def said(run: dict[str, Any]) -> str:
    return f"{run['status']}: {(run['error'] or {}).get('category')}: {(run['error'] or {}).get('message')}"


def terminated(copy: Instance) -> bool:
    run = running(copy)
    temporal(copy, "workflow", "terminate", "--workflow-id", f"run-{run}", "--reason", "by hand")
    took = seconds_until(lambda: copy.run(run)["status"] == "failed", 20)
    return report("workflow terminated", took, 10, said(copy.run(run)))


def deleted(copy: Instance) -> bool:
    run = running(copy)
    temporal(copy, "workflow", "delete", "--workflow-id", f"run-{run}", "--yes")
    took = seconds_until(lambda: copy.run(run)["status"] == "failed", 40)
    return report("history deleted", took, 30, said(copy.run(run)))


def unknown(copy: Instance) -> bool:
    model = copy.start_run("demo")
    copy.until(model, lambda r: r["status"] == "running")
    shown = temporal(copy, "workflow", "show", "--workflow-id", f"run-{model}", "--output", "json")
    copy.api.post(f"/runs/{model}/cancel").raise_for_status()
    copy.wait(model)
    run = str(uuid.uuid4())
    started = json.loads(shown)["events"][0]["workflowExecutionStartedEventAttributes"]
    payload = (
        started["input"]["payloads"][0]
        if isinstance(started["input"], dict)
        else started["input"][0]
    )
    given = decode(payload)
    given["run_id"] = run
    temporal(
        copy, "workflow", "start", "--type", "ExtractRun", "--task-queue", "extraction",
        "--workflow-id", f"run-{run}", "--input", json.dumps(given),
    )  # fmt: skip
    took = seconds_until(lambda: copy.api.get(f"/runs/{run}").status_code == 200, 20)
    ended = copy.wait(run)
    return (
        report("workflow that no row knew", took, 10, said(ended))
        and ended["status"] == "succeeded"
    )


def decode(payload: Any) -> dict[str, Any]:
    data = payload.get("data") if isinstance(payload, dict) and "metadata" in payload else payload
    value: dict[str, Any] = (
        json.loads(base64.b64decode(data)) if isinstance(data, str) else data or {}
    )
    return value


def web_killed(copy: Instance) -> bool:
    """Freeze Temporal so that the start hangs, kill web there, thaw: the row must be started once."""
    server = copy.processes("server", "start-dev")[0]
    os.kill(server, signal.SIGSTOP)
    try:
        request = subprocess.Popen(
            [sys.executable, "-c", _POST, str(copy.api.base_url), copy.api.headers["Authorization"]]
        )
        seconds_until(lambda: saved(copy), 10)
        for web in copy.processes("uvicorn"):
            os.kill(web, signal.SIGKILL)
        request.wait(30)
    finally:
        os.kill(server, signal.SIGCONT)
    begin = time.monotonic()
    seconds_until(lambda: answers(copy), 30)
    run = copy.api.get("/runs").json()["items"][0]["id"]
    seconds_until(lambda: copy.run(run)["status"] != "queued", 40)
    took = time.monotonic() - begin
    ended = copy.wait(run)
    count = workflows(copy, run)
    return (
        report(
            "web killed between save and start", took, 30, f"{ended['status']}, {count} workflow"
        )
        and count == 1
    )


_POST = """
import sys, httpx
try:
    httpx.post(sys.argv[1] + "runs", headers={"Authorization": sys.argv[2]}, json={"connection": "demo"}, timeout=20)
except httpx.HTTPError:
    pass
"""


def saved(copy: Instance) -> bool:
    database = next(copy.data_dir.glob("*.sqlite3"))
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        found = db.execute("select count(*) from dashboard_run where status = 'queued'").fetchone()
    return bool(found[0])


def answers(copy: Instance) -> bool:
    try:
        return copy.api.get("/runs").status_code == 200
    except Exception:
        return False


def main() -> int:
    with instance() as copy:
        copy.settle()
        results = [scenario(copy) for scenario in (terminated, deleted, unknown, web_killed)]
        for run in copy.api.get("/runs").json()["items"]:
            count = workflows(copy, run["id"])
            if count > 1:
                print(f"BAD run {run['id']} has {count} workflows")
                results.append(False)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
