"""What the dashboard asks of Temporal, through the one bridge of its process.

Every function waits at most LIMIT seconds, where it does not say otherwise, and
raises `TemporalUnavailable` with a reason a person can read.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
)
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from dashboard import temporal_records as records
from dashboard.temporal_bridge import (
    LIMIT,
    TemporalUnavailable,
    awaited,
    call,
    exit_cleanly,
    is_missing,
)
from dashboard.temporal_records import Listed, RunState, WorkerView
from extraction.errors import ErrorDict
from workers import contract

__all__ = ["TemporalUnavailable", "exit_cleanly"]

RPC_TIMEOUT = timedelta(seconds=3)
CHECK_LIMIT = 20.0
NO_WORKER_AFTER = 6.0
DESCRIBE_AT_ONCE = 16
LIST_LIMIT = 1000


class NoWorker(TemporalUnavailable):
    """Temporal answers, but no worker takes the work."""

    def __init__(self) -> None:
        super().__init__("No worker is running, so nothing can reach the source")


# --- runs -------------------------------------------------------------------


def start_run(run: contract.RunInput, memo: contract.Memo) -> None:
    """Start the run's workflow, or find it started: never a second one.

    A workflow of that id that has ended already is left as it is.
    """

    async def start(client: Client) -> None:
        with contextlib.suppress(WorkflowAlreadyStartedError):
            await client.start_workflow(
                contract.RUN_WORKFLOW,
                run,
                id=contract.workflow_id(run.run_id),
                task_queue=contract.TASK_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                memo=memo,
                rpc_timeout=RPC_TIMEOUT,
                static_summary=f"Extract {run.source.connection_name}",
            )

    call(start)


def cancel_run(run_id: str) -> bool:
    """Ask the workflow to cancel. False: Temporal has no open workflow of that run."""
    return call(lambda client: _was_open(_handle(client, run_id).cancel(rpc_timeout=RPC_TIMEOUT)))


def set_limits(run_id: str, limits: contract.Limits) -> bool:
    """Tell the workflow; safe to repeat. False: Temporal has no open workflow of that run.

    A worker has to answer for it, so with none alive this is TemporalUnavailable too.
    """

    async def tell(client: Client) -> None:
        try:
            await _handle(client, run_id).execute_update(
                "set_limits",
                limits,
                id=f"limits-{limits.version}",
                result_type=contract.Limits,
                rpc_timeout=RPC_TIMEOUT,
            )
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            raise TemporalUnavailable("No worker answers for the run") from None
        except WorkflowUpdateFailedError as refused:
            raise TemporalUnavailable(f"The run refuses these limits: {refused.cause}") from None

    return call(lambda client: _was_open(tell(client)))


def terminate_run(run_id: str, reason: str) -> bool:
    """End the workflow without a worker. False: Temporal has no open workflow of that run."""
    return call(
        lambda client: _was_open(
            _handle(client, run_id).terminate(reason=reason, rpc_timeout=RPC_TIMEOUT)
        )
    )


def _handle(client: Client, run_id: str) -> WorkflowHandle[Any, Any]:
    return client.get_workflow_handle(contract.workflow_id(run_id))


async def _was_open(request: Awaitable[None]) -> bool:
    try:
        await request
    except RPCError as error:
        if is_missing(error):
            return False
        raise
    return True


def describe_run(run_id: str) -> RunState | None:
    """What Temporal knows of the run; None only if the server says it knows nothing."""
    return call(lambda client: _describe(client, run_id))


def describe_runs(run_ids: list[str]) -> dict[str, RunState | None]:
    return call(lambda client: _describe_all(client, run_ids), LIMIT + len(run_ids) / 50)


def describe_runs_async(run_ids: list[str]) -> Awaitable[dict[str, RunState | None]]:
    return awaited(lambda client: _describe_all(client, run_ids), LIMIT + len(run_ids) / 50)


async def _describe_all(client: Client, run_ids: list[str]) -> dict[str, RunState | None]:
    gate = asyncio.Semaphore(DESCRIBE_AT_ONCE)

    async def one(run_id: str) -> RunState | None:
        async with gate:
            return await _describe(client, run_id)

    return dict(zip(run_ids, await asyncio.gather(*map(one, run_ids)), strict=True))


async def _describe(client: Client, run_id: str) -> RunState | None:
    # The raw call: the client's own describe() fails on states it has no name for.
    request = DescribeWorkflowExecutionRequest(namespace=client.namespace)
    request.execution.workflow_id = contract.workflow_id(run_id)
    try:
        answer = await client.workflow_service.describe_workflow_execution(
            request, retry=True, timeout=RPC_TIMEOUT
        )
        state = await records.run_state(answer, client.data_converter)
        if not state.is_closed:
            return state
        execution = answer.workflow_execution_info.execution
        event = await _event(client, execution.workflow_id, execution.run_id, last=True)
    except RPCError as error:
        if is_missing(error):
            return None
        raise
    return await records.with_outcome(state, event, client.data_converter)


async def _event(client: Client, workflow_id: str, run_id: str, *, last: bool) -> HistoryEvent:
    """The first event of a history, or the one that closed it."""
    request = GetWorkflowExecutionHistoryRequest(
        namespace=client.namespace,
        maximum_page_size=1,
        history_event_filter_type=(
            HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
            if last
            else HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT
        ),
    )
    request.execution.workflow_id = workflow_id
    request.execution.run_id = run_id
    answer = await client.workflow_service.get_workflow_execution_history(
        request, retry=True, timeout=RPC_TIMEOUT
    )
    return answer.history.events[0]


def list_recent(minutes: int) -> list[Listed]:
    """Run workflows that are open or closed within the last minutes, newest first."""

    async def collect(client: Client) -> list[Listed]:
        since = records.minutes_ago(minutes)
        query = (
            f"WorkflowType = '{contract.RUN_WORKFLOW}' AND "
            f"(ExecutionStatus = 'Running' OR CloseTime > '{since}')"
        )
        found = client.list_workflows(query, limit=LIST_LIMIT, rpc_timeout=RPC_TIMEOUT)
        return [await records.listed(execution) async for execution in found]

    return call(collect)


def list_open() -> list[Listed]:
    return [item for item in list_recent(0) if item.is_open]


def input_of(workflow_id: str) -> contract.RunInput | None:
    """The input a workflow was started with, from its history; None if it cannot be read."""

    async def read(client: Client) -> contract.RunInput | None:
        try:
            event = await _event(client, workflow_id, "", last=False)
        except RPCError as error:
            if is_missing(error):
                return None
            raise
        return await records.run_input(event, client.data_converter)

    return call(read)


# --- check and fleet --------------------------------------------------------


def check(source: contract.Source) -> contract.CheckResult:
    """Try a connection from a worker, with the drivers that will do the work.

    Takes up to CHECK_LIMIT seconds. Raises NoWorker if nobody takes it.
    """
    return call(lambda client: _check(client, source), CHECK_LIMIT + 2)


async def _check(client: Client, source: contract.Source) -> contract.CheckResult:
    handle = await client.start_workflow(
        contract.CHECK_WORKFLOW,
        contract.CheckInput(source),
        id=f"check-{uuid.uuid4()}",
        task_queue=contract.TASK_QUEUE,
        result_type=contract.CheckResult,
        execution_timeout=timedelta(seconds=CHECK_LIMIT),
        rpc_timeout=RPC_TIMEOUT,
    )
    result = asyncio.ensure_future(handle.result())
    try:
        await asyncio.wait({result}, timeout=NO_WORKER_AFTER)
        if not result.done() and not any(w.is_alive for w in await _workers(client)):
            raise NoWorker
        await asyncio.wait({result}, timeout=CHECK_LIMIT - NO_WORKER_AFTER)
        if not result.done():
            raise NoWorker
        checked: contract.CheckResult = result.result()
    except WorkflowFailureError as failure:
        return _failed_check(records.error_of(failure))
    else:
        return checked
    finally:
        if not result.done():
            result.cancel()
            with contextlib.suppress(RPCError):
                await handle.terminate("Nobody waits for it any more", rpc_timeout=RPC_TIMEOUT)


def _failed_check(error: ErrorDict) -> contract.CheckResult:
    step = contract.CheckStep("login", ok=False, detail=error["message"], fix=error["fix"])
    return contract.CheckResult(ok=False, server_version="", latency_ms=0.0, steps=[step])


def workers() -> list[WorkerView]:
    """The fleet as Temporal's worker heartbeats show it, those alive first."""
    return call(_workers)


def workers_async() -> Awaitable[list[WorkerView]]:
    return awaited(_workers)


async def _workers(client: Client) -> list[WorkerView]:
    try:
        answer = await client.workflow_service.list_workers(
            records.workers_request(client.namespace), timeout=RPC_TIMEOUT
        )
        return records.workers(answer)
    except RPCError as error:
        if error.status not in {RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.INVALID_ARGUMENT}:
            raise
    # A server without worker heartbeats: who polled lately, with less to say about each.
    pollers = await client.workflow_service.describe_task_queue(
        records.pollers_request(client.namespace), timeout=RPC_TIMEOUT
    )
    return records.pollers(pollers)


def ping() -> None:
    """Raise TemporalUnavailable unless the server serves our namespace."""

    async def reach(client: Client) -> None:
        request = DescribeWorkflowExecutionRequest(namespace=client.namespace)
        request.execution.workflow_id = "readiness"
        try:
            await client.workflow_service.describe_workflow_execution(request, timeout=RPC_TIMEOUT)
        except RPCError as error:
            if not is_missing(error):
                raise

    call(reach)
