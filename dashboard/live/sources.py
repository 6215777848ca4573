"""Where a board's facts come from: Redis first, then heartbeats, storage and rows.

Each source may be down; then the next one speaks, and nothing here raises for it.
"""

from __future__ import annotations

import time

import structlog
from redis.exceptions import RedisError

from dashboard import story, temporal
from dashboard.live import checkpoints
from dashboard.live.board import Board, line_of
from dashboard.models import Run
from dashboard.temporal import TemporalUnavailable
from workers.progress import read_cut_sync

# Without a frame for this long, Temporal is asked what the workers told it.
SILENT_AFTER = 3.0
TEMPORAL_RESTS = 5.0
REDIS_RESTS = 5.0
# A refusal costs nothing; a Redis that took longer than this to fail hangs.
HANGS_AFTER = 0.5
FLEET_KEPT = 2.0

log = structlog.get_logger(__name__)


def board_of(run: Run, *, events: bool = True) -> Board:
    """Everything known about a run now. Blocking: a few milliseconds, seconds if a server hangs."""
    board = Board(run)
    if run.is_open:
        reachable = _from_redis(board)
        if run.status != Run.Status.QUEUED and silent(board, time.time()):
            _from_temporal(board, label=not reachable)
        checkpoints.read_into(board)
    if events:
        # Redis may have lost lines that the reconciler has saved.
        board.take_lines(story.lines(run))
    return board


def silent(board: Board, now: float) -> bool:
    """Nobody's beat is fresh, so either nobody works or nobody can publish."""
    beats = [record.beat_at for record in board.records.values()]
    return not beats or now - max(beats) > SILENT_AFTER


def _from_redis(board: Board) -> bool:
    began = time.monotonic()
    if began < _Rest.redis_until:
        return False
    try:
        cut = read_cut_sync(story.client(), str(board.run.id))
    except (RedisError, OSError, ValueError, TypeError) as error:
        log.debug("no cut from Redis", run=str(board.run.id), error=type(error).__name__)
        if time.monotonic() - began > HANGS_AFTER:
            _Rest.redis_until = time.monotonic() + REDIS_RESTS
        return False
    board.source = "live"
    board.seq = cut.seq
    if cut.plan is not None:
        board.take_plan(cut.plan)
    for record in cut.records:
        board.take(record)
    for shard, done in cut.done.items():
        board.raise_floor(shard, done)
    board.take_lines(line_of(seq, event) for seq, event in cut.events)
    return True


def redis_answers() -> None:
    """Whoever heard from Redis says so: nobody needs to rest from it."""
    _Rest.redis_until = 0.0


class _Rest:
    """After a server failed to answer, nobody waits for it again for a while."""

    until = 0.0
    redis_until = 0.0
    fleet_at = 0.0
    fleet: int | None = None


def _from_temporal(board: Board, *, label: bool) -> None:
    if time.monotonic() < _Rest.until:
        return
    try:
        state = temporal.describe_run(str(board.run.id))
        board.workers = _alive_workers()
    except TemporalUnavailable:
        _Rest.until = time.monotonic() + TEMPORAL_RESTS
        return
    heard = [activity.progress for activity in state.pending if activity.progress] if state else []
    for record in heard:
        board.take(record)
    if heard and label:
        board.source = "heartbeats"


def _alive_workers() -> int | None:
    if time.monotonic() - _Rest.fleet_at > FLEET_KEPT:
        _Rest.fleet = sum(1 for worker in temporal.workers() if worker.is_alive)
        _Rest.fleet_at = time.monotonic()
    return _Rest.fleet
