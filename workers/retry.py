"""What a failed attempt means for the next one: the error's own class decides."""

from __future__ import annotations

from dataclasses import dataclass

from extraction.errors import SurveyorError
from workers.contract import ShardState

MAX_FAILURES = 5
LONGEST_BACKOFF = 30.0
WAIT_DELAY = 3.0


@dataclass(frozen=True)
class Verdict:
    """`delay` is seconds until the next attempt, None when there is none."""

    state: ShardState
    delay: float | None
    failures: int


def after(error: SurveyorError, failures: int) -> Verdict:
    """`failures` counts those of the source since the last new ledger entry."""
    if error.retry == "wait":
        # Vault or storage is down: nothing about the source, and nothing to count.
        return Verdict("waiting", WAIT_DELAY, failures)
    failures += 1
    if error.retry == "never" or failures >= MAX_FAILURES:
        return Verdict("failed", None, failures)
    return Verdict("retrying", min(LONGEST_BACKOFF, 2.0 ** (failures - 1)), failures)
