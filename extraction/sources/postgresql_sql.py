"""The statements that read PostgreSQL's catalogue, for versions 12 to 18.

A row begins with the id of what it belongs to, whose names the session knows; the
other columns come in the order of extraction/catalog.py. Rows come in no particular
order: names of one database sort differently in other encodings, so the session
sorts. The texts are built from constants of this file. `%(ids)s` is an array of object ids.
"""

# ruff: noqa: S608
from __future__ import annotations

from collections.abc import Iterable

COMMENT_LIMIT = 65_536

_RELATIONS = "('r', 'p', 'v', 'm', 'f')"
_USER_SCHEMA = "left(n.nspname, 3) <> 'pg_' and n.nspname <> 'information_schema'"
IDS = "(%(ids)s::oid[])"


def _comment(source: str) -> str:
    """A comment cut in the server, where it may be hundreds of megabytes long."""
    return (
        f"case when length({source}) <= {COMMENT_LIMIT} then {source} "
        f"else left({source}, {COMMENT_LIMIT}) || ' [cut]' end"
    )


def _attribute(relation: str, number: str) -> str:
    """One name by its key: joined, the planner would read whole tables for it."""
    return (
        f"(select a.attname::text from pg_attribute a where a.attrelid = {relation} "
        f"and a.attnum = {number})"
    )


_ACTIONS = (
    "when 'a' then 'NO ACTION' when 'r' then 'RESTRICT' when 'c' then 'CASCADE' "
    "when 'n' then 'SET NULL' when 'd' then 'SET DEFAULT'"
)

_NAMES = {
    "schemas": (
        "n.nspname, '', n.oid::int8, 0",
        "pg_namespace n where true",
        "n.oid",
    ),
    "relations": (
        "n.nspname, c.relname, c.oid::int8, c.relnatts",
        f"pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in {_RELATIONS}",
        "c.oid",
    ),
    "sequences": (
        "n.nspname, c.relname, c.oid::int8, 0",
        "pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'S'",
        "c.oid",
    ),
    "routines": (
        "n.nspname, p.proname, p.oid::int8, 0",
        "pg_proc p join pg_namespace n on n.oid = p.pronamespace where true",
        "p.oid",
    ),
}

_NAME_COLUMN = {
    "schemas": "''",
    "relations": "c.relname",
    "sequences": "c.relname",
    "routines": "p.proname",
}

INVENTORY = {
    per: f"select {columns} from {source} and {_USER_SCHEMA}"
    for per, (columns, source, _) in _NAMES.items()
}
BY_ID = {
    per: f"select {columns} from {source} and {oid} = any {IDS}"
    for per, (columns, source, oid) in _NAMES.items()
}
# Whether what was listed is still there under its name, without sending the names about.
DIGEST = {
    per: (
        f"select encode(sha256(convert_to(string_agg(concat_ws(' ', {oid}, n.nspname, "
        f"{_NAME_COLUMN[per]}), e'\\n' order by {oid}), 'UTF8')), 'hex') "
        f"from {source} and {oid} = any {IDS}"
    )
    for per, (_, source, oid) in _NAMES.items()
}
BY_NAME = {
    per: (
        f"select {columns} from {source} and (n.nspname::text, {_NAME_COLUMN[per]}::text) in "
        "(select * from unnest(%(schemas)s::text[], %(names)s::text[]))"
    )
    for per, (columns, source, _) in _NAMES.items()
}

# Properties that make a definition more than names, by the version that brought them.
_BEFORE = {"odd_index": "", "odd_key": "", "odd_foreign_key": ""}
_SINCE_15 = {
    "odd_index": "or i.indnullsnotdistinct",
    "odd_key": "or x.indnullsnotdistinct",
    "odd_foreign_key": "or k.confdelsetcols is not null",
}
_SINCE_18 = {
    "odd_index": _SINCE_15["odd_index"],
    "odd_key": _SINCE_15["odd_key"] + " or k.conperiod",
    "odd_foreign_key": _SINCE_15["odd_foreign_key"] + " or k.conperiod or not k.conenforced",
}

_PIECES = ((180_000, _SINCE_18), (150_000, _SINCE_15), (0, _BEFORE))

# Columns that only a few rows fill say in SQL what the session cannot put together itself:
# names of key columns that are expressions, definitions with options, predicates.
_READ = {
    "schemas": f"""
select n.oid::int8, pg_get_userbyid(n.nspowner), {_comment("d.description")}
from pg_namespace n
left join pg_description d
  on d.objoid = n.oid and d.classoid = 'pg_namespace'::regclass and d.objsubid = 0
where n.oid = any {IDS}
""",
    "relations": f"""
select c.oid::int8,
  case c.relkind when 'r' then 'table' when 'p' then 'partitioned_table' when 'v' then 'view'
    when 'm' then 'materialized_view' else 'foreign_table' end,
  {_comment("d.description")},
  case when c.relkind in ('v', 'm') then coalesce(pg_get_viewdef(c.oid), '') end,
  pg_get_userbyid(c.relowner),
  case when c.relispartition then (
    select format('%I.%I', pn.nspname, pc.relname)
    from pg_inherits i join pg_class pc on pc.oid = i.inhparent
      join pg_namespace pn on pn.oid = pc.relnamespace
    where i.inhrelid = c.oid limit 1) end
from pg_class c
left join pg_description d
  on d.objoid = c.oid and d.classoid = 'pg_class'::regclass and d.objsubid = 0
where c.oid = any {IDS}
""",
    # A default holds no column, so it is deparsed without opening its table: 5 times
    # cheaper. Collation 100 is the database's own.
    "columns": f"""
select a.attrelid::int8, a.attnum, a.attname, a.atttypid::int8, a.atttypmod, a.attcollation::int8,
  not a.attnotnull,
  case when a.atthasdef then (
    select pg_get_expr(f.adbin, case when a.attgenerated = '' then 0 else f.adrelid end)
    from pg_attrdef f where f.adrelid = a.attrelid and f.adnum = a.attnum) end,
  case a.attidentity when 'a' then 'ALWAYS' when 'd' then 'BY DEFAULT' end,
  case a.attgenerated when 's' then 'STORED' when 'v' then 'VIRTUAL' end,
  case when a.attcollation not in (0, 100) then (
    select o.collname from pg_collation o join pg_type t on t.typcollation <> o.oid
    where o.oid = a.attcollation and t.oid = a.atttypid) end,
  {_comment("d.description")}
from pg_attribute a
left join pg_description d
  on d.objoid = a.attrelid and d.classoid = 'pg_class'::regclass and d.objsubid = a.attnum
where a.attrelid = any {IDS} and a.attnum > 0 and not a.attisdropped
""",
    # Names of the columns alone, for keys of relations whose columns nobody asked for.
    "attributes": f"""
select a.attrelid::int8, a.attnum, a.attname, a.atttypid::int8, a.atttypmod, a.attcollation::int8
from pg_attribute a
where a.attrelid = any {IDS} and a.attnum > 0 and not a.attisdropped
""",
    "constraints": f"""
select k.conrelid::int8, k.conname,
  case k.contype when 'p' then 'primary_key' when 'u' then 'unique' when 'f' then 'foreign_key'
    when 'c' then 'check' else 'exclusion' end,
  array_to_string(k.conkey, ' '),
  case when 0 >= any (k.conkey) then array(
    select coalesce({_attribute("k.conrelid", "u.number")},
      pg_get_indexdef(k.conindid, u.position::int, false))
    from unnest(k.conkey) with ordinality u(number, position)
    where u.number <> 0 or k.contype = 'x' order by u.position) end,
  rn.nspname, rc.relname,
  array(select {_attribute("k.confrelid", "u.number")}
    from unnest(k.confkey) with ordinality u(number, position) order by u.position),
  case when k.contype = 'f' then case k.confupdtype {_ACTIONS} end end,
  case when k.contype = 'f' then case k.confdeltype {_ACTIONS} end end,
  case when case
      when k.contype in ('p', 'u') then
        k.condeferrable or x.indnkeyatts <> x.indnatts {{odd_key}}
      when k.contype = 'f' then
        k.condeferrable or not k.convalidated or k.confmatchtype <> 's' {{odd_foreign_key}}
      else true end
    then coalesce(pg_get_constraintdef(k.oid), '') end
from pg_constraint k
left join pg_index x on x.indexrelid = k.conindid and k.contype in ('p', 'u')
left join pg_class rc on rc.oid = k.confrelid
left join pg_namespace rn on rn.oid = rc.relnamespace
where k.conrelid = any {IDS} and k.contype in ('p', 'u', 'f', 'c', 'x')
""",
    "indexes": f"""
select i.indrelid::int8, i.indexrelid::int8, ic.relname, i.indkey, i.indclass, i.indcollation,
  case when i.indexprs is not null or i.indnkeyatts <> i.indnatts then array(
    select coalesce({_attribute("i.indrelid", "u.number")},
      pg_get_indexdef(i.indexrelid, u.position::int, false))
    from unnest(i.indkey::int2[]) with ordinality u(number, position)
    where u.position <= i.indnkeyatts order by u.position) end,
  i.indisunique, m.amname, pg_get_expr(i.indpred, i.indrelid),
  case when i.indexprs is not null or i.indpred is not null or i.indnkeyatts <> i.indnatts
      or ic.reloptions is not null or ic.relkind <> 'i' or i.indoption::text ~ '[1-9]' {{odd_index}}
      or (m.amname <> 'btree' and exists (select from pg_attribute a
        where a.attrelid = i.indexrelid and a.attoptions is not null))
    then coalesce(pg_get_indexdef(i.indexrelid), '') end
from pg_index i
join pg_class ic on ic.oid = i.indexrelid
join pg_am m on m.oid = ic.relam
where i.indrelid = any {IDS}
""",
    "routines": f"""
select p.oid::int8,
  case p.prokind when 'f' then 'function' when 'p' then 'procedure' when 'a' then 'aggregate'
    else 'window' end,
  l.lanname, coalesce(pg_get_function_arguments(p.oid), '???'), pg_get_function_result(p.oid),
  case when p.prokind <> 'a' then coalesce(pg_get_functiondef(p.oid), '') end,
  {_comment("d.description")}
from pg_proc p
join pg_language l on l.oid = p.prolang
left join pg_description d
  on d.objoid = p.oid and d.classoid = 'pg_proc'::regclass and d.objsubid = 0
where p.oid = any {IDS}
""",
    "sequences": f"""
select s.seqrelid::int8, format_type(s.seqtypid, null), s.seqstart, s.seqincrement,
  (select format('%I.%I.%I', tn.nspname, t.relname, a.attname)
    from pg_depend d
    join pg_class t on t.oid = d.refobjid
    join pg_namespace tn on tn.oid = t.relnamespace
    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    where d.classid = 'pg_class'::regclass and d.objid = s.seqrelid and d.objsubid = 0
      and d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0 and d.deptype in ('a', 'i')
    limit 1)
from pg_sequence s
where s.seqrelid = any {IDS}
""",
    "triggers": f"""
select t.tgrelid::int8, t.tgname,
  case when t.tgtype::int & 64 <> 0 then 'INSTEAD OF' when t.tgtype::int & 2 <> 0 then 'BEFORE'
    else 'AFTER' end,
  array_remove(array[
    case when t.tgtype::int & 4 <> 0 then 'INSERT' end,
    case when t.tgtype::int & 8 <> 0 then 'DELETE' end,
    case when t.tgtype::int & 16 <> 0 then 'UPDATE' end,
    case when t.tgtype::int & 32 <> 0 then 'TRUNCATE' end], null),
  coalesce(pg_get_triggerdef(t.oid), ''),
  case t.tgenabled when 'O' then 'origin' when 'D' then 'disabled' when 'R' then 'replica'
    else 'always' end
from pg_trigger t
where t.tgrelid = any {IDS} and not t.tgisinternal
""",
    # What is built into the server is not recorded: a view of pg_class depends on nothing.
    "dependencies": f"""
select distinct r.ev_class::int8, rn.nspname::text, rc.relname::text, a.attname::text, 'catalogue'
from pg_rewrite r
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
  and d.refclassid = 'pg_class'::regclass and d.deptype = 'n' and d.refobjid <> r.ev_class
join pg_class rc on rc.oid = d.refobjid and rc.relkind in {_RELATIONS}
join pg_namespace rn on rn.oid = rc.relnamespace
left join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid and a.attnum <> 0
where r.ev_class = any {IDS} and r.rulename = '_RETURN'
""",
    # A partitioned table has no pages of its own (-1). Before 14 an empty estimate and one never made look the same.
    "statistics": f"""
select c.oid::int8,
  case when c.reltuples < 0 or (c.relpages = 0 and c.reltuples = 0
      and current_setting('server_version_num')::int < 140000) then null
    else round(c.reltuples)::int8 end,
  case when c.relpages >= 0 then c.relpages::int8 * current_setting('block_size')::int8 end,
  (extract(epoch from greatest(pg_stat_get_last_analyze_time(c.oid),
    pg_stat_get_last_autoanalyze_time(c.oid))) * 1000000)::int8
from pg_class c
where c.oid = any {IDS} and c.relkind <> 'v'
""",
}


def with_ids(statement: str, ids: Iterable[int]) -> str:
    """A literal instead of the parameter: nothing is dearer than to adapt thousands of numbers."""
    return statement.replace(IDS, f"('{{{','.join(map(str, ids))}}}'::oid[])")


def read(kind: str, version: int) -> str:
    """The statement for a kind; `version` is the server's server_version_num."""
    since = next(pieces for number, pieces in _PIECES if version >= number)
    return _READ[kind].format(**since)


# A type by its text, and what it is in the end: domains are followed to their base.
TYPES = """
with recursive step as (
  select u.type as asked, u.mod as asked_mod, u.type, u.mod
  from unnest(%(types)s::oid[], %(mods)s::int4[]) u (type, mod)
  union all
  select s.asked, s.asked_mod, t.typbasetype,
    case when t.typtypmod >= 0 then t.typtypmod else s.mod end
  from step s join pg_type t on t.oid = s.type where t.typtype = 'd'
)
select s.asked::int8, s.asked_mod, format_type(s.asked, s.asked_mod), format_type(s.type, s.mod),
  n.nspname = 'pg_catalog', t.typname::text, t.typtype::text, t.typcategory::text,
  case when t.typcategory = 'A' then t.typelem::int8 else 0 end
from step s
join pg_type t on t.oid = s.type
join pg_namespace n on n.oid = t.typnamespace
where t.typtype <> 'd'
"""
OPERATOR_CLASSES = """
select oid::int8, opcintype::int8 from pg_opclass where opcdefault and oid = any (%(ids)s::oid[])
"""
DEFINITIONS = """
select indexrelid::int8, pg_get_indexdef(indexrelid) from pg_index
where indexrelid = any (%(ids)s::oid[])
"""
# What quote_ident puts in quotes though its letters would not need it.
KEYWORDS = "select word from pg_get_keywords() where catcode <> 'U'"

# As pg_dump pins a session, so that the same catalogue gives the same text. The
# planner is kept on the catalogue's indexes: a batch must cost what it holds, not
# what the whole catalogue holds.
PIN = """
select set_config('search_path', '', false), set_config('timezone', 'UTC', false),
  set_config('datestyle', 'ISO, YMD', false), set_config('intervalstyle', 'postgres', false),
  set_config('extra_float_digits', '3', false), set_config('bytea_output', 'hex', false),
  set_config('standard_conforming_strings', 'on', false),
  set_config('quote_all_identifiers', 'off', false), set_config('xmlbinary', 'base64', false),
  set_config('synchronize_seqscans', 'off', false), set_config('row_security', 'off', false),
  set_config('statement_timeout', %(statement_timeout)s, false),
  set_config('lock_timeout', %(lock_timeout)s, false),
  set_config('idle_in_transaction_session_timeout', '60s', false),
  set_config('default_transaction_read_only', 'on', false),
  set_config('jit', 'off', false), set_config('max_parallel_workers_per_gather', '0', false),
  set_config('enable_seqscan', 'off', false), set_config('random_page_cost', '1.1', false)
"""
# An inventory reads all there is: by an index that costs twenty times as much.
WHOLE_SCANS = "select set_config('enable_seqscan', 'on', false)"
WATCH_CLIENT = "select set_config('client_connection_check_interval', '1000', false)"

WHO = """
select pg_backend_pid(), current_setting('server_version'),
  current_setting('server_version_num')::int, current_setting('server_encoding'),
  current_database(), (select oid::int8 from pg_database where datname = current_database())
"""
SYSTEM = "select system_identifier::text from pg_control_system()"

END_SIBLINGS = """
select pid, pg_terminate_backend(pid) from pg_stat_activity
where application_name = current_setting('application_name') and usename = current_user
  and datname = current_database() and pid <> pg_backend_pid()
  and backend_start < (select backend_start from pg_stat_activity where pid = pg_backend_pid())
"""
STILL_THERE = "select count(*) from pg_stat_activity where pid = any (%(ids)s::int[])"
