"""Which grants a role lacks for what our statements use.

Asks about names only, so that it works where the catalogue itself is refused.
"""

from __future__ import annotations

import re

from extraction.catalog import KINDS
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


def uses(of: str, version: int) -> tuple[list[str], list[str]]:
    """Tables of the catalogue and functions that reading `of` needs: a kind, or a sort of the
    inventory, which has the same name."""
    texts = [sql.read(of, version) + _ALSO_READ.get(of, "")] if of in KINDS else []
    texts += [part[of] for part in (sql.INVENTORY, sql.BY_ID) if of in part]
    words = set(re.findall(r"\b(?:pg|format)_\w+", " ".join(texts)))
    functions = [name for name in _FUNCTIONS if name.partition("(")[0] in words]
    return sorted(word for word in words if word.startswith("pg_")), functions
