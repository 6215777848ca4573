"""From what SQLAlchemy's Inspector answers to the kinds of a snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import types
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import SQLAlchemyError

from extraction.logical import OTHER, LogicalType
from extraction.sources.naming import Names, quoted

COMMENT_LIMIT = 65_536

Row = tuple[Any, ...]
# By (schema or none, relation), as the Inspector gives it.
Reflected = Mapping[tuple[str | None, str], Any]

# The first that fits; Enum is a String, Float a Numeric.
_WORDS: tuple[tuple[type[types.TypeEngine[Any]], str], ...] = (
    (types.Boolean, "boolean"),
    (types.Enum, "enum"),
    (types.Integer, "integer"),
    (types.Float, "float"),
    (types.Numeric, "decimal"),
    (types.Uuid, "uuid"),
    (types.JSON, "json"),
    (types.String, "string"),
    (types.LargeBinary, "binary"),
    (types.VARBINARY, "binary"),
    (types.BINARY, "binary"),
    (types.DateTime, "timestamp"),
    (types.Date, "date"),
    (types.Time, "time"),
    (types.Interval, "interval"),
)
# Types of one dialect, which share no class.
_BY_NAME = {
    "INTERVAL": "interval",
    "XML": "xml",
    "STRUCT": "struct",
    "OBJECT": "struct",
    "ROW": "struct",
    "GEOMETRY": "geometry",
    "GEOGRAPHY": "geometry",
    "BIT": "bits",
    "BYTEA": "binary",
    "BYTES": "binary",
}


def logical_type(kind: types.TypeEngine[Any]) -> LogicalType:
    if isinstance(kind, types.ARRAY):
        return LogicalType("array", items=logical_type(kind.item_type).text)
    inner = getattr(kind, "data_type", None)
    if isinstance(inner, types.TypeEngine):
        return logical_type(inner)  # a domain is what its base type is
    word = next((word for base, word in _WORDS if isinstance(kind, base)), "")
    word = word or _BY_NAME.get(type(kind).__name__.upper(), "")
    if not word:
        return OTHER
    length = getattr(kind, "length", None) if word in ("string", "binary", "bits") else None
    if word != "decimal":
        return LogicalType(word, length)
    precision, scale = getattr(kind, "precision", None), getattr(kind, "scale", None)
    return LogicalType(word, None, precision, 0 if precision and scale is None else scale)


def columns(found: Reflected, schema: str, dialect: Dialect) -> Iterator[Row]:
    for (_, relation), listed in found.items():
        for position, column in enumerate(listed, 1):
            yield (schema, relation, column["name"], position, *_described(column, dialect))


def _described(column: Mapping[str, Any], dialect: Dialect) -> Row:
    kind = column["type"]
    logical = logical_type(kind)
    computed, identity = column.get("computed") or {}, column.get("identity")
    default, generated, identified = column.get("default"), None, None
    if computed:
        default = computed.get("sqltext")
        generated = "STORED" if computed.get("persisted") else "VIRTUAL"
    if identity is not None:
        identified = "ALWAYS" if identity.get("always") else "BY DEFAULT"
    return (
        *(text_of(kind, dialect), logical.word, logical.length, logical.precision),
        *(logical.scale, logical.items, bool(column.get("nullable", True)), default),
        *(identified, generated, getattr(kind, "collation", None), cut(column.get("comment"))),
    )


def text_of(kind: types.TypeEngine[Any], dialect: Dialect) -> str:
    """The type as the dialect writes it. What SQLAlchemy does not know has no text."""
    if isinstance(kind, types.NullType):
        return ""
    try:
        return str(kind.compile(dialect=dialect))
    except (SQLAlchemyError, NotImplementedError, AttributeError):
        return type(kind).__name__


def constraints(
    schema: str,
    keys: Reflected,
    foreign: Reflected,
    unique: Reflected,
    checks: Reflected,
) -> Iterator[Row]:
    for relation in dict.fromkeys(name for _, name in (*keys, *foreign, *unique, *checks)):
        names = Names()

        def of(found: Reflected, relation: str = relation) -> list[Any]:
            one: Any = next((v for (_, name), v in found.items() if name == relation), [])
            return [one] if isinstance(one, Mapping) else list(one or [])

        for key in of(keys):
            own = list(key.get("constrained_columns") or [])
            if own:
                yield _plain(schema, relation, names, key, "primary_key", own)
        for key in _by_name(of(unique)):
            own = list(key["column_names"])
            yield _plain(schema, relation, names, key, "unique", own)
        for key in _by_name(of(foreign)):
            yield _foreign(schema, relation, names, key)
        for check in _by_name(of(checks)):
            name = names.of(check.get("name"), relation, [], "check")
            definition = f"CHECK ({check['sqltext']})"
            yield (schema, relation, name, "check", [], None, None, [], None, None, definition)


def _by_name(listed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(listed, key=lambda one: (one.get("name") or "", str(one)))


def _plain(
    schema: str, relation: str, names: Names, key: Mapping[str, Any], kind: str, own: list[str]
) -> Row:
    name = names.of(key.get("name"), relation, own, kind)
    words = "PRIMARY KEY" if kind == "primary_key" else "UNIQUE"
    definition = f"{words} ({', '.join(map(quoted, own))})"
    return (schema, relation, name, kind, own, None, None, [], None, None, definition)


def _foreign(schema: str, relation: str, names: Names, key: Mapping[str, Any]) -> Row:
    own, theirs = list(key["constrained_columns"]), list(key["referred_columns"])
    name = names.of(key.get("name"), relation, own, "foreign_key")
    parent_schema, parent = key.get("referred_schema") or schema, key["referred_table"]
    options = key.get("options") or {}
    on_update = str(options.get("onupdate") or "NO ACTION").upper()
    on_delete = str(options.get("ondelete") or "NO ACTION").upper()
    definition = (
        f"FOREIGN KEY ({', '.join(map(quoted, own))}) REFERENCES "
        f"{quoted(parent_schema)}.{quoted(parent)}({', '.join(map(quoted, theirs))})"
    )
    for event, action in (("UPDATE", on_update), ("DELETE", on_delete)):
        definition += f" ON {event} {action}" if action != "NO ACTION" else ""
    definition += " DEFERRABLE" if options.get("deferrable") else ""
    definition += f" INITIALLY {options['initially']}" if options.get("initially") else ""
    return (
        *(schema, relation, name, "foreign_key", own, parent_schema, parent),
        *(theirs, on_update, on_delete, definition),
    )


def indexes(found: Reflected, schema: str) -> Iterator[Row]:
    for (_, relation), listed in found.items():
        names = Names()
        for index in _by_name(listed):
            keys = index.get("expressions") or index["column_names"]
            name = names.of(index.get("name"), relation, [str(key) for key in keys], "idx")
            options = index.get("dialect_options") or {}
            method = next((v for k, v in options.items() if k.endswith("_using")), None)
            predicate = next((v for k, v in options.items() if k.endswith("_where")), None)
            yield (
                *(schema, relation, name, [str(key) for key in keys], bool(index.get("unique"))),
                *(method, None if predicate is None else str(predicate), None),
            )


def cut(comment: str | None) -> str | None:
    """The Inspector reads comments whole; what is kept is as short as elsewhere."""
    if comment is None or len(comment) <= COMMENT_LIMIT:
        return comment
    return comment[:COMMENT_LIMIT] + " [cut]"
