"""Snapshots: the manifest, and the rows of a kind as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from typing import Any, Literal
from uuid import UUID

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from ninja import Router

from dashboard.api.runs import fetch
from dashboard.api.schemas import REFUSALS
from dashboard.models import Run
from extraction.catalog import KINDS
from extraction.snapshot.reader import Snapshot, open_snapshot
from extraction.storage import open_storage

router = Router(tags=["snapshots"])

Format = Literal["jsonl", "parquet", "csv"]
CONTENT_TYPES: dict[Format, str] = {
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv; charset=utf-8",
}


@router.get(
    "/runs/{uuid:run_id}/snapshot",
    summary="The manifest of a snapshot",
    response={200: dict[str, Any], **REFUSALS},
)
def get_manifest(request: HttpRequest, run_id: UUID) -> Any:
    """What the snapshot holds and how complete each scope is, byte for byte as it was verified. 404
    until the run has ended with a snapshot.
    """
    run = fetch(run_id)
    snapshot = snapshot_of(run)
    # The bytes as they were proven, so that whoever asks can check the digest too.
    response = HttpResponse(snapshot.data, content_type="application/json")
    response["ETag"] = f'"{run.manifest}"'
    return response


@router.get(
    "/runs/{uuid:run_id}/snapshot/{kind}",
    summary="The rows of one kind",
    response={200: None, **REFUSALS},
    openapi_extra={
        "responses": {
            200: {
                "description": "The rows, streamed; of a kind without rows, an empty file",
                "content": {name: {} for name in CONTENT_TYPES.values()},
            }
        }
    },
)
def get_rows(request: HttpRequest, run_id: UUID, kind: str, format: Format = "jsonl") -> Any:
    """Streamed as JSON lines, CSV or Parquet, sorted by their key; verified before the first byte."""
    snapshot = snapshot_of(fetch(run_id))
    if kind not in KINDS:
        raise Http404(f"A snapshot has the kinds {', '.join(KINDS)}.")
    response = StreamingHttpResponse(
        _streamed(request, _begun(snapshot.rows(kind, format))),
        content_type=CONTENT_TYPES[format],
    )
    name = f"{str(run_id)[:8]}-{kind}.{format}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def snapshot_of(run: Run) -> Snapshot:
    if not run.manifest:
        raise Http404("This run has no snapshot." if not run.is_open else "This run has not ended.")
    return open_snapshot(open_storage(settings.ENV.storage), str(run.pk), run.manifest)


def _begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same chunks, the first one read already: what is damaged fails before the answer."""
    first = next(chunks, b"")
    return chain([first], chunks)


def _streamed(
    request: HttpRequest, chunks: Iterator[bytes]
) -> Iterator[bytes] | AsyncIterator[bytes]:
    return _pulled(chunks) if isinstance(request, ASGIRequest) else chunks


async def _pulled(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Chunk by chunk through a thread, so that the server neither blocks nor buffers it all."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
