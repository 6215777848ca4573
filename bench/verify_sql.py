"""What a snapshot must hold, asked of PostgreSQL a second time.

Written from the PostgreSQL manual (system catalogs, information schema, system
information functions) and from the snapshot contract; the engine's own SQL is not
consulted, so that a shared mistake is unlikely. Columns are named as the contract
names them. Run as superuser, with an empty search_path.
"""

from __future__ import annotations

_USER_SCHEMA = "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
_USER_RELATION = f"c.relkind IN ('r', 'v', 'm', 'f', 'p') AND {_USER_SCHEMA}"

SCHEMAS = f"""
SELECT n.nspname AS schema_name, r.rolname AS owner, d.description AS comment
FROM pg_catalog.pg_namespace n
JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
LEFT JOIN pg_catalog.pg_description d
  ON d.objoid = n.oid AND d.classoid = 'pg_catalog.pg_namespace'::regclass AND d.objsubid = 0
WHERE {_USER_SCHEMA}
"""

# Kinds of relations and view texts come from the information schema and the
# system views, not from relkind.
RELATIONS = f"""
SELECT n.nspname AS schema_name, c.relname AS relation_name,
  CASE
    WHEN p.partrelid IS NOT NULL THEN 'partitioned_table'
    WHEN v.viewname IS NOT NULL THEN 'view'
    WHEN m.matviewname IS NOT NULL THEN 'materialized_view'
    WHEN f.ftrelid IS NOT NULL THEN 'foreign_table'
    ELSE 'table'
  END AS kind,
  d.description AS comment,
  coalesce(v.definition, m.definition) AS definition,
  pg_catalog.pg_get_userbyid(c.relowner) AS owner,
  (SELECT quote_ident(pn.nspname) || '.' || quote_ident(pc.relname)
   FROM pg_catalog.pg_inherits i
   JOIN pg_catalog.pg_class pc ON pc.oid = i.inhparent
   JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
   WHERE i.inhrelid = c.oid AND c.relispartition) AS partition_of
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = c.oid
LEFT JOIN pg_catalog.pg_views v ON v.schemaname = n.nspname AND v.viewname = c.relname
LEFT JOIN pg_catalog.pg_matviews m ON m.schemaname = n.nspname AND m.matviewname = c.relname
LEFT JOIN pg_catalog.pg_foreign_table f ON f.ftrelid = c.oid
LEFT JOIN pg_catalog.pg_description d
  ON d.objoid = c.oid AND d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0
WHERE {_USER_RELATION}
"""

# A domain is what its base type is, however deep.
_LOGICAL = """
WITH RECURSIVE base (type, under, mod) AS (
  SELECT oid, typbasetype, typtypmod FROM pg_catalog.pg_type WHERE typtype = 'd'
  UNION ALL
  SELECT base.type, t.typbasetype, greatest(base.mod, t.typtypmod)
  FROM base JOIN pg_catalog.pg_type t ON t.oid = base.under
  WHERE t.typtype = 'd'
),
root (type, under, mod) AS (
  SELECT base.type, base.under, base.mod FROM base
  JOIN pg_catalog.pg_type t ON t.oid = base.under WHERE t.typtype <> 'd'
  UNION ALL SELECT oid, oid, -1 FROM pg_catalog.pg_type WHERE typtype <> 'd'
),
logical (type, under, mod, element, word) AS (
  SELECT root.type, root.under, root.mod, t.typelem,
    CASE
      WHEN t.typcategory = 'A' THEN 'array'
      WHEN t.typtype = 'e' THEN 'enum'
      WHEN t.typtype IN ('r', 'm') THEN 'range'
      WHEN t.typtype = 'c' THEN 'struct'
      WHEN t.typname IN ('int2', 'int4', 'int8', 'oid') THEN 'integer'
      WHEN t.typname IN ('numeric', 'money') THEN 'decimal'
      WHEN t.typname IN ('float4', 'float8') THEN 'float'
      WHEN t.typname IN ('time', 'timetz') THEN 'time'
      WHEN t.typname IN ('timestamp', 'timestamptz') THEN 'timestamp'
      WHEN t.typname IN ('date', 'interval', 'uuid', 'xml') THEN t.typname::text
      WHEN t.typname IN ('json', 'jsonb', 'jsonpath') THEN 'json'
      WHEN t.typname IN ('inet', 'cidr', 'macaddr', 'macaddr8') THEN 'network'
      WHEN t.typname IN ('tsvector', 'tsquery') THEN 'search'
      WHEN t.typname = 'bool' THEN 'boolean'
      WHEN t.typname = 'bytea' THEN 'binary'
      WHEN t.typcategory = 'V' THEN 'bits'
      WHEN t.typcategory = 'G' THEN 'geometry'
      WHEN t.typcategory = 'S' AND t.typname <> 'char' THEN 'string'
      ELSE 'other'
    END
  FROM root JOIN pg_catalog.pg_type t ON t.oid = root.under
)
"""

# The modifier of the type itself, or of the domain that sets it.
_MOD = "greatest(a.atttypmod, g.mod)"

COLUMNS = f"""
{_LOGICAL}
SELECT n.nspname AS schema_name, c.relname AS relation_name, a.attname AS column_name,
  a.attnum AS position,
  pg_catalog.format_type(a.atttypid, a.atttypmod) AS data_type,
  g.word AS logical_type,
  CASE WHEN g.word IN ('string', 'binary', 'bits')
    THEN information_schema._pg_char_max_length(g.under, {_MOD}) END AS type_length,
  CASE WHEN g.word = 'decimal' THEN information_schema._pg_numeric_precision(g.under, {_MOD})
    WHEN g.word IN ('time', 'timestamp', 'interval') AND {_MOD} >= 0
      AND NOT (g.word = 'interval' AND {_MOD} & 65535 = 65535)
    THEN information_schema._pg_datetime_precision(g.under, {_MOD}) END AS type_precision,
  CASE WHEN g.word = 'decimal' AND {_MOD} >= 4
    THEN ((({_MOD} - 4) & 2047) # 1024) - 1024 END AS type_scale,
  CASE WHEN g.word = 'array' THEN (WITH RECURSIVE inner_ (type, text) AS (
      SELECT g.element, ''
      UNION ALL
      SELECT i.element, inner_.text || 'array<' FROM inner_
      JOIN logical i ON i.type = inner_.type WHERE i.word = 'array'
    ) SELECT inner_.text || i.word || repeat('>', length(inner_.text) / 6)
      FROM inner_ JOIN logical i ON i.type = inner_.type WHERE i.word <> 'array') END AS type_items,
  NOT a.attnotnull AS nullable,
  pg_catalog.pg_get_expr(e.adbin, e.adrelid) AS "default",
  CASE a.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' END AS identity,
  CASE a.attgenerated WHEN 's' THEN 'STORED' WHEN 'v' THEN 'VIRTUAL' END AS generated,
  l.collname AS collation,
  pg_catalog.col_description(c.oid, a.attnum) AS comment
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
JOIN logical g ON g.type = a.atttypid
LEFT JOIN pg_catalog.pg_attrdef e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation AND a.attcollation <> t.typcollation
WHERE a.attnum > 0 AND NOT a.attisdropped AND {_USER_RELATION}
"""

_NAMES_OF = """ARRAY(SELECT a.attname::text FROM unnest({key}) WITH ORDINALITY AS part(attnum, place)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = {relation} AND a.attnum = part.attnum
  ORDER BY part.place)"""

# The keys of an index: names of columns as they are, expressions as text.
_PARTS = """ARRAY(SELECT coalesce(a.attname::text,
    pg_catalog.pg_get_indexdef(parts.indexrelid, place::int, false))
  FROM pg_catalog.pg_index parts
  CROSS JOIN LATERAL unnest(parts.indkey::int2[]) WITH ORDINALITY AS p(attnum, place)
  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = parts.indrelid AND a.attnum = p.attnum
  WHERE parts.indexrelid = {index} AND place <= parts.indnkeyatts ORDER BY place)"""

_ACTION = """CASE WHEN k.contype = 'f' THEN CASE k.{column} WHEN 'a' THEN 'NO ACTION'
  WHEN 'r' THEN 'RESTRICT' WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL'
  WHEN 'd' THEN 'SET DEFAULT' END END"""

CONSTRAINTS = f"""
SELECT n.nspname AS schema_name, c.relname AS relation_name, k.conname AS constraint_name,
  CASE k.contype WHEN 'p' THEN 'primary_key' WHEN 'u' THEN 'unique' WHEN 'f' THEN 'foreign_key'
    WHEN 'c' THEN 'check' WHEN 'x' THEN 'exclusion' END AS kind,
  CASE WHEN k.contype = 'x' THEN {_PARTS.format(index="k.conindid")}
    ELSE {_NAMES_OF.format(key="k.conkey", relation="k.conrelid")} END AS columns,
  fn.nspname AS referenced_schema, fc.relname AS referenced_relation,
  {_NAMES_OF.format(key="k.confkey", relation="k.confrelid")} AS referenced_columns,
  {_ACTION.format(column="confupdtype")} AS on_update,
  {_ACTION.format(column="confdeltype")} AS on_delete,
  pg_catalog.pg_get_constraintdef(k.oid) AS definition
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_class fc ON fc.oid = k.confrelid
LEFT JOIN pg_catalog.pg_namespace fn ON fn.oid = fc.relnamespace
WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND {_USER_SCHEMA}
"""

INDEXES = f"""
SELECT n.nspname AS schema_name, c.relname AS relation_name, i.relname AS index_name,
  {_PARTS.format(index="x.indexrelid")} AS columns,
  x.indisunique AS "unique", m.amname AS method,
  pg_catalog.pg_get_expr(x.indpred, x.indrelid) AS predicate,
  pg_catalog.pg_get_indexdef(x.indexrelid) AS definition
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class c ON c.oid = x.indrelid
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = i.relam
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {_USER_SCHEMA}
"""

ROUTINES = f"""
SELECT n.nspname AS schema_name, p.proname AS routine_name,
  CASE WHEN p.prokind = 'a' THEN 'aggregate' WHEN p.prokind = 'w' THEN 'window'
    WHEN p.prokind = 'p' THEN 'procedure' ELSE 'function' END AS kind,
  l.lanname AS language,
  pg_catalog.pg_get_function_arguments(p.oid) AS arguments,
  pg_catalog.pg_get_function_result(p.oid) AS returns,
  CASE WHEN p.prokind <> 'a' THEN pg_catalog.pg_get_functiondef(p.oid) END AS definition,
  pg_catalog.obj_description(p.oid, 'pg_proc') AS comment
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE {_USER_SCHEMA}
"""

# pg_sequences is the documented view; pg_depend says which column owns one
# ('a' for OWNED BY and serial, 'i' for identity).
SEQUENCES = f"""
SELECT s.schemaname AS schema_name, s.sequencename AS sequence_name,
  s.data_type::text AS data_type, s.start_value AS start, s.increment_by AS increment,
  (SELECT quote_ident(on_.nspname) || '.' || quote_ident(oc.relname) || '.' || quote_ident(oa.attname)
   FROM pg_catalog.pg_depend d
   JOIN pg_catalog.pg_class oc ON oc.oid = d.refobjid
   JOIN pg_catalog.pg_namespace on_ ON on_.oid = oc.relnamespace
   JOIN pg_catalog.pg_attribute oa ON oa.attrelid = d.refobjid AND oa.attnum = d.refobjsubid
   WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
     AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid > 0
     AND d.deptype IN ('a', 'i')) AS owned_by
FROM pg_catalog.pg_sequences s
JOIN pg_catalog.pg_namespace n ON n.nspname = s.schemaname
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = s.sequencename
WHERE {_USER_SCHEMA}
"""

# Timing is read off the trigger's text, the events off the information schema,
# which leaves out TRUNCATE: that one is the sixth bit of tgtype.
TRIGGERS = f"""
SELECT n.nspname AS schema_name, c.relname AS relation_name, t.tgname AS trigger_name,
  (regexp_match(
    substr(d.definition, strpos(d.definition, 'TRIGGER ') + 8 + length(quote_ident(t.tgname))),
    '^ (BEFORE|AFTER|INSTEAD OF) '))[1] AS timing,
  ARRAY(SELECT v.event_manipulation::text FROM information_schema.triggers v
        WHERE v.trigger_schema = n.nspname AND v.event_object_table = c.relname
          AND v.trigger_name = t.tgname
        UNION ALL SELECT 'TRUNCATE' WHERE t.tgtype & 32 <> 0) AS events,
  d.definition,
  CASE t.tgenabled WHEN 'O' THEN 'origin' WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica'
    WHEN 'A' THEN 'always' END AS enabled
FROM pg_catalog.pg_trigger t
CROSS JOIN LATERAL (SELECT pg_catalog.pg_get_triggerdef(t.oid) AS definition) d
JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND {_USER_SCHEMA}
"""

STATISTICS = f"""
SELECT n.nspname AS schema_name, c.relname AS relation_name,
  CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END AS row_estimate,
  CASE WHEN c.relpages <> -1
    THEN c.relpages::bigint * current_setting('block_size')::bigint END AS bytes_estimate,
  greatest(s.last_analyze, s.last_autoanalyze) AS analyzed_at
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid
WHERE c.relkind <> 'v' AND {_USER_RELATION}
"""

# For views the standard's own views; materialised ones they leave out.
DEPENDENCIES = f"""
WITH used AS (
  SELECT view_schema, view_name, table_schema, table_name, column_name
  FROM information_schema.view_column_usage
), mentioned AS (
  SELECT view_schema, view_name, table_schema, table_name FROM information_schema.view_table_usage
), all_views AS (
  SELECT * FROM used
  UNION ALL
  SELECT m.*, NULL FROM mentioned m WHERE NOT EXISTS (
    SELECT FROM used u WHERE (u.view_schema, u.view_name, u.table_schema, u.table_name)
      = (m.view_schema, m.view_name, m.table_schema, m.table_name))
)
SELECT view_schema::text AS schema_name, view_name::text AS relation_name,
  table_schema::text AS referenced_schema, table_name::text AS referenced_relation,
  column_name::text AS referenced_column, 'catalogue' AS found_by
FROM all_views JOIN pg_catalog.pg_namespace n ON n.nspname = view_schema::text
WHERE {_USER_SCHEMA} AND table_schema <> 'pg_catalog'
UNION
SELECT n.nspname, c.relname, tn.nspname, t.relname, a.attname, 'catalogue'
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_rewrite w ON w.ev_class = c.oid
JOIN pg_catalog.pg_depend d ON d.objid = w.oid AND d.classid = 'pg_catalog.pg_rewrite'::regclass
JOIN pg_catalog.pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'v', 'm', 'f', 'p')
JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
LEFT JOIN pg_catalog.pg_attribute a
  ON a.attrelid = t.oid AND a.attnum = d.refobjsubid AND d.refobjsubid > 0
WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND t.oid <> c.oid
  AND (c.relkind = 'm' OR (c.relkind = 'v' AND t.relkind = 'm')) AND {_USER_SCHEMA}
"""

QUERIES: dict[str, str] = {
    "schemas": SCHEMAS,
    "relations": RELATIONS,
    "columns": COLUMNS,
    "constraints": CONSTRAINTS,
    "indexes": INDEXES,
    "routines": ROUTINES,
    "sequences": SEQUENCES,
    "triggers": TRIGGERS,
    "dependencies": DEPENDENCIES,
    "statistics": STATISTICS,
}
