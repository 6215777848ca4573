"""Records as JSON and back: what lies in Redis and what a heartbeat carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

import orjson

from workers.contract import Event, Frame, Load, PlanRecord, Progress, ShardPlan

Record = TypeVar("Record", Progress, PlanRecord, Event, ShardPlan, Frame, Load)


def encode(record: Record) -> bytes:
    try:
        return orjson.dumps(record)
    except orjson.JSONEncodeError:
        # Only a lone surrogate gets here: the text of a source is hostile.
        text = json.dumps(asdict(record), ensure_ascii=False)
        return text.encode("utf-8", "replace")


def decode_progress(data: bytes | Mapping[str, Any]) -> Progress:
    values = dict(_mapping(data))
    for name in ("load", "load_before"):
        if name in values:
            values[name] = _build(Load, _mapping(values[name]))
    return _build(Progress, values)


def decode_event(data: bytes | Mapping[str, Any]) -> Event:
    return _build(Event, _mapping(data))


def decode_plan(data: bytes | Mapping[str, Any]) -> PlanRecord:
    values = dict(_mapping(data))
    values["shards"] = [_build(ShardPlan, shard) for shard in values.get("shards", [])]
    return _build(PlanRecord, values)


def decode_frame(data: bytes) -> Frame:
    values = dict(_mapping(data))
    values["records"] = [decode_progress(record) for record in values.get("records", [])]
    values["plan"] = decode_plan(values["plan"]) if values.get("plan") else None
    values["event"] = decode_event(values["event"]) if values.get("event") else None
    return _build(Frame, values)


def _mapping(data: bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(data, Mapping):
        return data
    loaded = orjson.loads(data)
    if not isinstance(loaded, dict):
        raise ValueError("a record is a JSON object")
    return loaded


def _build(kind: type[Record], values: Mapping[str, Any]) -> Record:
    """Unknown fields are dropped: a newer worker may write more than we know.

    Raises TypeError for a value of another type, so that no reader stumbles later.
    """
    known = {field.name: str(field.type) for field in fields(kind)}
    return kind(
        **{name: _checked(value, known[name]) for name, value in values.items() if name in known}
    )


_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "int | None": int | None,
    "float": int | float,
    "float | None": int | float | None,
}
# The end of year 9999: no clock can show a later moment.
_LATEST = 253402300799


def _checked(value: Any, declared: str) -> Any:
    if not isinstance(value, _TYPES.get(declared, object)):
        raise TypeError(f"{type(value).__name__} instead of {declared}")
    if declared.startswith("float") and value is not None and not 0 <= value <= _LATEST:
        return 0.0
    return value
