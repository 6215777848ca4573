"""The whole picture of a run: one shape for first paint, API and sockets.

`of(run)` gathers and draws; `draw` alone is pure. An ended run is drawn from its row only,
so its picture never changes again and needs neither Redis nor Temporal.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, TypedDict

from dashboard.live import rate, sources, verdict
from dashboard.live.board import Board, Source
from dashboard.live.verdict import RowFacts, Tone, Verdict
from dashboard.models import Run
from dashboard.story import Line
from workers.contract import Load, Progress, ShardPlan

NO_LOAD: dict[str, Any] = {**asdict(Load()), "exact": False}


class Totals(TypedDict):
    done: int
    in_flight: int
    total: int
    unit: str
    rate: float
    eta_seconds: int | None


class Shard(TypedDict):
    """`beat_age_ms`, `advance_age_ms`: None while nobody holds the shard."""

    id: int
    label: str
    done: int
    in_flight: int
    total: int
    rate: float
    attempt: int
    worker: str
    beat_age_ms: int | None
    advance_age_ms: int | None
    verdict: str
    tone: Tone
    batch: int
    batches: int
    failures: int
    last_failure: str


@dataclass(frozen=True)
class Picture:
    """`phase`: queued, plan, extract, finish, or done. `workers`: who beats now."""

    phase: str
    progress: Totals
    verdict: Verdict
    shards: list[Shard]
    events: list[Line]
    seq: int
    source: Source
    beat_age_ms: int | None = None
    advance_age_ms: int | None = None
    workers: list[str] = field(default_factory=list)
    schemas: int | None = None
    batches: int | None = None
    batches_done: int = 0
    completeness: dict[str, int] = field(default_factory=dict)
    # Patterns of include that match nothing.
    unmatched: list[str] = field(default_factory=list)
    # What the source paid: a Load, and whether that is `exact`.
    load: dict[str, Any] = field(default_factory=dict)

    def final(self) -> dict[str, Any]:
        """What the reconciler keeps on the row when the run ends."""
        return {
            "phase": self.phase,
            "done": self.progress["done"],
            "in_flight": 0,
            "total": self.progress["total"],
            "schemas": self.schemas,
            "batches": self.batches,
            "shards": self.shards,
            "unmatched": self.unmatched,
            "load": self.load,
        }


def of(run: Run, *, events: bool = True) -> Picture:
    """The picture now. Reads Redis, storage and perhaps Temporal; never raises for their sake.

    Lists leave out the events: of an ended run nothing but its row is read then.
    """
    return draw(sources.board_of(run, events=events), time.time())


def draw(board: Board, now: float) -> Picture:
    return _open(board, now) if board.run.is_open else _ended(board)


def _open(board: Board, now: float) -> Picture:
    phase = _phase(board)
    shards = [_shard(board, plan, now) for plan in _plans(board)]
    running = [r for r in board.records.values() if r.state == "working"]
    alive = [r for r in running if now - r.beat_at <= verdict.LOST_AFTER]
    plan, judged, totals = board.plan, _verdict(board, phase, now), _totals(board, shards, now)
    if judged.tone == "hold":
        # Nothing goes on by itself at this rate: not while it is paused, cancelled or closed.
        totals["eta_seconds"] = None
    return Picture(
        phase=phase,
        progress=totals,
        verdict=judged,
        shards=shards,
        events=list(board.events),
        seq=_last_seq(board),
        source=board.source,
        beat_age_ms=_youngest([r.beat_at for r in running], now),
        advance_age_ms=_youngest([r.advanced_at for r in running], now),
        workers=sorted({r.worker for r in alive}),
        schemas=plan.schemas if plan else None,
        batches=plan.batches if plan else None,
        batches_done=sum(s["batches"] if _finished(s) else s["batch"] for s in shards),
        unmatched=plan.unmatched if plan else [],
        load=_load(board),
    )


def _load(board: Board) -> dict[str, Any]:
    """As far as the workers have told."""
    records = board.records.values()
    load = sum((record.load_before + record.load for record in records), Load())
    return {**asdict(load), "exact": False}


def _phase(board: Board) -> str:
    if board.finishing is not None:
        return "finish"
    if board.plan is not None or any(shard >= 0 for shard in board.records):
        return "extract"
    return "queued" if board.run.status == Run.Status.QUEUED else "plan"


def _plans(board: Board) -> list[ShardPlan]:
    """The shards of the plan, and any a record speaks of while the plan is unknown."""
    planned = {shard.id: shard for shard in (board.plan.shards if board.plan else [])}
    for shard, record in board.records.items():
        if shard >= 0 and shard not in planned:
            planned[shard] = ShardPlan(shard, f"shard {shard}", record.total, 0, record.batches)
    return [planned[shard] for shard in sorted(planned)]


def _shard(board: Board, plan: ShardPlan, now: float) -> Shard:
    record = board.records.get(plan.id)
    judged = verdict.of_shard(record, now)
    done = min(board.floor.get(plan.id, 0), plan.total)
    proven = board.proven.get(plan.id, 0)
    if plan.batches and proven == plan.batches and (record is None or judged.word == "lost"):
        judged = Verdict("finished", "", "ok")
    held = record if judged.word in ("working", "quiet", "stalled", "lost") else None
    return {
        "id": plan.id,
        "label": plan.label,
        "done": plan.total if judged == Verdict("finished", "", "ok") else done,
        "in_flight": min(held.in_flight, plan.total - done) if held else 0,
        "total": plan.total,
        "rate": round(held.rate, 1) if held and judged.word != "lost" else 0.0,
        "attempt": record.attempt if record else 0,
        "worker": record.worker if record else "",
        "beat_age_ms": _age(held.beat_at, now) if held else None,
        "advance_age_ms": _age(held.advanced_at, now) if held else None,
        "verdict": str(judged),
        "tone": judged.tone,
        "batch": max(record.batch if record else 0, proven),
        "batches": plan.batches,
        "failures": record.failures if record else 0,
        "last_failure": record.last_failure if record else "",
    }


def _finished(shard: Shard) -> bool:
    return shard["verdict"] == "finished"


def word_of(shard: Shard) -> str:
    return shard["verdict"].partition(":")[0]


def _age(at: float, now: float) -> int:
    return max(0, round((now - at) * 1000))


def _youngest(times: list[float], now: float) -> int | None:
    return _age(max(times), now) if times else None


def _totals(board: Board, shards: list[Shard], now: float) -> Totals:
    done = sum(shard["done"] for shard in shards)
    total = board.plan.relations if board.plan else sum(shard["total"] for shard in shards)
    speed = rate.of_run(board, done, total, now)
    return {
        "done": done,
        "in_flight": sum(shard["in_flight"] for shard in shards),
        "total": total,
        "unit": "relations",
        "rate": round(speed, 1),
        "eta_seconds": rate.seconds_left(board, done, total, speed, now),
    }


def _verdict(board: Board, phase: str, now: float) -> Verdict:
    special = {
        name: verdict.of_shard(record, now)
        for name, record in (("plan", board.planning), ("finish", board.finishing))
        if record is not None
    }
    shards = [
        (shard, _by_now(record, now))
        for shard, record in sorted(board.records.items())
        if shard >= 0
    ]
    facts = row_facts(board.run, board.workers, now)
    return verdict.of_run(facts, special, shards, phase)


def _by_now(record: Progress, now: float) -> Verdict:
    """A shard whose last batch is proven is not being read, though its attempt has yet to end."""
    judged = verdict.of_shard(record, now)
    all_proven = 0 < record.batches <= record.batch
    return Verdict("finished", "", "ok") if all_proven and judged.word == "working" else judged


def row_facts(run: Run, workers: int | None = None, now: float | None = None) -> RowFacts:
    unproven = run.completeness.get("denied", 0) + run.completeness.get("errored", 0)
    return RowFacts(
        status=run.status,
        waiting_reason=run.waiting_reason,
        cancelled_by=run.cancel_requested_by,
        error=(run.error or {}).get("message", ""),
        unproven=unproven,
        workers=workers,
        unmatched=run.final.get("unmatched", []),
        closed=_closed(run, now) if now is not None and run.status == Run.Status.RUNNING else "",
    )


def _closed(run: Run, now: float) -> str:
    """By the clock of who draws; the workflow keeps to its own."""
    options = run.options
    if not options.hours:
        return ""
    try:
        return options.allowed_hours().sentence(datetime.fromtimestamp(now, UTC))
    except ValueError:
        return ""


def _ended(board: Board) -> Picture:
    run = board.run
    whole = run.status in (Run.Status.SUCCEEDED, Run.Status.PARTIAL)
    shards = [_last(shard, whole) for shard in run.final.get("shards", [])]
    total = run.final.get("total") or run.counts.get("relations", 0)
    lasted = _lasted(run)
    done = total if whole else run.final.get("done", 0)
    return Picture(
        phase="done" if whole else run.final.get("phase", "done"),
        progress={
            "done": done,
            "in_flight": 0,
            "total": total,
            "unit": "relations",
            "rate": round(done / lasted, 1) if lasted > 0 else 0.0,
            "eta_seconds": None,
        },
        verdict=verdict.of_run(row_facts(run), {}, [], "done"),
        shards=shards,
        events=list(board.events),
        seq=_last_seq(board),
        source="row",
        schemas=run.final.get("schemas"),
        batches=run.final.get("batches"),
        batches_done=sum(shard["batch"] for shard in shards),
        completeness=run.completeness,
        unmatched=run.final.get("unmatched", []),
        load={**NO_LOAD, **(run.load or run.final.get("load", {}))},
    )


def _last_seq(board: Board) -> int:
    ended = board.run.finished_at
    last = board.events[-1]["seq"] if board.events else 0
    return max(board.seq, last, int(ended.timestamp() * 1000) * 1000 if ended else 0)


def _lasted(run: Run) -> float:
    if run.finished_at is None or run.started_at is None:
        return 0.0
    return (run.finished_at - run.started_at).total_seconds()


def _last(shard: Shard, whole: bool) -> Shard:
    """A shard as it stood at the end; of a whole snapshot every shard was accepted."""
    still: Shard = {
        **shard,
        "in_flight": 0,
        "rate": 0.0,
        "beat_age_ms": None,
        "advance_age_ms": None,
    }
    if whole:
        still["done"], still["batch"] = shard["total"], shard["batches"]
        still["verdict"], still["tone"] = "finished", "ok"
    return still
