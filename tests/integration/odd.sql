-- Every strange thing a PostgreSQL catalogue may hold. Loaded by psql; on 12 and later.
-- Sections that need a newer server are guarded.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SELECT current_setting('server_version_num')::int >= 140000 AS v14,
       current_setting('server_version_num')::int >= 150000 AS v15,
       current_setting('server_version_num')::int >= 180000 AS v18 \gset

CREATE ROLE "Odd ""Owner""" NOLOGIN;

-- Names ---------------------------------------------------------------------
CREATE SCHEMA "Schéma.with ""dots"" and %s";
CREATE SCHEMA "  ";
CREATE SCHEMA "SELECT" AUTHORIZATION "Odd ""Owner""";
CREATE SCHEMA empty_schema;
COMMENT ON SCHEMA empty_schema IS '';
CREATE SCHEMA odd;
COMMENT ON SCHEMA odd IS E'line one\nline two\ttab ''quote'' "double" \\ backslash %(name)s {braces} <b>html</b> =cmd|x';
CREATE SCHEMA sixty_three_bytes_long_schema_name_____________________________x;
CREATE SCHEMA "пример";
CREATE SCHEMA "😀";
-- Binary order differs from any dictionary's: Z < _ < a < é < ｡ < 😀.
CREATE TABLE odd."Z" (a int);
CREATE TABLE odd."_" (a int);
CREATE TABLE odd.a (a int);
CREATE TABLE odd."é" (a int);
CREATE TABLE odd.U&"e\0301" (a int);
CREATE TABLE odd."｡" (a int);
CREATE TABLE odd."😀" (a int);
CREATE TABLE odd."a.b" (a int);
CREATE TABLE odd."a""b" (a int);
CREATE TABLE odd."a'b" (a int);
CREATE TABLE odd."a b" (a int);
CREATE TABLE odd."a%sb%%" (a int);
CREATE TABLE odd."a:b :c" (a int, ":bind" text DEFAULT ':x', "%(p)s" text DEFAULT '%(p)s', "%" text DEFAULT '%');
CREATE TABLE odd."a/../b" (a int);
CREATE TABLE odd."a\b" (a int);
CREATE TABLE odd."$1" ("$2" int, "{x}" int, "?" int);
CREATE TABLE odd."new
line" ("col
umn" int, "tab	tab" int);
CREATE TABLE odd."<script>alert(1)</script>" ("=1+1" int, "@x" int, "-y" int);
CREATE TABLE odd."'; DROP TABLE odd.a; --" (a int);
CREATE TABLE odd."trailing " (a int);
CREATE TABLE odd."CASE" ("Case" int, "case" int, "CASE" int);
CREATE TABLE odd.sixty_three_bytes_long_table_name_____________________________x (
  sixty_three_bytes_long_column_name____________________________x int
    CONSTRAINT sixty_three_bytes_long_constraint_name_________________________x PRIMARY KEY);
CREATE TABLE odd."ééééééééééééééééééééééééééééééé" (a int);
CREATE TABLE odd.U&"\202Ertl" (U&"\200Bzero width" int, U&"\FEFFbom" int);
CREATE TABLE odd.U&"con\0001trol\007F\0085" (a int);
CREATE TABLE "Schéma.with ""dots"" and %s"."a.b" ("c.d" serial, "e ""f""" text);
ALTER TABLE "Schéma.with ""dots"" and %s"."a.b" ADD PRIMARY KEY ("c.d");
CREATE TABLE "Schéma.with ""dots"" and %s"."child of a.b" (
  "p.q" int REFERENCES "Schéma.with ""dots"" and %s"."a.b" DEFERRABLE);

CREATE TABLE "  "." " (" " int);
CREATE TABLE "SELECT"."FROM" ("WHERE" int PRIMARY KEY);
CREATE VIEW "SELECT"."VIEW" AS SELECT "WHERE" AS "AS" FROM "SELECT"."FROM";
CREATE TABLE "пример"."таблица" ("колонка" int);
CREATE TABLE "😀"."😀" ("😀" text DEFAULT '😀');
CREATE FUNCTION "😀"."😀"("😀" int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE SEQUENCE "😀"."😀 seq";

-- Shapes --------------------------------------------------------------------
CREATE TABLE odd.no_columns ();
CREATE TABLE odd.dropped (a int, b int, c int, d int);
ALTER TABLE odd.dropped DROP COLUMN b;
ALTER TABLE odd.dropped DROP COLUMN d;
ALTER TABLE odd.dropped ADD COLUMN e text DEFAULT 'after a hole';
CREATE TABLE odd.all_dropped (a int);
ALTER TABLE odd.all_dropped DROP COLUMN a;
CREATE UNLOGGED TABLE odd.unlogged (a int PRIMARY KEY);
CREATE TEMPORARY TABLE session_only (a int PRIMARY KEY);
DO $$ BEGIN
  EXECUTE 'CREATE TABLE odd.wide (' ||
    (SELECT string_agg(format('column_%s int', lpad(n::text, 4, '0')), ', ') FROM generate_series(1, 1600) n) || ')';
END $$;
CREATE TABLE odd.system_types (
  a oid, b name, c "char", d regclass, e pg_catalog.pg_lsn, f xid, g tid, h txid_snapshot, i int2vector, j oidvector,
  k aclitem, l cid, m regproc, n jsonpath, o tsquery, p macaddr8, q money, r pg_catalog.bpchar, s xml);

-- Types ---------------------------------------------------------------------
CREATE TYPE odd.mood AS ENUM ('', 'it''s', 'so "so"', '😀', 'a,b', 'a\b');
CREATE TYPE odd.no_labels AS ENUM ();
CREATE DOMAIN odd.positive AS int CHECK (VALUE > 0) NOT NULL DEFAULT 7;
CREATE DOMAIN odd.small_positive AS odd.positive CONSTRAINT "small one" CHECK (VALUE < 10);
CREATE DOMAIN odd."Domain with spaces" AS varchar(10)[] COLLATE "C";
CREATE TYPE odd.pair AS (x int, "the y" odd.mood, z odd.small_positive[]);
CREATE TYPE odd.nested AS (p odd.pair, q odd.pair[]);
CREATE TYPE odd.float_span AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE TABLE odd.typed_table OF odd.pair (x WITH OPTIONS PRIMARY KEY);
CREATE TABLE odd.types (
  a odd.mood, b odd.mood[], c odd.positive, d odd.small_positive, e odd."Domain with spaces", f odd.pair,
  g odd.nested[], h odd.float_span, i int4range, j tstzrange[], k numeric, l numeric(5), m numeric(10, 0),
  n numeric(1000, 500), o bit, p bit(3), q bit varying, r varchar, s varchar(1), t char, u char(77), v text[][],
  w int[3][4], x interval, y interval year to month, z interval second(3), aa time(0), ab timetz(6), ac timestamp(0),
  ad timestamptz(3), ae "char"[], af name[], ag jsonb, ah json[], ai uuid[], aj bytea, ak float(24), al float(25),
  am double precision[], an point, ao polygon, ap box[], aq inet, ar cidr[], "as" tsvector, at boolean[]);
CREATE TABLE odd.collations (
  a text COLLATE "C", b text COLLATE "POSIX", c varchar(3) COLLATE pg_catalog."default", d text, e name,
  f name COLLATE "POSIX", g odd."Domain with spaces", h text[] COLLATE "C");
CREATE COLLATION odd."my collation" (locale = 'C');
ALTER TABLE odd.collations ADD COLUMN i text COLLATE odd."my collation";
CREATE TABLE odd.defaults (
  a int DEFAULT 1 + 2, b text DEFAULT 'it''s' || E'\n', c timestamptz DEFAULT now(), d date DEFAULT '2020-02-29',
  e interval DEFAULT '1 year 2 mons 3 days 04:05:06.7', f odd.mood DEFAULT 'so "so"', g float8 DEFAULT 0.1,
  h float4 DEFAULT 'NaN', i bytea DEFAULT '\xdeadbeef', j int[] DEFAULT ARRAY[1, 2, NULL], k jsonb DEFAULT '{"a": "b"}',
  l text DEFAULT NULL, m text DEFAULT CURRENT_USER, n bool DEFAULT (1 = 1), o odd.pair DEFAULT ROW(1, 'it''s', NULL),
  p text DEFAULT E'\t\\' NOT NULL, q timestamp DEFAULT 'infinity', r money DEFAULT 1.5, s regclass DEFAULT 'odd.a');
CREATE TABLE odd.identities (
  a int GENERATED ALWAYS AS IDENTITY (START 5 INCREMENT -3 MINVALUE -100 MAXVALUE 10 CYCLE),
  b bigint GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME odd."b's own" CACHE 7),
  c smallint GENERATED ALWAYS AS IDENTITY, d smallserial, e serial, f bigserial);
CREATE TABLE odd.generated (
  a int, b text, c int GENERATED ALWAYS AS (a * 2) STORED,
  "D d" text GENERATED ALWAYS AS (upper(b) || 'x''y') STORED NOT NULL);
\if :v18
CREATE TABLE odd.virtual (a int, b int GENERATED ALWAYS AS (a + 1) VIRTUAL, c text GENERATED ALWAYS AS ('v' || a::text) STORED);
CREATE TABLE odd.not_null_named (a int CONSTRAINT "named not null" NOT NULL, b int, CONSTRAINT late NOT NULL b NO INHERIT);
ALTER TABLE odd.dropped ADD CONSTRAINT soon NOT NULL a NOT VALID;
CREATE TABLE odd.parent_enforced (id int PRIMARY KEY, c int CHECK (c > 0) NOT ENFORCED);
CREATE TABLE odd.child_unenforced (id int, CONSTRAINT lax FOREIGN KEY (id) REFERENCES odd.parent_enforced NOT ENFORCED);
CREATE EXTENSION btree_gist SCHEMA odd;
CREATE TABLE odd.temporal_key (id int, during tstzrange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
CREATE TABLE odd.temporal_ref (id int, during tstzrange,
  FOREIGN KEY (id, PERIOD during) REFERENCES odd.temporal_key (id, PERIOD during));
\endif

-- Keys ----------------------------------------------------------------------
CREATE TABLE odd.composite_key (c int, b text, a date, d int, PRIMARY KEY (b, a, c),
  CONSTRAINT "unique, deferred" UNIQUE (d, c) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE odd.many_keys (
  x int, y text, z date, self int, id int CONSTRAINT "pk of it" PRIMARY KEY, other int UNIQUE,
  CONSTRAINT full_match FOREIGN KEY (y, z, x) REFERENCES odd.composite_key (b, a, c) MATCH FULL
    ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
  CONSTRAINT other_order FOREIGN KEY (x, y, z) REFERENCES odd.composite_key (c, b, a) ON DELETE RESTRICT ON UPDATE SET DEFAULT,
  CONSTRAINT "self" FOREIGN KEY (self) REFERENCES odd.many_keys (id) ON DELETE SET DEFAULT,
  CONSTRAINT to_unique FOREIGN KEY (self) REFERENCES odd.many_keys (other),
  CONSTRAINT twice FOREIGN KEY (self) REFERENCES odd.many_keys (id),
  CHECK (x > 0), CHECK (y <> ''), CONSTRAINT "over two" CHECK (x > self OR y IS NULL) NO INHERIT,
  CONSTRAINT whole_row CHECK (many_keys IS NOT NULL), CONSTRAINT no_column CHECK (1 < 2));
ALTER TABLE odd.many_keys ADD CONSTRAINT later CHECK (z > '2000-01-01') NOT VALID;
ALTER TABLE odd.many_keys ADD CONSTRAINT later_fk FOREIGN KEY (other) REFERENCES odd.many_keys NOT VALID;
\if :v15
ALTER TABLE odd.many_keys ADD CONSTRAINT some_null FOREIGN KEY (y, z, x) REFERENCES odd.composite_key (b, a, c)
  ON DELETE SET NULL (y, z);
CREATE TABLE odd.nulls_not_distinct (a int, b int, UNIQUE NULLS NOT DISTINCT (a, b));
CREATE UNIQUE INDEX ON odd.nulls_not_distinct (b) NULLS NOT DISTINCT;
\endif
CREATE TABLE odd.exclusions (
  room int, during tsrange, shape circle, note text,
  EXCLUDE USING gist (during WITH &&),
  CONSTRAINT "no overlap" EXCLUDE USING gist (shape WITH &&, during WITH &&) WHERE (room > 0) DEFERRABLE,
  CONSTRAINT by_expression EXCLUDE USING btree (lower(note) COLLATE "C" WITH =, room WITH =),
  CONSTRAINT hashed EXCLUDE USING hash ((room % 10) WITH =));
CREATE TABLE odd.included (a int, b int, c text, PRIMARY KEY (a) INCLUDE (b, c), UNIQUE (b) INCLUDE (c));
CREATE TABLE "SELECT".elsewhere (id int REFERENCES odd.many_keys ON DELETE CASCADE, b int REFERENCES "SELECT"."FROM");

-- Inheritance and partitions ------------------------------------------------
CREATE TABLE odd.parent_a (a int NOT NULL CHECK (a > 0), shared text DEFAULT 'a', PRIMARY KEY (a));
CREATE TABLE odd.parent_b (b int CONSTRAINT same_name CHECK (b > 0), shared text DEFAULT 'a');
CREATE TABLE odd.child_ab (own int, CONSTRAINT same_name CHECK (b > 0)) INHERITS (odd.parent_a, odd.parent_b);
CREATE TABLE odd.grandchild () INHERITS (odd.child_ab);
CREATE TABLE odd.referenced (id int PRIMARY KEY, code text UNIQUE);
CREATE TABLE odd.events (
  id bigint GENERATED BY DEFAULT AS IDENTITY, region text NOT NULL, at timestamptz NOT NULL, ref int DEFAULT 3,
  amount numeric CHECK (amount >= 0), PRIMARY KEY (id, region, at),
  CONSTRAINT to_ref FOREIGN KEY (ref) REFERENCES odd.referenced ON DELETE CASCADE,
  FOREIGN KEY (id, region, at) REFERENCES odd.events DEFERRABLE) PARTITION BY LIST (region);
CREATE INDEX ON odd.events (at DESC NULLS LAST) INCLUDE (ref);
CREATE INDEX only_parent ON ONLY odd.events (ref);
CREATE TABLE odd.events_eu PARTITION OF odd.events FOR VALUES IN ('eu', 'it''s', NULL) PARTITION BY RANGE (at, id);
CREATE TABLE odd."events_eu.2026" PARTITION OF odd.events_eu (ref DEFAULT 4, CONSTRAINT more CHECK (id > 0))
  FOR VALUES FROM ('2026-01-01', MINVALUE) TO ('2027-01-01', MAXVALUE) PARTITION BY HASH (id);
CREATE TABLE odd.events_eu_h0 PARTITION OF odd."events_eu.2026" FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE "SELECT".events_eu_h1 PARTITION OF odd."events_eu.2026" FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE odd.events_rest PARTITION OF odd.events DEFAULT;
CREATE TABLE odd.attached (at timestamptz NOT NULL, amount numeric CONSTRAINT events_amount_check CHECK (amount >= 0), ref int, gone int, region text NOT NULL, id bigint NOT NULL);
ALTER TABLE odd.attached DROP COLUMN gone;
ALTER TABLE odd.events ATTACH PARTITION odd.attached FOR VALUES IN ('us');
CREATE TABLE odd.detached (LIKE odd.events INCLUDING ALL);
CREATE TABLE odd.to_events (id bigint, region text, at timestamptz, FOREIGN KEY (id, region, at) REFERENCES odd.events ON UPDATE CASCADE);
CREATE TABLE odd.partitioned_by_expression (a int, b text) PARTITION BY RANGE ((a % 10), lower(b));
CREATE TABLE odd.no_partitions (a int) PARTITION BY HASH (a);

-- Indexes -------------------------------------------------------------------
CREATE TABLE odd.indexed (a int, b text, c text, d jsonb, e int[], f tsvector, g point, "H h" text, i boolean);
CREATE INDEX ON odd.indexed (a);
CREATE INDEX "Index ""with"" 'quotes'" ON odd.indexed ("H h" text_pattern_ops DESC NULLS LAST, a ASC NULLS FIRST);
CREATE INDEX ON odd.indexed (lower(b), (a + 1), ((b || c)) COLLATE "C", coalesce(c, 'x''y'));
CREATE INDEX partial ON odd.indexed (b) WHERE i AND a > 10 AND b <> 'it''s';
CREATE UNIQUE INDEX covering ON odd.indexed (a, b) INCLUDE (c, i) WITH (fillfactor = 50) WHERE c IS NOT NULL;
CREATE INDEX ON odd.indexed USING gin (d jsonb_path_ops, e, f);
CREATE INDEX ON odd.indexed USING gist (g, f);
CREATE INDEX ON odd.indexed USING spgist (g);
CREATE INDEX ON odd.indexed USING brin (a, b) WITH (pages_per_range = 4);
CREATE INDEX ON odd.indexed USING hash ((d ->> 'k'));
INSERT INTO odd.indexed (a) VALUES (1), (1);
\set ON_ERROR_STOP off
CREATE UNIQUE INDEX CONCURRENTLY left_invalid ON odd.indexed (a);
\set ON_ERROR_STOP on
ALTER TABLE odd.indexed REPLICA IDENTITY FULL;
CREATE STATISTICS odd.extended (ndistinct, dependencies, mcv) ON a, b FROM odd.indexed;
CREATE INDEX column_twice ON odd.indexed (a, a, b);

-- Views and rules -----------------------------------------------------------
CREATE VIEW odd.plain_view AS SELECT a, b AS "renamed b", a + 1 AS "?column?", NULL::odd.mood AS typed FROM odd.indexed WHERE b LIKE '%s';
CREATE VIEW odd.options WITH (security_barrier, check_option = local) AS SELECT * FROM odd.indexed WHERE a > 0;
CREATE RECURSIVE VIEW odd.recursive (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM recursive WHERE n < 10;
CREATE VIEW odd.on_view AS
  WITH x AS MATERIALIZED (SELECT * FROM odd.plain_view)
  SELECT x.*, count(*) FILTER (WHERE x.a > 1) OVER w AS counted, ROW(x.a, x.typed, NULL)::odd.pair AS pair
  FROM x LEFT JOIN LATERAL (SELECT 1 AS one) l ON true WINDOW w AS (PARTITION BY x.a ORDER BY x."renamed b");
CREATE VIEW odd.no_column_view AS SELECT;
CREATE VIEW odd.default_on_view AS SELECT a, b FROM odd.indexed;
ALTER VIEW odd.default_on_view ALTER COLUMN b SET DEFAULT 'from the view';
CREATE TEMPORARY VIEW session_view AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW odd.materialized AS SELECT a, count(*) AS n FROM odd.indexed GROUP BY a;
CREATE MATERIALIZED VIEW odd."not populated" AS SELECT * FROM odd.on_view WITH NO DATA;
CREATE UNIQUE INDEX ON odd.materialized (a);
CREATE RULE refuse AS ON DELETE TO odd.indexed DO INSTEAD NOTHING;
CREATE RULE "insert into view" AS ON INSERT TO odd.plain_view DO INSTEAD INSERT INTO odd.a VALUES (NEW.a);

-- Foreign tables ------------------------------------------------------------
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing OPTIONS (host 'secret.example');
CREATE FOREIGN TABLE odd.foreign_one (a int OPTIONS (column_name 'x') NOT NULL, b text DEFAULT 'f', CHECK (a > 0)) SERVER nowhere;
CREATE TABLE odd.partly_foreign (a int, b int CHECK (b > 0)) PARTITION BY LIST (a);
CREATE FOREIGN TABLE odd.foreign_partition PARTITION OF odd.partly_foreign FOR VALUES IN (1) SERVER nowhere;

-- Routines ------------------------------------------------------------------
CREATE FUNCTION odd.overloaded() RETURNS int LANGUAGE sql AS 'SELECT 0';
CREATE FUNCTION odd.overloaded(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION odd.overloaded(bigint) RETURNS int LANGUAGE sql AS 'SELECT 2';
CREATE FUNCTION odd.overloaded(a int, b text DEFAULT 'it''s', VARIADIC rest odd.mood[] DEFAULT '{}') RETURNS SETOF odd.pair
  LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER COST 77 ROWS 5 SET search_path = odd, "SELECT" SET work_mem = '7MB' PARALLEL SAFE
  AS $body$ BEGIN RETURN; /* $$ %s %(x)s {y} */ END $body$;
CREATE FUNCTION odd.outs(IN a int, OUT b int, INOUT c text, OUT "d d" odd.mood) RETURNS record LANGUAGE sql AS $$ SELECT 1, 'x', ''::odd.mood $$;
CREATE FUNCTION odd.tabular("in" int, "x y" text) RETURNS TABLE (a int, "b b" text[]) LANGUAGE sql AS 'SELECT 1, ARRAY[''x'']';
CREATE FUNCTION odd.polymorphic(anyelement, anyarray) RETURNS anyelement LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION odd.nothing() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION odd."Name (with) parens, and.dots"("Param One" "😀"."😀") RETURNS "😀"."😀"[] LANGUAGE sql AS 'SELECT NULL::"😀"."😀"[]';
CREATE FUNCTION odd.internal_window() RETURNS bigint LANGUAGE internal WINDOW IMMUTABLE AS 'window_row_number';
CREATE FUNCTION odd.planned(int) RETURNS bool LANGUAGE internal STRICT IMMUTABLE LEAKPROOF AS 'int4abs';
CREATE PROCEDURE odd.work(INOUT a int, b text DEFAULT NULL) LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
CREATE PROCEDURE odd.work() LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION odd.step(state int, value int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT state + value';
CREATE AGGREGATE odd.total(value int) (SFUNC = odd.step, STYPE = int, INITCOND = '0');
CREATE AGGREGATE odd.total(*) (SFUNC = int8inc, STYPE = int8, INITCOND = '0');
CREATE AGGREGATE odd.ranked(VARIADIC args "any" ORDER BY VARIADIC args "any") (
  SFUNC = ordered_set_transition_multi, STYPE = internal, FINALFUNC = rank_final, FINALFUNC_EXTRA, HYPOTHETICAL);
CREATE AGGREGATE odd.middle(float8 ORDER BY float8) (
  SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_cont_float8_final);
\if :v14
CREATE FUNCTION odd.standard_body(a int, b int DEFAULT 2) RETURNS int LANGUAGE sql RETURN a + b;
CREATE FUNCTION odd.atomic_body(wanted int) RETURNS SETOF odd.indexed LANGUAGE sql
  BEGIN ATOMIC SELECT i.* FROM odd.indexed i WHERE i.a = wanted; SELECT i.* FROM odd.indexed i; END;
CREATE PROCEDURE odd.outs_too(OUT a int, b text) LANGUAGE plpgsql AS $$ BEGIN a := 1; END $$;
\endif
COMMENT ON FUNCTION odd.overloaded(bigint) IS 'the middle one';
COMMENT ON AGGREGATE odd.total(int) IS 'adds';
COMMENT ON PROCEDURE odd.work(int, text) IS E'works\n';

-- Triggers ------------------------------------------------------------------
CREATE FUNCTION odd.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER before_all BEFORE INSERT OR UPDATE OR DELETE ON odd.indexed FOR EACH ROW EXECUTE FUNCTION odd.fire();
CREATE TRIGGER "BEFORE "" ON "" OR " AFTER UPDATE OF a, "H h" ON odd.indexed FOR EACH ROW
  WHEN (OLD.a IS DISTINCT FROM NEW.a AND NEW.b <> 'BEFORE') EXECUTE FUNCTION odd.fire('it''s', '%s', '');
CREATE TRIGGER truncated AFTER TRUNCATE ON odd.indexed EXECUTE FUNCTION odd.fire();
CREATE TRIGGER everything BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON odd.indexed EXECUTE FUNCTION odd.fire();
CREATE TRIGGER transition AFTER UPDATE ON odd.indexed REFERENCING OLD TABLE AS old_rows NEW TABLE AS "new rows" EXECUTE FUNCTION odd.fire();
CREATE TRIGGER "switched off" BEFORE INSERT ON odd.indexed EXECUTE FUNCTION odd.fire();
CREATE TRIGGER replica_only BEFORE INSERT ON odd.indexed EXECUTE FUNCTION odd.fire();
CREATE TRIGGER every_time BEFORE INSERT ON odd.indexed EXECUTE FUNCTION odd.fire();
ALTER TABLE odd.indexed DISABLE TRIGGER "switched off";
ALTER TABLE odd.indexed ENABLE REPLICA TRIGGER replica_only;
ALTER TABLE odd.indexed ENABLE ALWAYS TRIGGER every_time;
CREATE CONSTRAINT TRIGGER checked AFTER INSERT OR UPDATE ON odd.indexed FROM odd.referenced DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION odd.fire();
CREATE TRIGGER instead INSTEAD OF INSERT OR DELETE ON odd.plain_view FOR EACH ROW EXECUTE FUNCTION odd.fire();
CREATE TRIGGER on_partitions AFTER INSERT ON odd.events FOR EACH ROW EXECUTE FUNCTION odd.fire();
CREATE TRIGGER on_foreign BEFORE UPDATE ON odd.foreign_one FOR EACH ROW EXECUTE FUNCTION odd.fire();
CREATE FUNCTION odd.fire_event() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER odd_event ON ddl_command_end WHEN TAG IN ('CREATE LANGUAGE') EXECUTE FUNCTION odd.fire_event();

-- Sequences -----------------------------------------------------------------
CREATE SEQUENCE odd.backwards AS smallint INCREMENT -5 START 100 MINVALUE -32768 MAXVALUE 100 CYCLE;
CREATE SEQUENCE odd.huge START 9223372036854775807 MAXVALUE 9223372036854775807 CACHE 100;
CREATE SEQUENCE odd.lowest MINVALUE -9223372036854775808 START -9223372036854775808;
CREATE SEQUENCE odd."owned by" OWNED BY odd.a.a;
CREATE SEQUENCE odd."no ""owner""" INCREMENT 1000000;
\if :v15
CREATE UNLOGGED SEQUENCE odd.unlogged_sequence;
\endif

-- Comments, owners, rights --------------------------------------------------
DO $$ BEGIN EXECUTE format('COMMENT ON TABLE odd.a IS %L', repeat('very long, ünïcode 😀, ', 2000)); END $$;
COMMENT ON COLUMN odd.a.a IS E'column\r\ncomment with %s and \u2028 separator';
COMMENT ON COLUMN odd.plain_view."renamed b" IS 'on a view';
COMMENT ON COLUMN odd.materialized.n IS 'on a materialized view';
COMMENT ON COLUMN odd.foreign_one.b IS 'on a foreign table';
COMMENT ON VIEW odd.plain_view IS 'a view';
COMMENT ON MATERIALIZED VIEW odd.materialized IS 'kept';
COMMENT ON FOREIGN TABLE odd.foreign_one IS 'far away';
COMMENT ON TABLE odd.events IS 'a tree';
COMMENT ON INDEX odd.partial IS 'not of the table';
COMMENT ON CONSTRAINT full_match ON odd.many_keys IS 'not of the table either';
COMMENT ON TYPE odd.mood IS 'a type, with the oid of nothing else';
COMMENT ON SEQUENCE odd.huge IS 'a sequence';
ALTER TABLE odd.indexed OWNER TO "Odd ""Owner""";
ALTER TABLE odd.indexed ENABLE ROW LEVEL SECURITY;
ALTER TABLE odd.indexed FORCE ROW LEVEL SECURITY;
CREATE POLICY nobody ON odd.indexed USING (false);
REVOKE ALL ON SCHEMA "SELECT" FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA odd FROM PUBLIC;
REVOKE ALL ON FUNCTION odd.nothing() FROM PUBLIC;
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE OPERATOR odd.=== (LEFTARG = anyenum, RIGHTARG = anyenum, FUNCTION = enum_eq);
CREATE TABLE odd.own_operator (a odd.mood, CHECK (a OPERATOR(odd.===) ''::odd.mood));
CREATE CAST (odd.mood AS int) WITH INOUT;
CREATE TEXT SEARCH CONFIGURATION odd.words (COPY = simple);
CREATE INDEX ON odd.indexed USING gin (to_tsvector('odd.words', b));

-- What extensions own is in, where one is at hand ----------------------------
SELECT count(*) = 2 AS extensions FROM pg_available_extensions WHERE name IN ('citext', 'hstore') \gset
\if :extensions
CREATE SCHEMA ext;
CREATE EXTENSION citext SCHEMA ext;
CREATE EXTENSION hstore SCHEMA public;
CREATE TABLE odd.extension_types (a ext.citext DEFAULT 'X', b public.hstore, c ext.citext[], UNIQUE (a));
CREATE INDEX ON odd.extension_types USING gin (b);
\endif
SELECT count(*) = 1 AS statements FROM pg_available_extensions WHERE name = 'pg_stat_statements' \gset
\if :statements
CREATE EXTENSION pg_stat_statements SCHEMA odd;
\endif

-- What this database tells its sessions must not change what they read ------
SELECT current_database() AS here \gset
ALTER DATABASE :"here" SET search_path = odd, "SELECT", public;
ALTER DATABASE :"here" SET quote_all_identifiers = on;
ALTER DATABASE :"here" SET DateStyle = 'German, DMY';
ALTER DATABASE :"here" SET IntervalStyle = 'sql_standard';
ALTER DATABASE :"here" SET extra_float_digits = -5;
ALTER DATABASE :"here" SET bytea_output = 'escape';
ALTER DATABASE :"here" SET TimeZone = 'Asia/Kathmandu';
ALTER DATABASE :"here" SET standard_conforming_strings = off;
ALTER DATABASE :"here" SET default_transaction_isolation = 'serializable';
ALTER DATABASE :"here" SET statement_timeout = '2s';
CREATE TABLE odd.pinned (
  a timestamptz DEFAULT '2026-03-04 05:06:07+00'::timestamptz, b interval DEFAULT '1 mon -2 days 03:04:05'::interval,
  c float8 DEFAULT 0.1::float8 + 0.2::float8, d bytea DEFAULT '\x00ff'::bytea, e text DEFAULT E'back\\slash');

CREATE TABLE odd.analyzed (a int, b text);
INSERT INTO odd.analyzed SELECT n, n::text FROM generate_series(1, 1000) n;
ANALYZE odd.analyzed, odd.events;
VACUUM odd.indexed;
