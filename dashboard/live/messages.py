"""What goes over a socket. Every message is built once and sent as the same text to all."""

from __future__ import annotations

import time
from typing import Any, Literal

import orjson

from dashboard import runs
from dashboard.live.board import iso
from dashboard.live.picture import Picture, Shard
from dashboard.models import Run
from dashboard.story import Line

EVENTS_SHOWN = 500

Kind = Literal["state", "progress", "event", "finished", "run"]


def encode(kind: Kind, seq: int, run_id: str | None, *, at: str = "", **body: Any) -> str:
    message = {"type": kind, "seq": seq, "run_id": run_id, "at": at or iso(time.time()), **body}
    return orjson.dumps(message).decode()


def state(run: Run, picture: Picture, seq: int, after: int = 0) -> str:
    return encode(
        "state",
        seq,
        str(run.id),
        run=runs.run_dict(run, picture),
        shards=picture.shards,
        events=_since(picture.events, after),
        **_side(picture),
    )


def progress(run_id: str, picture: Picture, seq: int, shards: list[Shard]) -> str:
    return encode(
        "progress", seq, run_id, shards=shards, progress=picture.progress, **_side(picture)
    )


def event(run_id: str, seq: int, line: Line) -> str:
    body: dict[str, Any] = {name: line[name] for name in ("level", "code", "message")}
    optional = {"shard": line["shard"], "worker": line["worker"]}
    body |= {name: value for name, value in optional.items() if value not in (None, "")}
    return encode("event", seq, run_id, at=line["at"], **body)


def finished(run: Run, picture: Picture, seq: int) -> str:
    return encode("finished", seq, str(run.id), run=runs.run_dict(run, picture))


def _since(events: list[Line], after: int) -> list[Line]:
    if not after:
        return events[-EVENTS_SHOWN:]
    return [line for line in events if line["seq"] > after]


def _side(picture: Picture) -> dict[str, Any]:
    return {
        "phase": picture.phase,
        "verdict": str(picture.verdict),
        "tone": picture.verdict.tone,
        "source": picture.source,
        "beat_age_ms": picture.beat_age_ms,
        "advance_age_ms": picture.advance_age_ms,
        "workers": picture.workers,
        "batches": picture.batches,
        "batches_done": picture.batches_done,
        "load": picture.load,
    }
