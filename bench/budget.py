"""The session budget under kills and changes: `python -m bench.budget`.

A run of a corpus of its own, with N = 2 sessions and 3 workers, while workers are killed
with SIGKILL. A sampler asks the server every 20 ms which sessions carry the run's label.
Printed: the most it ever saw, the same after the budget is lowered to 1 during the run
with the seconds until that is obeyed, and the load receipt beside the server's own log.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import sys
import threading
import time
from typing import Any

import psycopg
from psycopg import sql

from bench.canary import demo_target
from bench.chaos import name_of, records
from bench.instance import Instance, instance
from bench.scale import server_log
from dashboard.local import warehouse

EVERY = 0.02
OBEYED_WITHIN = 5.0
WITHIN = 0.02
LABEL = "surveyor run %"


class Sampler(threading.Thread):
    """Sees (seconds since the epoch, sessions) every 20 ms; `most` since a moment."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self.dsn = dsn
        self.seen: list[tuple[float, int]] = []
        self.names: dict[int, list[str]] = {}
        self.done = threading.Event()

    def run(self) -> None:
        query = "select pid, application_name from pg_stat_activity where application_name like %s"
        with psycopg.connect(self.dsn, autocommit=True, prepare_threshold=0) as admin:
            while not self.done.wait(EVERY):
                found = admin.execute(query, (LABEL,)).fetchall()
                self.seen.append((time.time(), len(found)))
                self.names[len(found)] = sorted(str(name) for _, name in found)

    def most(self, since: float = 0.0) -> int:
        return max((count for at, count in self.seen if at >= since), default=0)

    def obeyed_after(self, since: float, most: int) -> float:
        """Seconds from `since` to the last moment at which there were more."""
        over = [at - since for at, count in self.seen if at >= since and count > most]
        return max(over, default=0.0)


def build(copy: Instance, relations: int) -> str:
    """A database of its own with a reader, every statement logged with its label."""
    dsn = copy.settings["DEMO_SUPERUSER_DSN"]
    role, password = f"budget_{secrets.token_hex(3)}", secrets.token_urlsafe(12)
    warehouse.build(dsn, "budget", relations=relations)
    warehouse.create_reader_role(dsn, "budget", role, password)
    with psycopg.connect(dsn, autocommit=True) as admin:
        for setting in ("log_statement = 'all'", "log_min_messages = 'log'"):
            admin.execute(sql.SQL("ALTER DATABASE budget SET " + setting))
        admin.execute("ALTER SYSTEM SET log_line_prefix = '%a|%p|'")
        admin.execute("SELECT pg_reload_conf()")
    body = {**demo_target(copy), "name": "budget", "database": "budget", "username": role}
    body["options"] = {"sessions": 2, "pace": 0.3}
    copy.api.post("/connections", json={**body, "password": password}).raise_for_status()
    return "budget"


def kill_who_works(copy: Instance, run: str) -> bool:
    busy = {record.worker for record in records(copy, run) if record.state == "working"}
    found = [pid for pid in copy.workers() if name_of(pid) in busy]
    if found:
        os.kill(found[0], signal.SIGKILL)
    return bool(found)


def under_kills(copy: Instance, run: str, kills: int, every: float) -> int:
    done = 0
    while done < kills and copy.run(run)["status"] == "running":
        done += kill_who_works(copy, run)
        time.sleep(every)
    return done


def logged(copy: Instance, run: str, offset: int) -> tuple[int, int]:
    """Statements and sessions of a run in the server's log."""
    pattern = re.compile(rf"surveyor run {run}[^|]*\|(\d+)\|LOG: ")
    lines = server_log(copy)[offset:].decode(errors="replace").splitlines()
    found = [match.group(1) for line in lines if (match := pattern.search(line))]
    return len(found), len(set(found))


def receipt(copy: Instance, ended: dict[str, Any], offset: int) -> bool:
    load = ended["load"]
    statements, sessions = logged(copy, ended["id"], offset)
    off: float = abs(load["statements"] - statements) / max(statements, 1)
    ok = bool(off <= WITHIN and abs(load["sessions"] - sessions) <= load["lost"])
    print(
        f"{'ok ' if ok else 'BAD'} receipt: {load['statements']} statements, the log has"
        f" {statements} ({off:.2%} off); {load['sessions']} sessions, the log has {sessions};"
        f" {load['lost']} attempts lost",
        flush=True,
    )
    return ok


def kills(copy: Instance, sampler: Sampler, name: str, count: int, every: float) -> bool:
    offset, since = len(server_log(copy)), time.time()
    run = copy.start_run(name)
    copy.until(run, lambda r: r["progress"]["done"] > 0)
    killed = under_kills(copy, run, count, every)
    ended = copy.wait(run, 600)
    most = sampler.most(since)
    ok = most <= 2 and ended["status"] == "succeeded" and killed == count
    print(
        f"{'ok ' if ok else 'BAD'} budget 2, {killed} kills: never more than {most} sessions in"
        f" {sum(at >= since for at, _ in sampler.seen)} samples, {ended['status']}",
        flush=True,
    )
    if most > 2:
        print(f"    seen together: {sampler.names[most]}")
    return receipt(copy, ended, offset) and ok


def frozen(copy: Instance, sampler: Sampler, name: str) -> bool:
    """No bar: a process that stands still keeps its session, and to end it takes a login."""
    since = time.time()
    run = copy.start_run(name)
    copy.until(run, lambda r: r["progress"]["done"] > 0)
    busy = {record.worker for record in records(copy, run) if record.state == "working"}
    pid = next(pid for pid in copy.workers() if name_of(pid) in busy)
    os.kill(pid, signal.SIGSTOP)
    try:
        ended = copy.wait(run, 600)
    finally:
        os.kill(pid, signal.SIGCONT)
    over = [at for at, count in sampler.seen if at >= since and count > 2]
    print(
        f"    budget 2, a worker frozen: at most {sampler.most(since)} sessions, more than 2 in"
        f" {len(over)} samples, {ended['status']}",
        flush=True,
    )
    return bool(ended["status"] == "succeeded")


def lowered(copy: Instance, sampler: Sampler, name: str) -> bool:
    run = copy.start_run(name)
    copy.until(run, lambda r: r["progress"]["done"] > 0)
    since = time.time()
    copy.api.patch(f"/runs/{run}/limits", json={"sessions": 1}).raise_for_status()
    ended = copy.wait(run, 600)
    took = sampler.obeyed_after(since, 1)
    ok = took <= OBEYED_WITHIN and ended["status"] == "succeeded"
    print(
        f"{'ok ' if ok else 'BAD'} lowered to 1: the last second session was seen {took:.2f} s"
        f" after the request (bar {OBEYED_WITHIN:.0f} s), {ended['status']}",
        flush=True,
    )
    return ok


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.budget", description=__doc__)
    parser.add_argument("--relations", type=int, default=6000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two kills")
    options = parser.parse_args()
    with instance(workers=3) as copy:
        copy.settle()
        name = build(copy, options.relations)
        sampler = Sampler(copy.settings["DEMO_SUPERUSER_DSN"])
        sampler.start()
        results = [
            kills(copy, sampler, name, options.kills, options.every),
            lowered(copy, sampler, name),
            frozen(copy, sampler, name),
        ]
        sampler.done.set()
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
