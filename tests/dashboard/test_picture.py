"""The whole picture of a run, from what is known about it."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dashboard.live import checkpoints, picture
from dashboard.live.board import Board
from dashboard.models import Run
from dashboard.runs import run_dict
from extraction.connection import Item, Per
from extraction.planned import Batch, Plan, PlannedSchema, PlannedSource, Shard
from extraction.planned import stored as store_plan
from extraction.selection import Selection
from extraction.snapshot.layout import entry_path
from extraction.storage import open_storage
from tests.live_cast import a_beat, a_plan
from workers.contract import FINISH_SHARD, PLAN_SHARD, Event, Frame, Load, PlanRecord

NOW = 1_790_000_000.0
RUN = str(uuid.UUID(int=7))


def a_row(status: str = "running", **fields) -> Run:
    at = datetime.fromtimestamp(NOW - 20, UTC)
    values = {"connection_name": "warehouse", "created_at": at, "started_at": at}
    return Run(id=uuid.UUID(int=7), status=status, **(values | fields))


def a_board(**fields) -> Board:
    board = Board(a_row(), source="live")
    board.take_plan(_planned(a_plan(), NOW - 20))
    for shard, values in fields.items():
        board.take(beat(int(shard.removeprefix("s")), **values))
    return board


def _planned(plan: PlanRecord, at: float) -> PlanRecord:
    return PlanRecord(plan.relations, plan.schemas, plan.batches, at, plan.shards)


def beat(shard: int, **fields):
    times = {"started_at": NOW - 20, "beat_at": NOW, "advanced_at": NOW}
    return a_beat(RUN, shard, **(times | fields))


def test_every_shard_of_the_plan_is_listed_waiting_ones_too():
    drawn = picture.draw(a_board(s0={"done": 50, "in_flight": 25, "batch": 2}), NOW)
    assert [(s["id"], s["done"], s["in_flight"], s["verdict"]) for s in drawn.shards] == [
        (0, 50, 25, "working"),
        (1, 0, 0, "waiting"),
        (2, 0, 0, "waiting"),
    ]
    assert drawn.progress == {
        "done": 50,
        "in_flight": 25,
        "total": 300,
        "unit": "relations",
        "rate": 2.5,
        "eta_seconds": 100,
    }
    assert (drawn.phase, drawn.batches_done, drawn.workers) == ("extract", 2, ["w1"])


def test_no_time_left_before_it_means_something():
    early = a_board(s0={"done": 1})
    assert picture.draw(early, NOW).progress["eta_seconds"] is None
    nobody = a_board(s0={"done": 50, "beat_at": NOW - 30})
    assert picture.draw(nobody, NOW).progress["eta_seconds"] is None


def test_done_never_falls_whatever_a_new_attempt_says():
    board = a_board(s0={"done": 75, "attempt": 1})
    board.take(beat(0, done=0, attempt=2, worker="w2"))
    board.take(beat(0, done=80, attempt=1, beat_at=NOW + 1))
    (first, *_) = picture.draw(board, NOW).shards
    assert (first["done"], first["attempt"], first["worker"]) == (75, 2, "w2")


def test_what_is_in_flight_fits_into_what_is_left_and_is_nobodys_after_a_failure():
    board = a_board(s0={"done": 90, "in_flight": 30}, s1={"in_flight": 9, "state": "retrying"})
    drawn = picture.draw(board, NOW)
    assert [shard["in_flight"] for shard in drawn.shards] == [10, 0, 0]


def test_a_shard_that_is_all_proven_is_not_counted_as_being_read():
    board = a_board()
    board.records = {n: beat(n, batches=4, batch=done) for n, done in enumerate((4, 1, 0, 2))}
    seen = picture.draw(board, board.records[0].beat_at)
    assert str(seen.verdict) == "working: 3 shards are being read"


def test_phases():
    board = Board(a_row())
    assert picture.draw(board, NOW).phase == "plan"
    board.take(beat(PLAN_SHARD, phase="plan"))
    assert str(picture.draw(board, NOW).verdict) == "working: the inventory is being listed"
    board.take_plan(a_plan())
    assert picture.draw(board, NOW).phase == "extract"
    board.take(beat(FINISH_SHARD, phase="finish"))
    assert picture.draw(board, NOW).phase == "finish"
    assert picture.draw(Board(a_row("queued")), NOW).phase == "queued"


def test_frames_that_the_board_holds_already_are_left():
    board = a_board(s0={"done": 10})
    assert board.apply(1000, Frame("event", RUN, event=Event(RUN, "c", "one")))
    assert not board.apply(1000, Frame("event", RUN, event=Event(RUN, "c", "one")))
    assert [line["message"] for line in board.events] == ["one"]
    assert board.seq == 1000


def test_an_earlier_board_adds_what_redis_has_lost():
    before = a_board(s0={"done": 75}, s1={"done": 5})
    before.apply(2000, Frame("event", RUN, event=Event(RUN, "c", "one")))
    after = Board(a_row(), source="live", seq=0)
    after.take(beat(1, done=20, beat_at=NOW + 1))
    after.merge(before)
    drawn = picture.draw(after, NOW)
    assert drawn.progress["done"] == 95
    assert drawn.progress["total"] == 300
    assert after.seq == 2000 and len(drawn.events) == 1


def test_an_ended_run_is_drawn_from_its_row_alone():
    last = picture.draw(a_board(s0={"done": 100, "state": "done"}, s1={"done": 20}), NOW).final()
    ended = datetime.fromtimestamp(NOW, UTC)
    cancelled = Board(a_row("cancelled", final=last, finished_at=ended))
    drawn = picture.draw(cancelled, NOW + 9)
    assert drawn.progress["done"] == 120 and drawn.progress["total"] == 300
    assert [s["done"] for s in drawn.shards] == [100, 20, 0]
    assert drawn.shards[1]["beat_age_ms"] is None
    whole = Board(a_row("succeeded", final=last, finished_at=ended, counts={"relations": 300}))
    drawn = picture.draw(whole, NOW + 9)
    assert drawn.progress["done"] == drawn.progress["total"] == 300
    assert [s["done"] for s in drawn.shards] == [100, 100, 100]
    assert {s["verdict"] for s in drawn.shards} == {"finished"}
    assert drawn.progress["rate"] == 15.0
    assert run_dict(whole.run, drawn)["verdict"] == (
        "finished: every selected scope is proven complete"
    )


def test_what_matched_nothing_is_said_at_the_end():
    board = a_board(s0={"done": 100, "state": "done"})
    board.take_plan(replace(a_plan(), unmatched=["gone", "crm.gone"]))
    last = picture.draw(board, NOW).final()
    ended = Board(a_row("succeeded", final=last, finished_at=datetime.fromtimestamp(NOW, UTC)))
    assert run_dict(ended.run, picture.draw(ended, NOW))["verdict"] == (
        "finished: every selected scope is proven complete; nothing matches 'gone', 'crm.gone'"
    )


def test_a_weekly_window_within_the_change_of_the_clocks_is_drawn_too():
    sunday = datetime(2026, 3, 22, 12, tzinfo=UTC).timestamp()
    options = {"hours": "02:00-03:00", "days": "sun", "timezone": "Europe/Berlin"}
    row = a_row(input={"source": {"options": options}})
    assert picture.row_facts(row, 1, sunday).closed == "until Sunday 02:00 (Europe/Berlin)"


def test_outside_the_allowed_hours_there_is_no_time_left_to_tell():
    spent = Load(sessions=1, statements=9)
    back = {"done": 50, "state": "waiting", "load": spent, "load_before": spent}
    board = a_board(s0=back, s1={"done": 20, "load": spent, "state": "waiting"})
    board.run.input = {"source": {"options": {"hours": "22:00-22:01", "timezone": "Europe/Berlin"}}}
    drawn = picture.draw(board, NOW)
    assert str(drawn.verdict) == "waiting: outside the allowed hours until 22:00 (Europe/Berlin)"
    assert drawn.progress["eta_seconds"] is None
    assert (drawn.load["sessions"], drawn.load["statements"], drawn.load["exact"]) == (3, 27, False)
    board.run.limits = {"hours": ""}
    assert str(picture.draw(board, NOW).verdict) == "waiting: for a worker to begin"


@pytest.fixture
def stored(settings, tmp_path: Path):
    """A run whose plan and entries are in storage: two relation shards of two batches."""
    url = f"file://{tmp_path}"
    settings.ENV = settings.ENV.model_copy(update={"storage_url": url})
    storage = open_storage(url)
    sizes: list[tuple[Per, int]] = [
        ("schemas", 2), *[("relations", n) for n in (40, 40, 40, 7)],
    ]  # fmt: skip
    plan = Plan(
        "",
        PlannedSource("p", "d", "i", "v"),
        Selection(),
        [],
        [PlannedSchema(name, True, {}) for name in ("a", "b")],
        [Batch(per, [Item("s", f"t{i}", i, 1) for i in range(n)]) for per, n in sizes],
        [Shard(0, "schemas", 0, 0, 1), Shard(1, "a", 80, 1, 2), Shard(2, "b", 47, 3, 2)],
    )
    store_plan(plan, storage, RUN)
    for shard, batch, attempt in [(0, 0, 1), (1, 1, 1), (1, 2, 1), (1, 2, 3), (2, 3, 2)]:
        storage.put(entry_path(RUN, shard, batch, attempt), b"{}")
    return storage


def test_storage_rebuilds_what_redis_has_lost(stored):
    board = Board(a_row())
    checkpoints.read_into(board)
    drawn = picture.draw(board, NOW)
    assert drawn.progress["total"] == 127
    assert [(s["id"], s["label"], s["done"]) for s in drawn.shards] == [
        (0, "schemas", 0),
        (1, "a", 80),
        (2, "b", 40),
    ]
    assert [s["verdict"] for s in drawn.shards] == ["finished", "finished", "waiting"]
    assert drawn.schemas == 2


def test_storage_tells_what_attempts_proved_that_redis_has_dropped(stored):
    board = Board(a_row(), source="live")
    board.take_plan(a_plan())
    board.take(beat(1, attempt=4, beat_at=time.time()))
    checkpoints.read_into(board)
    assert picture.draw(board, NOW).shards[1]["done"] == 80


def test_storage_that_cannot_be_read_changes_nothing(settings, tmp_path):
    (tmp_path / "file").write_text("")
    bad = f"file://{tmp_path / 'file' / 'below'}"
    settings.ENV = settings.ENV.model_copy(update={"storage_url": bad})
    board = Board(a_row())
    checkpoints.read_into(board)
    assert board.plan is None


def test_a_plan_redis_has_is_not_read_again(stored):
    board = a_board()
    checkpoints.read_into(board)
    assert picture.draw(board, NOW).progress["total"] == 300


def test_run_dict_tells_the_picture(stored):
    told = run_dict(a_row(), picture.draw(a_board(s0={"done": 50}), NOW))
    assert told["verdict"] == "working: 1 shard is being read"
    assert told["progress"]["done"] == 50
    assert told["started_at"] == iso(NOW - 20)


def iso(at: float) -> str:
    text = (datetime.fromtimestamp(0, UTC) + timedelta(seconds=at)).isoformat(
        timespec="milliseconds"
    )
    return text.replace("+00:00", "Z")
