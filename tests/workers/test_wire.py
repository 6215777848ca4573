from __future__ import annotations

from dataclasses import asdict

import orjson

from workers.contract import Event, Frame, PlanRecord, Progress, ShardPlan, seq_of
from workers.wire import decode_frame, decode_progress, encode


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


def test_seq_rises_within_a_millisecond() -> None:
    assert seq_of("1700000000000-2") == 1_700_000_000_000_002
    assert seq_of("1700000000001-0") > seq_of("1700000000000-999")
