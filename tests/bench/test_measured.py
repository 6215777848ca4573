"""What a process took is told with its children's, and not the starter's."""

from __future__ import annotations

import os
import sys

from bench import measured

BUSY = "import time\nwhile time.process_time() < 0.3: pass\n"
MIB = 2**20


def python(code: str, **how) -> measured.Ran:
    return measured.run([sys.executable, "-c", code], **how)


def test_tells_output_errors_and_status():
    ran = python(
        "import sys; print(sys.stdin.read()); print('no', file=sys.stderr); sys.exit(3)",
        given="yes",
    )
    assert (ran.status, ran.output, ran.errors) == (3, "yes\n", "no\n")


def test_counts_cpu_of_children():
    ran = python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])")
    assert ran.status == 0
    assert ran.cpu >= 0.3
    assert ran.wall >= 0.3


def test_peak_is_the_process_s_own():
    ballast = bytearray(256 * MIB)
    small, large = python(BUSY), python(f"held = bytearray({128 * MIB})\n{BUSY}")
    del ballast
    assert 1 * MIB < small.peak_memory < 64 * MIB
    assert large.peak_memory > 128 * MIB


def test_peak_is_the_sum_of_a_family():
    child = f"held = bytearray({64 * MIB})\n{BUSY}"
    ran = python(
        f"import subprocess, sys\nheld = bytearray({64 * MIB})\n"
        f"subprocess.run([sys.executable, '-c', {child!r}])"
    )
    assert ran.peak_memory > 128 * MIB


def test_ends_the_whole_group_at_the_limit(tmp_path):
    """The pipe ends when the child of the child has gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    ran = measured.run(["sh", "-c", f"(echo here; sleep 600) > '{pipe}' & wait"], limit=2)
    os.set_blocking(reading, True)
    with os.fdopen(reading) as lines:
        assert lines.read() == "here\n"
    assert ran.status is None
    assert 2 <= ran.wall < 100
