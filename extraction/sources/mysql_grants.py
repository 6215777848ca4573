"""What a user's grants prove about what MySQL and MariaDB hide.

Both list only what a user may touch, and say nothing of the rest. So a scope is whole only
where a right on the whole schema, or on all of them, shows everything of a kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from extraction.connection import Unseen
from extraction.sources.mysql_sql import SYSTEM_SCHEMAS, quoted

_QUOTED = re.compile(r"`((?:[^`]|``)*)`")
_GRANT = re.compile(
    r"(GRANT|REVOKE) (.+?) ON (?:(TABLE|FUNCTION|PROCEDURE|PACKAGE(?: BODY)?) )?(\S+)\.(\S+) (?:TO|FROM) "
)
_COLUMNS = re.compile(r"\([^)]*\)")

# Any of these on a table shows its columns.
OF_COLUMNS = frozenset({"SELECT", "INSERT", "UPDATE", "REFERENCES"})
# MariaDB gives the rules of foreign keys to those only who may do more than read.
BEYOND_SELECT = frozenset(
    {
        *("INSERT", "UPDATE", "DELETE", "REFERENCES", "SHOW VIEW", "TRIGGER", "ALTER"),
        *("INDEX", "DROP", "CREATE", "CREATE VIEW", "DELETE HISTORY"),
    }
)
ON_SCHEMAS = OF_COLUMNS | BEYOND_SELECT | {"SHOW DATABASES"}
PER_RELATION = ("relations", "columns", "constraints", "indexes", "statistics", "dependencies")


@dataclass
class Grants:
    """Rights on everything, on schemas by grantee and pattern, on tables; what was taken back of
    the first."""

    everywhere: set[str] = field(default_factory=set)
    schemas: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    tables: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    revoked: dict[str, set[str]] = field(default_factory=dict)

    def on(self, schema: str) -> set[str]:
        """What holds for all of a schema."""
        held = set(self.everywhere) - self.revoked.get(schema, set())
        for patterns in self.schemas.values():
            found = _nearest(patterns, schema)
            held |= patterns[found] if found is not None else set()
        return held

    def replaced(self, who: str, schema: str) -> set[str]:
        """What a grant on the schema by its name would take away: of the patterns that match,
        the server obeys the nearest alone."""
        patterns = self.schemas.get(who, {})
        found = _nearest(patterns, schema)
        return set() if found in (None, escaped(schema)) else patterns[found or ""]

    def on_table(self, schema: str, table: str) -> set[str]:
        return self.on(schema) | self.tables.get((schema, table), set())


def parsed(lines: Iterable[str]) -> Grants:
    """From the lines of SHOW GRANTS, which name the password's hash too: they go no further."""
    grants = Grants()
    for line in lines:
        names = [name.replace("``", "`") for name in _QUOTED.findall(line)]
        found = _GRANT.match(_QUOTED.sub("`", line))
        if found is None or found[3] not in (None, "TABLE") or found[2] == "PROXY":
            continue
        rights = _rights(found[2])
        # Columns that rights are given on stand before the names.
        names = names[found[2].count("`") :]
        if found[4] == "*":
            grants.everywhere |= rights
        elif found[1] == "REVOKE":
            schema = names[0] if found[4] == "`" else found[4]
            grants.revoked.setdefault(schema, set()).update(rights)
        elif found[4] != "`" or found[5] not in ("*", "`"):
            continue  # Names that are not quoted prove nothing.
        elif found[5] == "*":
            held = grants.schemas.setdefault("@".join(map(quoted, names[1:3])), {})
            held.setdefault(names[0], set()).update(rights)
        else:
            grants.tables.setdefault((names[0], names[1]), set()).update(rights)
    return grants


def _rights(text: str) -> set[str]:
    """Those on single columns prove nothing."""
    words = {word.strip().upper() for word in _COLUMNS.sub("()", text).split(",")}
    rights = {word for word in words if not word.endswith("()")}
    if rights & {"ALL", "ALL PRIVILEGES"}:
        rights |= ON_SCHEMAS | {"SHOW_ROUTINE", "SHOW CREATE ROUTINE", "PROCESS"}
    return rights


def _nearest(patterns: Iterable[str], schema: str) -> str | None:
    """The one with the most characters before its first wildcard."""
    matching = [pattern for pattern in patterns if _like(pattern).fullmatch(schema)]
    return max(matching, key=_plain_length, default=None)


def _plain_length(pattern: str) -> int:
    found = re.match(r"(?:\\.|[^%_\\])*", pattern, re.DOTALL)
    length = found.end() if found else 0
    return 10_000 if length == len(pattern) else length


def _like(name: str) -> re.Pattern[str]:
    pieces = re.findall(r"\\.|.", name, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return re.compile("".join(wild.get(p, re.escape(p[-1])) for p in pieces), re.DOTALL)


@dataclass(frozen=True)
class Rights:
    """What a user may see. `who` is the account as GRANT names it."""

    grants: Grants
    who: str
    mariadb: bool
    number: tuple[int, int]

    @property
    def product(self) -> str:
        return "MariaDB" if self.mariadb else "MySQL"

    @property
    def all_schemas(self) -> bool:
        """Whether every schema is listed."""
        hidden = [s for s in self.grants.revoked if s not in SYSTEM_SCHEMAS]
        return bool(self.grants.everywhere & ON_SCHEMAS) and not hidden

    def lacking(self, kind: str, schema: str, texts: bool) -> list[str]:
        """Rights on a schema without which something of the kind may be hidden; `texts`: it has
        views, whose text asks for more."""
        held = self.grants.on(schema)
        if kind == "triggers":
            return [] if "TRIGGER" in held else ["TRIGGER"]
        if kind == "sequences":
            return [] if "SELECT" in held or not self.mariadb else ["SELECT"]
        if kind == "routines":
            return [] if self._sees_routines(held) else [self._routine_right()]
        if kind not in PER_RELATION:
            return []
        asks = texts and kind in ("relations", "dependencies")
        if not held & OF_COLUMNS or (asks and not {"SELECT", "SHOW VIEW"} <= held):
            return [right for right in ("SELECT", "SHOW VIEW") if right not in held]
        if kind == "constraints" and self.mariadb and not held & BEYOND_SELECT:
            return ["SHOW VIEW"]
        return []

    def _sees_routines(self, held: set[str]) -> bool:
        if not self.mariadb:
            return bool({"SHOW_ROUTINE", "SELECT"} & self.grants.everywhere)
        return "SHOW CREATE ROUTINE" in held or "SELECT" in self.grants.on_table("mysql", "proc")

    def _routine_right(self) -> str:
        if not self.mariadb:
            return "SHOW_ROUTINE"
        return "SHOW CREATE ROUTINE" if self.number >= (11, 3) else "SELECT on mysql.proc"

    def grant(self, rights: Sequence[str], schema: str | None) -> list[str]:
        """The statements that give rights on a schema, or on all of them."""
        lines = []
        plain = [r for r in rights if r not in ("SHOW_ROUTINE", "SELECT on mysql.proc")]
        if plain:
            where = "*.*"
            if schema is not None:
                where = f"{pattern(schema)}.*"
                plain = (
                    sorted(self.grants.replaced(self.who, schema) & (OF_COLUMNS | BEYOND_SELECT))
                    + plain
                )
                plain = list(dict.fromkeys(plain))
            lines.append(f"GRANT {', '.join(plain)} ON {where} TO {self.who};")
        if "SHOW_ROUTINE" in rights:
            lines.append(f"GRANT SHOW_ROUTINE ON *.* TO {self.who};")
        if "SELECT on mysql.proc" in rights and not (schema is None and "SELECT" in plain):
            lines.append(f"GRANT SELECT ON `mysql`.`proc` TO {self.who};")
        return lines

    def unseen(
        self,
        kinds: Sequence[str],
        schemas: Sequence[str],
        with_views: set[str],
        hidden: dict[str, int] | None,
        only: str,
    ) -> list[Unseen]:
        """`hidden` counts tables that the server has and does not list, by schema, where
        that is known; `only` is the schema that is asked for, if it is one."""
        found = [] if only or self.all_schemas else [self._schemas(kinds, hidden)]
        for kind in kinds:
            for schema in schemas:
                lacking = self.lacking(kind, schema, schema in with_views)
                if lacking:
                    found.append(self._scope(kind, schema, lacking, (hidden or {}).get(schema, 0)))
        return found

    def _schemas(self, kinds: Sequence[str], hidden: dict[str, int] | None) -> Unseen:
        rights = [r for kind in kinds for r in self.lacking(kind, "", True)]
        ordered = list(dict.fromkeys(rights)) or ["SHOW DATABASES"]
        told = ""
        if hidden is not None:
            others = len(hidden)
            told = f" InnoDB counts tables that are not listed in {others} schemas."
        return Unseen.mended_by(
            self.grant(ordered, None),
            "schemas",
            "",
            f"Whether there are schemas that are not listed cannot be known: {self.product} lists "
            f"those only that the user has a right on, and SHOW GRANTS shows none on all of them."
            f"{told} Without such a right, name the schema in the connection or in the selection.",
        )

    def _scope(self, kind: str, schema: str, lacking: Sequence[str], hidden: int) -> Unseen:
        told = f" InnoDB counts {hidden} tables there that are not listed." if hidden else ""
        return Unseen.mended_by(
            self.grant(lacking, schema),
            kind,
            schema,
            f"Whether all {kind} of this schema are here cannot be known: {self.product} shows "
            f"them whole only to a user with {' and '.join(lacking)}, and SHOW GRANTS does not "
            f"list that.{told}",
        )


def escaped(schema: str) -> str:
    return re.sub(r"([\\_%])", r"\\\1", schema)


def pattern(schema: str) -> str:
    """In a GRANT a schema's name is a pattern."""
    return quoted(escaped(schema))


def account(user: str) -> str:
    """`user@host`, as CURRENT_USER() gives it, as GRANT takes it."""
    name, _, host = user.rpartition("@")
    return f"{quoted(name)}@{quoted(host)}"
