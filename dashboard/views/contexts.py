"""What the run pages show, computed from the row and its picture."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from django.utils import timezone

from dashboard.live import picture as pictures
from dashboard.live.board import Board
from dashboard.live.picture import Picture, Shard
from dashboard.models import Run
from dashboard.story import Line
from dashboard.templatetags.surveyor import TONES
from dashboard.views.bars import Bar
from extraction.catalog import KINDS
from extraction.connection import DIALECTS

EVENTS_SHOWN = 200

LEVELS = {"info": ("info", "run"), "warning": ("warning", "warn"), "error": ("error", "bad")}
# Trouble first, then what moves, what waits, what is done.
ORDER = ("lost", "stalled", "retrying", "quiet", "working", "waiting", "not finished", "finished")
TROUBLE = {"lost", "stalled", "retrying"}


@dataclass(frozen=True)
class Said:
    """A verdict as a page shows it; `text` is what the API and the socket say."""

    text: str
    tone: str

    @property
    def word(self) -> str:
        return self.text.partition(":")[0]

    @property
    def shown(self) -> str:
        """Beside a status that says it ended, only why."""
        word, _, sentence = self.text.partition(": ")
        return sentence if word == "finished" and sentence else self.text

    @property
    def icon(self) -> str:
        if self.word == "not finished":
            return "cancelled"
        if self.word != "finished":
            return self.word
        return {"ok": "done", "bad": "failed", "warn": "partial"}.get(self.tone, "finished")


@dataclass(frozen=True)
class ShardLine:
    id: int
    label: str
    bar: Bar
    verdict: Said
    rate: float
    attempt: int
    worker: str
    beat: float | None
    last_failure: str

    @property
    def trouble(self) -> bool:
        return self.verdict.word in TROUBLE or self.verdict.tone == "bad"

    @property
    def name(self) -> str:
        return f"Shard {self.id}"

    @property
    def bar_tone(self) -> str:
        return self.verdict.tone


@dataclass(frozen=True)
class PhaseLine:
    name: str
    icon: str
    tone: str
    note: str
    now: bool = False


@dataclass(frozen=True)
class RunRow:
    """A run in a list."""

    run: Run
    verdict: Said
    bar: Bar
    rate: float | None
    eta: int | None
    elapsed: float | None

    @property
    def status(self) -> str:
        return self.run.status

    @property
    def tone(self) -> str:
        return TONES[self.run.status]

    @property
    def bar_tone(self) -> str:
        return self.tone

    @property
    def percent(self) -> int:
        return self.bar.percent


@dataclass(frozen=True)
class RunView(RunRow):
    """A run on its own page."""

    seq: int = 0
    source: str = "row"
    phases: list[PhaseLine] = field(default_factory=list)
    shards: list[ShardLine] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    more_events: int = 0
    beat: float | None = None
    advance: float | None = None
    workers: list[str] = field(default_factory=list)
    load: dict[str, Any] = field(default_factory=dict)

    @property
    def may_cancel(self) -> bool:
        return self.run.is_open and self.run.status != Run.Status.CANCELLING

    @property
    def began(self) -> Any:
        return self.run.started_at or self.run.created_at

    @property
    def options(self) -> dict[str, Any]:
        return asdict(self.run.options)

    @property
    def selection(self) -> dict[str, Any]:
        return dict(self.run.input.get("selection", {}))

    @property
    def server(self) -> str:
        dialect = self._source().get("target", {}).get("dialect", "")
        return DIALECTS[dialect].label if dialect in DIALECTS else dialect

    @property
    def place(self) -> str:
        target = self._source().get("target", {})
        return (
            f"{target.get('host', '–')}:{target.get('port', '–')} / {target.get('database', '–')}"
        )

    @property
    def scopes(self) -> int:
        """The selected ones: what the filter left out is not counted."""
        return sum(self.run.completeness.get(k, 0) for k in ("complete", "denied", "errored"))

    @property
    def counts(self) -> list[tuple[str, int]]:
        return [(kind, self.run.counts[kind]) for kind in KINDS if kind in self.run.counts]

    @property
    def per_thousand(self) -> float | None:
        statements, relations = self.load.get("statements"), self.bar.done
        return 1000 * statements / relations if statements and relations else None

    def _source(self) -> dict[str, Any]:
        source: dict[str, Any] = self.run.input.get("source", {})
        return source


def run_row(run: Run) -> RunRow:
    """For an ended run from the row alone, so that a list costs no storage."""
    open_ = pictures.of(run, events=False) if run.is_open else None
    return RunRow(**_basics(run, open_ or pictures.draw(Board(run), time.time())))


def run_view(run: Run, picture: Picture) -> RunView:
    # By their time, not by seq: what several workers say arrives in another order.
    events = sorted(picture.events, key=lambda line: (line["at"], line["seq"]), reverse=True)
    return RunView(
        **_basics(run, picture),
        seq=picture.seq,
        source=picture.source,
        phases=_phases(picture, run),
        shards=sorted((_shard(s, run.is_open) for s in picture.shards), key=_by_trouble),
        events=[_event(event) for event in events[:EVENTS_SHOWN]],
        more_events=max(0, len(events) - EVENTS_SHOWN),
        beat=_seconds(picture.beat_age_ms),
        advance=_seconds(picture.advance_age_ms),
        workers=picture.workers,
        load=picture.load,
    )


def _basics(run: Run, picture: Picture) -> dict[str, Any]:
    progress = picture.progress
    end = run.finished_at or timezone.now()
    began = run.started_at or run.created_at
    return {
        "run": run,
        "verdict": Said(str(picture.verdict), picture.verdict.tone),
        "bar": Bar(progress["done"], progress["in_flight"], progress["total"]),
        "rate": progress["rate"] or None,
        "eta": progress["eta_seconds"],
        "elapsed": (end - began).total_seconds(),
    }


def _shard(shard: Shard, is_open: bool) -> ShardLine:
    verdict = Said(shard["verdict"], shard["tone"])
    if not is_open and verdict.word != "finished":
        verdict = Said("not finished", "idle")
    return ShardLine(
        id=shard["id"],
        label=shard["label"],
        bar=_shard_bar(shard),
        verdict=verdict,
        rate=shard["rate"],
        attempt=shard["attempt"],
        worker=shard["worker"],
        beat=_seconds(shard["beat_age_ms"]),
        last_failure=shard["last_failure"],
    )


def _shard_bar(shard: Shard) -> Bar:
    """A shard of schema-level batches holds no relations: its bar counts batches."""
    if shard["total"]:
        return Bar(shard["done"], shard["in_flight"], shard["total"])
    done = shard["batches"] if shard["verdict"] == "finished" else shard["batch"]
    return Bar(min(done, shard["batches"]), 0, shard["batches"])


def _by_trouble(line: ShardLine) -> tuple[int, int]:
    word = line.verdict.word
    if word == "finished" and line.verdict.tone == "bad":
        return 0, line.id
    return (ORDER.index(word) if word in ORDER else len(ORDER)), line.id


def _phases(picture: Picture, run: Run) -> list[PhaseLine]:
    names = ("plan", "extract", "finish")
    at = names.index(picture.phase) if picture.phase in names else -1
    whole = picture.phase == "done" and run.status in {"succeeded", "partial"}
    notes = {
        "plan": f"{picture.schemas:,} schemas, {len(picture.shards)} shards"
        if picture.schemas is not None
        else "list every relation in scope",
        "extract": f"{picture.batches_done:,} of {picture.batches:,} batches"
        if picture.batches
        else "read batch by batch",
        "finish": "verify every part, write the manifest",
    }
    return [_phase(name, i, at, whole, notes[name], run) for i, name in enumerate(names)]


def _phase(name: str, i: int, at: int, whole: bool, note: str, run: Run) -> PhaseLine:
    if whole or i < at:
        return PhaseLine(name.capitalize(), "done", "ok", note)
    if i == at and run.is_open:
        return PhaseLine(name.capitalize(), "running", "run", note, now=True)
    if i == at:
        return PhaseLine(name.capitalize(), run.status, TONES[run.status], note)
    return PhaseLine(name.capitalize(), "queued", "idle", note)


def _event(event: Line) -> dict[str, Any]:
    icon, tone = LEVELS.get(event["level"], LEVELS["info"])
    return {**event, "icon": icon, "tone": tone}


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
