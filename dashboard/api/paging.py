"""Lists, newest first, by a cursor that says where the last page ended."""

from __future__ import annotations

import base64
import binascii
import uuid
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from django.db.models import Q, QuerySet
from ninja import Query

from dashboard.api.problems import Invalid
from dashboard.models import Connection, Run

Row = TypeVar("Row", Connection, Run)

Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str, Query(max_length=200)]


def page(rows: QuerySet[Row], limit: int, cursor: str) -> tuple[list[Row], str | None]:
    """One page and the cursor of the next. Raises Invalid for a cursor that is none of ours."""
    if cursor:
        at, last = _decoded(cursor)
        rows = rows.filter(Q(created_at__lt=at) | Q(created_at=at, pk__lt=last))
    found = list(rows.order_by("-created_at", "-pk")[: limit + 1])
    more = len(found) > limit
    return found[:limit], _encoded(found[limit - 1]) if more else None


def _encoded(row: Connection | Run) -> str:
    return base64.urlsafe_b64encode(f"{row.created_at.isoformat()} {row.pk}".encode()).decode()


def _decoded(cursor: str) -> tuple[datetime, uuid.UUID]:
    try:
        at, _, key = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError("a moment has a zone")
        return moment.astimezone(UTC), uuid.UUID(key)
    except (ValueError, OverflowError, binascii.Error):
        raise Invalid(("cursor", "This cursor is not one of ours.")) from None
