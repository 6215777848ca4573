"""One word, a reason and a tone, from records and a clock."""

from __future__ import annotations

import pytest

from dashboard.live import verdict
from dashboard.live.verdict import RowFacts, Verdict
from workers.contract import Progress

NOW = 1_790_000_000.0
RUNNING = RowFacts("running")


def record(**fields) -> Progress:
    values = {"beat_at": NOW, "advanced_at": NOW, "worker": "w2"} | fields
    return Progress("r", "extract", 13, 1, **({"worker": "w2"} | values))


def shard(**fields) -> Verdict:
    return verdict.of_shard(record(**fields), NOW)


def run(*shards: Verdict, row: RowFacts = RUNNING, phase: str = "extract", **special) -> Verdict:
    return verdict.of_run(row, special, list(enumerate(shards)), phase)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "working"),
        ({"beat_at": NOW - 10}, "working"),
        ({"beat_at": NOW - 11}, "lost: no beat from w2 since 14:13:09 UTC"),
        ({"advanced_at": NOW - 30}, "working"),
        ({"advanced_at": NOW - 61}, "stalled: no advance since 14:12:19 UTC"),
        (
            {"advanced_at": NOW - 6, "vouched_until": NOW + 20},
            "quiet: one statement runs, vouched for until 14:13:40 UTC",
        ),
        (
            {"advanced_at": NOW - 90, "vouched_until": NOW + 20},
            "quiet: one statement runs, vouched for until 14:13:40 UTC",
        ),
        (
            {"advanced_at": NOW - 90, "vouched_until": NOW - 1},
            "stalled: no advance since 14:11:50 UTC",
        ),
        (
            {"beat_at": NOW - 11, "vouched_until": NOW + 20},
            "lost: no beat from w2 since 14:13:09 UTC",
        ),
        ({"state": "waiting", "reason": "Vault is sealed"}, "waiting: Vault is sealed"),
        ({"state": "retrying", "reason": "in 4 s", "beat_at": NOW - 60}, "retrying: in 4 s"),
        ({"state": "done", "beat_at": NOW - 60}, "finished"),
        ({"state": "failed", "last_failure": "no rights"}, "finished: failed, no rights"),
    ],
)
def test_a_shard(fields, expected):
    assert str(shard(**fields)) == expected


def test_a_shard_nobody_has_begun_waits():
    assert verdict.of_shard(None, NOW) == Verdict("waiting", "", "idle")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (RowFacts("queued", "Temporal is unreachable"), "waiting: Temporal is unreachable"),
        (RowFacts("queued"), "waiting: Temporal has not confirmed it yet"),
        (RowFacts("paused"), "waiting: paused"),
        (RowFacts("cancelling"), "waiting: running statements are being ended"),
        (RowFacts("succeeded"), "finished: every selected scope is proven complete"),
        (
            RowFacts("partial", unproven=1),
            "finished: 1 scope is denied or errored, the rest is proven complete",
        ),
        (
            RowFacts("partial"),
            "finished: what is listed is proven complete, whether the source hides more is not known",
        ),
        (RowFacts("failed", error="The disk is full."), "finished: The disk is full."),
        (RowFacts("cancelled", cancelled_by="ops"), "finished: cancelled by ops"),
        (RowFacts("running"), "waiting: for a worker to begin"),
        (RowFacts("running", workers=0), "waiting: no worker is connected"),
        (RowFacts("running", workers=3), "waiting: for a worker to begin"),
    ],
)
def test_a_run_by_its_row(row, expected):
    assert str(run(row=row, phase="plan")) == expected


def test_outside_the_allowed_hours_the_run_waits_for_them_and_says_until_when():
    closed = RowFacts("running", closed="until 22:00 (Europe/Berlin)")
    waits = "waiting: outside the allowed hours until 22:00 (Europe/Berlin)"
    back = shard(state="waiting", reason="its session was given back")
    assert str(run(row=closed, phase="plan")) == waits
    assert str(run(back, back, row=closed)) == waits
    # Nobody goes on with what a lost worker held before the hours begin.
    assert str(run(shard(beat_at=NOW - 60), row=closed)) == waits
    # What is being stopped still reads, and verifying needs no source.
    assert run(shard(), back, row=closed).word == "working"
    assert run(row=closed, phase="finish", finish=shard()).word == "working"


def test_trouble_speaks_first_and_says_that_the_others_go_on():
    lost = run(shard(), shard(beat_at=NOW - 11), shard())
    assert lost.word == "lost" and lost.tone == "bad"
    assert lost.sentence.startswith("shard 1, no beat from w2 since 14:13:09 UTC")
    assert lost.sentence.endswith("2 of the others keep working")


def test_lost_with_no_worker_left_waits_for_one():
    gone = [shard(beat_at=NOW - 11)]
    assert str(run(*gone, row=RowFacts("running", workers=0))) == "waiting: no worker is connected"
    assert run(*gone, row=RowFacts("running", workers=2)).word == "lost"


def test_work_beside_a_retry_is_work():
    sealed = shard(state="waiting", reason="Vault is sealed")
    assert str(run(shard(), shard(state="retrying", reason="in 4 s"), sealed)) == (
        "working: 1 shard is being read, 1 retrying, 1 waiting (Vault is sealed)"
    )
    assert str(run(sealed)) == "waiting: shard 0: Vault is sealed"


def test_one_long_statement_keeps_the_run_quiet():
    quiet = shard(advanced_at=NOW - 6, vouched_until=NOW + 20)
    assert run(quiet).word == "quiet"
    assert run(quiet, shard()).word == "working"


def test_the_phases_before_and_after_the_shards():
    assert str(run(phase="plan", plan=shard())) == "working: the inventory is being listed"
    failing = shard(state="retrying", reason="in 2 s")
    assert str(run(phase="plan", plan=failing)) == "retrying: in 2 s"
    done = shard(state="done")
    assert str(run(done, phase="finish", finish=shard())) == (
        "working: the snapshot is being verified"
    )
