"""What Temporal's answers say, as plain records; unknown states are read, not refused."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import (
    EventType,
    PendingActivityState,
    TaskQueueType,
    WorkerStatus,
    WorkflowExecutionStatus,
)
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    DescribeWorkflowExecutionResponse,
    ListWorkersRequest,
    ListWorkersResponse,
)
from temporalio.client import WorkflowExecution
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, TimeoutError

from extraction.errors import ErrorDict
from workers import contract

Outcome = Literal["open", "completed", "failed", "cancelled", "terminated", "timed_out"]
ALIVE_SECONDS = 10.0

_OUTCOMES: dict[int, Outcome] = {
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED: "completed",
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_FAILED: "failed",
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CANCELED: "cancelled",
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED: "terminated",
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TIMED_OUT: "timed_out",
}


@dataclass(frozen=True)
class PendingActivity:
    """An activity that is not done. `progress` is what its last heartbeat said."""

    activity: str
    state: Literal["scheduled", "started", "cancelling", "paused"]
    attempt: int
    worker: str
    progress: contract.Progress | None
    last_failure: str
    beat_at: float | None
    next_attempt_at: float | None


@dataclass(frozen=True)
class RunState:
    outcome: Outcome
    cancel_requested: bool
    started_at: datetime
    closed_at: datetime | None
    pending: list[PendingActivity] = field(default_factory=list)
    result: contract.RunResult | None = None
    error: ErrorDict | None = None
    reason: str = ""

    @property
    def is_closed(self) -> bool:
        return self.outcome != "open"


@dataclass(frozen=True)
class Listed:
    workflow_id: str
    is_open: bool
    started_at: datetime
    memo: dict[str, Any]


@dataclass(frozen=True)
class WorkerView:
    identity: str
    host: str
    pid: str
    version: str
    status: Literal["running", "stopping", "lost"]
    slots_used: int | None
    slots_free: int | None
    beat_age_ms: int | None
    started_at: datetime | None

    @property
    def is_alive(self) -> bool:
        return self.status == "running"


def minutes_ago(minutes: int) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)


def _seconds(message: Any, name: str) -> float | None:
    return getattr(message, name).ToNanoseconds() / 1e9 if message.HasField(name) else None


# --- runs -------------------------------------------------------------------


async def run_state(
    answer: DescribeWorkflowExecutionResponse, converter: DataConverter
) -> RunState:
    info = answer.workflow_execution_info
    return RunState(
        outcome=_OUTCOMES.get(info.status, "open"),
        cancel_requested=answer.workflow_extended_info.cancel_requested,
        started_at=_moment(info.start_time),
        closed_at=_moment(info.close_time) if info.HasField("close_time") else None,
        pending=[await _pending(activity, converter) for activity in answer.pending_activities],
    )


_STATES: dict[int, Literal["scheduled", "started", "cancelling", "paused"]] = {
    PendingActivityState.PENDING_ACTIVITY_STATE_STARTED: "started",
    PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED: "cancelling",
    PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED: "paused",
    PendingActivityState.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED: "paused",
}


async def _pending(info: PendingActivityInfo, converter: DataConverter) -> PendingActivity:
    return PendingActivity(
        activity=info.activity_type.name,
        state=_STATES.get(info.state, "scheduled"),
        attempt=info.attempt,
        worker=info.last_worker_identity,
        progress=await _decoded(info.heartbeat_details.payloads, contract.Progress, converter),
        last_failure=info.last_failure.message[:500],
        beat_at=_seconds(info, "last_heartbeat_time"),
        next_attempt_at=_seconds(info, "next_attempt_schedule_time"),
    )


async def _decoded(payloads: Any, kind: type[Any], converter: DataConverter) -> Any:
    """The first payload as `kind`, or None if it is something else: others may start workflows."""
    if not payloads:
        return None
    try:
        (value,) = await converter.decode(list(payloads)[:1], [kind])
    except Exception:
        return None
    return value if isinstance(value, kind) else None


async def with_outcome(state: RunState, event: HistoryEvent, converter: DataConverter) -> RunState:
    """Add what the closing event says."""
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
        payloads = event.workflow_execution_completed_event_attributes.result.payloads
        return replace(state, result=await _decoded(payloads, contract.RunResult, converter))
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
        failure = event.workflow_execution_failed_event_attributes.failure
        return replace(state, error=error_of(await converter.decode_failure(failure)))
    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
        reason = event.workflow_execution_terminated_event_attributes.reason
        return replace(state, reason=reason[:200])
    return state


def error_of(failure: BaseException) -> ErrorDict:
    """Our own error out of a failure's chain of causes, else a plain one."""
    cause: BaseException | None = failure
    timed_out = False
    while cause is not None:
        if isinstance(cause, ApplicationError) and (found := _error_dict(cause.details)):
            return found
        timed_out = timed_out or isinstance(cause, TimeoutError)
        cause = getattr(cause, "cause", None) or cause.__cause__
    if timed_out:
        return {
            "category": "timeout",
            "message": "A step of the run took longer than its limit.",
            "audience": "operator",
            "fix": "Start the run again; look at the workers if it happens twice.",
        }
    return {
        "category": "internal",
        "message": "The run failed inside Surveyor.",
        "audience": "developer",
        "fix": "Look at the worker's log for this run.",
    }


def _error_dict(details: Any) -> ErrorDict | None:
    first = details[0] if details else None
    if not isinstance(first, dict) or not first.get("category") or not first.get("message"):
        return None
    return {
        "category": str(first["category"]),
        "message": str(first["message"]),
        "audience": str(first.get("audience", "developer")),
        "fix": str(first.get("fix", "")),
    }


async def listed(execution: WorkflowExecution) -> Listed:
    try:
        memo = dict(await execution.memo())
    except Exception:  # a memo written by somebody else may hold anything
        memo = {}
    return Listed(
        workflow_id=execution.id,
        is_open=execution.close_time is None,
        started_at=execution.start_time,
        memo=memo,
    )


async def run_input(event: HistoryEvent, converter: DataConverter) -> contract.RunInput | None:
    payloads = event.workflow_execution_started_event_attributes.input.payloads
    found: contract.RunInput | None = await _decoded(payloads, contract.RunInput, converter)
    return found


# --- fleet ------------------------------------------------------------------


def workers_request(namespace: str) -> ListWorkersRequest:
    return ListWorkersRequest(namespace=namespace, page_size=200)


def workers(answer: ListWorkersResponse) -> list[WorkerView]:
    beats = [w.worker_heartbeat for w in answer.workers_info]
    views = [_worker(beat) for beat in beats if beat.task_queue == contract.TASK_QUEUE]
    return sorted(views, key=lambda view: (not view.is_alive, view.identity))


def _worker(beat: WorkerHeartbeat) -> WorkerView:
    age = time.time() - (_seconds(beat, "heartbeat_time") or 0)
    slots = beat.activity_task_slots_info
    return WorkerView(
        identity=beat.worker_identity,
        host=beat.host_info.host_name,
        pid=beat.host_info.process_id,
        version=f"{beat.sdk_name} {beat.sdk_version}".strip(),
        status=_status(beat.status, age),
        slots_used=slots.current_used_slots,
        slots_free=slots.current_available_slots,
        beat_age_ms=max(0, int(age * 1000)),
        started_at=_moment(beat.start_time) if beat.HasField("start_time") else None,
    )


def _status(status: int, age: float) -> Literal["running", "stopping", "lost"]:
    if status in {WorkerStatus.WORKER_STATUS_SHUTTING_DOWN, WorkerStatus.WORKER_STATUS_SHUTDOWN}:
        return "stopping"
    return "running" if age < ALIVE_SECONDS else "lost"


def pollers_request(namespace: str) -> DescribeTaskQueueRequest:
    request = DescribeTaskQueueRequest(
        namespace=namespace, task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
    )
    request.task_queue.name = contract.TASK_QUEUE
    return request


def pollers(answer: DescribeTaskQueueResponse) -> list[WorkerView]:
    views = []
    for poller in answer.pollers:
        age = time.time() - (_seconds(poller, "last_access_time") or 0)
        views.append(
            WorkerView(
                identity=poller.identity,
                host="",
                pid="",
                version="",
                # A poll lasts a minute, so its age says little sooner.
                status="running" if age < 70 else "lost",
                slots_used=None,
                slots_free=None,
                beat_age_ms=max(0, int(age * 1000)),
                started_at=None,
            )
        )
    return views
