"""Workers killed at every durable step of a run: `python -m bench.crashes`.

For each point a worker of the whole product kills itself there (`extraction/crash.py`), another
one goes on. Printed: how the run ended, whether the list of sha256 equals that of an undisturbed
run, the seconds from the kill to the end, and what was read twice.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.instance import CHECKOUT, Instance, instance
from extraction.crash import POINTS

# The first beats come before anything is read.
LATER = {"beat.before": 4, "beat.after": 4, "part.before": 3, "part.before_rename": 3}
LATER |= {"part.after": 3, "entry.before": 2, "entry.before_rename": 2, "entry.after": 2}
LATER |= {"verification.within": 3}


def worker(copy: Instance, name: str, log: Path, crash_at: str = "") -> subprocess.Popen[bytes]:
    with log.open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "workers"],
            cwd=CHECKOUT,
            env={**copy.environ, "WORKER_NAME": name, "CRASH_AT": crash_at},
            stdout=sink,
            stderr=sink,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(8)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def twice(copy: Instance, run: str) -> int:
    """Batches with entries of more than one attempt."""
    entries = (copy.data_dir / "storage" / "snapshots" / run / "entries").rglob("*.json")
    counted: dict[str, int] = {}
    for path in entries:
        batch = f"{path.parent.name}/{path.name.partition('.')[0]}"
        counted[batch] = counted.get(batch, 0) + 1
    return sum(count > 1 for count in counted.values())


def crash(copy: Instance, point: str, connection: str, calm: list[str], log: Path) -> bool:
    crash_at = f"{point}:{LATER.get(point, 1)}"
    first = worker(copy, "first", log, crash_at)
    run = copy.start_run(connection)
    try:
        code = first.wait(90)
    except subprocess.TimeoutExpired:
        end(first)
        print(f"BAD {crash_at:26} never reached", flush=True)
        copy.wait(run)
        return False
    began = time.monotonic()
    second = worker(copy, "second", log)
    try:
        ended = copy.wait(run, 120)
    finally:
        end(second)
    same = ended["status"] == "succeeded" and copy.digests(run) == calm
    left = list((copy.data_dir / "storage" / "snapshots" / run).rglob(".tmp-*"))
    ok = code == -signal.SIGKILL and same and not left
    print(
        f"{'ok ' if ok else 'BAD'} {crash_at:26} killed, {ended['status']} after"
        f" {time.monotonic() - began:5.1f} s, {'same' if same else 'OTHER'} sha256,"
        f" {twice(copy, run)} batches with two entries, {len(left)} temporary files",
        flush=True,
    )
    return ok


def quicken(copy: Instance, connection: str) -> None:
    """No pauses: what is measured is not the source's comfort."""
    listed = copy.api.get("/connections").json()["items"]
    found = next(item for item in listed if item["name"] == connection)
    changed = {"options": {**found["options"], "pace": 0}}
    copy.api.patch(f"/connections/{found['id']}", json=changed).raise_for_status()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.crashes", description=__doc__)
    parser.add_argument("--only", choices=POINTS, action="append")
    parser.add_argument("--connection", default="demo")
    options = parser.parse_args()
    with instance(workers=0) as copy:
        log = copy.data_dir.parent / "workers.log"
        calm = worker(copy, "calm", log)
        copy.settle()
        quicken(copy, options.connection)
        run = copy.start_run(options.connection)
        copy.wait(run)
        end(calm)
        digests = copy.digests(run)
        results = [
            crash(copy, point, options.connection, digests, log) for point in options.only or POINTS
        ]
    print(f"{len(results)} crash points, {sum(results)} survived with equal files")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
