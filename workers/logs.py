"""Structured logs for every process: JSON in production, lines on a terminal.

Everything goes through one chain that redacts what looks like a secret, the
last resort behind never logging one.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET_KEYS = re.compile(r"pass(word|wd)?$|secret|token|authorization|api_?key", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"(://[^/\s:@]*:)[^@\s/]+(@)|((?:password|secret_id|token)=)\S+", re.IGNORECASE
)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if _SECRET_KEYS.search(key):
            event[key] = "[redacted]"
        elif isinstance(value, str):
            event[key] = _SECRET_TEXT.sub(_mask, value)
    return event


def _mask(match: re.Match[str]) -> str:
    if match.group(3):
        return f"{match.group(3)}[redacted]"
    return f"{match.group(1)}[redacted]{match.group(2)}"


def where(error: BaseException) -> list[str]:
    """Where an exception came from, without its message: a foreign one may hold anything."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno}" for frame in frames[-8:]]


def no_traceback_of_refusals(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Django hands over the exception behind a 403 or 404 too; those are answers, not faults."""
    record = event.get("_record")
    if record is not None and getattr(record, "status_code", 500) < 500:
        event.pop("exc_info", None)
    return event


def configure(log_format: str, level: str, component: str) -> None:
    """Route structlog and the standard library's logging through one chain to stderr."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        no_traceback_of_refusals,
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("httpx", "hvac", "urllib3", "asyncio", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # A line for each socket, and four for each sign-in: for whoever asks for them.
    for chatty in ("uvicorn.error", "axes"):
        logging.getLogger(chatty).setLevel(
            logging.NOTSET if root.level < logging.INFO else max(root.level, logging.WARNING)
        )
    structlog.contextvars.bind_contextvars(component=component)
