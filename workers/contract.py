"""What the dashboard and the workers agree on: names, inputs, outputs, records.

Plain dataclasses with simple fields, safe to import inside a workflow. Nothing
here ever holds a secret: a run carries a Vault path and a version.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from extraction.connection import Load as Load
from extraction.connection import Options, Target
from extraction.hours import InvalidHours
from extraction.selection import Selection

TASK_QUEUE = "extraction"
RUN_WORKFLOW = "ExtractRun"
CHECK_WORKFLOW = "CheckConnection"
# How long a check may take; then it says at which step it was.
CHECK_SECONDS = 15.0
# Seconds for a worker to take a check.
CHECK_WAIT = 10.0
MAX_SESSIONS = 64
# The type of a failure: told to stop, but no one knows what the source still does.
CANCEL_UNPROVEN = "cancel_unproven"

# Redis. One stream for all runs; per run a hash with the latest record of every
# shard attempt, a short stream with its events and the ids of those. All are
# written by one script, so that a reader sees a consistent cut.
STREAM = "surveyor:stream"
STREAM_LENGTH = 20_000
EVENTS_LENGTH = 2_000
RUN_KEYS_TTL = 24 * 3600


def state_key(run_id: str) -> str:
    """Hash: `<shard>:<attempt>` -> Progress as JSON; `plan` -> PlanRecord as JSON."""
    return f"surveyor:run:{run_id}"


def events_key(run_id: str) -> str:
    """Stream: the run's events, each under the id it has in STREAM."""
    return f"surveyor:events:{run_id}"


def ids_key(run_id: str) -> str:
    """Hash: an event's id -> its id in STREAM, so that none is written twice."""
    return f"surveyor:ids:{run_id}"


def workflow_id(run_id: str) -> str:
    return f"run-{run_id}"


def seq_of(stream_id: str) -> int:
    """A stream id `ms-n` as one rising number: ms × 1000 + n."""
    ms, _, n = stream_id.partition("-")
    return int(ms) * 1000 + min(int(n or 0), 999)


@dataclass(frozen=True)
class CredentialRef:
    path: str
    version: int


@dataclass(frozen=True)
class Source:
    connection_id: str
    connection_name: str
    target: Target
    credential: CredentialRef
    options: Options


@dataclass(frozen=True)
class Before:
    """What earlier activities for the same piece of a run came to: they gave it back, or
    were lost. `attempts` keeps the numbers of attempts rising."""

    attempts: int = 0
    load: Load = field(default_factory=Load)
    why: str = ""


@dataclass(frozen=True)
class RunInput:
    """`before` belongs to the activity that gets this; in the workflow's own input it is empty."""

    run_id: str
    source: Source
    selection: Selection
    started_by: str = ""
    before: Before = field(default_factory=Before)


@dataclass(frozen=True)
class Limits:
    """How a run that has begun is to use the source from now on: the argument of
    `set_limits`. The highest version wins, in whatever order they arrive."""

    version: int
    options: Options


def problem_of(options: Options) -> str:
    """Why no run can obey these limits, or the empty string."""
    if not 1 <= options.sessions <= MAX_SESSIONS:
        return f"sessions must be between 1 and {MAX_SESSIONS}"
    if not 0 <= options.pace <= 3600:
        return "pace must be between 0 and 3600 seconds"
    for name in ("statement_timeout", "lock_timeout", "connect_timeout"):
        if not 0 < getattr(options, name) <= 24 * 3600:
            return f"{name} must be more than 0 and at most a day"
    try:
        options.allowed_hours()
    except InvalidHours as error:
        return f"{error.field}: {error.message}"
    return ""


@dataclass(frozen=True)
class ShardPlan:
    """`total` counts relations, 0 for a shard of schema-level batches."""

    id: int
    label: str
    total: int
    first_batch: int
    batches: int


@dataclass(frozen=True)
class PlanResult:
    """`plan` is the path of `plan-<sha>.json` relative to the storage root; none when the
    activity was told to stop: then its session is closed and `attempts` are behind it."""

    plan: str
    relations: int
    schemas: int
    batches: int
    server_version: str
    shards: list[ShardPlan]
    load: Load = field(default_factory=Load)
    attempts: int = 0

    @property
    def stopped(self) -> bool:
        return not self.plan


@dataclass(frozen=True)
class ShardInput:
    run: RunInput
    plan: str
    shard: ShardPlan


@dataclass(frozen=True)
class ShardResult:
    """`ledger` is the path of `ledger-<sha>.json` relative to the storage root; none when the
    activity was told to stop: then its session is closed, `attempts` are behind it, and what
    has an entry stays. `load` is that of all attempts."""

    shard: int
    ledger: str
    done: int
    load: Load
    attempts: int = 0

    @property
    def stopped(self) -> bool:
        return not self.ledger


@dataclass(frozen=True)
class FinishInput:
    """`at` is the workflow's time, ISO 8601: the manifest must not read a clock."""

    run: RunInput
    plan: str
    ledgers: list[str]
    at: str
    load: Load


@dataclass(frozen=True)
class RunResult:
    """Readers open `snapshots/<run>/manifest.json` only if its sha256 is `manifest`."""

    status: Literal["succeeded", "partial"]
    manifest: str
    counts: dict[str, int]
    completeness: dict[str, int]
    load: Load


@dataclass(frozen=True)
class SweepInput:
    """`reason` is why the run ends without a snapshot: cancelled or failed; or
    too_late, when the cancel found the snapshot written.

    `unconfirmed` names the sessions (`plan`, `shard 3`) that no worker has said to
    be closed; they are ended in `source`, unless it `refused` the password.
    """

    run_id: str
    reason: str = "cancelled"
    unconfirmed: list[str] = field(default_factory=list)
    source: Source | None = None
    refused: bool = False


@dataclass(frozen=True)
class TellInput:
    """A line of the story that only the workflow can say."""

    run_id: str
    code: str
    message: str
    level: str = "info"


@dataclass(frozen=True)
class CheckInput:
    source: Source


@dataclass(frozen=True)
class CheckStep:
    """`name` is one of resolve, connect, tls, login, version, catalogue."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class CheckResult:
    ok: bool
    server_version: str
    latency_ms: float
    steps: list[CheckStep]


Phase = Literal["plan", "extract", "finish"]
ShardState = Literal["working", "waiting", "retrying", "done", "failed"]

PLAN_SHARD = -1
FINISH_SHARD = -2
# Not a phase: the sessions that end what silent workers left.
SWEEP_SHARD = -3


@dataclass
class Progress:
    """The one record of an attempt: heartbeat details and the live picture alike.

    Times are seconds since the epoch. `done` counts relations whose batch has a
    ledger entry; `in_flight` those being read. `vouched_until` is the deadline of
    the statement that runs now. `failures` counts failures of the source since
    the last new ledger entry; `retry_at` is when the next attempt is due, while
    `state` is retrying or waiting. `shard` is PLAN_SHARD or FINISH_SHARD in the
    phases that have no shards. `load` is what this attempt has asked of the source so far,
    `load_before` what all earlier ones had.
    """

    run_id: str
    phase: Phase
    shard: int
    attempt: int
    worker: str
    state: ShardState = "working"
    reason: str = ""
    done: int = 0
    in_flight: int = 0
    total: int = 0
    batch: int = 0
    batches: int = 0
    rate: float = 0.0
    started_at: float = 0.0
    beat_at: float = 0.0
    advanced_at: float = 0.0
    vouched_until: float | None = None
    session: int | None = None
    failures: int = 0
    last_failure: str = ""
    retry_at: float | None = None
    load: Load = field(default_factory=Load)
    load_before: Load = field(default_factory=Load)


@dataclass(frozen=True)
class PlanRecord:
    """The denominator, published once the inventory is done.

    `unmatched`: patterns of include that match nothing.
    """

    relations: int
    schemas: int
    batches: int
    planned_at: float
    shards: list[ShardPlan] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Event:
    """One line of a run's story. `level` is info, warning or error. A line that is
    sent again because nobody answered has the same `id`, and is kept once."""

    run_id: str
    code: str
    message: str
    level: str = "info"
    shard: int | None = None
    worker: str = ""
    at: float = 0.0
    id: str = ""


@dataclass(frozen=True)
class Frame:
    """One entry of STREAM, field `d` as JSON.

    kind: progress (records), plan (plan), event (event), lifecycle (status: the
    row or the workflow changed; readers look at the row).
    """

    kind: Literal["progress", "plan", "event", "lifecycle"]
    run_id: str
    records: list[Progress] = field(default_factory=list)
    plan: PlanRecord | None = None
    event: Event | None = None
    status: str = ""


Memo = dict[str, Any]
