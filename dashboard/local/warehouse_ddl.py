"""The demo warehouse as SQL: one text per relation, in an order that loads."""

# ruff: noqa: S608 - every word of these statements is our own
from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

from dashboard.local.warehouse_plan import Column, Reference, Schema, Table, View
from dashboard.local.warehouse_words import REMARKS, SYSTEMS, TEAMS

SHARED = """
CREATE SCHEMA shared;
COMMENT ON SCHEMA shared IS 'Types that every schema uses.';
CREATE TYPE shared.lifecycle AS ENUM ('draft', 'active', 'on hold', 'closed', 'archived');
CREATE TYPE shared.channel AS ENUM ('web', 'app', 'store', 'partner', 'phone');
CREATE DOMAIN shared.email AS text CHECK (VALUE ~ '^[^@]+@[^@]+$');
CREATE DOMAIN shared.currency_code AS char(3) CHECK (VALUE = upper(VALUE));
CREATE DOMAIN shared.money_amount AS numeric(18,2) DEFAULT 0 CHECK (VALUE > -1e12);
CREATE TYPE shared.postal_address AS (street text, city text, postal_code varchar(16), country char(2));
"""

ROUTINES = """
CREATE FUNCTION {s}.touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
COMMENT ON FUNCTION {s}.touch_updated_at() IS 'Keeps updated_at true on every write.';
CREATE FUNCTION {s}.fiscal_year(day date) RETURNS integer LANGUAGE sql IMMUTABLE
    RETURN EXTRACT(year FROM day + interval '3 months')::integer;
CREATE FUNCTION {s}.fiscal_year(moment timestamp with time zone, zone text DEFAULT 'UTC')
    RETURNS integer LANGUAGE sql STABLE AS
    $$ SELECT EXTRACT(year FROM (moment AT TIME ZONE zone) + interval '3 months')::integer $$;
CREATE FUNCTION {s}.top_rows(wanted integer DEFAULT 10, VARIADIC regions text[] DEFAULT '{{}}')
    RETURNS TABLE(region text, rows_seen bigint, share numeric) LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY SELECT r, 0::bigint, 0::numeric FROM unnest(regions) AS r LIMIT wanted;
END $$;
CREATE PROCEDURE {s}.close_period(IN period date, INOUT closed integer DEFAULT 0)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    closed := closed + 1;
END $$;
COMMENT ON PROCEDURE {s}.close_period(date, integer) IS 'Run by finance on the third working day.';
CREATE FUNCTION {s}.weigh(state numeric, value numeric, weight numeric) RETURNS numeric
    LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(state, 0) + value * weight $$;
CREATE AGGREGATE {s}.weighted_sum(numeric, numeric) (SFUNC = {s}.weigh, STYPE = numeric);
CREATE SEQUENCE {s}.document_number_seq AS integer START 1000 INCREMENT 10 MAXVALUE 99999990 CYCLE;
"""

PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")


def quote(name: str) -> str:
    return name if PLAIN_NAME.match(name) else '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def path(schema: str, name: str) -> str:
    return f"{quote(schema)}.{quote(name)}"


def _short(*words: str) -> str:
    return quote("_".join(words)[:63])


class Writer:
    """Renders a planned schema; the remaining variety (indexes, comments) is drawn here."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def schema(self, schema: Schema) -> Iterator[str]:
        name = quote(schema.name)
        yield f"CREATE SCHEMA {name}; COMMENT ON SCHEMA {name} IS {self._remark(schema.name)};"
        yield ROUTINES.format(s=name)
        for table in schema.tables:
            yield "\n".join(self._table(table))
        for view in schema.views:
            yield "\n".join(self._view(view))

    def _table(self, table: Table) -> Iterator[str]:
        where = path(table.schema, table.name)
        lines = [self._column(column) for column in table.columns]
        lines.append(f"PRIMARY KEY ({', '.join(quote(c.name) for c in table.key)})")
        lines += [self._reference(table, reference) for reference in table.references]
        lines += self._generated(table)
        lines += self._checks(table)
        by = " PARTITION BY RANGE (occurred_at)" if table.partitions else ""
        yield f"CREATE TABLE {where} (\n    " + ",\n    ".join(lines) + f"\n){by};"
        yield from self._partitions(table)
        yield from self._indexes(table)
        yield from self._trigger(table)
        yield from self._comments(table)
        yield from self._rows(table)

    def _column(self, column: Column) -> str:
        text = f"{quote(column.name)} {column.type}"
        if column.default in ("always", "by default"):
            return f"{text} GENERATED {column.default.upper()} AS IDENTITY"
        if column.default:
            text += f" DEFAULT {column.default}"
        return text + " NOT NULL" if column.required else text

    def _reference(self, table: Table, reference: Reference) -> str:
        target = reference.table or table
        local = ", ".join(quote(name) for name in reference.columns)
        remote = ", ".join(quote(column.name) for column in target.key)
        action = f" ON DELETE {reference.on_delete}" if reference.on_delete else ""
        return (
            f"CONSTRAINT {_short(table.name, reference.columns[0], 'fk')} FOREIGN KEY ({local})"
            f" REFERENCES {path(target.schema, target.name)} ({remote}){action}"
        )

    def _generated(self, table: Table) -> Iterator[str]:
        names = {column.name for column in table.columns}
        if {"quantity", "unit_price"} <= names:
            yield "line_total numeric GENERATED ALWAYS AS (quantity * unit_price) STORED"
        if {"city", "street"} <= names:
            yield "full_address text GENERATED ALWAYS AS (street || ', ' || city) STORED"

    def _checks(self, table: Table) -> Iterator[str]:
        names = {column.name for column in table.columns}
        if "quantity" in names:
            yield f"CONSTRAINT {_short(table.name, 'quantity_ck')} CHECK (quantity >= 0)"
        if {"effective_from", "effective_to"} <= names:
            yield "CHECK (effective_to IS NULL OR effective_to > effective_from)"
        if {"discount_pct"} <= names:
            yield "CHECK (discount_pct BETWEEN 0 AND 100)"
        if "valid_times" in names and not table.partitions:
            yield "EXCLUDE USING gist (valid_times WITH &&)"
        if "external_ref" in names and not table.partitions:
            yield "UNIQUE (external_ref)"

    def _partitions(self, table: Table) -> Iterator[str]:
        for month in range(1, table.partitions + 1):
            child = path(table.schema, f"{table.name}_2026_{month:02}"[:63])
            yield (
                f"CREATE TABLE {child} PARTITION OF {path(table.schema, table.name)}"
                f" FOR VALUES FROM ('2026-{month:02}-01') TO ('2026-{month + 1:02}-01');"
            )

    def _indexes(self, table: Table) -> Iterator[str]:
        where = path(table.schema, table.name)
        for reference in table.references:
            columns = ", ".join(quote(name) for name in reference.columns)
            yield f"CREATE INDEX ON {where} ({columns});"
        kinds = {column.name: column.type for column in table.columns}
        if "payload" in kinds:
            yield f"CREATE INDEX ON {where} USING gin (payload);"
        if "keywords" in kinds:
            yield f"CREATE INDEX ON {where} USING gin (keywords);"
        if "title" in kinds:
            yield f"CREATE INDEX ON {where} (lower((title)::text) text_pattern_ops);"
        if "is_deleted" in kinds:
            yield f"CREATE INDEX ON {where} (created_at DESC) WHERE NOT is_deleted;"
        if "sku" in kinds and not table.partitions:
            yield f"CREATE UNIQUE INDEX ON {where} (sku, created_at) INCLUDE (updated_at);"

    def _trigger(self, table: Table) -> Iterator[str]:
        names = [column.name for column in table.columns]
        if "updated_at" in names and self.rng.random() < 0.2:
            yield (
                f"CREATE TRIGGER {_short(table.name, 'touch')} BEFORE INSERT OR UPDATE ON"
                f" {path(table.schema, table.name)} FOR EACH ROW EXECUTE FUNCTION"
                f" {quote(table.schema)}.touch_updated_at();"
            )

    def _comments(self, table: Table) -> Iterator[str]:
        where = path(table.schema, table.name)
        if self.rng.random() < 0.7:
            yield f"COMMENT ON TABLE {where} IS {self._remark(table.name)};"
        for column in table.columns:
            if self.rng.random() < 0.12:
                noun = column.name.replace("_", " ")
                yield f"COMMENT ON COLUMN {where}.{quote(column.name)} IS {self._remark(noun)};"

    def _rows(self, table: Table) -> Iterator[str]:
        """Some tables get rows, so that estimates and sizes are not all nothing."""
        filled = {c.name for c in table.columns if c.default or c.type == "serial"}
        needed = {c.name for c in table.columns if c.required or c in table.key}
        if table.partitions or not needed <= filled:
            return
        count = int(self.rng.lognormvariate(4.5, 1.5)) + 1
        yield (
            f"INSERT INTO {path(table.schema, table.name)} (created_at)"
            f" SELECT now() - n * interval '1 minute' FROM generate_series(1, {count}) AS n;"
        )

    def _view(self, view: View) -> Iterator[str]:
        where = path(view.schema, view.name)
        word = "MATERIALIZED VIEW" if view.materialized else "VIEW"
        tail = "WITH NO DATA" if view.materialized and self.rng.random() < 0.5 else ""
        yield f"CREATE {word} {where} AS {self._select(view)} {tail};"
        if view.materialized:
            yield f"CREATE INDEX ON {where} (created_at);"
        if self.rng.random() < 0.5:
            yield f"COMMENT ON {word} {where} IS {self._remark(view.name)};"

    def _select(self, view: View) -> str:
        source = view.source
        own = [f"s.{quote(column.name)}" for column in source.columns]
        text = path(source.schema, source.name)
        if view.joined is None or view.joined.table is None:
            return f"SELECT {', '.join(own)} FROM {text} s WHERE s.created_at IS NOT NULL"
        target = view.joined.table
        other = [
            f"t.{quote(column.name)} AS {_short('linked', column.name)}"
            for column in target.columns[:6]
        ]
        pairs = zip(view.joined.columns, target.key, strict=True)
        on = " AND ".join(f"s.{quote(local)} = t.{quote(key.name)}" for local, key in pairs)
        joined = f"{text} s LEFT JOIN {path(target.schema, target.name)} t ON {on}"
        shown = list(dict.fromkeys([*own[:10], "s.created_at"]))
        return f"SELECT {', '.join(shown + other)} FROM {joined}"

    def _remark(self, name: str) -> str:
        remark = self.rng.choice(REMARKS)
        noun = name.replace("_", " ")
        team, system = self.rng.choice(TEAMS), self.rng.choice(SYSTEMS)
        return literal(remark.format(noun=noun, team=team, system=system))
