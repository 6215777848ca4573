"""What the app database owns: connections, who started what, tokens, audit.

A run's row copies Temporal's terminal state once; what was extracted lives in
the snapshot, and the row keeps only counts.
"""

from __future__ import annotations

import uuid
from dataclasses import fields
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from extraction.connection import DIALECTS, Dialect, Options, Target
from workers.contract import workflow_id


class Connection(models.Model):
    class Tls(models.TextChoices):
        DISABLE = "disable", "Off"
        REQUIRE = "require", "Encrypt, do not verify"
        VERIFY_FULL = "verify-full", "Encrypt and verify the server"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=80, unique=True)
    dialect = models.CharField(max_length=32, default="postgresql")
    host = models.CharField(max_length=253)
    port = models.PositiveIntegerField()
    database = models.CharField(max_length=128)
    username = models.CharField(max_length=128)
    tls = models.CharField(max_length=16, choices=Tls.choices, default=Tls.VERIFY_FULL)
    options: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(
        default=dict, blank=True
    )
    owner = models.CharField(max_length=120, blank=True)
    environment = models.CharField(max_length=40, blank=True)
    tags: models.JSONField[list[str], list[str]] = models.JSONField(default=list, blank=True)
    # The switch: what these two name is the credential; Vault holds the rest.
    credential_path = models.CharField(max_length=200, editable=False)
    credential_version = models.PositiveIntegerField(default=0, editable=False)
    rotated_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(Lower("name"), name="one_connection_per_name")]

    def __str__(self) -> str:
        return self.name

    @property
    def target(self) -> Target:
        return Target(self.dialect, self.host, self.port, self.database, self.username, self.tls)

    @property
    def kind(self) -> Dialect:
        return DIALECTS[self.dialect]

    @property
    def where(self) -> str:
        """Where the database is, for people."""
        if self.kind.file:
            return f"{self.kind.label} file {self.database}"
        server = f"{self.host}:{self.port}" if self.port else self.host
        return " / ".join(part for part in (server, self.database) if part)

    @property
    def limits(self) -> Options:
        return Options(**self.options)


class StraySecret(models.Model):
    """A secret in Vault that no row names yet, or no row names any more.

    Written before Vault is, removed with the commit that names the secret; what
    stays is destroyed by the sweep. Version 0 means the whole path.
    """

    path = models.CharField(max_length=200)
    version = models.PositiveIntegerField(default=0)
    since = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["path", "version"], name="one_stray_per_version")
        ]

    def __str__(self) -> str:
        return f"{self.path} version {self.version or 'any'}"


class Run(models.Model):
    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        PAUSED = "paused"
        CANCELLING = "cancelling"
        SUCCEEDED = "succeeded"
        PARTIAL = "partial"
        FAILED = "failed"
        CANCELLED = "cancelled"

    OPEN = (Status.QUEUED, Status.RUNNING, Status.PAUSED, Status.CANCELLING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    connection = models.ForeignKey(
        Connection, null=True, on_delete=models.SET_NULL, related_name="runs"
    )
    connection_name = models.CharField(max_length=80)
    # The RunInput as it goes to Temporal, so that a late start is the same start.
    input: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.QUEUED)
    started_by = models.CharField(max_length=150, blank=True)
    retry_of = models.ForeignKey("self", null=True, on_delete=models.SET_NULL)
    cancel_requested_by = models.CharField(max_length=150, blank=True)
    # Why the run has not begun yet, while it is queued ("Temporal is unreachable").
    waiting_reason = models.CharField(max_length=200, blank=True)
    counts: models.JSONField[dict[str, int], dict[str, int]] = models.JSONField(default=dict)
    completeness: models.JSONField[dict[str, int], dict[str, int]] = models.JSONField(default=dict)
    # What the source paid: a Load, and whether it is `exact`.
    load: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)
    # What was changed of the input's options since; the version that Temporal was told.
    limits: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)
    limits_version = models.PositiveIntegerField(default=0)
    limits_told = models.PositiveIntegerField(default=0)
    # The last picture, copied at the end: {done, in_flight, total, shards: [...]}.
    final: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)
    error: models.JSONField[dict[str, str] | None, dict[str, str] | None] = models.JSONField(
        null=True
    )
    manifest = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["-created_at", "-id"]),
            models.Index(fields=["status"]),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["connection"],
                condition=Q(status__in=["queued", "running", "paused", "cancelling"]),
                name="one_open_run_per_connection",
            )
        ]

    def __str__(self) -> str:
        return f"{self.connection_name} {str(self.id)[:8]}"

    @property
    def workflow_id(self) -> str:
        return workflow_id(str(self.id))

    @property
    def options(self) -> Options:
        """How the run is to use its source now; what this version does not know is left out."""
        begun = self.input.get("source", {}).get("options", {})
        known = {field.name for field in fields(Options)}
        return Options(**{k: v for k, v in {**begun, **self.limits}.items() if k in known})

    @property
    def is_open(self) -> bool:
        return self.status in self.OPEN


class RunEvent(models.Model):
    """The story of a run while it is open; `story.jsonl` keeps it afterwards."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    seq = models.BigIntegerField()
    at = models.DateTimeField()
    level = models.CharField(max_length=8)
    code = models.CharField(max_length=40)
    message = models.TextField()
    shard = models.IntegerField(null=True)
    worker = models.CharField(max_length=80, blank=True)
    # What the teller called the line; a second one of that name is the same line.
    event_id = models.CharField(max_length=32, blank=True)

    class Meta:
        ordering = ["seq"]
        constraints = [
            models.UniqueConstraint(fields=["run", "seq"], name="one_event_per_seq"),
            models.UniqueConstraint(
                fields=["run", "event_id"], condition=~Q(event_id=""), name="one_event_per_id"
            ),
        ]


class ApiToken(models.Model):
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens"
    )
    name = models.CharField(max_length=80)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} of {self.user}"


class AppendOnly(models.QuerySet["AuditEntry"]):
    def update(self, **kwargs: Any) -> int:
        raise TypeError("Audit entries are append-only.")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise TypeError("Audit entries are append-only.")


class AuditEntry(models.Model):
    """Who did what, append-only. `detail` holds names and versions, never a secret."""

    at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=150)
    action = models.CharField(max_length=40)
    subject = models.CharField(max_length=200)
    detail: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)

    objects = AppendOnly.as_manager()

    class Meta:
        ordering = ["-at", "-id"]
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["actor", "action", "-at"])]

    def __str__(self) -> str:
        return f"{self.action} {self.subject} by {self.actor}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Audit entries are append-only.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise TypeError("Audit entries are append-only.")
