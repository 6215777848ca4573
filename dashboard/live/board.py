"""What is known about one open run, in memory: frames go in, nothing is ever sent from here.

A board that was read whole (`sources.py`) and one that was fed frame by frame hold the
same facts, so who joins late sees what the others see.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from dashboard.models import Run
from dashboard.story import Line, merged
from workers.contract import FINISH_SHARD, PLAN_SHARD, Event, Frame, PlanRecord, Progress

Source = Literal["live", "heartbeats", "row"]
# A picture shows the newest 500; who asks for those after a seq may get more.
EVENTS_KEPT = 5_000


@dataclass
class Board:
    run: Run
    source: Source = "row"
    seq: int = 0
    plan: PlanRecord | None = None
    records: dict[int, Progress] = field(default_factory=dict)
    # Relations per shard that have a ledger entry, as far as anyone has ever seen.
    floor: dict[int, int] = field(default_factory=dict)
    # Batches per shard that have one, as storage says; empty while Redis says it all.
    proven: dict[int, int] = field(default_factory=dict)
    events: list[Line] = field(default_factory=list)
    workers: int | None = None
    touched: set[int] = field(default_factory=set)

    def apply(self, seq: int, frame: Frame) -> bool:
        """Take one stream entry; False when the board already holds it."""
        if seq <= self.seq:
            return False
        self.seq = seq
        for record in frame.records:
            self.take(record)
        if frame.plan is not None:
            self.take_plan(frame.plan)
        if frame.event is not None:
            self.events.append(line_of(seq, frame.event))
        return True

    def take(self, record: Progress) -> None:
        """The highest attempt wins, and of one attempt the newest beat."""
        known = self.records.get(record.shard)
        if known and (known.attempt, known.beat_at) > (record.attempt, record.beat_at):
            return
        self.records[record.shard] = record
        self.raise_floor(record.shard, record.done)
        self.touched.add(record.shard)

    def take_plan(self, plan: PlanRecord) -> None:
        self.plan = plan
        self.touched.update(shard.id for shard in plan.shards)

    def take_lines(self, lines: Iterable[Line]) -> None:
        self.events = merged(self.events, lines)[-EVENTS_KEPT:]

    def raise_floor(self, shard: int, done: int) -> None:
        self.floor[shard] = max(self.floor.get(shard, 0), done)

    def merge(self, older: Board) -> None:
        """Keep what an earlier board of the same run knew and this one lost."""
        for record in older.records.values():
            self.take(record)
        for shard, done in older.floor.items():
            self.raise_floor(shard, done)
        for shard, batches in older.proven.items():
            self.proven[shard] = max(self.proven.get(shard, 0), batches)
        # The published plan says when it was made; one read from storage does not.
        self.plan = older.plan or self.plan
        self.take_lines(older.events)
        self.seq = max(self.seq, older.seq)

    @property
    def planning(self) -> Progress | None:
        return self.records.get(PLAN_SHARD)

    @property
    def finishing(self) -> Progress | None:
        return self.records.get(FINISH_SHARD)


def line_of(seq: int, event: Event) -> Line:
    return {
        "seq": seq,
        "at": iso(event.at or seq / 1_000_000),
        "level": event.level,
        "code": event.code,
        "message": event.message,
        "shard": event.shard,
        "worker": event.worker,
        "id": event.id,
    }


def iso(at: float) -> str:
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
