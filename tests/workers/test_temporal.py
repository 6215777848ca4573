from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from extraction.errors import AuthenticationFailed, SourceUnreachable
from workers.settings import WorkerSettings
from workers.temporal import data_converter, tls

CANARY = "s3cret-canary"


def failure_of(error: BaseException) -> Failure:
    failure = Failure()
    converter = data_converter()
    converter.failure_converter.to_failure(error, converter.payload_converter, failure)
    return failure


def raised(build: object) -> BaseException:
    try:
        build()  # type: ignore[operator]
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_a_foreign_exception_leaves_only_its_class() -> None:
    def fail() -> None:
        try:
            raise ValueError(f"dsn with {CANARY}")
        except ValueError as error:
            raise RuntimeError(f"again {CANARY}") from error

    failure = failure_of(raised(fail))
    assert "RuntimeError" in failure.message
    assert CANARY not in str(failure)
    assert failure.stack_trace == ""


def test_our_error_keeps_its_words_and_loses_its_cause() -> None:
    def fail() -> None:
        try:
            raise ValueError(f"dsn with {CANARY}")
        except ValueError as error:
            raise AuthenticationFailed from error

    failure = failure_of(raised(fail))
    assert failure.message == "The database refused the username or password."
    assert failure.application_failure_info.type == "auth"
    assert failure.application_failure_info.non_retryable
    assert CANARY not in str(failure)
    assert not failure.HasField("cause")


def test_an_application_error_loses_a_foreign_context() -> None:
    def fail() -> None:
        try:
            raise ValueError(CANARY)
        except ValueError:
            raise ApplicationError("ours", type="x")  # noqa: B904 - the context is the point

    failure = failure_of(raised(fail))
    assert failure.message == "ours"
    assert CANARY not in str(failure)


def test_the_details_can_be_read_back() -> None:
    converter = data_converter()
    back = converter.failure_converter.from_failure(
        failure_of(SourceUnreachable()), converter.payload_converter
    )
    assert isinstance(back, ApplicationError)
    assert back.details[0] == SourceUnreachable().as_dict()
    assert not back.non_retryable


def test_an_activity_error_keeps_the_cause_that_came_from_history() -> None:
    error = ActivityError(
        "Activity task failed",
        scheduled_event_id=5,
        started_event_id=6,
        identity="w1",
        activity_type="plan",
        activity_id="1",
        retry_state=RetryState.NON_RETRYABLE_FAILURE,
    )
    error.__cause__ = ApplicationError("ours", {"category": "auth"}, type="auth")
    assert failure_of(error).cause.application_failure_info.type == "auth"


def test_without_files_the_connection_is_in_clear() -> None:
    assert tls(WorkerSettings()) is None


def test_tls_files_are_read(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(b"authority")
    config = tls(WorkerSettings(temporal_tls_ca_file=ca))
    assert config is not None
    assert config.server_root_ca_cert == b"authority"


def test_a_missing_tls_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tls(WorkerSettings(temporal_tls_ca_file=tmp_path / "none.pem"))
