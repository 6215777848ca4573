"""What a snapshot must hold, asked of MariaDB a second time, and of other places.

Written from MariaDB's manual and the snapshot contract; the engine's statements are not
consulted. Columns come from SHOW FULL COLUMNS and the text of SHOW CREATE TABLE, indexes
from that text alone, foreign keys from InnoDB's own tables, routines from mysql.proc,
sequences from SHOW CREATE SEQUENCE. Nothing there records what views read, so that kind
is not compared. As a superuser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pymysql
from pymysql.cursors import DictCursor

from bench.compare import Row
from bench.mariadb import MariaDBServer

SYSTEM = {"information_schema", "mysql", "performance_schema", "sys"}
PINNED = "SET SESSION sql_mode = '', time_zone = '+00:00', sql_quote_show_create = 1"

# By DATA_TYPE, with what of its sizes the contract names.
LOGICAL = """
SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME,
  CASE
    WHEN COLUMN_TYPE LIKE 'tinyint(1)' THEN 'boolean'
    WHEN DATA_TYPE IN ('tinyint','smallint','mediumint','int','bigint','year') THEN 'integer'
    WHEN DATA_TYPE IN ('double','float') THEN 'float'
    WHEN DATA_TYPE IN ('char','varchar','tinytext','text','mediumtext','set') THEN 'string'
    WHEN DATA_TYPE = 'longtext' THEN 'string'
    WHEN DATA_TYPE LIKE '%blob' OR DATA_TYPE LIKE '%binary' THEN 'binary'
    WHEN DATA_TYPE IN ('datetime', 'timestamp') THEN 'timestamp'
    WHEN DATA_TYPE LIKE 'inet_' THEN 'network'
    WHEN DATA_TYPE = 'bit' THEN 'bits'
    WHEN DATA_TYPE IN ('date','time','enum','uuid','decimal') THEN DATA_TYPE
    ELSE 'geometry'
  END AS logical_type,
  CASE WHEN DATA_TYPE IN ('char','varchar','binary','varbinary') THEN CHARACTER_MAXIMUM_LENGTH
    WHEN DATA_TYPE = 'bit' THEN NUMERIC_PRECISION END AS type_length,
  CASE WHEN DATA_TYPE = 'decimal' THEN NUMERIC_PRECISION
    WHEN DATETIME_PRECISION > 0 THEN DATETIME_PRECISION END AS type_precision,
  CASE WHEN DATA_TYPE = 'decimal' THEN NUMERIC_SCALE END AS type_scale
FROM information_schema.COLUMNS
"""
KEYS = """
SELECT t.TABLE_SCHEMA s, t.TABLE_NAME t, t.CONSTRAINT_NAME c, k.COLUMN_NAME col
FROM information_schema.TABLE_CONSTRAINTS t JOIN information_schema.KEY_COLUMN_USAGE k
  ON k.TABLE_SCHEMA = t.TABLE_SCHEMA AND k.TABLE_NAME = t.TABLE_NAME
  AND k.CONSTRAINT_NAME = t.CONSTRAINT_NAME AND k.CONSTRAINT_SCHEMA = t.CONSTRAINT_SCHEMA
  AND BINARY k.TABLE_NAME = t.TABLE_NAME AND BINARY k.TABLE_SCHEMA = t.TABLE_SCHEMA
WHERE t.CONSTRAINT_TYPE IN ('PRIMARY KEY', 'UNIQUE') AND t.TABLE_SCHEMA <> 'mysql'
  AND k.REFERENCED_TABLE_NAME IS NULL
ORDER BY 1, 2, 3, k.ORDINAL_POSITION
"""
FOREIGN = """
SELECT f.ID id, f.FOR_NAME own, f.REF_NAME other, f.TYPE flags, c.FOR_COL_NAME col,
  c.REF_COL_NAME ref
FROM information_schema.INNODB_SYS_FOREIGN f
JOIN information_schema.INNODB_SYS_FOREIGN_COLS c ON BINARY c.ID = f.ID ORDER BY f.ID, c.POS
"""
CHECKS = "SELECT * FROM information_schema.CHECK_CONSTRAINTS"
PARAMETERS = """
SELECT SPECIFIC_SCHEMA s, SPECIFIC_NAME n, ROUTINE_TYPE t, GROUP_CONCAT(
  IF(ROUTINE_TYPE = 'PROCEDURE', CONCAT(PARAMETER_MODE, ' '), ''),
  IF(PARAMETER_NAME RLIKE '^[A-Za-z_$][A-Za-z0-9_$]*$', PARAMETER_NAME,
     CONCAT('`', REPLACE(PARAMETER_NAME, '`', '``'), '`')), ' ', DTD_IDENTIFIER
  ORDER BY ORDINAL_POSITION SEPARATOR ', ') a
FROM information_schema.PARAMETERS WHERE ORDINAL_POSITION > 0 GROUP BY 1, 2, 3
"""
ROUTINES = """
SELECT db, name, CAST(type AS CHAR) type, CAST(returns AS CHAR) returns, CAST(body_utf8 AS CHAR) body,
  CAST(comment AS CHAR) comment FROM mysql.proc WHERE db NOT IN ('sys', 'mysql')
"""
_QUOTED = re.compile(r"'(?:[^'\\]|''|\\.)*'|`(?:[^`]|``)*`", re.DOTALL)


class Asker:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.rows: dict[str, list[Row]] = {}

    def ask(self, statement: str) -> list[dict[str, Any]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def all(self) -> dict[str, list[Row]]:
        schemas = [r["Database"] for r in self.ask("SHOW DATABASES")]
        self.schemas = sorted(set(schemas) - SYSTEM)
        names = (
            *("schemas", "relations", "columns", "constraints", "indexes", "routines"),
            *("sequences", "triggers", "statistics"),
        )
        self.rows = {name: [] for name in names}
        self.logical = {
            (r["TABLE_SCHEMA"], r["TABLE_NAME"], r["COLUMN_NAME"]): r for r in self.ask(LOGICAL)
        }
        for schema in self.schemas:
            self._schema(schema)
        self._constraints()
        self._routines()
        return self.rows

    def _schema(self, schema: str) -> None:
        made = self.ask(f"SHOW CREATE DATABASE {q(schema)}")[0]["Create Database"]
        comment = re.search(r" COMMENT ('.*')$", made, re.DOTALL)
        text = unquoted(comment[1]) if comment else None
        self.rows["schemas"].append({"schema_name": schema, "owner": None, "comment": text})
        for one in self.ask(f"SHOW TABLE STATUS FROM {q(schema)}"):
            create = self._create(schema, one["Name"])
            if re.search(r"\) ENGINE=\w+ SEQUENCE=1", mask(create)):
                self._sequence(schema, one["Name"])
                continue
            self._relation(schema, one, create)
            self._columns(schema, one["Name"], create)
            if " VIEW " not in create.split("\n")[0]:
                self._indexes(schema, one["Name"], create)
        self._triggers(schema)

    def _create(self, schema: str, name: str) -> str:
        row = self.ask(f"SHOW CREATE TABLE {q(schema)}.{q(name)}")[0]
        return str(row.get("Create View") or row["Create Table"])

    def _relation(self, schema: str, one: dict[str, Any], create: str) -> None:
        view = one["Engine"] is None
        name = one["Name"]
        text: str | None = None
        owner: str | None = None
        if view:
            found = re.match(
                r"CREATE ALGORITHM=\w+ DEFINER=(`(?:[^`]|``)*`@`(?:[^`]|``)*`) SQL SECURITY \w+ "
                r"VIEW (?:`(?:[^`]|``)*`\.)?`(?:[^`]|``)*`(?: \(.*?\))? AS (.*)$",
                create,
                re.DOTALL,
            )
            assert found, create
            # The catalogue has the text without the character sets of its constants.
            body = re.sub(r"(?<=[(, ])_utf8mb[34](?=')", "", found[2])
            text = re.sub(r" WITH (CASCADED|LOCAL) CHECK OPTION$", "", body)
            owner = "@".join(bare(part) for part in re.findall(r"`(?:[^`]|``)*`", found[1]))
        kind: str = "view" if view else "table"
        kind = "partitioned_table" if "\n PARTITION BY " in create else kind
        self.rows["relations"].append(
            {
                "schema_name": schema,
                "relation_name": name,
                "kind": kind,
                "comment": None if view else one["Comment"] or None,
                "definition": text,
                "owner": owner,
                "partition_of": None,
            }
        )
        if not view:
            self.rows["statistics"].append(
                {
                    "schema_name": schema,
                    "relation_name": name,
                    "row_estimate": one["Rows"],
                    "bytes_estimate": one["Data_length"] + one["Index_length"],
                    "analyzed_at": None,
                }
            )

    def _columns(self, schema: str, name: str, create: str) -> None:
        lines = {}
        for line in parts(create):
            if line.startswith("`"):
                column = re.match(r"`(?:[^`]|``)*`", line)
                assert column
                lines[bare(column[0])] = line[column.end() :]
        shown = self.ask(f"SHOW FULL COLUMNS FROM {q(schema)}.{q(name)}")
        for position, row in enumerate(shown, 1):
            made = lines.get(row["Field"])
            logical = dict(self.logical[schema, name, row["Field"]])
            if made and f" CHECK (json_valid({q(row['Field'])}))" in made:
                logical["logical_type"] = "json"
            default, generated = (
                expression(made) if made else (of_view(row["Default"], row["Type"]), None)
            )
            self.rows["columns"].append(
                {
                    "schema_name": schema,
                    "relation_name": name,
                    "column_name": row["Field"],
                    "position": position,
                    "data_type": row["Type"],
                    **{
                        k: logical[k]
                        for k in ("logical_type", "type_length", "type_precision", "type_scale")
                    },
                    "type_items": None,
                    "nullable": row["Null"] == "YES",
                    "default": default,
                    "identity": "BY DEFAULT" if made and " AUTO_INCREMENT" in mask(made) else None,
                    "generated": generated,
                    "collation": row["Collation"],
                    "comment": row["Comment"] or None,
                }
            )

    def _indexes(self, schema: str, name: str, create: str) -> None:
        shown = {r["Key_name"]: r for r in self.ask(f"SHOW INDEX FROM {q(schema)}.{q(name)}")}
        for line in parts(create):
            found = re.match(
                r"(PRIMARY KEY|(?:(UNIQUE|FULLTEXT|SPATIAL) )?KEY (`(?:[^`]|``)*`)) \(", line
            )
            if not found:
                continue
            key = bare(found[3]) if found[3] else "PRIMARY"
            method = shown[key]["Index_type"]
            # What was asked for is not what was made: InnoDB makes no hashes.
            masked = mask(line)
            using = re.search(r" USING (BTREE|HASH)", masked)
            if using:
                line = line[: using.start()] + line[using.end() :]
            if method == "HASH":
                end = mask(line).index(" COMMENT") if " COMMENT" in mask(line) else len(line)
                line = line[:end] + " USING HASH" + line[end:]
            within = line[line.index("(") + 1 :]
            names = re.findall(r"(`(?:[^`]|``)*`)(?:\(\d+\))?(?: DESC)?(?:,|\))", within)
            self.rows["indexes"].append(
                {
                    "schema_name": schema,
                    "relation_name": name,
                    "index_name": key,
                    "columns": [bare(one) for one in names],
                    "unique": found[2] == "UNIQUE" or key == "PRIMARY",
                    "method": method.lower(),
                    "predicate": None,
                    "definition": line,
                }
            )

    def _triggers(self, schema: str) -> None:
        before: dict[tuple[str, ...], str] = {}
        for row in self.ask(f"SHOW TRIGGERS FROM {q(schema)}"):
            moment = (row["Table"], row["Timing"], row["Event"])
            after = f"FOLLOWS {q(before[moment])} " if moment in before else ""
            before[moment] = row["Trigger"]
            user, _, host = row["Definer"].rpartition("@")
            self.rows["triggers"].append(
                {
                    "schema_name": schema,
                    "relation_name": row["Table"],
                    "trigger_name": row["Trigger"],
                    "timing": row["Timing"],
                    "events": [row["Event"]],
                    "definition": f"CREATE DEFINER={q(user)}@{q(host)} TRIGGER {q(row['Trigger'])} "
                    f"{row['Timing']} {row['Event']} ON {q(schema)}.{q(row['Table'])} FOR EACH ROW "
                    f"{after}{row['Statement']}",
                    "enabled": "origin",
                }
            )

    def _sequence(self, schema: str, name: str) -> None:
        create = self.ask(f"SHOW CREATE SEQUENCE {q(schema)}.{q(name)}")[0]["Create Table"]
        start, step = (
            re.search(rf"{word} (-?\d+)", mask(create)) for word in ("start with", "increment by")
        )
        assert start and step
        kind = self.ask(f"SHOW COLUMNS FROM {q(schema)}.{q(name)} LIKE 'start_value'")[0]["Type"]
        self.rows["sequences"].append(
            {
                "schema_name": schema,
                "sequence_name": name,
                "data_type": kind,
                "start": int(start[1]),
                "increment": int(step[1]),
                "owned_by": None,
            }
        )

    def _constraints(self) -> None:
        for made in (*self._keys(), *self._foreign()):
            self.rows["constraints"].append(made)
        for row in self.ask(CHECKS):
            if row["CONSTRAINT_SCHEMA"] in self.schemas:
                self.rows["constraints"].append(
                    constraint(
                        *(row["CONSTRAINT_SCHEMA"], row["TABLE_NAME"], row["CONSTRAINT_NAME"]),
                        "check",
                        definition=f"CHECK ({row['CHECK_CLAUSE']})",
                    )
                )

    def _keys(self) -> Iterator[Row]:
        columns: dict[tuple[str, str, str], list[str]] = {}
        for row in self.ask(KEYS):
            # The hidden end of a system-versioned row is a column of its keys there.
            seen = (row["s"], row["t"], row["col"]) in self.logical
            if seen and row["s"] in self.schemas:
                columns.setdefault((row["s"], row["t"], row["c"]), []).append(row["col"])
        listed = {
            (r["schema_name"], r["relation_name"], r["index_name"]): r["definition"]
            for r in self.rows["indexes"]
        }
        for (schema, table, name), names in columns.items():
            text = mask(listed[schema, table, name])
            keys = listed[schema, table, name][text.index("(") : text.rindex(")") + 1]
            kind = "primary_key" if name == "PRIMARY" else "unique"
            word = "PRIMARY KEY" if name == "PRIMARY" else "UNIQUE"
            yield constraint(schema, table, name, kind, names, definition=f"{word} {keys}")

    def _foreign(self) -> Iterator[Row]:
        columns: dict[str, list[dict[str, Any]]] = {}
        for row in self.ask(FOREIGN):
            columns.setdefault(row["id"], []).append(row)
        for rows in columns.values():
            flags = rows[0]["flags"]
            schema, table = filename(rows[0]["own"])
            other = filename(rows[0]["other"])
            own, there = [r["col"] for r in rows], [r["ref"] for r in rows]
            delete, update = action(flags), action(flags >> 2, flags >> 1)
            text = f"FOREIGN KEY ({', '.join(map(q, own))}) REFERENCES {q(other[0])}.{q(other[1])} "
            text += f"({', '.join(map(q, there))})"
            text += "" if delete == "RESTRICT" else f" ON DELETE {delete}"
            text += "" if update == "RESTRICT" else f" ON UPDATE {update}"
            name = filename(rows[0]["id"])[1]
            yield {
                **constraint(schema, table, name, "foreign_key", own, definition=text),
                "referenced_schema": other[0],
                "referenced_relation": other[1],
                "referenced_columns": there,
                "on_update": update,
                "on_delete": delete,
            }

    def _routines(self) -> None:
        arguments = {(r["s"], r["n"], r["t"]): r["a"] for r in self.ask(PARAMETERS)}
        for row in self.ask(ROUTINES):
            kind = row["type"]
            self.rows["routines"].append(
                {
                    "schema_name": row["db"],
                    "routine_name": row["name"],
                    "kind": kind.lower().replace(" ", "_"),
                    "language": "SQL",
                    "arguments": arguments.get((row["db"], row["name"], kind), ""),
                    "returns": returned(row["returns"]) if kind == "FUNCTION" else None,
                    "definition": row["body"],
                    "comment": row["comment"] or None,
                }
            )


def ask(server: MariaDBServer) -> tuple[str, dict[str, list[Row]]]:
    """The server's version, and for each kind the rows that its catalogue holds."""
    with closing(
        pymysql.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            autocommit=True,
            ssl_disabled=True,
            cursorclass=DictCursor,
        )
    ) as connection:
        asker = Asker(connection)
        asker.ask(PINNED)
        return asker.ask("SELECT VERSION() v")[0]["v"], asker.all()


def constraint(
    schema: str, table: str, name: str, kind: str, columns: Any = (), definition: str = ""
) -> Row:
    return {
        "schema_name": schema,
        "relation_name": table,
        "constraint_name": name,
        "kind": kind,
        "columns": list(columns),
        **dict.fromkeys(("referenced_schema", "referenced_relation", "on_update", "on_delete")),
        "referenced_columns": [],
        "definition": definition,
    }


def action(flags: int, none: int | None = None) -> str:
    """Bits of InnoDB: 1 cascade, 2 set null; 16 no action, 32 for updates."""
    if flags & 1:
        return "CASCADE"
    if flags & 2:
        return "SET NULL"
    return "NO ACTION" if (flags if none is None else none) & 16 else "RESTRICT"


def filename(text: str) -> tuple[str, str]:
    schema, _, name = text.partition("/")
    decoded = [re.sub("@([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), t) for t in (schema, name)]
    return decoded[0], decoded[1]


def parts(create: str) -> list[str]:
    """What stands between the outer brackets, one column, key or check each."""
    masked = mask(create)
    start = masked.find("(\n") + 2
    if start == 1 or not create.startswith("CREATE TABLE"):
        return []
    end = masked.index("\n)", start)
    found, place = [], start
    for comma in [m.start() for m in re.finditer(",\n", masked[start:end])]:
        found.append(create[place : start + comma].strip())
        place = start + comma + 2
    return [*found, create[place:end].strip()]


def mask(text: str) -> str:
    """The same length, with nothing in quotes."""
    return _QUOTED.sub(lambda m: m[0][0] + "x" * (len(m[0]) - 2) + m[0][-1], text)


def expression(line: str) -> tuple[str | None, str | None]:
    """The default, or what a column is generated from, and how."""
    masked = mask(line)
    end = re.search(r" (?:COMMENT '|CHECK \(|WITHOUT SYSTEM VERSIONING)", masked)
    line, masked = (line[: end.start()], masked[: end.start()]) if end else (line, masked)
    made = re.search(r" GENERATED ALWAYS AS \(", masked)
    if made:
        close = masked.rindex(")")
        word = masked[close + 1 :].split()
        return line[made.end() : close], word[0]
    period = re.search(r" GENERATED ALWAYS AS (ROW \w+)", masked)
    if period:
        return period[1], "STORED"
    update = re.search(r" ON UPDATE (\S+)", masked)
    default = re.search(r" DEFAULT (.*?)( ON UPDATE \S+)?$", masked, re.DOTALL)
    text = line[default.start(1) : default.end(1)] if default else None
    text = None if text == "NULL" else text
    return (f"{text or 'NULL'} ON UPDATE {update[1]}" if update else text), None


def of_view(default: str | None, type_: str) -> str | None:
    """SHOW COLUMNS takes the quotes off a constant."""
    if default is None or default == "NULL":
        return None
    plain = re.match(r"(?:tiny|small|medium|big)?int|decimal|double|float|bit", type_)
    if plain or default.endswith(")") or default.startswith("("):
        return default
    return "'" + default.replace("'", "''") + "'"


def returned(text: str) -> str:
    return re.sub(r" CHARSET \w+( COLLATE \w+)?", "", text)


def q(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def bare(text: str) -> str:
    return text[1:-1].replace("``", "`")


def unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'").replace("\\\\", "\\")
