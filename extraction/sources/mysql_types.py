"""What a type of MySQL or MariaDB is, in the words shared by all dialects."""

from __future__ import annotations

import re

from extraction.logical import LogicalType, sized

_WORDS = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year"), "integer"),
    **dict.fromkeys(("decimal", "numeric"), "decimal"),
    **dict.fromkeys(("float", "double"), "float"),
    **dict.fromkeys(
        ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "set"), "string"
    ),
    **dict.fromkeys(
        ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"), "binary"
    ),
    **dict.fromkeys(
        (
            *("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring"),
            *("multipolygon", "geometrycollection", "geomcollection"),
        ),
        "geometry",
    ),
    **dict.fromkeys(("inet4", "inet6"), "network"),
    **dict.fromkeys(("datetime", "timestamp"), "timestamp"),
    **{word: word for word in ("date", "time", "json", "uuid", "enum")},
    "bit": "bits",
    "xmltype": "xml",
}
_WORD = re.compile(r"[a-z0-9]+")
# Their brackets hold values, and a value may hold digits in brackets.
_OF_VALUES = {"enum", "set"}


def logical_type(text: str) -> LogicalType:
    """Of a COLUMN_TYPE. `tinyint(1)` is what BOOLEAN is written as, and MySQL 8 leaves the
    width of no other integer."""
    lowered = text.lower()
    found = _WORD.match(lowered)
    name = found[0] if found else ""
    if lowered.startswith("tinyint(1)") and "unsigned" not in lowered:
        return LogicalType("boolean")
    word = _WORDS.get(name, "other")
    return LogicalType(word) if name in _OF_VALUES else sized(word, lowered)
