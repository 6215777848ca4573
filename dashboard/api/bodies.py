"""Bodies that a form checks, in its own words."""

from __future__ import annotations

from typing import Any

import orjson
from django.http import HttpRequest
from ninja import Schema
from ninja.errors import HttpError

from dashboard.api import problems


def documented(schema: type[Schema], **changes: Any) -> dict[str, Any]:
    """Tells OpenAPI what such a body takes."""
    body = {**schema.model_json_schema(), **changes}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": body}}}}


def body_of(request: HttpRequest) -> dict[str, Any]:
    """The JSON object that was sent; 400 if it is none."""
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise HttpError(400, "The body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise problems.Invalid(("", "The body must be a JSON object."))
    return body
