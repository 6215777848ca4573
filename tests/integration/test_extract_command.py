"""`manage.py extract` as a shell sees it: lines, codes, and a clean end each time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dashboard.models import Run
from dashboard.reconcile import Reconciler
from tests.integration.scripted import ScriptedWorker, make_connection

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(instance, settings) -> dict[str, str]:
    database = settings.DATABASES["default"]["NAME"]
    return {**os.environ, **instance.web_environment, "DATABASE_URL": f"sqlite:///{database}"}


@pytest.fixture
def worker(instance, temporal):
    with ScriptedWorker(temporal) as started:
        yield started


@pytest.fixture
def reconciling(instance):
    """The reconciler beside the command, as a thread of the test."""
    from django.db import connection

    stop = threading.Event()

    def sweep_until_stopped() -> None:
        reconciler = Reconciler()
        while not stop.wait(0.2):
            reconciler.sweep()
        connection.close()

    thread = threading.Thread(target=sweep_until_stopped)
    thread.start()
    yield
    stop.set()
    thread.join()


def extract(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "extract", *arguments],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_follow_it_starts_and_returns(environment, worker):
    make_connection()
    done = extract(environment, "Source", "--include", "hang")
    run = Run.objects.get()
    assert (done.returncode, done.stdout) == (0, f"Run {run.pk} of source\n")
    assert run.status == "running"
    assert run.started_by.endswith("(shell)")

    again = extract(environment, "source")
    assert again.returncode == 1
    assert str(run.pk) in again.stderr
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize(
    ("script", "code", "status"),
    [("go", 0, "succeeded"), ("partial", 3, "partial"), ("fail", 1, "failed")],
)
def test_following_ends_with_the_code_of_the_run(
    environment, worker, reconciling, script, code, status
):
    make_connection()
    done = extract(environment, "source", "--include", script, "--follow")
    assert done.returncode == code, done.stderr
    last = done.stdout.splitlines()
    assert any(line.startswith(status) for line in last[-2:])
    if code != 1:
        assert "10/10 relations" in done.stdout
        assert "2 schemas, 10 relations" in last[-1]
    else:
        assert "Rotate the credential" in last[-1]


def test_json_is_the_run_alone(environment, worker, reconciling):
    make_connection()
    done = extract(environment, "source", "--follow", "--json")
    shown = json.loads(done.stdout)
    assert (done.returncode, shown["status"]) == (0, "succeeded")
    assert shown["id"] == str(Run.objects.get(connection__name="source").pk)


def test_what_cannot_be_started_says_why(environment):
    unknown = extract(environment, "nobody")
    assert unknown.returncode == 1
    assert "No connection is named 'nobody'. There is none yet." in unknown.stderr
    make_connection()
    assert "There are: source." in extract(environment, "nobody").stderr
    invalid = extract(environment, "source", "--exclude", "a.b.c")
    assert invalid.returncode == 1
    assert "a.b.c" in invalid.stderr
    assert not Run.objects.exists()


def test_with_temporal_down_the_run_is_saved_and_said_to_wait(environment):
    make_connection()
    done = extract({**environment, "TEMPORAL_ADDRESS": "127.0.0.1:1"}, "source")
    assert done.returncode == 0
    assert "Waiting: Temporal is unreachable. It starts by itself later." in done.stdout
    assert Run.objects.get().status == "queued"


def _set_at(event: threading.Event, process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if text in line:
            event.set()


def test_ctrl_c_while_following_leaves_the_run_alone(environment, worker):
    make_connection()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "extract", "source", "--include", "hang", "--follow"],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    drawn = threading.Event()
    reading = threading.Thread(target=_set_at, args=(drawn, process, "relations"))
    reading.start()
    try:
        assert drawn.wait(20), "no line came through the pipe while the run went on"
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 130
    finally:
        process.kill()
        reading.join()
    assert process.stderr
    assert "The run goes on" in process.stderr.read()
    assert Run.objects.get().status == "running"


def test_short_processes_that_used_the_client_end_well(environment):
    """The interpreter's own way out aborted one in ten of these."""
    program = (
        "import django; django.setup()\n"
        "from dashboard import temporal\n"
        "temporal.list_open()\n"
        "print('said', end='')\n"
        "temporal.exit_cleanly(7)\n"
    )

    def run(_: int) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=CHECKOUT,
            env={**environment, "DJANGO_SETTINGS_MODULE": "config.settings"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(run, range(8))) == {(7, "said")}
