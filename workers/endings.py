"""How an activity ended, in the workflow's eyes: given back, unproven, failed, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    TimeoutError,
    TimeoutType,
)

from workers.contract import (
    CANCEL_UNPROVEN,
    CHECK_SECONDS,
    CHECK_WAIT,
    Before,
    Load,
)

# How Temporal says that it cancelled what no worker held at that moment.
NOT_STARTED = "ACTIVITY_ID_NOT_STARTED"


def confirmed(error: ActivityError) -> bool:
    """Whether a worker said that its session is closed. Temporal's word is none: a worker
    that it no longer hears may still be at it."""
    cause = error.cause
    if isinstance(cause, CancelledError):
        return NOT_STARTED not in cause.details
    return isinstance(cause, ApplicationError) and cause.type != CANCEL_UNPROVEN


def is_refusal(error: ActivityError) -> bool:
    """A refused password is not sent again, not even to clear up."""
    return isinstance(error.cause, ApplicationError) and error.cause.type == "auth"


def given_back(error: ActivityError, before: Before, elapsed: float) -> Before | None:
    """What is behind an activity that was told to stop and did not say so itself; None if it
    failed for a reason of its own. `elapsed` is seconds since it was scheduled."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type == CANCEL_UNPROVEN:
        return _heard(cause.details, before, elapsed)
    if isinstance(cause, ApplicationError) and cause.non_retryable:
        return None
    if isinstance(cause, TimeoutError):
        return _heard(cause.last_heartbeat_details, before, elapsed)
    return _heard((), before, elapsed)


def _heard(details: Any, before: Before, elapsed: float) -> Before:
    """By the last beat; without one, by what cannot have been exceeded: an attempt a second."""
    try:
        beat: Mapping[str, Any] = details[0]
        load = Load(**beat["load"]) + Load(**beat["load_before"])
        return Before(int(beat["attempt"]), replace(load, lost=load.lost + 1))
    except (IndexError, KeyError, TypeError, ValueError):
        load = replace(before.load, lost=before.load.lost + 1)
        return Before(before.attempts + 1 + int(elapsed), load)


def raise_cause(error: ActivityError) -> NoReturn:
    """End the workflow with what the activity said: type = category, details = the ErrorDict."""
    cause = error.cause
    if isinstance(cause, ApplicationError):
        raise ApplicationError(
            cause.message, *cause.details, type=cause.type, non_retryable=True
        ) from None
    if isinstance(cause, TimeoutError):
        details = check_timed_out(cause) if error.activity_type == "check" else timed_out(error)
    else:
        details = unexplained(error)
    raise ApplicationError(
        details["message"], details, type=details["category"], non_retryable=True
    ) from None


def timed_out(error: ActivityError) -> dict[str, Any]:
    return {
        "category": "lost",
        "message": f"No worker finished “{error.activity_type}” in time.",
        "audience": "operator",
        "fix": "See on the workers page whether any worker is alive, then start the run again.",
    }


def check_timed_out(cause: TimeoutError) -> dict[str, Any]:
    if cause.type == TimeoutType.SCHEDULE_TO_START:
        happened = f"No worker took the check within {CHECK_WAIT:.0f} s."
    elif cause.type == TimeoutType.HEARTBEAT:
        happened = "The worker that tried the connection went silent."
    else:
        happened = f"The check did not end within {CHECK_SECONDS + 2:.0f} s."
    return {
        "category": "lost",
        "message": happened,
        "audience": "operator",
        "fix": "See on the workers page whether any worker is alive, then check again.",
    }


def unexplained(error: ActivityError) -> dict[str, Any]:
    return {
        "category": "internal",
        "message": f"“{error.activity_type}” failed without saying why.",
        "audience": "developer",
        "fix": "Look at the worker's log for this run.",
    }
