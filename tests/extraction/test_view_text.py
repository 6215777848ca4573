"""What the text of a view names: texts, and the rows that follow from them."""

from __future__ import annotations

import pytest

from extraction.parsers import Unreadable
from extraction.view_text import references

# Per text: the dialect, and what it reads, as "relation.column", or "relation.*" for a whole.
PLAIN = {
    "one source": ("mysql", "select a, b + 1 from t where c > 0", "t.a t.b t.c"),
    "the whole": ("mysql", "select * from t", "t.*"),
    "the whole and more": ("mysql", "select t.*, u.a from t join u on t.id = u.id", "t.* t.id u.a u.id"),
    "only counted": ("mysql", "select count(*) from t", "t.*"),
    "counted where": ("mysql", "select count(*) from t where a = 1", "t.a"),
    "two sources, qualified": ("mysql", "select x.a, y.b from t x, u as y", "t.a u.b"),
    "two sources, not qualified": ("mysql", "select a from t, u", "t.* u.*"),
    "one of them qualified": ("mysql", "select t.a, b from t, u", "t.* t.a u.*"),
    "nothing": ("mysql", "select 1 as one", ""),
    "no table": ("mysql", "select 1 as one from dual", ""),
    "another schema": ("mysql", "select o.t.a from o.t", "o.t.a"),
    "as the server writes it": (
        "mysql",
        "select `s`.`t`.`a` AS `a`,`o`.`t`.`b` AS `b` from (`s`.`t` join `o`.`t` "
        "on(`s`.`t`.`id` = `o`.`t`.`id`)) where `s`.`t`.`c` is not null order by `b`",
        "t.a t.c t.id o.t.b o.t.id",
    ),
    "same name, which of both": ("mysql", "select t.a from s.t, o.t", "t.* o.t.*"),
    "brackets around joins": (
        "mysql",
        "select t.a from ((t left join u on t.id = u.id) join v on v.id = u.id)",
        "t.a t.id u.id v.id",
    ),
    "union": ("mysql", "select a from t union all select b from u order by a", "t.a u.b"),
    "union in brackets": ("mysql", "(select a from t) union (select b from u) limit 3", "t.a u.b"),
    "except and intersect": (
        "sqlite", "select a from t except select a from u intersect select a from v", "t.a u.a v.a",
    ),
    "derived": ("mysql", "select d.x from (select a as x from t) d where d.x > 1", "t.a"),
    "derived and table": ("mysql", "select d.x, u.b from (select a as x from t) d, u", "t.a u.b"),
    "common": ("mysql", "with c as (select a from t) select a from c", "t.a"),
    "common twice": (
        "mysql", "with c as (select a from t), d as (select a from c) select * from d, c", "t.a",
    ),
    "common hides a table": ("mysql", "with t as (select a from u) select b from t", "u.a"),
    "not by its schema": ("mysql", "with t as (select a from u) select b from s.t", "t.b u.a"),
    "common over a table of its name": ("mysql", "with t as (select a from t) select a from t", "t.a"),
    "recursive": (
        "mysql",
        "with recursive c (n) as (select id from t union all select t.up from t join c on t.id = c.n)"
        " select n from c",
        "t.id t.up",
    ),
    "recursive without the word": (
        "sqlite", "with c(n) as (select 1 union all select n + 1 from c where n < 9) select n from c", "",
    ),
    "not recursive without the word": (
        "mysql", "with c as (select a from t union all select a from c) select a from c", "c.a t.a",
    ),
    "common in a subquery": (
        "mysql", "select a from t where b in (with c as (select x from u) select c.x from c)", "t.a t.b u.x",
    ),
    "common out of its scope": (
        "mysql",
        "select a from t where exists (with c as (select x from u) select c.x from c)"
        " union select a from c",
        "c.a t.a u.x",
    ),
    "correlated": (
        "mysql", "select t.a from t where exists (select 1 from u where u.x = t.b)", "t.a t.b u.x",
    ),
    "correlated, not qualified": (
        "mysql", "select t.a from t where exists (select 1 from u where x = 1)", "t.* t.a u.*",
    ),
    "scalar": ("mysql", "select (select max(u.x) from u) from t where t.a = 1", "t.a u.x"),
    "two levels up": (
        "mysql",
        "select (select max(d.m) from (select u.x + t.a as m from u) d) from t",
        "t.a u.x",
    ),
    "a neighbour is not seen": (
        "mysql", "select x.a from t x, (select x.b from u x) d", "t.a u.b",
    ),
    "lateral": (
        "mysql", "select x.a from t x, lateral (select v.m from u v where v.id = x.id) l", "t.a t.id u.id u.m",
    ),
    "alias in order by": ("mysql", "select a + b as c from t order by c", "t.a t.b"),
    "alias in group by": ("mysql", "select lower(a) as c from t group by c", "t.* t.a"),
    "alias of itself": ("mysql", "select t.a as a, count(*) from t group by a order by a", "t.a"),
    "order by in an expression": ("mysql", "select a as c from t order by c + 1", "t.* t.a"),
    "order by what is shown": ("mysql", "select t.a, u.b from t, u order by a, b", "t.a u.b"),
    "window": (
        "mysql", "select row_number() over (partition by t.a order by t.b) from t", "t.a t.b",
    ),
    "using": ("mysql", "select id, t.a from t join u using (id)", "t.a t.id u.id"),
    "using of three": (
        "mysql", "select v.a from t join u using (id) join v using (id)", "t.* u.* u.id v.* v.a v.id",
    ),
    "natural": ("mysql", "select t.a from t natural join u", "t.* t.a u.*"),
    "renamed columns": ("duckdb", "select x.c from t as x(c, d)", "t.*"),
    "values": ("mysql", "select t.a from t join (values row(1), row(2)) as w(n) on w.n = t.b", "t.a t.b"),
    "table function": ("sqlite", "select t.a, j.value from t, json_each(t.doc) j", "t.a t.doc"),
    "table function alone": ("sqlite", "select value from json_each('[1]')", ""),
    "json table": (
        "mysql", "select j.n from t, json_table(t.doc, '$[*]' columns (n int path '$')) j", "t.doc",
    ),
    "case, cast, between": (
        "mysql", "select case when a between b and c then cast(d as char) end from t", "t.a t.b t.c t.d",
    ),
    "whole create": ("sqlite", "CREATE VIEW v(x, y) AS SELECT a, b FROM t", "t.a t.b"),
    "itself is not read": ("sqlite", "create temp view if not exists v as select a from t", "t.a"),
    "quoted, may be a text": ("sqlite", 'select "a" from t', "t.*"),
    "quoted and qualified": ("sqlite", 'select "t"."a" from "t"', "t.a"),
    "row id": ("sqlite", "select t.rowid, t.a from t", "t.* t.a"),
    "in a table": ("sqlite", "select a from t where a in u", "t.a u.*"),
    "whole row": ("duckdb", "select t from t", "t.*"),
    "field of a column": ("duckdb", "select a.f from t", "t.*"),
    "comments and strings": (
        "mysql", "select /* from u */ 'from v' as x, a -- , w\n from t", "t.a",
    ),
    "strange names": ("mysql", "select `a.b`, `x``y` from `new\nline`", "new\nline.a.b new\nline.x`y"),
    "upper case is folded": ("oracle", 'select a, "b" from t', "T.A T.b"),
}  # fmt: skip


def said(text: str, dialect: str) -> str:
    rows = references(text, dialect, "s")
    named = [(s, n, "*" if column is None else column) for s, n, column in rows]
    return " ".join(
        f"{name if schema == 's' else f'{schema}.{name}'}.{c}" for schema, name, c in named
    )


@pytest.mark.parametrize("case", PLAIN)
def test_what_a_view_reads(case: str) -> None:
    dialect, text, expected = PLAIN[case]
    assert sorted(said(text, dialect).split(" ")) == sorted(expected.split(" "))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("selec a from", "it is not understood at line 1, column 12"),
        ("select a from t where (", "it is not understood at line 1, column 23"),
        ("select 'a", "it cannot be cut into words"),
        ("select a from t; select b from u", "it is not one statement"),
        ("", "it is not one statement"),
        ("drop table t", "it is no query"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        references(text, "mysql", "s")
    assert str(caught.value) == reason


def test_the_reason_quotes_nothing_of_the_text() -> None:
    with pytest.raises(Unreadable) as caught:
        references("select 'canary-secret' from t where canary_secret (((", "mysql", "s")
    assert "canary" not in str(caught.value)
