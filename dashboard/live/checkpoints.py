"""What storage proves about an open run, for when Redis has lost its memory."""

from __future__ import annotations

import posixpath
import time
from dataclasses import dataclass
from functools import lru_cache

import orjson
import structlog
from django.conf import settings

from dashboard.live.board import Board
from extraction.errors import SurveyorError
from extraction.planned import load_outline
from extraction.snapshot.layout import root_of
from extraction.storage import Storage, open_storage
from workers.contract import PlanRecord, ShardPlan
from workers.progress import KEPT_ATTEMPTS

# A record that has not beaten for this long may have been overtaken by its entries.
STALE_AFTER = 3.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Cut:
    """How a plan was cut: its shards, and how many relations each batch holds."""

    shards: tuple[ShardPlan, ...]
    schemas: int
    sizes: tuple[int, ...]
    unmatched: tuple[str, ...]


def read_into(board: Board) -> None:
    """Raise each shard's floor to what its ledger entries prove, unless Redis says it all."""
    if not _needed(board, time.time()):
        return
    try:
        _read(board, open_storage(settings.ENV.storage))
    except (SurveyorError, OSError, ValueError, KeyError, TypeError) as error:
        log.warning("no checkpoints", run=str(board.run.id), error=type(error).__name__)


def _needed(board: Board, now: float) -> bool:
    records = board.records.values()
    stale = (r.state == "working" and now - r.beat_at > STALE_AFTER for r in records)
    # Redis has dropped what the first attempts proved.
    dropped = (r.attempt > KEPT_ATTEMPTS and r.state != "done" for r in records)
    return board.plan is None or any(stale) or any(dropped)


def _read(board: Board, storage: Storage) -> None:
    root = root_of(str(board.run.id))
    files = storage.list(root)
    entries = [path for path in files if path.startswith(f"{root}/entries/")]
    path = _plan_path(storage, [f for f in files if f.startswith(f"{root}/plan-")], entries)
    if path is None:
        return
    cut = _cut(settings.ENV.storage, path)
    if board.plan is None:
        board.take_plan(_record(cut, board))
    proven: dict[int, set[int]] = {}
    for entry in entries:
        shard, batch = _numbers(entry)
        proven.setdefault(shard, set()).add(batch)
    for shard, batches in proven.items():
        board.proven[shard] = len(batches)
        board.raise_floor(shard, sum(cut.sizes[batch] for batch in batches))


def _plan_path(storage: Storage, plans: list[str], entries: list[str]) -> str | None:
    """The one plan; if an attempt left another, the one the entries belong to."""
    if len(plans) > 1 and entries:
        named: str = orjson.loads(storage.get(entries[0]))["plan"]
        return named
    return plans[0] if len(plans) == 1 else None


@lru_cache(maxsize=32)
def _cut(url: str, path: str) -> Cut:
    plan, counts = load_outline(open_storage(url), path)
    shards = tuple(ShardPlan(s.id, s.label, s.total, s.first_batch, s.batches) for s in plan.shards)
    both = zip(plan.batches, counts, strict=True)
    sizes = tuple(count if batch.per == "relations" else 0 for batch, count in both)
    return Cut(shards, len(plan.selected_schemas), sizes, tuple(plan.unmatched))


def _record(cut: Cut, board: Board) -> PlanRecord:
    began = board.run.started_at or board.run.created_at
    return PlanRecord(
        relations=sum(cut.sizes),
        schemas=cut.schemas,
        batches=len(cut.sizes),
        planned_at=began.timestamp(),
        shards=list(cut.shards),
        unmatched=list(cut.unmatched),
    )


def _numbers(entry: str) -> tuple[int, int]:
    """`…/entries/<shard>/<batch>.<attempt>.json`"""
    directory, name = posixpath.split(entry)
    return int(posixpath.basename(directory)), int(name.split(".")[0])
