"""The statements that read a SQLite file, library 3.37 or newer.

The one parameter is a JSON array of rowids of sqlite_schema, which name what a batch
holds: a name that is no UTF-8 could not be sent back. A row begins with the name of what
it belongs to. `pragma_table_list` walks through all tables each time it is called, so it is
called once a statement.
"""

# ruff: noqa: S608
from __future__ import annotations

_BATCH = "select value from json_each(?)"
_OWN = "substr(lower(name), 1, 7) <> 'sqlite_'"
_TABLES = "json_each(?) j cross join sqlite_schema m on m.rowid = j.value"
_NAMES = f"(select name from sqlite_schema where rowid in ({_BATCH}))"

_RELATIONS = """
select 'main', m.name, m.rowid, max(l.ncol, 0)
from pragma_table_list l
cross join sqlite_schema m on m.name = l.name and m.type in ('table', 'view')
where l.schema = 'main' and substr(lower(l.name), 1, 7) <> 'sqlite_'
"""
INVENTORY = {"schemas": "select 'main', '', 0, 0", "relations": _RELATIONS}
BY_ID = f"""
select 'main', name, rowid, 0 from sqlite_schema
where rowid in ({_BATCH}) and type in ('table', 'view') and {_OWN}
"""
BY_NAME = f"""
select 'main', name, rowid, 0 from sqlite_schema
where name in ({_BATCH}) and type in ('table', 'view') and {_OWN}
"""

READ = {
    "schemas": "select 'main', null, null from json_each(?)",
    "relations": f"""
with batch as materialized (select m.name, m.type, m.sql from {_TABLES})
select m.name, l.type, case when m.type = 'view' then m.sql end
from pragma_table_list l cross join batch m on m.name = l.name
where l.schema = 'main'
""",
    # Where a key's one column is INTEGER it is the rowid itself, unless an index is kept
    # for the key: WITHOUT ROWID, or DESC, which an old version took for another type.
    "columns": f"""
select m.name, x.cid, x.name, x.type, x."notnull", x.dflt_value, x.pk, x.hidden,
  case when x.pk = 1 and x.type = 'INTEGER' collate nocase and not (
      (m.sql like '%desc%' or m.sql like '%without%') and exists (
        select 1 from pragma_index_list(m.name, 'main') where origin = 'pk'))
    then 1 else 0 end,
  case when x.hidden in (2, 3) or (x.cid = 0 and m.sql like '%collate%'
    and m.sql not like 'create virtual%') then m.sql end
from {_TABLES}
cross join pragma_table_xinfo(m.name, 'main') x
""",
    # A table, the kind of its constraint, its number, the place of a column in it, the column; for
    # a foreign key also where it leads. The table's own text and columns where that says more.
    "constraints": f"""
with batch as materialized (
  select m.name, m.sql from {_TABLES} where m.type = 'table'
)
select m.name, 'primary_key', 0, x.pk, x.name, null, null, null, null
from batch m cross join pragma_table_xinfo(m.name, 'main') x where x.pk > 0
union all
select m.name, 'unique', l.seq, x.seqno, x.name, null, null, null, null
from batch m cross join pragma_index_list(m.name, 'main') l
cross join pragma_index_xinfo(l.name, 'main') x where l.origin = 'u' and x.key = 1
union all
select m.name, 'foreign_key', f.id, f.seq, f."from", f."table", coalesce((
    select x.name from pragma_table_xinfo(f."table", 'main') x
    where case when f."to" is null then x.pk = f.seq + 1
      else x.name = f."to" collate nocase end), f."to"),
  f.on_update, f.on_delete
from batch m cross join pragma_foreign_key_list(m.name, 'main') f
union all
select m.name, 'column', 0, x.cid, x.name, null, null, null, null
from batch m cross join pragma_table_xinfo(m.name, 'main') x where m.sql like '%check%'
union all
select m.name, 'text', 0, 0, m.sql, null, null, null, null
from batch m
where (m.sql like '%constraint%' or m.sql like '%check%' or m.sql like '%deferr%')
  and m.sql not like 'create virtual%'
""",
    "indexes": f"""
select i.tbl_name, i.name, x.seqno, x.cid, x.name, case when x.seqno = 0 then i.sql end
from sqlite_schema i cross join pragma_index_xinfo(i.name, 'main') x
where i.type = 'index' and i.tbl_name in {_NAMES} and x.key = 1
""",
    "triggers": f"""
select tbl_name, name, sql from sqlite_schema where type = 'trigger' and tbl_name in {_NAMES}
""",
    "statistics": f"""
select m.name, null from {_TABLES} where m.type = 'table'
""",
}
# Only where ANALYZE was ever run.
ANALYZED = f"""
select m.name, (select s.stat from sqlite_stat1 s where s.tbl = m.name and s.stat <> '' limit 1)
from {_TABLES} where m.type = 'table'
"""
HAS_ANALYZED = "select 1 from sqlite_schema where name = 'sqlite_stat1'"
TABLE_NAMES = "select name from sqlite_schema where type in ('table', 'view')"

PIN = ("query_only = 1", "trusted_schema = 0", "cell_size_check = 1", "mmap_size = 0")
