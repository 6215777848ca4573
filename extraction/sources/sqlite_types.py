"""What a declared SQLite type is: by its name where that says it, else by its affinity."""

from __future__ import annotations

from functools import lru_cache

from extraction.logical import OTHER, LogicalType, sized

# Names that say more than their affinity, which for most of these is NUMERIC.
_BY_NAME = {
    "bool": "boolean",
    "boolean": "boolean",
    "date": "date",
    "time": "time",
    "datetime": "timestamp",
    "timestamp": "timestamp",
    "timestamptz": "timestamp",
    "uuid": "uuid",
    "guid": "uuid",
    "json": "json",
    "jsonb": "json",
    "xml": "xml",
    "binary": "binary",
    "varbinary": "binary",
    "point": "geometry",
    "geometry": "geometry",
    "any": "other",
}
# https://www.sqlite.org/datatype3.html, section 3.1, in its order.
_AFFINITIES = (
    (("int",), "integer"),
    (("char", "clob", "text"), "string"),
    (("blob",), "binary"),
    (("real", "floa", "doub"), "float"),
)


@lru_cache(4096)
def logical_type(declared: str) -> LogicalType:
    text = declared.lower()
    if not text:
        return OTHER  # values of any type, kept as they come
    name = text.partition("(")[0].split()
    word = _BY_NAME.get(name[0] if name else "") or next(
        (word for parts, word in _AFFINITIES if any(part in text for part in parts)), "decimal"
    )
    return sized(word, text)
