"""How fast a run proves relations, and how long the rest takes at that rate. Pure.

A record says how much its attempt has proven between its start and its last advance, so
the records alone give the run's rate over the last seconds: the same for who joins late,
for the API and for a shell, and steady while batches come and go.
"""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.live.board import Board
from dashboard.live.verdict import LOST_AFTER
from workers.contract import PlanRecord, Progress

WINDOW = 15.0
# One quick batch right after the plan is no rate yet.
SHORTEST = 2.0
# Before this much is proven a time left would be a guess.
ETA_AFTER_SECONDS = 4.0
ETA_AFTER_SHARE = 0.03


def of_run(board: Board, done: int, total: int, now: float) -> float:
    """Relations proven per second up to the last advance; 0 while nobody works.

    Without an advance in the window it is the average since the plan.
    """
    records = [record for shard, record in board.records.items() if shard >= 0]
    if board.plan is None or not done:
        return 0.0
    last = min(now, max((record.advanced_at for record in records), default=now))
    if done >= total:
        return _average(board.plan, done, last)
    if not _moving(records, now):
        return 0.0
    recent = _recent(board.plan, records, last) if now - last <= WINDOW else 0.0
    return recent or _average(board.plan, done, now)


def seconds_left(board: Board, done: int, total: int, rate: float, now: float) -> int | None:
    """At the rate that is shown, once it means something."""
    if board.plan is None or not total or not rate:
        return None
    early = now - board.plan.planned_at < ETA_AFTER_SECONDS
    return None if early or done < total * ETA_AFTER_SHARE else round((total - done) / rate)


def _moving(records: Sequence[Progress], now: float) -> bool:
    """Somebody works, or has just ended a shard and is about to take the next."""
    return any(r.state in ("working", "done") and now - r.beat_at <= LOST_AFTER for r in records)


def _average(plan: PlanRecord, done: int, end: float) -> float:
    return done / max(end - plan.planned_at, SHORTEST)


def _recent(plan: PlanRecord, records: Sequence[Progress], last: float) -> float:
    start = max(plan.planned_at, last - WINDOW)
    proven = sum(_proven_within(record, plan.planned_at, start, last) for record in records)
    return proven / max(last - start, SHORTEST)


def _proven_within(record: Progress, planned_at: float, start: float, end: float) -> float:
    """What a record proved in that time, taking its work as even."""
    # A later attempt took over what the first ones had proven, at times nobody knows.
    began = max(record.started_at, planned_at) if record.attempt == 1 else planned_at
    lasted = record.advanced_at - began
    if lasted <= 0:
        return record.done if start <= record.advanced_at <= end else 0.0
    overlap = min(end, record.advanced_at) - max(start, began)
    return record.done * max(0.0, overlap) / lasted
