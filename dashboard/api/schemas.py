"""What goes over the wire, for answers and for the OpenAPI page."""

from __future__ import annotations

from typing import Any

from ninja import Schema
from pydantic import ConfigDict, Field


class Problem(Schema):
    class FieldError(Schema):
        field: str
        message: str

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


REFUSALS = dict.fromkeys((400, 401, 403, 404, 409, 422, 429, 503), Problem)


class ConnectionIn(Schema):
    """A connection as it is created; a PATCH sends only what changes. A file (`sqlite`, `duckdb`)
    has a `database`, its path, and neither host nor port, username, password and tls; a server's
    port is its kind's own where none is sent."""

    name: str
    dialect: str = "postgresql"
    host: str = ""
    port: int | None = None
    database: str = ""
    username: str = ""
    password: str = ""
    tls: str | None = None
    options: dict[str, Any] = {}
    owner: str = ""
    environment: str = ""
    tags: list[str] = []


class CredentialIn(Schema):
    username: str = ""
    password: str


class CredentialOut(Schema):
    kind: str
    version: int
    rotated_at: str | None


class ConnectionOut(Schema):
    id: str
    name: str
    dialect: str
    host: str
    port: int
    database: str
    username: str
    tls: str
    options: dict[str, Any]
    owner: str
    environment: str
    tags: list[str]
    credential: CredentialOut
    created_at: str
    updated_at: str


class ConnectionList(Schema):
    items: list[ConnectionOut]
    next: str | None


class StepOut(Schema):
    name: str
    ok: bool
    detail: str
    fix: str


class CheckOut(Schema):
    ok: bool
    server_version: str
    latency_ms: float
    steps: list[StepOut]


class RunIn(Schema):
    model_config = ConfigDict(extra="forbid")

    connection: str = Field(max_length=80, description="id or name")
    include: list[str] = Field(default=[], max_length=200)
    exclude: list[str] = Field(default=[], max_length=200)
    kinds: list[str] = Field(default=[], max_length=50)


class RunConnection(Schema):
    id: str | None
    name: str


class ProgressOut(Schema):
    done: int
    in_flight: int
    total: int
    unit: str
    rate: float
    eta_seconds: int | None


class LimitsIn(Schema):
    """Send only what changes."""

    sessions: int
    pace: float
    statement_timeout: float
    lock_timeout: float
    hours: str
    days: str
    timezone: str


class LimitsOut(LimitsIn):
    """How the run uses its source. `told`: its workflow knows."""

    connect_timeout: float
    told: bool


class LoadOut(Schema):
    """What the source paid, so far or in the end. Of `lost` attempts only what was known at
    their last sign; `exact` is said of the whole, once nothing can be added to it."""

    sessions: int
    statements: int
    server_seconds: float
    rows: int
    bytes: int
    lost: int
    exact: bool


class RunOut(Schema):
    id: str
    connection: RunConnection
    status: str
    verdict: str
    phase: str
    progress: ProgressOut
    counts: dict[str, int]
    completeness: dict[str, int]
    limits: LimitsOut
    load: LoadOut
    error: dict[str, str] | None
    started_by: str
    retry_of: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    workflow_id: str


class RunList(Schema):
    items: list[RunOut]
    next: str | None


class EventOut(Schema):
    seq: int
    run_id: str
    at: str
    level: str
    code: str
    message: str
    shard: int | None
    worker: str


class EventList(Schema):
    """Oldest first; `next` is the `after` that goes on."""

    items: list[EventOut]
    next: int | None


class WorkerOut(Schema):
    identity: str
    host: str
    pid: str
    version: str
    status: str
    slots_used: int | None
    slots_free: int | None
    beat_age_ms: int | None
    started_at: str | None


class WorkerList(Schema):
    items: list[WorkerOut]
    next: None = None
