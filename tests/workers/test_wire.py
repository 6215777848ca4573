from __future__ import annotations

from dataclasses import asdict

import orjson
import pytest

from workers.contract import Event, Frame, PlanRecord, Progress, ShardPlan, seq_of
from workers.wire import decode_event, decode_frame, decode_progress, encode


def a_record(**changes: object) -> Progress:
    return Progress("run-1", "extract", 3, 2, "w1", **changes)  # type: ignore[arg-type]


def test_a_frame_comes_back_as_it_was() -> None:
    frame = Frame(
        "progress",
        "run-1",
        records=[a_record(done=7, vouched_until=12.5)],
        plan=PlanRecord(9, 2, 3, 1.0, [ShardPlan(0, "a – b", 9, 0, 3)]),
        event=Event("run-1", "planned", "Planned", "info", None, "w1", 3.0),
    )
    assert decode_frame(encode(frame)) == frame


def test_fields_of_a_newer_worker_are_ignored() -> None:
    newer = {**asdict(a_record()), "colour": "green"}
    assert decode_progress(orjson.dumps(newer)) == a_record()


def test_a_lone_surrogate_from_a_source_does_not_stop_the_record() -> None:
    assert decode_progress(encode(a_record(reason="bad \ud800 text"))).reason == "bad ? text"


@pytest.mark.parametrize("change", [{"attempt": "2"}, {"worker": 7}, {"done": None}])
def test_a_value_of_another_type_is_refused_at_once(change: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        decode_progress(orjson.dumps({**asdict(a_record()), **change}))


@pytest.mark.parametrize("at", [1e20, 10**18, -5])
def test_a_time_that_no_clock_shows_is_none(at: float) -> None:
    assert decode_event(orjson.dumps({**asdict(Event("r", "x", "y")), "at": at})).at == 0.0


def test_seq_rises_within_a_millisecond() -> None:
    assert seq_of("1700000000000-2") == 1_700_000_000_000_002
    assert seq_of("1700000000001-0") > seq_of("1700000000000-999")
