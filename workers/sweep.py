"""The end of a run without a snapshot: nothing of it runs in the source any more."""

from __future__ import annotations

from collections.abc import Callable

from extraction.connection import Load
from extraction.errors import SourceTimeout, SurveyorError
from workers.contract import Source, SweepInput
from workers.login import Door
from workers.needs import Needs

Say = Callable[[str, str], None]
Spend = Callable[[Load], None]


def end_sessions(needs: Needs, task: SweepInput, say: Say, spend: Spend) -> str:
    """End what no worker has said to be closed; why that is not certain, or nothing.

    `spend` hears what each session that this takes asked of the source.
    """
    if task.refused or task.source is None:
        return "The source refused the password." if task.unconfirmed else ""
    try:
        for name in dict.fromkeys(task.unconfirmed):
            _end(needs, task.run_id, task.source, name, say, spend)
    except SurveyorError as error:
        return error.message
    return ""


def _end(needs: Needs, run_id: str, source: Source, name: str, say: Say, spend: Spend) -> None:
    door = Door(needs, run_id, source, lambda text: say("credential_rotated", text))
    with door.open(name) as session:
        ended = session.end_siblings()
        for backend in ended:
            say(
                "session_ended",
                f"Ended session {backend} in the source, which a silent worker had left open.",
            )
        try:
            if ended and session.end_siblings():
                raise SourceTimeout("A session did not end when it was told to.")
        finally:
            spend(session.load)


def uncertain(task: SweepInput, reason: str) -> str:
    """What is said instead of a promise that cannot be kept."""
    limit = f" of {task.source.options.statement_timeout:g} s" if task.source else ""
    return (
        f"It could not be told whether a statement still runs in the source: {reason}"
        f" If one does, it ends at its limit{limit}."
    )
