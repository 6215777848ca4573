"""The one way to a Temporal client, for workers and dashboard alike."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.converter import DataConverter, DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    ChildWorkflowError,
    FailureError,
)
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig
from temporalio.runtime import TelemetryFilter as Filter
from temporalio.service import TLSConfig

from extraction.errors import SurveyorError
from workers.settings import WorkerSettings

WORKER_HEARTBEAT = timedelta(seconds=2)


class SafeFailureConverter(DefaultFailureConverter):
    """Lets only our own words into Temporal's history.

    A foreign exception may hold a password in its message, in a cause or in a bound
    value, so of those only the class is kept. Stack traces are in the worker's log.
    """

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        super().to_failure(_in_our_words(exception), payload_converter, failure)
        if not isinstance(exception, ActivityError | ChildWorkflowError):
            # Those two carry what this converter put into history; any other cause is foreign.
            failure.ClearField("cause")
        _drop_stacks(failure)


def _in_our_words(exception: BaseException) -> BaseException:
    if isinstance(exception, SurveyorError):
        return application_error(exception)
    if isinstance(exception, FailureError):
        return exception
    return application_error(unexpected(exception))


def unexpected(exception: BaseException) -> SurveyorError:
    return SurveyorError(f"Something unexpected failed ({type(exception).__name__}).")


def application_error(
    error: SurveyorError,
    *,
    non_retryable: bool | None = None,
    next_retry_delay: timedelta | None = None,
) -> ApplicationError:
    """What a reader finds in a failure: type = category, details = the ErrorDict."""
    return ApplicationError(
        error.message,
        error.as_dict(),
        type=error.category,
        non_retryable=error.retry == "never" if non_retryable is None else non_retryable,
        next_retry_delay=next_retry_delay,
        # We log it ourselves, in our words; the SDK would add a stack trace.
        category=ApplicationErrorCategory.BENIGN,
    )


def _drop_stacks(failure: Failure) -> None:
    failure.stack_trace = ""
    if failure.HasField("cause"):
        _drop_stacks(failure.cause)


def data_converter() -> DataConverter:
    return replace(DataConverter.default, failure_converter_class=SafeFailureConverter)


async def connect(settings: WorkerSettings, **options: Any) -> Client:
    """A client that connects at its first call, so a server that is down is found out there.

    `options` go to `Client.connect`. Every call of this client should carry an
    rpc_timeout: against a hung server the default waits more than 20 s.
    """
    return await Client.connect(
        settings.temporal_address,
        **{
            "namespace": settings.temporal_namespace,
            "tls": tls(settings) or False,
            "data_converter": data_converter(),
            "lazy": True,
            **options,
        },
    )


def tls(settings: WorkerSettings) -> TLSConfig | None:
    """None when no TLS file is set: the connection is then in clear."""
    files = (
        settings.temporal_tls_ca_file,
        settings.temporal_tls_cert_file,
        settings.temporal_tls_key_file,
    )
    if not any(files):
        return None
    ca, cert, key = (_bytes(file) for file in files)
    return TLSConfig(server_root_ca_cert=ca, client_cert=cert, client_private_key=key)


def _bytes(file: Path | None) -> bytes | None:
    return file.read_bytes() if file else None


def worker_runtime() -> Runtime:
    """The SDK core of a worker process: says every 2 s that it lives, logs through us."""
    forward = LogForwardingConfig(logger=logging.getLogger("temporal.core"))
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(
                filter=Filter(core_level="WARN", other_level="ERROR"), forwarding=forward
            )
        ),
        worker_heartbeat_interval=WORKER_HEARTBEAT,
    )
