"""The story of a run, line by line: rows while it is open, `story.jsonl` afterwards.

A line's seq is that of its entry in the Redis stream. Rows that are left on an
ended run say that its story is not in storage yet, or that a line came late.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypedDict

import redis
import structlog
from django.conf import settings
from django.db import transaction
from redis.exceptions import RedisError

from dashboard.models import Run, RunEvent
from extraction.errors import StorageFailed
from extraction.storage import Storage, open_storage
from workers.contract import Event, Frame
from workers.progress import open_redis_sync, publish_sync, read_events_sync

log = structlog.get_logger(__name__)

MESSAGE_LENGTH = 2000
# After Redis failed once, nobody waits for it again for so long.
REST_SECONDS = 5.0
_rests_until = 0.0


class Line(TypedDict):
    seq: int
    at: str
    level: str
    code: str
    message: str
    shard: int | None
    worker: str
    id: str


# --- telling ----------------------------------------------------------------


def tell(run: Run, code: str, message: str, level: str = "info") -> None:
    """Add a line of the dashboard's own; with Redis down it is kept all the same."""
    event = Event(
        run_id=str(run.pk),
        code=code,
        message=message,
        level=level,
        at=time.time(),
        id=uuid.uuid4().hex,
    )
    seq = publish(Frame("event", event.run_id, event=event))
    keep([(seq or int(event.at * 1000) * 1000 + 999, event)])


def announce(run: Run) -> None:
    """Say on the stream that the run's row changed."""
    publish(Frame("lifecycle", str(run.pk), status=run.status))


def publish(frame: Frame) -> int | None:
    """Best effort: the frame's seq, or None when Redis did not take it."""
    global _rests_until
    if time.monotonic() < _rests_until:
        return None
    seq = publish_sync(client(), frame)
    if seq is None:
        _rests_until = time.monotonic() + REST_SECONDS
    return seq


def client() -> redis.Redis:
    return _client(settings.ENV.redis_url.get_secret_value())


@lru_cache(maxsize=4)
def _client(url: str) -> redis.Redis:
    return open_redis_sync(url)


# --- keeping ----------------------------------------------------------------


def keep(events: Iterable[tuple[int, Event]]) -> None:
    """Store lines of runs that have a row; a line that is known already stays as it is.

    It is known by its seq or by its id: a Redis that stalled may hand on late, under
    another seq, what was stored without it.
    """
    rows = [row for seq, event in events if (row := _row(seq, event))]
    known = set(
        Run.objects.filter(pk__in={row.run_id for row in rows}).values_list("pk", flat=True)
    )
    RunEvent.objects.bulk_create(
        [row for row in rows if row.run_id in known], ignore_conflicts=True, batch_size=200
    )


def backfill(run: Run) -> None:
    """Take over what Redis still holds of the run's story, for what was missed meanwhile."""
    try:
        events = read_events_sync(client(), str(run.pk))
    except (RedisError, OSError):
        return
    keep(events)


def _row(seq: int, event: Event) -> RunEvent | None:
    run_id = uuid_of(event.run_id)
    if run_id is None:
        return None
    return RunEvent(
        run_id=run_id,
        seq=seq,
        at=_moment(event.at) or _moment(seq / 1_000_000) or datetime.now(UTC),
        level=_clean(event.level)[:8],
        code=_clean(event.code)[:40],
        message=_clean(event.message)[:MESSAGE_LENGTH],
        shard=event.shard if event.shard is not None and abs(event.shard) < 2**31 else None,
        worker=_clean(event.worker)[:80],
        event_id=_clean(event.id)[:32],
    )


def _moment(at: float) -> datetime | None:
    """None for no time, and for one no calendar has."""
    try:
        return datetime.fromtimestamp(at, UTC) if at else None
    except (OverflowError, ValueError, OSError):
        return None


def uuid_of(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _clean(text: str) -> str:
    # Names of a source get in here; databases refuse NUL and lone surrogates.
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def close(run: Run) -> None:
    """Move the rows of an ended run into its `story.jsonl`.

    Raises StorageFailed, also when what is stored already cannot be read: it would be
    overwritten. The row's lock keeps two reconcilers from overwriting each other's lines.
    """
    with transaction.atomic():
        Run.objects.select_for_update().get(pk=run.pk)
        rows = list(RunEvent.objects.filter(run=run))
        if not rows:
            return
        lines = merged(_stored(run), map(_line, rows))
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        _storage().put(_path(run), text.encode())
        RunEvent.objects.filter(pk__in=[row.pk for row in rows]).delete()


def unfinished() -> list[Run]:
    """Ended runs that still have lines outside storage."""
    return list(Run.objects.exclude(status__in=Run.OPEN).filter(events__isnull=False).distinct())


# --- reading ----------------------------------------------------------------


def lines(run: Run, after: int = 0, limit: int | None = None) -> list[Line]:
    """The lines later than seq `after`, oldest first."""
    # The rows first: `close` stores them before it removes them, so whoever reads in the
    # middle finds every line in one place or in both. For that the row may even be old.
    rows = list(RunEvent.objects.filter(run=run, seq__gt=after))
    try:
        stored = _stored(run)
    except StorageFailed as error:
        log.warning("story not readable", run=str(run.pk), reason=error.message)
        stored = []
    found = merged(stored, map(_line, rows))
    return [line for line in found if line["seq"] > after][:limit]


def merged(*parts: Iterable[Line]) -> list[Line]:
    """By seq, each line once; of two with one id the earlier stays."""
    by_seq = {line["seq"]: line for part in parts for line in part}
    by_id = {line["id"] or seq: line for seq, line in sorted(by_seq.items(), reverse=True)}
    return sorted(by_id.values(), key=lambda line: line["seq"])


def _stored(run: Run) -> list[Line]:
    """Raises StorageFailed."""
    storage = _storage()
    try:
        data = storage.get(_path(run)) if storage.exists(_path(run)) else b""
        return [_read(json.loads(line)) for line in data.split(b"\n") if line.strip()]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError):
        raise StorageFailed("The stored story of the run cannot be read.") from None


def _read(values: dict[str, Any]) -> Line:
    return Line(
        seq=int(values["seq"]),
        at=values["at"],
        level=values["level"],
        code=values["code"],
        message=values["message"],
        shard=values.get("shard"),
        worker=values.get("worker", ""),
        id=values.get("id", ""),
    )


def _line(row: RunEvent) -> Line:
    return Line(
        seq=row.seq,
        at=iso(row.at) or "",
        level=row.level,
        code=row.code,
        message=row.message,
        shard=row.shard,
        worker=row.worker,
        id=row.event_id,
    )


def iso(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _path(run: Run) -> str:
    return f"snapshots/{run.pk}/story.jsonl"


def _storage() -> Storage:
    return open_storage(settings.ENV.storage)
