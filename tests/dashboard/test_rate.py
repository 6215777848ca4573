"""One rate for a run: what it proves, not what its shards do in their best moments."""

from __future__ import annotations

import time
import uuid
from itertools import groupby

import pytest

from dashboard.live import picture
from dashboard.live.board import Board
from dashboard.models import Run
from tests.live_cast import a_beat
from workers.contract import PlanRecord, Progress, ShardPlan

BATCH, BATCHES, SHARDS, SESSIONS = 128, 2, 9, 3
REST, READING = 3.0, 0.4
TOTAL = SHARDS * BATCHES * BATCH
RUN = str(uuid.UUID(int=7))
BEGAN = time.time() - 1000


def record(shard: int, **fields: object) -> Progress:
    times = {"started_at": BEGAN, "beat_at": BEGAN, "advanced_at": BEGAN}
    return a_beat(RUN, shard, **(times | fields))


def a_board() -> Board:
    board = Board(Run(id=uuid.UUID(int=7), status="running", connection_name="warehouse"))
    plans = [ShardPlan(i, f"s{i}", BATCHES * BATCH, i, BATCHES) for i in range(SHARDS)]
    board.take_plan(PlanRecord(TOTAL, SHARDS, SHARDS * BATCHES, BEGAN, plans))
    return board


def paced() -> list[tuple[float, Progress]]:
    """Shards three at a time; each batch is read in a moment, then the source gets its rest."""
    found = []
    for shard in range(SHARDS):
        started = BEGAN + shard // SESSIONS * BATCHES * (REST + READING)
        for batch in range(BATCHES):
            at = started + REST * (batch + 1) + READING * (batch + 1)
            state = "done" if batch + 1 == BATCHES else "working"
            proven = record(
                shard,
                rate=BATCH / READING,
                done=BATCH * (batch + 1),
                state=state,
                started_at=started,
                advanced_at=at,
                beat_at=at,
            )
            found.append((at, proven))
    return sorted(found, key=lambda pair: pair[0])


def test_the_rate_is_that_of_the_run_and_the_time_left_follows_from_it():
    board, steps = a_board(), paced()
    end = steps[-1][0]
    rates = []
    for at, together in groupby(steps, key=lambda step: step[0]):
        for _, proven in together:
            board.take(proven)
        for later in (0.0, 1.0, 2.5):
            now = at + later
            seen = picture.draw(board, now).progress
            rates.append(seen["rate"])
            if seen["eta_seconds"] is not None and now < end:
                assert seen["eta_seconds"] == pytest.approx(end - now, abs=6)
    true = TOTAL / (end - BEGAN)
    steady = rates[6:]
    assert min(rates) > 0
    assert max(rates) < 2 * true
    assert all(0.7 * true < rate < 1.4 * true for rate in steady)
    assert rates[-1] == pytest.approx(true, rel=0.01)


def test_the_last_seconds_count_more_than_the_beginning():
    board = a_board()
    slow = {"started_at": BEGAN, "advanced_at": BEGAN + 500, "beat_at": BEGAN + 500}
    board.take(record(0, done=256, state="done", **slow))
    quick = {"started_at": BEGAN + 500, "advanced_at": BEGAN + 515, "beat_at": BEGAN + 515}
    board.take(record(1, done=150, **quick))
    assert picture.draw(board, BEGAN + 515).progress["rate"] == 10.0


def test_what_a_later_attempt_took_over_is_no_burst():
    board = a_board()
    again = {"started_at": BEGAN + 98, "advanced_at": BEGAN + 100, "beat_at": BEGAN + 100}
    board.take(record(0, done=200, attempt=2, **again))
    assert picture.draw(board, BEGAN + 100).progress["rate"] == 2.0


def test_without_an_advance_it_is_the_average_and_without_workers_nothing():
    board = a_board()
    board.take(record(0, done=200, advanced_at=BEGAN + 20, beat_at=BEGAN + 100))
    assert picture.draw(board, BEGAN + 100).progress["rate"] == 2.0
    gone = picture.draw(board, BEGAN + 120).progress
    assert (gone["rate"], gone["eta_seconds"]) == (0.0, None)
