"""A worker that blocks its event loop is seen, without a change to the worker."""

from __future__ import annotations

import sys
import time

import pytest

from bench import measured
from bench.scale import LAG, lateness

WORKER = """
import asyncio, time
async def main():
    for _ in range(2):
        await asyncio.sleep(0)
        time.sleep({blocked})
    await asyncio.sleep(0.1)
    return 7
assert asyncio.run(main()) == 7
"""


@pytest.mark.parametrize(("blocked", "seen"), [(0.0, False), (1.0, True)])
def test_a_blocked_loop_is_seen(tmp_path, blocked, seen):
    (tmp_path / "workers.py").write_text(WORKER.format(blocked=blocked))
    since = time.time()
    env = {"PYTHONPATH": str(LAG), "BENCH_LAG_DIR": str(tmp_path)}
    ran = measured.run([sys.executable, "-m", "workers"], env=env, cwd=tmp_path)
    assert (ran.status, ran.errors) == (0, "")
    late = lateness(tmp_path, since, time.time())
    assert late
    assert (max(late) >= 0.9) == seen
    assert lateness(tmp_path, 0.0, since) == []


def test_other_processes_are_left_alone(tmp_path):
    (tmp_path / "web.py").write_text(WORKER.format(blocked=0.0))
    env = {"PYTHONPATH": str(LAG), "BENCH_LAG_DIR": str(tmp_path)}
    assert measured.run([sys.executable, "-m", "web"], env=env, cwd=tmp_path).status == 0
    assert list(tmp_path.glob("*.lag")) == []
