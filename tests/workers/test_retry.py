from __future__ import annotations

import pytest

from extraction.errors import (
    AuthenticationFailed,
    NoSuchDatabase,
    PermissionDenied,
    SourceTimeout,
    SourceUnreachable,
    StorageFailed,
    SurveyorError,
    VaultUnavailable,
)
from workers.retry import MAX_FAILURES, Verdict, after


@pytest.mark.parametrize("error", [AuthenticationFailed(), PermissionDenied(), NoSuchDatabase()])
def test_what_cannot_heal_is_tried_once(error: SurveyorError) -> None:
    assert after(error, 0) == Verdict("failed", None, 1)


@pytest.mark.parametrize("error", [SourceUnreachable(), SourceTimeout(), SurveyorError()])
def test_a_source_that_fails_backs_off_and_stops_after_five(error: SurveyorError) -> None:
    delays, failures = [], 0
    for _ in range(MAX_FAILURES):
        verdict = after(error, failures)
        failures = verdict.failures
        delays.append(verdict.delay)
    assert delays == [1, 2, 4, 8, None]
    assert verdict.state == "failed"


@pytest.mark.parametrize("error", [VaultUnavailable(), StorageFailed()])
def test_what_we_wait_for_is_never_counted(error: SurveyorError) -> None:
    verdict = after(error, MAX_FAILURES - 1)
    assert (verdict.state, verdict.failures) == ("waiting", MAX_FAILURES - 1)
    assert verdict.delay is not None and 0 < verdict.delay <= 10
