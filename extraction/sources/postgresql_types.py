"""What a PostgreSQL type is, in a closed set of words shared by all dialects."""

from __future__ import annotations

from extraction.logical import LogicalType, sized

_BY_NAME = {
    "bool": "boolean",
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "oid": "integer",
    "numeric": "decimal",
    "money": "decimal",
    "float4": "float",
    "float8": "float",
    "date": "date",
    "time": "time",
    "timetz": "time",
    "timestamp": "timestamp",
    "timestamptz": "timestamp",
    "interval": "interval",
    "bytea": "binary",
    "uuid": "uuid",
    "json": "json",
    "jsonb": "json",
    "jsonpath": "json",
    "xml": "xml",
    "tsvector": "search",
    "tsquery": "search",
    "macaddr": "network",
    "macaddr8": "network",
}
_BY_TYPE = {"c": "struct", "e": "enum", "r": "range", "m": "range"}
_BY_CATEGORY = {"A": "array", "S": "string", "I": "network", "G": "geometry", "V": "bits"}


def logical_type(
    text: str,
    builtin: bool,
    name: str,
    typtype: str,
    category: str,
    items: LogicalType | None = None,
) -> LogicalType:
    """Of a type that is no domain. `text` is its format_type."""
    word = _word(builtin, name, typtype, category)
    return sized(word, text, items.text if items and word == "array" else None)


def _word(builtin: bool, name: str, typtype: str, category: str) -> str:
    if typtype in _BY_TYPE:
        return _BY_TYPE[typtype]
    if builtin and name in _BY_NAME:
        return _BY_NAME[name]
    return _BY_CATEGORY.get(category, "other")
