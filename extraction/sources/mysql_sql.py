"""The statements that read the information schema of MySQL 8 and MariaDB 10.5 and newer.

MariaDB looks a schema up where it is compared with one constant, and compares names
before it opens a table; so a batch is one SELECT a schema, joined by UNION ALL. Values
are bound. Comparisons in there ignore case and accents: the session keeps what it asked
for. What MariaDB counts anew whenever it is asked (CARDINALITY) is not asked for.
"""

# ruff: noqa: S608
from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice

from extraction.connection import Item

SYSTEM_SCHEMAS = ("information_schema", "mysql", "performance_schema", "sys")
# Each SELECT of a statement has a table of its own in the server.
SCHEMAS_AT_ONCE = 100
SEQUENCES_AT_ONCE = 100
ROUTINE_SORTS = ("FUNCTION", "PROCEDURE", "PACKAGE", "PACKAGE BODY")

Bound = tuple[str, list[str]]

_NAMES = "{schema} = %s AND {name} IN ({marks})"

PIN = {
    True: "SET SESSION sql_mode = '', time_zone = '+00:00', max_statement_time = %s, "
    "lock_wait_timeout = %s, innodb_lock_wait_timeout = %s, wait_timeout = 28800, "
    "max_error_count = 65535",
    False: "SET SESSION sql_mode = '', time_zone = '+00:00', max_execution_time = %s, "
    "lock_wait_timeout = %s, innodb_lock_wait_timeout = %s, wait_timeout = 28800, "
    "max_error_count = 65535",
}
READ_ONLY = "SET SESSION TRANSACTION READ ONLY"
# MariaDB has a number of its own only since 10.5.26, and not the same after every restart.
WHO = {
    True: "SELECT CONNECTION_ID(), VERSION(), CURRENT_USER(), DATABASE(), GET_LOCK(%s, 0), "
    "CONCAT(@@hostname, ':', @@port), CONCAT(@@server_id, ' ', @@datadir)",
    False: "SELECT CONNECTION_ID(), VERSION(), CURRENT_USER(), DATABASE(), GET_LOCK(%s, 0), @@server_uuid, ''",
}

LOCK_HOLDER = "SELECT IS_USED_LOCK(%s)"
TAKE_LOCK = "SELECT GET_LOCK(%s, 0)"
OWN_SESSION = (
    "SELECT ID FROM information_schema.PROCESSLIST WHERE ID = %s "
    "AND USER = SUBSTRING_INDEX(USER(), '@', 1)"
)
KILL = "KILL CONNECTION %d"
KILL_QUERY = "KILL QUERY %d"

GRANTS = "SHOW GRANTS"
GRANTS_USING = "SHOW GRANTS FOR CURRENT_USER() USING "
ROLES = "SELECT CURRENT_ROLE()"
WARNINGS = "SHOW WARNINGS"
# Needs PROCESS. Names are encoded for the file system, `schema/table#P#partition`.
COUNTED = (
    "SELECT SUBSTRING_INDEX(NAME, '/', 1), COUNT(DISTINCT SUBSTRING_INDEX(NAME, '#', 1)) "
    "FROM information_schema.{table} WHERE NAME LIKE '%/%' GROUP BY 1"
)
COUNTERS = {True: "INNODB_SYS_TABLES", False: "INNODB_TABLES"}

TABLE_COLUMNS = (
    "TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, CREATE_OPTIONS, TABLE_COMMENT, TABLE_ROWS, "
    "DATA_LENGTH + INDEX_LENGTH, ENGINE, CREATE_TIME"
)


_LISTED: dict[str, tuple[str, str]] = {
    "schemas": ("SCHEMA_NAME, ''", "SCHEMATA"),
    "routines": ("ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE", "ROUTINES"),
    "tables": ("TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE", "TABLES"),
    # No table is opened for its name alone.
    "names": ("TABLE_SCHEMA, TABLE_NAME", "TABLES"),
}


def listing(what: str, only: str) -> Bound:
    """All there is of a sort, in one schema or in all of them. Sequences are tables there."""
    columns, table = _LISTED[what]
    schema = columns.partition(",")[0]
    text = f"SELECT {columns} FROM information_schema.{table} WHERE "
    if only:
        return f"{text}{schema} = %s", [only]
    return f"{text}CAST({schema} AS BINARY) NOT IN ({_marks(SYSTEM_SCHEMAS)})", [*SYSTEM_SCHEMAS]


class Statements:
    """What a version of a product is asked. `number` is its first two numbers."""

    def __init__(self, mariadb: bool, number: tuple[int, int]) -> None:
        self.mariadb, self.number = mariadb, number

    def tables(self, items: Sequence[Item]) -> Iterator[Bound]:
        return _per_schema([_select(TABLE_COLUMNS, "TABLES")], items)

    def one_by_one(self, items: Sequence[Item]) -> Iterator[Bound]:
        """As `tables`, but looked up by their names: that waits for an ALTER to end, where a list
        of files leaves out what is just put in the place of another."""
        text = (
            f"SELECT {TABLE_COLUMNS} FROM information_schema.TABLES "
            "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
        )
        left = iter(items)
        while some := list(islice(left, SCHEMAS_AT_ONCE)):
            values = [part for item in some for part in (item.schema, item.name)]
            yield " UNION ALL ".join([text] * len(some)), values

    def names(self, items: Sequence[Item]) -> Iterator[Bound]:
        return _per_schema([_select("TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE", "TABLES")], items)

    def views(self, items: Sequence[Item]) -> Iterator[Bound]:
        columns = "TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION, DEFINER"
        return _per_schema([_select(columns, "VIEWS")], items)

    def columns(self, items: Sequence[Item]) -> Iterator[Bound]:
        columns = (
            "TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_TYPE, IS_NULLABLE, "
            "COLUMN_DEFAULT, EXTRA, GENERATION_EXPRESSION, COLLATION_NAME, COLUMN_COMMENT"
        )
        return _per_schema([_select(columns, "COLUMNS")], items)

    def index_parts(self, items: Sequence[Item]) -> Iterator[Bound]:
        hidden, expression = "IS_VISIBLE = 'NO'", "EXPRESSION"
        if self.mariadb:
            hidden = "IGNORED = 'YES'" if self.number >= (10, 6) else "0"
            expression = "NULL"
        columns = (
            "TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, NON_UNIQUE, "
            f"SUB_PART, COLLATION, INDEX_TYPE, INDEX_COMMENT, {hidden}, {expression}"
        )
        return _per_schema([_select(columns, "STATISTICS")], items)

    def checks(self, items: Sequence[Item]) -> Iterator[Bound]:
        if self.mariadb:
            columns = "CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE, 'YES'"
            return _per_schema(
                [_select(columns, "CHECK_CONSTRAINTS", schema="CONSTRAINT_SCHEMA")], items
            )
        select = (
            "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.CONSTRAINT_NAME, c.CHECK_CLAUSE, t.ENFORCED "
            "FROM information_schema.TABLE_CONSTRAINTS t "
            "JOIN information_schema.CHECK_CONSTRAINTS c USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME) "
            f"WHERE t.CONSTRAINT_TYPE = 'CHECK' AND {_NAMES}"
        )
        return _per_schema([(select, "t.TABLE_SCHEMA", "t.TABLE_NAME")], items)

    def foreign_keys(self, items: Sequence[Item]) -> Iterator[Bound]:
        """Columns of keys, with their place, and the rules of keys, without one."""
        keys = (
            "TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION, COLUMN_NAME, "
            "REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME"
        )
        rules = (
            "CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, NULL, UPDATE_RULE, DELETE_RULE, "
            "NULL, NULL"
        )
        return _per_schema(
            [
                _select(keys, "KEY_COLUMN_USAGE", "REFERENCED_TABLE_NAME IS NOT NULL AND "),
                _select(rules, "REFERENTIAL_CONSTRAINTS", schema="CONSTRAINT_SCHEMA"),
            ],
            items,
        )

    def triggers(self, items: Sequence[Item]) -> Iterator[Bound]:
        columns = (
            "EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME, ACTION_TIMING, "
            "EVENT_MANIPULATION, ACTION_ORDER, ACTION_STATEMENT, DEFINER"
        )
        select = _select(
            columns, "TRIGGERS", schema="EVENT_OBJECT_SCHEMA", name="EVENT_OBJECT_TABLE"
        )
        return _per_schema([select], items)

    def schemas(self, items: Sequence[Item]) -> Iterator[Bound]:
        names = sorted({item.schema for item in items})
        comment = "SCHEMA_COMMENT" if self.mariadb else "NULL"
        yield (
            f"SELECT SCHEMA_NAME, '', {comment} FROM information_schema.SCHEMATA "
            f"WHERE SCHEMA_NAME IN ({_marks(names)})",
            names,
        )

    def routines(self, items: Sequence[Item]) -> Iterator[Bound]:
        columns = (
            "ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, DTD_IDENTIFIER, ROUTINE_BODY, "
            "EXTERNAL_LANGUAGE, ROUTINE_DEFINITION, ROUTINE_COMMENT"
        )
        yield _either(columns, "ROUTINES", "ROUTINE_SCHEMA", "ROUTINE_NAME", items)

    def routine_names(self, items: Sequence[Item]) -> Iterator[Bound]:
        columns = "ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE"
        yield _either(columns, "ROUTINES", "ROUTINE_SCHEMA", "ROUTINE_NAME", items)

    def parameters(self, items: Sequence[Item]) -> Iterator[Bound]:
        columns = (
            "SPECIFIC_SCHEMA, SPECIFIC_NAME, ROUTINE_TYPE, ORDINAL_POSITION, PARAMETER_MODE, "
            "PARAMETER_NAME, DTD_IDENTIFIER"
        )
        yield _either(columns, "PARAMETERS", "SPECIFIC_SCHEMA", "SPECIFIC_NAME", items)

    def sequence_types(self, items: Sequence[Item]) -> Iterator[Bound]:
        columns = "TABLE_SCHEMA, TABLE_NAME, COLUMN_TYPE"
        return _per_schema([_select(columns, "COLUMNS", "COLUMN_NAME = 'start_value' AND ")], items)

    def sequences(self, items: Sequence[Item]) -> Iterator[Bound]:
        """A sequence is a table of one row; before 11.5 nothing else tells how it counts."""
        left = iter(items)
        while some := list(islice(left, SEQUENCES_AT_ONCE)):
            selects = [f"SELECT %s, %s, start_value, increment FROM {_bare(item)}" for item in some]
            yield " UNION ALL ".join(selects), [part for i in some for part in (i.schema, i.name)]


def _bare(item: Item) -> str:
    """A name cannot be bound; percent signs are the driver's."""
    return f"{quoted(item.schema)}.{quoted(item.name)}".replace("%", "%%")


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


Select = tuple[str, str, str]


def _select(
    columns: str,
    table: str,
    where: str = "",
    schema: str = "TABLE_SCHEMA",
    name: str = "TABLE_NAME",
) -> Select:
    return f"SELECT {columns} FROM information_schema.{table} WHERE {where}{_NAMES}", schema, name


def _marks(names: Sequence[str]) -> str:
    return ", ".join(["%s"] * len(names))


def _per_schema(selects: Sequence[Select], items: Sequence[Item]) -> Iterator[Bound]:
    groups = iter(_by_schema(items))
    while some := list(islice(groups, SCHEMAS_AT_ONCE)):
        texts: list[str] = []
        values: list[str] = []
        for schema, names in some:
            for text, schema_column, name_column in selects:
                texts.append(
                    text.format(schema=schema_column, name=name_column, marks=_marks(names))
                )
                values += [schema, *names]
        yield " UNION ALL ".join(texts), values


def _either(columns: str, table: str, schema: str, name: str, items: Sequence[Item]) -> Bound:
    """One look through all of them: that is what each SELECT would take there."""
    conditions: list[str] = []
    values: list[str] = []
    for one, names in _by_schema(items):
        conditions.append(_NAMES.format(schema=schema, name=name, marks=_marks(names)))
        values += [one, *names]
    return (
        f"SELECT {columns} FROM information_schema.{table} WHERE {' OR '.join(conditions)}",
        values,
    )


def _by_schema(items: Sequence[Item]) -> list[tuple[str, list[str]]]:
    pairs = sorted({(item.schema, item.name) for item in items})
    return [(schema, [name for _, name in group]) for schema, group in groupby(pairs, key=_first)]


def _first(pair: tuple[str, str]) -> str:
    return pair[0]
