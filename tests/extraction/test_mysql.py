"""What is done with MySQL's answers where no MySQL is at hand, and what types are."""

from __future__ import annotations

from typing import Any

import pytest

from extraction.connection import BY_HAND, Item, Target, Unseen
from extraction.logical import LogicalType
from extraction.sources import mysql_keys, mysql_rows
from extraction.sources import mysql_sql as sql
from extraction.sources.mysql import MySQLSession, role_script
from extraction.sources.mysql_grants import Rights, parsed
from extraction.sources.mysql_sql import Statements
from extraction.sources.mysql_types import logical_type


@pytest.mark.parametrize(
    ("text", "logical"),
    [
        ("tinyint(1)", LogicalType("boolean")),
        ("tinyint(1) unsigned", LogicalType("integer")),
        ("tinyint(4)", LogicalType("integer")),
        ("int", LogicalType("integer")),
        ("bigint(20) unsigned zerofill", LogicalType("integer")),
        ("decimal(65,30) unsigned", LogicalType("decimal", precision=65, scale=30)),
        ("double(5,2)", LogicalType("float")),
        ("varchar(40)", LogicalType("string", length=40)),
        ("set('a','b(3)')", LogicalType("string")),
        ("enum('(7)')", LogicalType("enum")),
        ("datetime(6)", LogicalType("timestamp", precision=6)),
        ("time", LogicalType("time")),
        ("bit(3)", LogicalType("bits", length=3)),
        ("binary(16)", LogicalType("binary", length=16)),
        ("json", LogicalType("json")),
        ("geometrycollection", LogicalType("geometry")),
        ("inet6", LogicalType("network")),
        ("vector(8)", LogicalType("binary", length=8)),
        ("something new", LogicalType("other")),
    ],
)
def test_types(text: str, logical: LogicalType) -> None:
    assert logical_type(text) == logical


def test_each_type_is_found_out_once() -> None:
    types = mysql_rows.Types()
    types.of(["int", "text", "int"])
    types.of(["int"] * 97)
    assert (types.asked, types.missed) == (100, 2)


def column(default: str | None, extra: str, type_: str, expression: str = "") -> dict[str, Any]:
    row = ("s", "t", "c", "1", type_, "YES", default, extra, expression, None, "")
    made = mysql_rows.columns([row], [], mysql_rows.Types(), mariadb=False)
    return {name: made[name][0] for name in ("default", "generated", "identity")}


@pytest.mark.parametrize(
    ("said", "default", "generated"),
    [
        (("it's", "", "varchar(9)"), "'it''s'", None),
        (("NULL", "", "varchar(9)"), "'NULL'", None),
        ((None, "", "varchar(9)"), None, None),
        (("7", "", "int"), "7", None),
        (("b'101'", "", "bit(3)"), "b'101'", None),
        (("CURRENT_TIMESTAMP", "DEFAULT_GENERATED", "timestamp"), "CURRENT_TIMESTAMP", None),
        (
            ("CURRENT_TIMESTAMP", "DEFAULT_GENERATED on update CURRENT_TIMESTAMP", "timestamp"),
            "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP",
            None,
        ),
        ((None, "VIRTUAL GENERATED", "int", "(`a` + 1)"), "(`a` + 1)", "VIRTUAL"),
        ((None, "STORED GENERATED INVISIBLE", "int", "(1)"), "(1)", "STORED"),
    ],
)
def test_defaults_of_mysql(said: Any, default: str | None, generated: str | None) -> None:
    made = column(*said)
    assert (made["default"], made["generated"]) == (default, generated)


def test_keys_of_mysql() -> None:
    rows = [
        ("s", "t", "e", "1", None, "0", None, "A", "BTREE", "", "1", "lower(`a`)"),
        ("s", "t", "e", "2", "b", "0", "10", "D", "BTREE", "", "1", None),
    ]
    (made,) = mysql_keys.indexes_of(rows)
    found = mysql_keys.indexes([made], mariadb=False)
    assert found["columns"] == [["(lower(`a`))", "b"]]
    assert found["definition"] == ["UNIQUE KEY `e` ((lower(`a`)),`b`(10) DESC) INVISIBLE"]
    checks = [("s", "t", "c", "(`a` > 1)", "NO")]
    keys = mysql_keys.constraints([made], [], checks, mariadb=False)
    assert list(keys["definition"]) == [
        "UNIQUE ((lower(`a`)),`b`(10) DESC)", "CHECK (`a` > 1) NOT ENFORCED",
    ]  # fmt: skip


def test_names_are_bound_and_never_written() -> None:
    items = [Item("a'b", "c`%s", 0), Item("a'b", "d", 0)]
    for mariadb in (True, False):
        asked = Statements(mariadb, (8, 0))
        for statements in (
            *(asked.tables(items), asked.columns(items), asked.index_parts(items)),
            *(asked.foreign_keys(items), asked.checks(items), asked.triggers(items)),
            *(asked.views(items), asked.routines(items), asked.parameters(items)),
        ):
            for text, values in statements:
                assert "a'b" not in text and text.count("%s") == len(values)
    ((text, values),) = asked.sequences(items)
    assert "`a'b`.`c``%%s`" in text and text.count("%s") - 1 == len(values) == 4


class Asked:
    """A session's rights alone, with the questions that it asks."""

    mariadb, _user, _number = False, "u@%", (8, 0)

    def __init__(self, roles: str) -> None:
        self.roles, self.statements = roles, list[str]()

    def _ask(self, statement: str) -> list[tuple[str, ...]]:
        self.statements.append(statement)
        return [(self.roles,)] if statement == sql.ROLES else [(ROOT,)]


def test_roles_are_asked_for_as_the_server_writes_them() -> None:
    asked = Asked("`reader`@`%`")
    assert "SELECT" in MySQLSession._rights(asked).grants.everywhere  # type: ignore[arg-type]
    assert asked.statements[1].endswith(" USING `reader`@`%`")


ROOT = "GRANT SELECT, SHOW VIEW, TRIGGER ON *.* TO `u`@`%`"


@pytest.mark.parametrize(
    ("lines", "schema", "held"),
    [
        ([ROOT], "shop", {"SELECT", "SHOW VIEW", "TRIGGER"}),
        ([ROOT, "REVOKE SELECT ON `shop`.* FROM `u`@`%`"], "shop", {"SHOW VIEW", "TRIGGER"}),
        (["GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*AB'"], "shop", {"USAGE"}),
        (["GRANT SELECT ON `sh\\_p`.* TO `u`@`%`"], "shop", set()),
        (["GRANT SELECT ON `sh_p`.* TO `u`@`%`"], "shop", {"SELECT"}),
        (
            ["GRANT SELECT ON `sh%`.* TO `u`@`%`", "GRANT INSERT ON `sho_`.* TO `u`@`%`"],
            *("shop", {"INSERT"}),
        ),
        (
            ["GRANT SELECT ON `sh%`.* TO `u`@`%`", "GRANT INSERT ON `sho_`.* TO `r`@`%`"],
            *("shop", {"SELECT", "INSERT"}),
        ),
        (["GRANT SELECT (`a ON b`), INSERT ON `shop`.`t` TO `u`@`%`"], "shop", set()),
        (["GRANT EXECUTE ON PROCEDURE `shop`.`p` TO `u`@`%`"], "shop", set()),
        (["GRANT `r`@`%` TO `u`@`%`", "GRANT PROXY ON ``@`` TO `u`@`%`"], "shop", set()),
        (["GRANT PROXY ON 'app'@'10.0.0.1' TO 'u'@'%' WITH GRANT OPTION"], "app", set()),
        (["GRANT SELECT ON shop.* TO u@`%`", "GRANT INSERT ON shop.t TO u@`%`"], "shop", set()),
        (["GRANT SELECT ON `shop`.t TO u@h", "GRANT INSERT ON *.* TO u@h"], "shop", {"INSERT"}),
        ([ROOT, "REVOKE SELECT ON shop.* FROM u@h"], "shop", {"SHOW VIEW", "TRIGGER"}),
        (["GRANT SELECT ON shop.* TO `shop`@`h`"], "shop", set()),
        (["GRANT SELECT ON `a``b ON c`.* TO `u`@`%`"], "a`b ON c", {"SELECT"}),
    ],
)
def test_what_grants_give_on_a_schema(lines: list[str], schema: str, held: set[str]) -> None:
    assert parsed(lines).on(schema) == held


def test_a_right_that_was_taken_back_is_named_with_its_grant() -> None:
    grants = parsed(
        [ROOT, "GRANT SHOW_ROUTINE ON *.* TO `u`@`%`", "REVOKE SELECT ON `shop`.* FROM `u`@`%`"]
    )
    rights = Rights(grants, "`u`@`%`", mariadb=False, number=(8, 0))
    found = rights.unseen(["relations", "routines"], ["shop", "other"], set(), None, "")
    assert [(one.kind, one.schema) for one in found] == [("schemas", ""), ("relations", "shop")]
    assert found[1].fix == "GRANT SELECT ON `shop`.* TO `u`@`%`;"
    assert found[1].fixes == ("GRANT SELECT ON `shop`.* TO `u`@`%`;",)


@pytest.mark.parametrize("name", ["A\nx", "A\n; DROP DATABASE prod; -- ", "a\u202eb", "a\x1b[2K"])
def test_no_statement_is_given_for_a_name_that_hides_something(name: str) -> None:
    rights = Rights(parsed([]), "`u`@`%`", mariadb=True, number=(10, 11))
    found = rights.unseen(["columns"], [name, "a;b`c"], set(), None, name)
    assert [(one.fix, one.fixes) for one in found] == [
        (BY_HAND, ()),
        (
            "GRANT SELECT, SHOW VIEW ON `a;b``c`.* TO `u`@`%`;",
            ("GRANT SELECT, SHOW VIEW ON `a;b``c`.* TO `u`@`%`;",),
        ),
    ]


def test_the_other_statements_are_given_all_the_same() -> None:
    found = Unseen.mended_by(["GRANT a;", "GRANT b\n;"], "columns", "", "Hidden.")
    assert (found.fix, found.fixes) == (f"GRANT a;\n{BY_HAND}", ("GRANT a;",))


@pytest.mark.parametrize("line", [ROOT, "GRANT ALL PRIVILEGES ON *.* TO `u`@`%`"])
def test_mysql_shows_all_to_who_may_read_everything(line: str) -> None:
    rights = Rights(parsed([line]), "`u`@`%`", mariadb=False, number=(8, 4))
    kinds = ["schemas", "relations", "columns", "constraints", "routines", "triggers", "sequences"]
    assert rights.unseen(kinds, ["shop"], {"shop"}, None, "") == []


def test_the_script_of_each_product() -> None:
    mysql = role_script(Target("mysql", "h", 1, "sh_op", "it's", "disable"))
    assert "GRANT SHOW_ROUTINE ON *.* TO 'it''s'@'%';" in mysql and "`sh\\_op`.*" in mysql
    assert "SHOW_ROUTINE" not in role_script(Target("mariadb", "h", 1, "", "", "disable"))
