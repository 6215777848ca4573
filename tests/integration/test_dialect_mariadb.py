"""MariaDB passes the suite of all dialects."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from extraction.connection import AddressPolicy, Target
from tests.integration.dialects import HOSTILE, DialectContract

pytestmark = pytest.mark.integration

SHOP = (
    "create table customers (id bigint auto_increment primary key, name varchar(40) "
    "character set latin1 collate latin1_bin not null comment 'as spoken', mood enum('good','bad'), "
    "upper_name varchar(40) as (upper(name)) stored, tags set('a','b'), vip boolean default false, "
    "papers json, changed timestamp default current_timestamp on update current_timestamp) "
    "comment 'who buys'",
    "create table orders (id int unsigned not null, part smallint not null, customer bigint, "
    "replaces int unsigned, total decimal(12,2) default 0 check (total > -1), note text, "
    "primary key (id, part), unique key placed (customer, part), "
    "key words (note(10), total desc) comment 'it''s', fulltext key found (note), "
    "constraint of_whom foreign key (customer) references customers (id) on update cascade "
    "on delete set null, constraint again foreign key (replaces) references orders (id))",
    "create table years (born int) partition by range (born) (partition old values less than (2000))",
    "create view recent as select id, total from orders where total > 1",
    "create function twice(n int(11)) returns int(11) deterministic return n * 2",
    "create procedure twice(IN n int(11), OUT m decimal(4,1)) comment 'and again' set m = n * 2",
    "create trigger noted before insert on orders for each row set new.note = ''",
    "create trigger later before insert on orders for each row follows noted set new.note = 'x'",
    "create sequence badge start with -5 increment by -5",
)


class MariaDBPlace:
    policy = AddressPolicy(allow_loopback=True)

    def __init__(self, server: Any) -> None:
        self.server, self.password = server, server.password

    def new(self, *statements: str) -> Target:
        name = f"dialect_{uuid.uuid4().hex[:12]}"
        self.server.execute("", f"create database {name}")
        self.server.execute(name, *statements)
        host, port, user = self.server.host, self.server.port, self.server.user
        return Target("mariadb", host, port, name, user, "disable")

    def execute(self, target: Target, *statements: str) -> None:
        self.server.execute(target.database, *statements)


class TestMariaDB(DialectContract):
    refuses = logs_in = True
    quotes = "`"
    most_columns = 1017
    hanging = "select sleep(120) as hanging"
    # No name there ends with white space.
    hostile = [
        *(name for name in HOSTILE if name != "tab\t"),
        "tab\tin",
        "Ω" * 64,
        "İ",
        "Straße",
        "straße",
        "STRASSE",
        "é",
        "e",
    ]
    script = SHOP
    golden = {
        "relations": ("relation_name kind comment", [
            ("customers", "table", "who buys"), ("orders", "table", None),
            ("recent", "view", None), ("years", "partitioned_table", None),
        ]),
        "columns": ("relation_name column_name data_type logical_type nullable default identity generated collation comment", [
            ("customers", "id", "bigint(20)", "integer", False, None, "BY DEFAULT", None, None, None),
            ("customers", "name", "varchar(40)", "string", False, None, None, None, "latin1_bin", "as spoken"),
            ("customers", "mood", "enum('good','bad')", "enum", True, None, None, None, "utf8mb4_general_ci", None),
            ("customers", "upper_name", "varchar(40)", "string", True, "ucase(`name`)", None, "STORED", "utf8mb4_general_ci", None),
            ("customers", "tags", "set('a','b')", "string", True, None, None, None, "utf8mb4_general_ci", None),
            ("customers", "vip", "tinyint(1)", "boolean", True, "0", None, None, None, None),
            ("customers", "papers", "longtext", "json", True, None, None, None, "utf8mb4_bin", None),
            ("customers", "changed", "timestamp", "timestamp", True,
             "current_timestamp() ON UPDATE current_timestamp()", None, None, None, None),
            ("orders", "id", "int(10) unsigned", "integer", False, None, None, None, None, None),
            ("orders", "part", "smallint(6)", "integer", False, None, None, None, None, None),
            ("orders", "customer", "bigint(20)", "integer", True, None, None, None, None, None),
            ("orders", "replaces", "int(10) unsigned", "integer", True, None, None, None, None, None),
            ("orders", "total", "decimal(12,2)", "decimal", True, "0.00", None, None, None, None),
            ("orders", "note", "text", "string", True, None, None, None, "utf8mb4_general_ci", None),
            ("recent", "id", "int(10) unsigned", "integer", False, None, None, None, None, None),
            ("recent", "total", "decimal(12,2)", "decimal", True, "0.00", None, None, None, None),
            ("years", "born", "int(11)", "integer", True, None, None, None, None, None),
        ]),
        "constraints": ("constraint_name kind columns referenced_relation referenced_columns on_update on_delete", [
            ("PRIMARY", "primary_key", ("id",), None, (), None, None),
            ("papers", "check", (), None, (), None, None),
            ("PRIMARY", "primary_key", ("id", "part"), None, (), None, None),
            ("placed", "unique", ("customer", "part"), None, (), None, None),
            ("again", "foreign_key", ("replaces",), "orders", ("id",), "RESTRICT", "RESTRICT"),
            ("of_whom", "foreign_key", ("customer",), "customers", ("id",), "CASCADE", "SET NULL"),
            ("total", "check", (), None, (), None, None),
        ]),
        "indexes": ("index_name columns unique method definition", [
            ("PRIMARY", ("id",), True, "btree", "PRIMARY KEY (`id`)"),
            ("PRIMARY", ("id", "part"), True, "btree", "PRIMARY KEY (`id`,`part`)"),
            ("placed", ("customer", "part"), True, "btree", "UNIQUE KEY `placed` (`customer`,`part`)"),
            ("words", ("note", "total"), False, "btree",
             "KEY `words` (`note`(10),`total` DESC) COMMENT 'it''s'"),
            ("found", ("note",), False, "fulltext", "FULLTEXT KEY `found` (`note`)"),
            ("again", ("replaces",), False, "btree", "KEY `again` (`replaces`)"),
        ]),
        "routines": ("routine_name kind language arguments returns definition comment", [
            ("twice", "function", "SQL", "n int(11)", "int(11)", "return n * 2", None),
            ("twice", "procedure", "SQL", "IN n int(11), OUT m decimal(4,1)", None,
             "set m = n * 2", "and again"),
        ]),
        "sequences": ("sequence_name data_type start increment owned_by", [
            ("badge", "bigint(21)", -5, -5, None),
        ]),
        "triggers": ("relation_name trigger_name timing events enabled", [
            ("orders", "noted", "BEFORE", ("INSERT",), "origin"),
            ("orders", "later", "BEFORE", ("INSERT",), "origin"),
        ]),
        "dependencies": ("relation_name referenced_relation referenced_column found_by", [
            ("recent", "orders", "id", "parsed"), ("recent", "orders", "total", "parsed"),
        ]),
        "statistics": ("relation_name row_estimate analyzed_at", [
            ("customers", 0, None), ("orders", 0, None), ("years", 2, None),
        ]),
    }  # fmt: skip

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, mariadb: Any) -> MariaDBPlace:
        return MariaDBPlace(mariadb)

    @pytest.fixture(autouse=True)
    def _schema(self, monkeypatch: pytest.MonkeyPatch, shop: Target) -> None:
        """A database is a schema."""
        named = ("schemas", ("schema_name owner comment", [(shop.database, None, None)]))
        monkeypatch.setattr(type(self), "golden", dict([named, *type(self).golden.items()]))

    def schema_of(self, target: Target) -> str:
        return target.database

    def refused(self, place: MariaDBPlace) -> tuple[Target, str]:
        """Sees tables, but neither texts of views and routines nor triggers nor rules of keys."""
        target, user = place.new(*SHOP), f"reader_{uuid.uuid4().hex[:8]}"
        place.execute(
            target,
            f"create user {user}@'%' identified by 'sees-little'",
            f"grant select on {target.database}.* to {user}@'%'",
        )
        return replace(target, username=user), "sees-little"

    def is_login(self, data: bytes, target: Target) -> bool:
        """The answer to the greeting: number 1 of the exchange, with the name in it."""
        return data[3:4] == b"\x01" and target.username.encode() + b"\0" in data

    def running(self, place: MariaDBPlace, target: Target) -> int:
        asked = "select id from information_schema.processlist where info = "
        return len(place.server.execute("", f"{asked} '{self.hanging}'"))
