"""Which grants a role lacks for what our statements use.

Asks about names only, so that it works where the catalogue itself is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from extraction.catalog import KINDS
from extraction.connection import Note
from extraction.sources import postgresql_sql as sql

_FUNCTIONS = (
    "format_type(oid,integer)",
    "pg_get_constraintdef(oid)",
    "pg_get_expr(pg_node_tree,oid)",
    "pg_get_function_arguments(oid)",
    "pg_get_function_result(oid)",
    "pg_get_functiondef(oid)",
    "pg_get_indexdef(oid)",
    "pg_get_indexdef(oid,integer,boolean)",
    "pg_get_triggerdef(oid)",
    "pg_get_userbyid(oid)",
    "pg_get_viewdef(oid)",
    "pg_stat_get_last_analyze_time(oid)",
    "pg_stat_get_last_autoanalyze_time(oid)",
)
_ALSO_READ = {
    "columns": sql.TYPES,
    "constraints": sql.read("attributes", 0) + sql.TYPES + sql.KEYWORDS,
    "indexes": sql.read("attributes", 0)
    + sql.TYPES
    + sql.OPERATOR_CLASSES
    + sql.DEFINITIONS
    + sql.KEYWORDS,
}
GRANTS = """
select 'GRANT SELECT ON pg_catalog.' || quote_ident(u.name) || ' TO ' || quote_ident(current_user)
  || ';'
from unnest(%(tables)s::text[]) u (name)
where not has_table_privilege(to_regclass('pg_catalog.' || quote_ident(u.name)), 'SELECT')
union all
select 'GRANT EXECUTE ON FUNCTION pg_catalog.' || u.name || ' TO ' || quote_ident(current_user)
  || ';'
from unnest(%(functions)s::text[]) u (name)
where not has_function_privilege(to_regprocedure('pg_catalog.' || u.name), 'EXECUTE')
"""

# Relations only where the schema lets in: elsewhere their own rights say nothing.
LACKS = """
(select 'USAGE', n.nspname, '', count(*) over () from pg_namespace n
 where n.nspname = any (%(schemas)s::text[]) and not has_schema_privilege(n.oid, 'USAGE')
 order by n.nspname collate "C" limit %(most)s)
union all
(select 'SELECT', n.nspname, c.relname, count(*) over ()
 from pg_namespace n join pg_class c on c.relnamespace = n.oid
 where n.nspname = any (%(schemas)s::text[]) and has_schema_privilege(n.oid, 'USAGE')
 and c.relkind in ('r', 'p', 'v', 'm', 'f') and not has_table_privilege(c.oid, 'SELECT')
 order by n.nspname collate "C", c.relname collate "C" limit %(most)s)
"""
_MOST_NAMES = 20
_SAID = {
    "USAGE": "The role has no USAGE on these schemas.",
    "SELECT": "The role has no SELECT on these relations.",
}


def lacks(fetch: Callable[..., list[tuple[Any, ...]]], schemas: Sequence[str]) -> list[Note]:
    found = fetch(LACKS, schemas=list(schemas), most=_MOST_NAMES)
    notes = []
    for right, said in _SAID.items():
        rows = [row[1:] for row in found if row[0] == right]
        if rows:
            names = [f"{schema}.{name}" if name else schema for schema, name, _ in rows]
            notes.append(Note(said, rows[0][2], names))
    return notes


def uses(of: str, version: int) -> tuple[list[str], list[str]]:
    """Tables of the catalogue and functions that reading `of` needs: a kind, or a sort of the
    inventory, which has the same name."""
    texts = [sql.read(of, version) + _ALSO_READ.get(of, "")] if of in KINDS else []
    texts += [part[of] for part in (sql.INVENTORY, sql.BY_ID) if of in part]
    words = set(re.findall(r"\b(?:pg|format)_\w+", " ".join(texts)))
    functions = [name for name in _FUNCTIONS if name.partition("(")[0] in words]
    return sorted(word for word in words if word.startswith("pg_")), functions
