"""Workers killed and frozen in the middle of a run: `python -m bench.chaos`.

For each scenario: seconds until every shard that lost its worker moves again (bar 15 s),
how the run ended, and whether the list of sha256 equals that of an undisturbed run.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.instance import Instance, instance
from workers.contract import Progress
from workers.progress import open_redis_sync, read_cut_sync

BAR = 15.0
FROZEN = 30.0
PACE = 6.0
Disturb = Callable[[Instance, str], float]


def records(copy: Instance, run: str) -> list[Progress]:
    """The newest record of every shard."""
    redis = open_redis_sync(copy.settings["REDIS_URL"])
    try:
        return [record for record in read_cut_sync(redis, run).records if record.shard >= 0]
    finally:
        redis.close()


def name_of(pid: int) -> str:
    """The worker's name, from its own environment."""
    for pair in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if pair.startswith(b"WORKER_NAME="):
            return pair.partition(b"=")[2].decode()
    return ""


def victims(copy: Instance, run: str, count: int) -> list[int]:
    """Workers that hold a shard right now, once there are as many."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        busy = {record.worker for record in records(copy, run) if record.state == "working"}
        found = [pid for pid in copy.workers() if name_of(pid) in busy]
        if len(found) >= count:
            return found[:count]
        time.sleep(0.1)
    raise TimeoutError(f"fewer than {count} workers hold a shard")


def hit(copy: Instance, run: str, count: int, number: signal.Signals) -> list[Progress]:
    """Send the signal; the records of the shards that lost their worker."""
    pids = victims(copy, run, count)
    names = {name_of(pid) for pid in pids}
    for pid in pids:
        os.kill(pid, number)
    held = records(copy, run)
    return [r for r in held if r.worker in names and r.state == "working"]


def seconds_until_moving(copy: Instance, run: str, lost: list[Progress]) -> float:
    """Until each of the shards has, in a later attempt, a batch more than before."""
    begin = time.monotonic()
    waiting = {record.shard: record for record in lost}
    while waiting and time.monotonic() - begin < 90:
        for record in records(copy, run):
            before = waiting.get(record.shard)
            if before and record.attempt > before.attempt and record.batch > before.batch:
                del waiting[record.shard]
        time.sleep(0.1)
    return float("inf") if waiting else time.monotonic() - begin


def kill(count: int) -> Disturb:
    def disturb(copy: Instance, run: str) -> float:
        return seconds_until_moving(copy, run, hit(copy, run, count, signal.SIGKILL))

    return disturb


def kill_in_a_row(copy: Instance, run: str) -> float:
    lost: list[Progress] = []
    for _ in range(8):
        lost = hit(copy, run, 1, signal.SIGKILL) or lost
        time.sleep(0.5)
    return seconds_until_moving(copy, run, lost)


def freeze(copy: Instance, run: str) -> float:
    pid = victims(copy, run, 1)[0]
    frozen = name_of(pid)
    os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    try:
        lost = [r for r in records(copy, run) if r.worker == frozen and r.state == "working"]
        took = seconds_until_moving(copy, run, lost)
        time.sleep(max(0.0, FROZEN - (time.monotonic() - begin)))
    finally:
        os.kill(pid, signal.SIGCONT)
    return took


SCENARIOS: dict[str, Disturb] = {
    "kill-1": kill(1),
    "kill-2": kill(2),
    "kill-8": kill_in_a_row,
    "freeze": freeze,
}


def scenario(copy: Instance, name: str, connection: str, calm: list[str]) -> bool:
    run = copy.start_run(connection)
    copy.until(run, lambda r: r["progress"]["done"] > 0)
    took = SCENARIOS[name](copy, run)
    ended = copy.wait(run)
    same = ended["status"] == "succeeded" and copy.digests(run) == calm
    ok = same and took <= BAR
    print(
        f"{'ok ' if ok else 'BAD'} {name:8} moving again after {took:5.1f} s (bar {BAR:.0f} s),"
        f" {ended['status']}, {'same' if same else 'OTHER'} sha256",
        flush=True,
    )
    return ok


def slow_down(copy: Instance, connection: str) -> None:
    """Pauses between batches, so that there is time for eight kills in one run."""
    listed = copy.api.get("/connections").json()["items"]
    found = next(item for item in listed if item["name"] == connection)
    changed = {"options": {**found["options"], "pace": PACE}}
    copy.api.patch(f"/connections/{found['id']}", json=changed).raise_for_status()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--only", choices=SCENARIOS, action="append")
    parser.add_argument("--connection", default="demo")
    parser.add_argument("--workers", type=int, default=3)
    options = parser.parse_args()
    with instance(workers=options.workers) as copy:
        copy.settle()
        slow_down(copy, options.connection)
        calm = copy.start_run(options.connection)
        copy.wait(calm)
        digests = copy.digests(calm)
        results = [
            scenario(copy, s, options.connection, digests) for s in options.only or SCENARIOS
        ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
