"""PostgreSQL passes the suite of all dialects."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from extraction.connection import AddressPolicy, Target
from tests.integration.dialects import DialectContract
from tests.integration.test_engine import SHOP
from tests.integration.test_engine_session import is_login

pytestmark = pytest.mark.integration


class PostgreSQLPlace:
    policy = AddressPolicy(allow_loopback=True)

    def __init__(self, server: Any) -> None:
        self.server, self.password = server, server.password

    def new(self, *statements: str) -> Target:
        name = f"dialect_{uuid.uuid4().hex[:12]}"
        self.server.create_database(name)
        target = Target("postgresql", self.server.host, self.server.port, name, "", "disable")
        self.execute(target, *statements)
        return replace(target, username=self.server.user)

    def execute(self, target: Target, *statements: str) -> None:
        self.server.execute(target.database, ";".join(statements) or "select")


class TestPostgreSQL(DialectContract):
    refuses = logs_in = long_comments = zero_columns = True
    schema = "public"
    hanging = "select pg_sleep(120) as hanging"
    emptying = ("drop schema public",)
    script = (SHOP,)
    golden = {
        "schemas": ("schema_name comment", [
            ("hr", None), ("public", "standard public schema"), ("sales", "what we sell"),
        ]),
        "relations": ("schema_name relation_name kind partition_of", [
            ("hr", "people", "partitioned_table", None),
            ("hr", "people_2000", "table", "hr.people"),
            ("hr", "scratch", "table", None),
            ("sales", "customers", "table", None),
            ("sales", "orders", "table", None),
            ("sales", "recent", "view", None),
            ("sales", "totals", "materialized_view", None),
        ]),
        "columns": ("relation_name column_name data_type logical_type nullable default", [
            ("people", "id", "integer", "integer", True, None),
            ("people", "born", "date", "date", True, None),
            ("people_2000", "id", "integer", "integer", True, None),
            ("people_2000", "born", "date", "date", True, None),
            ("customers", "id", "bigint", "integer", False, None),
            ("customers", "name", "character varying(40)", "string", False, None),
            ("customers", "mood", "sales.mood", "enum", True, None),
            ("customers", "tags", "text[]", "array", True, None),
            ("customers", "upper_name", "text", "string", True, "upper((name)::text)"),
            ("orders", "id", "integer", "integer", False, "nextval('sales.orders_id_seq'::regclass)"),
            ("orders", "customer", "bigint", "integer", True, None),
            ("orders", "total", "sales.price", "decimal", True, "0"),
            ("orders", "placed", "timestamp with time zone", "timestamp", False, "now()"),
            ("recent", "id", "integer", "integer", True, None),
            ("recent", "total", "sales.price", "decimal", True, None),
            ("totals", "sum", "numeric", "decimal", True, None),
        ]),
        "constraints": ("constraint_name kind columns referenced_relation on_update on_delete", [
            ("customers_pkey", "primary_key", ("id",), None, None, None),
            ("orders_customer_fkey", "foreign_key", ("customer",), "customers", "CASCADE", "SET NULL"),
            ("orders_customer_placed_key", "unique", ("customer", "placed"), None, None, None),
            ("orders_total_check", "check", ("total",), None, None, None),
            ("orders_id_excl", "exclusion", ("id",), None, None, None),
        ]),
        "indexes": ("index_name columns unique method predicate", [
            ("customers_pkey", ("id",), True, "btree", None),
            ("orders_customer_placed_key", ("customer", "placed"), True, "btree", None),
            ("orders_id_excl", ("id",), False, "btree", None),
            ("orders_lower_placed_customer_idx", ("lower((total)::text)", "placed"), False, "btree",
             "((total)::numeric > (0)::numeric)"),
        ]),
        "routines": ("routine_name kind arguments returns", [
            ("adds", "aggregate", "integer", "integer"),
            ("noted", "function", "", "trigger"),
            ("tidy", "procedure", "", None),
            ("twice", "function", "n integer DEFAULT 2", "integer"),
            ("twice", "function", "n text", "text"),
        ]),
        "sequences": ("sequence_name increment owned_by", [
            ("badge", -5, None),
            ("customers_id_seq", 1, "sales.customers.id"),
            ("orders_id_seq", 1, "sales.orders.id"),
        ]),
        "triggers": ("relation_name trigger_name timing events enabled", [
            ("orders", "noted", "BEFORE", ("INSERT", "UPDATE"), "disabled"),
        ]),
        "dependencies": ("relation_name referenced_relation referenced_column", [
            ("recent", "orders", "id"), ("recent", "orders", "placed"),
            ("recent", "orders", "total"), ("totals", "orders", "total"),
        ]),
        "statistics": ("relation_name", [
            (name,) for name in ("people", "people_2000", "scratch", "customers", "orders", "totals")
        ]),
    }  # fmt: skip

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, postgres: Any) -> PostgreSQLPlace:
        return PostgreSQLPlace(postgres)

    def refused(self, place: PostgreSQLPlace) -> tuple[Target, str]:
        target, role = place.new(SHOP), f"reader_{uuid.uuid4().hex[:8]}"
        place.execute(
            target,
            f"create role {role} login password 'sees-little'",
            "revoke select on pg_proc, pg_attrdef from public",
        )
        return replace(target, username=role), "sees-little"

    def is_login(self, data: bytes, target: Target) -> bool:
        return is_login(data)

    def running(self, place: PostgreSQLPlace, target: Target) -> int:
        asked = "select 1 from pg_stat_activity where state = 'active' and query = "
        return len(place.server.execute(target.database, f"{asked} $${self.hanging}$$"))
