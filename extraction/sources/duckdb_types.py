"""What a DuckDB type is, in a closed set of words shared by all dialects."""

from __future__ import annotations

import re
from functools import lru_cache

from extraction.logical import LogicalType, sized

_BY_NAME = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "BIGNUM"), "integer"),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"), "integer"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "float"),
    "DECIMAL": "decimal",
    "BOOLEAN": "boolean",
    "VARCHAR": "string",
    "BLOB": "binary",
    "BIT": "bits",
    "DATE": "date",
    "INTERVAL": "interval",
    "UUID": "uuid",
    "JSON": "json",
    "ENUM": "enum",
    "STRUCT": "struct",
    "GEOMETRY": "geometry",
}
_ARRAY = re.compile(r"(.*)\[\d*\]", re.DOTALL)


@lru_cache(4096)
def logical_type(text: str) -> LogicalType:
    array = _ARRAY.fullmatch(text)
    if array:
        return LogicalType("array", items=logical_type(array[1]).text)
    name = re.match(r"\w+", text)
    word = name[0] if name else ""
    if word.startswith("TIMESTAMP"):
        return LogicalType("timestamp")
    if word == "TIME":
        return LogicalType("time")
    found = _BY_NAME.get(word, "other")
    return sized(found, text) if found == "decimal" else LogicalType(found)
