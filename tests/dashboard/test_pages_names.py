"""How values and untrusted names look on a page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.template import Context, Template
from django.test import RequestFactory
from django.utils import timezone

from dashboard.templatetags import surveyor
from dashboard.views.bars import Bar


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("orders", "orders"),
        ("", "(empty)"),
        ("Größe 表 🙂", "Größe 表 🙂"),
        ("a\nb\tc", "a\\x0ab\\x09c"),
        ("pay\u202etxt", "pay\\u202etxt"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("no\u00a0break", "no\\u00a0break"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("esc\x1b[31m", "esc\\x1b[31m"),
        ("line\u2028end", "line\\u2028end"),
    ],
)
def test_a_name_shows_what_hides_in_it(name, shown):
    assert surveyor.visible(name) == shown


def test_longer_text_keeps_its_lines_but_nothing_else():
    assert surveyor.visible_text("a\n\tb\r\u202e") == "a\n\tb\\x0d\\u202e"


def test_markup_in_a_name_is_text():
    page = Template("{% load surveyor %}<b>{{ name|visible }}</b>").render(
        Context({"name": '<script>alert("1")</script>'})
    )
    assert page == "<b>&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;</b>"


def test_a_name_survives_the_way_through_an_address():
    name = "a&b=c#d/é\n"
    link = Template("{% load surveyor %}{% query schema=name relation='' %}").render(
        Context({"name": name})
    )
    request = RequestFactory().get("/catalogue/" + link.replace("&amp;", "&"))
    assert request.GET.dict() == {"schema": name}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "–"), (0, "0:00"), (131.9, "2:11"), (3671, "1:01:11"), (-3, "0:00")],
)
def test_durations(seconds, shown):
    assert surveyor.duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0, "0"), (10412, "10,412"), (3.14, "3.1"), (38.4, "38")]
)
def test_an_unknown_number_is_a_dash_and_not_zero(value, shown):
    assert surveyor.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (999, "999\u00a0B"), (24_700_000, "24.7\u00a0MB")]
)
def test_sizes(value, shown):
    assert surveyor.size(value) == shown


@pytest.mark.parametrize(
    ("at", "title", "day"),
    [
        (datetime(2026, 5, 6, 5, 6, 7, tzinfo=UTC), "6 May 2026 05:06:07 UTC", ""),
        (datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), "4 Mar 2026 05:06:07 UTC", "4 Mar "),
        (datetime(2020, 3, 4, 5, 6, 7, tzinfo=UTC), "4 Mar 2020 05:06:07 UTC", "4 Mar 2020 "),
    ],
)
def test_a_time_carries_its_date_when_it_is_not_today(monkeypatch, at, title, day):
    now = datetime(2026, 5, 6, 7, 8, tzinfo=UTC)
    monkeypatch.setattr(surveyor.timezone, "now", lambda: now)
    day = day.replace(" ", "\u00a0")
    head = f'<time datetime="{at.isoformat()}" title="{title}">'
    assert surveyor.clock(at) == f"{head}{day}05:06:07</time>"
    assert surveyor.moment(at) == f"{head}{day}{'05:06' if day else '05:06:07'}</time>"
    assert surveyor.ago(at).startswith(head)


def test_what_is_no_time_is_unknown():
    assert surveyor.clock("no time") == surveyor.ago(None) == "–"


@pytest.mark.parametrize(
    ("past", "shown"),
    [
        (5, "5\u00a0s ago"),
        (300, "5\u00a0min ago"),
        (7200, "2\u00a0h ago"),
        (3 * 86400, "3\u00a0d ago"),
    ],
)
def test_how_long_ago(past, shown):
    assert f">{shown}</time>" in surveyor.ago(timezone.now() - timedelta(seconds=past))


def test_a_bar_never_says_all_before_it_is_all():
    bar = Bar(done=9999, in_flight=50, total=10000)
    assert (bar.percent, bar.done_percent) == (99, 99.99)
    assert bar.done_percent + bar.flying_percent <= 100
    assert Bar(0, 0, 0).percent == 0


@pytest.mark.parametrize(
    ("cookie", "attribute"),
    [("dark", ' data-theme="dark"'), ("light", ' data-theme="light"'), ('"><script>', "")],
)
def test_the_theme_cookie_is_one_of_two_words(cookie, attribute):
    request = RequestFactory().get("/")
    request.COOKIES["surveyor_theme"] = cookie
    page = Template("{% load surveyor %}<html{% theme %}>").render(Context({"request": request}))
    assert page == f"<html{attribute}>"
