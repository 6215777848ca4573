"""Rows for page tests: a connection, runs in every state."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.utils import timezone

from dashboard.connections import source_of
from dashboard.models import Connection, Run
from extraction.selection import Selection
from workers.contract import RunInput

COUNTS = {"schemas": 3, "relations": 120, "columns": 900}


def connection(name: str = "warehouse", **fields: Any) -> Connection:
    values = {
        "host": "db.internal",
        "port": 5432,
        "database": "dw",
        "username": "surveyor",
        "credential_path": f"connections/{name}",
        "credential_version": 1,
        "rotated_at": timezone.now(),
        "options": {"sessions": 3, "pace": 0.25},
    }
    return Connection.objects.create(name=name, **values | fields)


TRIMMED = Selection([], ["tmp_*"])


def run(
    of: Connection,
    status: str = "succeeded",
    ago: int = 60,
    selection: Selection = TRIMMED,
    **fields: Any,
) -> Run:
    created = timezone.now() - timedelta(seconds=ago)
    row = Run(
        connection=of,
        connection_name=of.name,
        status=status,
        started_by="admin",
        created_at=created,
        started_at=created,
        **fields,
    )
    row.input = asdict(RunInput(str(row.id), source_of(of), selection, "admin"))
    if status not in Run.OPEN:
        row.finished_at = created + timedelta(seconds=30)
    if status == "succeeded":
        row.counts, row.manifest = COUNTS, "ab" * 32
        row.completeness = {"complete": 27, "denied": 0, "errored": 0, "filtered": 2}
    row.save()
    return row


def gone_before(verb: Any) -> Any:
    """The verb, called just after somebody else has deleted every connection."""

    def late(*arguments: Any) -> Any:
        Connection.objects.all().delete()
        return verb(*arguments)

    return late
