"""What is happening, in one word with a reason and a tone. Pure: records and a clock in.

Words: working, waiting, quiet, stalled, lost, retrying, finished. A beat proves a live
process and an advance proves moving work, so each clock has a limit of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from extraction.selection import quoted
from workers.contract import Progress

Word = Literal["working", "waiting", "quiet", "stalled", "lost", "retrying", "finished"]
Tone = Literal["run", "ok", "warn", "bad", "hold", "idle"]

# Temporal gives a shard to another worker after this much silence.
LOST_AFTER = 10.0
QUIET_AFTER = 5.0
STALLED_AFTER = 60.0
PATTERNS_SHOWN = 3


@dataclass(frozen=True)
class Verdict:
    word: Word
    sentence: str
    tone: Tone

    def __str__(self) -> str:
        return f"{self.word}: {self.sentence}" if self.sentence else self.word


@dataclass(frozen=True)
class RowFacts:
    """What the run's row says. `workers` is how many are alive, None when nobody knows.

    `unmatched`: patterns of include that match nothing. `closed` is until when the source
    must not be read, if it must not: "until 22:00 (Europe/Berlin)".
    """

    status: str
    waiting_reason: str = ""
    cancelled_by: str = ""
    error: str = ""
    unproven: int = 0
    workers: int | None = None
    unmatched: Sequence[str] = ()
    closed: str = ""


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def of_shard(record: Progress | None, now: float) -> Verdict:
    """`record` is the newest of the highest attempt, None before the first."""
    if record is None:
        return Verdict("waiting", "", "idle")
    if record.state == "done":
        return Verdict("finished", "", "ok")
    if record.state == "failed":
        return Verdict("finished", f"failed, {record.last_failure or record.reason}", "bad")
    if record.state == "retrying":
        return Verdict("retrying", record.reason or record.last_failure, "warn")
    if record.state == "waiting":
        return Verdict("waiting", record.reason, "warn")
    return _of_active(record, now)


def _of_active(record: Progress, now: float) -> Verdict:
    if now - record.beat_at > LOST_AFTER:
        return Verdict("lost", f"no beat from {record.worker} since {clock(record.beat_at)}", "bad")
    still = now - record.advanced_at
    vouched = record.vouched_until is not None and record.vouched_until >= now
    if still > QUIET_AFTER and vouched:
        assert record.vouched_until is not None
        return Verdict(
            "quiet", f"one statement runs, vouched for until {clock(record.vouched_until)}", "run"
        )
    if still > STALLED_AFTER:
        return Verdict("stalled", f"no advance since {clock(record.advanced_at)}", "warn")
    return Verdict("working", "", "run")


def of_run(
    row: RowFacts,
    special: Mapping[str, Verdict],
    shards: Sequence[tuple[int, Verdict]],
    phase: str,
) -> Verdict:
    """`special` holds the verdicts of the plan and finish phases, `shards` those begun."""
    if row.status in _FROM_STATUS:
        return _FROM_STATUS[row.status](row)
    if row.closed and phase != "finish" and not _reads(special, shards):
        return Verdict("waiting", f"outside the allowed hours {row.closed}", "hold")
    begun = dict(special) if phase != "extract" else {}
    if phase in begun and begun[phase].word != "finished":
        return _of_phase(begun[phase], phase, row)
    if shards and phase == "extract":
        return _of_shards(shards, row)
    if phase == "finish":
        return Verdict("working", "the shards are read, the snapshot is being verified", "run")
    return _nothing_yet(row)


def _reads(special: Mapping[str, Verdict], shards: Sequence[tuple[int, Verdict]]) -> bool:
    verdicts = [*special.values(), *(verdict for _, verdict in shards)]
    return any(verdict.word in ("working", "quiet") for verdict in verdicts)


def _nothing_yet(row: RowFacts) -> Verdict:
    if row.workers == 0:
        return Verdict("waiting", "no worker is connected", "warn")
    return Verdict("waiting", "for a worker to begin", "idle")


def _of_phase(verdict: Verdict, phase: str, row: RowFacts) -> Verdict:
    if verdict.word == "lost" and row.workers == 0:
        return _nothing_yet(row)
    if verdict.word != "working":
        return verdict
    doing = "the inventory is being listed" if phase == "plan" else "the snapshot is being verified"
    return Verdict("working", doing, "run")


def _of_shards(shards: Sequence[tuple[int, Verdict]], row: RowFacts) -> Verdict:
    count = Counter(verdict.word for _, verdict in shards)
    moving = count["working"] + count["quiet"]
    lost = [(shard, v) for shard, v in shards if v.word == "lost"]
    if lost and row.workers == 0 and not moving:
        return _nothing_yet(row)
    for word in ("lost", "stalled"):
        first = next(((shard, v) for shard, v in shards if v.word == word), None)
        if first:
            return _trouble(first, count[first[1].word], moving)
    if moving:
        word_: Word = "working" if count["working"] else "quiet"
        return Verdict(word_, _moving(count, shards), "run")
    for word in ("retrying", "waiting"):
        first = next(((s, v) for s, v in shards if v.word == word and v.sentence), None)
        if first:
            return Verdict(first[1].word, f"shard {first[0]}: {first[1].sentence}", first[1].tone)
    if len(shards) == count["finished"]:
        return Verdict("working", "the next shards are about to start", "run")
    return _nothing_yet(row)


def _trouble(first: tuple[int, Verdict], many: int, moving: int) -> Verdict:
    shard, verdict = first
    more = f" and {many - 1} more" if many > 1 else ""
    rest = f"; {moving} of the others keep working" if moving else ""
    then = ", it goes on elsewhere from its last proven batch" if verdict.word == "lost" else ""
    return Verdict(
        verdict.word, f"shard {shard}{more}, {verdict.sentence}{then}{rest}", verdict.tone
    )


def _moving(count: Counter[Word], shards: Sequence[tuple[int, Verdict]]) -> str:
    active = count["working"] + count["quiet"]
    text = f"{active} shard{'s are' if active > 1 else ' is'} being read"
    if count["retrying"]:
        text += f", {count['retrying']} retrying"
    reason = next((v.sentence for _, v in shards if v.word == "waiting" and v.sentence), "")
    if reason:
        text += f", {count['waiting']} waiting ({reason})"
    if not count["working"]:
        text += next(f", {v.sentence}" for _, v in shards if v.word == "quiet")
    return text


def _partial(row: RowFacts) -> Verdict:
    if not row.unproven:
        sentence = "what is listed is proven complete, whether the source hides more is not known"
        return Verdict("finished", sentence + _without_match(row), "warn")
    scopes = "1 scope is" if row.unproven == 1 else f"{row.unproven} scopes are"
    sentence = f"{scopes} denied or errored, the rest is proven complete"
    return Verdict("finished", sentence + _without_match(row), "warn")


def _succeeded(row: RowFacts) -> Verdict:
    sentence = "every selected scope is proven complete" + _without_match(row)
    return Verdict("finished", sentence, "warn" if row.unmatched else "ok")


def _without_match(row: RowFacts) -> str:
    """What was asked for and is not there: a slip of the hand, or a table that is gone."""
    if not row.unmatched:
        return ""
    shown = ", ".join(quoted(text) for text in row.unmatched[:PATTERNS_SHOWN])
    more = len(row.unmatched) - PATTERNS_SHOWN
    return f"; nothing matches {shown}" + (f" and {more} more patterns" if more > 0 else "")


_FROM_STATUS: dict[str, Callable[[RowFacts], Verdict]] = {
    "queued": lambda row: Verdict(
        "waiting", row.waiting_reason or "Temporal has not confirmed it yet", "idle"
    ),
    "paused": lambda row: Verdict("waiting", "paused", "hold"),
    "cancelling": lambda row: Verdict("waiting", "running statements are being ended", "hold"),
    "succeeded": _succeeded,
    "partial": _partial,
    "failed": lambda row: Verdict("finished", row.error or "it failed", "bad"),
    "cancelled": lambda row: Verdict(
        "finished", f"cancelled by {row.cancelled_by}" if row.cancelled_by else "cancelled", "idle"
    ),
}
