"""The end of a run without a snapshot: nothing of it runs in the source any more."""

from __future__ import annotations

from collections.abc import Callable

from extraction.errors import SourceTimeout, SurveyorError
from workers.contract import Source, SweepInput
from workers.login import label_of, log_in
from workers.needs import Needs

Say = Callable[[str, str], None]


def end_sessions(needs: Needs, task: SweepInput, say: Say) -> str:
    """End what no worker has said to be closed; why that is not certain, or nothing."""
    if task.refused or task.source is None:
        return "The source refused the password." if task.unconfirmed else ""
    try:
        for name in task.unconfirmed:
            _end(needs, task.source, label_of(task.run_id, name), say)
    except SurveyorError as error:
        return error.message
    return ""


def _end(needs: Needs, source: Source, label: str, say: Say) -> None:
    with log_in(needs, source, label, lambda text: say("credential_rotated", text)) as session:
        ended = session.end_siblings()
        for backend in ended:
            say(
                "session_ended",
                f"Ended session {backend} in the source, which a silent worker had left open.",
            )
        if ended and session.end_siblings():
            raise SourceTimeout("A session did not end when it was told to.")


def uncertain(task: SweepInput, reason: str) -> str:
    """What is said instead of a promise that cannot be kept."""
    limit = f" of {task.source.options.statement_timeout:g} s" if task.source else ""
    return (
        f"It could not be told whether a statement still runs in the source: {reason}"
        f" If one does, it ends at its limit{limit}."
    )
