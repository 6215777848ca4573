"""From raw rows of PostgreSQL's catalogue to the kinds of a snapshot.

What the session already knows is put together here instead of being asked again: names
of relations and of key columns, texts of types, and the definitions of keys and indexes
that have no options. The server deparses only what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from extraction.connection import Item
from extraction.errors import StatementFailed
from extraction.logical import OTHER, LogicalType
from extraction.sources.postgresql_copy import RawType

RAW: dict[str, tuple[RawType, ...]] = {
    "schemas": ("int", "text", "text"),
    "relations": ("int", "text", "text", "text", "text", "text"),
    "columns": (
        *("int", "int", "text", "int", "int", "int"),
        *("bool", "text", "text", "text", "text", "text"),
    ),
    "attributes": ("int", "int", "text", "int", "int", "int"),
    "constraints": (
        *("int", "text", "text", "numbers", "names", "text"),
        *("text", "names", "text", "text", "text"),
    ),
    "indexes": (
        *("int", "int", "text", "numbers", "numbers", "numbers"),
        *("names", "bool", "text", "text", "text"),
    ),
    "routines": ("int", "text", "text", "text", "text", "text", "text"),
    "sequences": ("int", "text", "int", "int", "text"),
    "triggers": ("int", "text", "text", "names", "text", "text"),
    "statistics": ("int", "int", "int", "int"),
    "dependencies": ("int", "text", "text", "text", "text"),
}
# More columns than a relation can have, so that relation and number make one key.
_NUMBERS = 4096
_ANY_ARRAY, _ANY_ENUM = 2277, 3500
# Types that another type's operator class serves by default: varchar, cidr.
_SERVED_BY = {1043: 25, 650: 869}

Columns = dict[str, Any]


class Owners:
    """The items of a batch, and which of them a row belongs to."""

    def __init__(self, items: Sequence[Item], keywords: Callable[[], pa.Array]) -> None:
        self.items = items
        self.ids = pa.array([item.id for item in items], pa.int64())
        self.schemas = pa.array([item.schema for item in items], pa.string())
        self.names = pa.array([item.name for item in items], pa.string())
        self._keywords = keywords

    def names_of(self, ids: pa.Array) -> tuple[pa.Array, pa.Array]:
        places = pc.index_in(ids, self.ids)
        return self.schemas.take(places), self.names.take(places)

    def quoted(self, names: pa.Array) -> pa.Array:
        """As quote_ident writes them; the same name is looked at once."""
        encoded = names.dictionary_encode()
        return self._marked(encoded.dictionary).take(encoded.indices)

    def _marked(self, names: pa.Array) -> pa.Array:
        plain = pc.and_(
            pc.match_substring_regex(names, "^[a-z_][a-z0-9_]*$"),
            pc.invert(pc.is_in(names, self._keywords())),
        )
        marked = _joined('"', pc.replace_substring(names, '"', '""'), '"')
        return pc.if_else(plain, names, marked)

    @cached_property
    def _full(self) -> pa.Array:
        return _joined(self.quoted(self.schemas), ".", self.quoted(self.names))

    def full_names(self, ids: pa.Array) -> pa.Array:
        return self._full.take(pc.index_in(ids, self.ids))


class Attributes:
    """The columns of the relations of a batch by relation and number."""

    def __init__(self, raw: Sequence[pa.Array]) -> None:
        owners, numbers, self.names, self.types, _, self.collations = raw[:6]
        self.owners = set(owners.unique().to_pylist())
        self._keys = pc.add(pc.multiply(owners, _NUMBERS), numbers)

    def find(self, owners: pa.Array, numbers: pa.ListArray) -> pa.Array:
        """Places of the columns that the lists name, flat; null where there is none."""
        wanted = pc.take(owners, pc.list_parent_indices(numbers))
        keys = pc.add(pc.multiply(wanted, _NUMBERS), numbers.flatten())
        return pc.index_in(keys, self._keys)

    def names_of(self, owners: pa.Array, numbers: pa.ListArray) -> pa.ListArray:
        """Null where the number is none of a column's. Raises StatementFailed for a column
        that is not there."""
        found = self.find(owners, numbers)
        if found.null_count:
            missing = pc.and_(pc.is_null(found), pc.greater(numbers.flatten(), 0))
            if pc.any(missing).as_py():
                raise StatementFailed("A key names a column that does not exist.")
        return pa.ListArray.from_arrays(numbers.offsets, self.names.take(found))


class Types:
    """Types by id and modifier: their text and what they are, asked once each."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[str, LogicalType]] = {}
        self.arrays: set[int] = set()
        self.enums: set[int] = set()

    def __contains__(self, pair: tuple[int, int]) -> bool:
        return _type_key(*pair) in self._known

    def logical(self, number: int) -> LogicalType:
        """Of a type without a modifier; `other` when it is gone."""
        return self._known.get(_type_key(number, -1), ("", OTHER))[1]

    def learn(self, number: int, mod: int, text: str, logical: LogicalType) -> None:
        self._known[_type_key(number, mod)] = (text, logical)
        if logical.word == "array":
            self.arrays.add(number)
        elif logical.word == "enum":
            self.enums.add(number)

    def columns(self, types: pa.Array, mods: pa.Array) -> Columns:
        keys = pc.add(pc.multiply(types, 2**31), pc.add(mods, 1))
        places = pc.index_in(keys, pa.array(self._known, pa.int64()))
        texts = pa.array([text for text, _ in self._known.values()], pa.string())
        logical = [logical for _, logical in self._known.values()]
        return {
            "data_type": texts.take(places),
            **{
                name: pa.array([getattr(one, field) for one in logical], kind).take(places)
                for name, field, kind in _LOGICAL
            },
        }


_LOGICAL = (
    ("logical_type", "word", pa.string()),
    ("type_length", "length", pa.int64()),
    ("type_precision", "precision", pa.int64()),
    ("type_scale", "scale", pa.int64()),
    ("type_items", "items", pa.string()),
)


def distinct(types: pa.Array, mods: pa.Array) -> list[tuple[int, int]]:
    pairs = pa.table({"type": types, "mod": mods}).group_by(["type", "mod"]).aggregate([])
    return list(zip(pairs["type"].to_pylist(), pairs["mod"].to_pylist(), strict=True))


def _type_key(number: int, mod: int) -> int:
    return number * 2**31 + mod + 1


def columns(raw: Sequence[pa.Array], owners: Owners, types: Types) -> Columns:
    schemas, names = owners.names_of(raw[0])
    return {
        "schema_name": schemas,
        "relation_name": names,
        "column_name": raw[2],
        "position": raw[1],
        **types.columns(raw[3], raw[4]),
        "nullable": raw[6],
        "default": raw[7],
        "identity": raw[8],
        "generated": raw[9],
        "collation": raw[10],
        "comment": raw[11],
    }


def constraints(raw: Sequence[pa.Array], owners: Owners, attributes: Attributes) -> Columns:
    owner, name, kind, numbers, odd, schema, relation, referenced, on_update, on_delete, text = raw
    schemas, names = owners.names_of(owner)
    keys = _instead(odd, attributes.names_of(owner, numbers))
    return {
        "schema_name": schemas,
        "relation_name": names,
        "constraint_name": name,
        "kind": kind,
        "columns": keys,
        "referenced_schema": schema,
        "referenced_relation": relation,
        "referenced_columns": referenced,
        "on_update": on_update,
        "on_delete": on_delete,
        "definition": pc.coalesce(text, _key_definitions(raw, keys, owners)),
    }


def _key_definitions(raw: Sequence[pa.Array], keys: pa.ListArray, owners: Owners) -> pa.Array:
    """As pg_get_constraintdef writes keys without options."""
    kind, schema, relation, referenced, on_update, on_delete = raw[2], *raw[5:10]
    listed = _joined("(", _list_text(keys, owners), ")")
    foreign = _joined(
        "FOREIGN KEY ", listed, " REFERENCES ",
        pc.fill_null(owners.quoted(schema), ""), ".", pc.fill_null(owners.quoted(relation), ""),
        "(", _list_text(referenced, owners), ")",
        _action(" ON UPDATE ", on_update), _action(" ON DELETE ", on_delete),
    )  # fmt: skip
    return pc.if_else(
        pc.equal(kind, "foreign_key"),
        foreign,
        pc.if_else(
            pc.equal(kind, "primary_key"),
            _joined("PRIMARY KEY ", listed),
            _joined("UNIQUE ", listed),
        ),
    )


def _action(words: str, action: pa.Array) -> pa.Array:
    said = pc.and_(pc.is_valid(action), pc.not_equal(pc.fill_null(action, ""), "NO ACTION"))
    return pc.if_else(said, _joined(words, pc.fill_null(action, "")), "")


def indexes(raw: Sequence[pa.Array], owners: Owners, attributes: Attributes) -> Columns:
    owner, _, name, numbers, _, _, odd, unique, method, predicate, text = raw
    schemas, names = owners.names_of(owner)
    keys = _instead(odd, attributes.names_of(owner, numbers))
    return {
        "schema_name": schemas,
        "relation_name": names,
        "index_name": name,
        "columns": keys,
        "unique": unique,
        "method": method,
        "predicate": predicate,
        "definition": pc.coalesce(text, _index_definitions(raw, keys, owners)),
    }


def _index_definitions(raw: Sequence[pa.Array], keys: pa.ListArray, owners: Owners) -> pa.Array:
    """As pg_get_indexdef writes indexes without options."""
    return _joined(
        pc.if_else(raw[7], "CREATE UNIQUE INDEX ", "CREATE INDEX "), owners.quoted(raw[2]),
        " ON ", owners.full_names(raw[0]), " USING ", owners.quoted(raw[8]),
        " (", _list_text(keys, owners), ")",
    )  # fmt: skip


def unusual(
    raw: Sequence[pa.Array], attributes: Attributes, types: Types, classes: dict[int, int]
) -> list[int]:
    """Indexes with an operator class or a collation that their definition would name,
    among those the server has not deparsed. `classes`: the default ones, and their type."""
    asked = pc.is_null(raw[10])
    owner, index, numbers, class_ids, collations = (raw[n].filter(asked) for n in (0, 1, 3, 4, 5))
    parents = pc.list_parent_indices(numbers)
    found = attributes.find(owner, numbers)
    own = attributes.types.take(found)
    wanted = pa.array([classes.get(c) for c in class_ids.flatten().to_pylist()], pa.int64())
    served = pc.is_in(own, pa.array(_SERVED_BY, pa.int64()))
    ordinary = pc.or_kleene(pc.equal(wanted, own), _generic(wanted, own, types))
    if pc.any(served).as_py():
        mapped = pa.array([_SERVED_BY.get(t, t) for t in own.to_pylist()], pa.int64())
        ordinary = pc.or_kleene(ordinary, pc.equal(wanted, mapped))
    same = pc.equal(collations.flatten(), attributes.collations.take(found))
    fine = pc.fill_null(pc.and_kleene(ordinary, same), False)
    asked_for: list[int] = index.take(parents.filter(pc.invert(fine)).unique()).to_pylist()
    return asked_for


def _generic(wanted: pa.Array, own: pa.Array, types: Types) -> pa.Array:
    """Classes that serve every array, or every enum."""
    arrays = pc.is_in(own, pa.array(types.arrays, pa.int64()))
    enums = pc.is_in(own, pa.array(types.enums, pa.int64()))
    return pc.or_kleene(
        pc.and_kleene(pc.equal(wanted, _ANY_ARRAY), arrays),
        pc.and_kleene(pc.equal(wanted, _ANY_ENUM), enums),
    )


def simple(kind_columns: Iterable[str], raw: Sequence[pa.Array], owners: Owners) -> Columns:
    """Kinds whose rows need nothing but the names of what they belong to."""
    own = list(owners.names_of(raw[0]))
    names = list(kind_columns)
    held = own[: 1 if len(names) == len(raw) else 2]
    return dict(zip(names, [*held, *raw[1:]], strict=True))


def with_definitions(text: pa.Array, ids: pa.Array, found: dict[int, str]) -> pa.Array:
    """The texts, and those that were asked for afterwards."""
    if not found:
        return text
    places = pc.index_in(ids, pa.array(found, pa.int64()))
    return pc.coalesce(pa.array(found.values(), pa.string()).take(places), text)


def _instead(odd: pa.ListArray, usual: pa.ListArray) -> pa.ListArray:
    """The server's own list where it sent one; a whole row (number 0) is no column."""
    sent = pc.greater(pc.list_value_length(odd), 0)
    if pc.any(sent).as_py():
        rows = pa.array(range(len(usual)), pa.int64())
        places = pc.if_else(sent, pc.add(rows, len(usual)), rows)
        usual = pa.concat_arrays([usual, odd]).take(places)
    if not usual.flatten().null_count:
        return usual
    named = [[name for name in names if name is not None] for names in usual.to_pylist()]
    return pa.array(named, usual.type)


def _list_text(lists: pa.ListArray, owners: Owners) -> pa.Array:
    values = owners.quoted(lists.values)
    return pc.binary_join(pa.ListArray.from_arrays(lists.offsets, values), ", ")


def _joined(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")
