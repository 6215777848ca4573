"""The connection form in a browser: the fields of the chosen kind of database, and no others."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Page, Route, expect

from dashboard.forms import ConnectionForm
from dashboard.models import Connection
from tests.e2e.browser import Complaints, chromium, serious_findings

pytestmark = pytest.mark.e2e

SCRIPT = Path(__file__).parents[2] / "dashboard" / "static" / "page.js"


@pytest.fixture
def page(db: None) -> Iterator[Page]:
    """The page that the server draws for a new connection."""
    with drawn(ConnectionForm()) as page:
        yield page


@contextmanager
def drawn(form: ConnectionForm) -> Iterator[Page]:
    html = render_to_string("connections/form.html", {"form": form, "role_sql": "-"})
    complaints = Complaints()
    with chromium() as browser:
        page = browser.new_page()
        # Nothing else is fetched: what the form looks like is another test.
        page.route(
            "http://form.test/", lambda route: route.fulfill(body=html, content_type="text/html")
        )
        page.route("http://form.test/*/**", _nothing)
        complaints.watch(page)
        page.goto("http://form.test/")
        yield page
    assert complaints.lines == []


def _nothing(route: Route) -> None:
    kind, _ = mimetypes.guess_type(route.request.url)
    route.fulfill(body="", content_type=kind or "text/plain")


def shown(page: Page) -> list[str]:
    names = ("host", "port", "database", "tls", "username", "password")
    return [name for name in names if page.locator(f"#id_{name}").is_visible()]


def test_without_the_script_every_field_is_there(page: Page) -> None:
    page.select_option("#id_dialect", "sqlite")
    assert shown(page) == ["host", "port", "database", "tls", "username", "password"]


def test_the_script_shows_the_fields_of_a_kind_and_sends_no_others(page: Page) -> None:
    page.add_script_tag(path=str(SCRIPT), type="module")
    server = ["host", "port", "database", "tls", "username", "password"]
    assert shown(page) == server
    page.select_option("#id_dialect", "sqlite")
    assert shown(page) == ["database"]
    sent = page.evaluate("[...new FormData(document.querySelector('form[method=post]')).keys()]")
    assert not {"host", "port", "tls", "username", "password"} & set(sent)
    page.select_option("#id_dialect", "mariadb")
    assert shown(page) == server
    expect(page.locator("#id_port")).to_have_value("3306")
    page.fill("#id_port", "3307")
    page.select_option("#id_dialect", "postgresql")
    expect(page.locator("#id_port")).to_have_value("3307")  # somebody's own
    page.select_option("#id_dialect", "oracle")
    assert shown(page) == ["host", "port", "database", "username", "password"]
    assert serious_findings(page) == []


def test_a_kind_with_a_password_and_no_user_sends_the_password(page: Page) -> None:
    page.add_script_tag(path=str(SCRIPT), type="module")
    page.select_option("#id_dialect", "databricks")
    assert shown(page) == ["host", "port", "database", "password"]
    page.fill("#id_password", "token")
    sent = page.evaluate(
        "Object.fromEntries(new FormData(document.querySelector('form[method=post]')))"
    )
    assert "username" not in sent and sent["password"] == "token"


@pytest.mark.parametrize("port", [8443, 5432])
def test_the_port_of_a_connection_is_not_touched_until_its_kind_is(db: None, port: int) -> None:
    """Though it is the usual one of another kind."""
    stored = Connection(name="lake", dialect="trino", host="h", port=port, database="hive")
    stored._state.adding = False
    sent = {"name": "", "dialect": "trino", "host": "h", "port": str(port), "database": "hive"}
    for form in (ConnectionForm(instance=stored), ConnectionForm(sent, instance=stored)):
        with drawn(form) as page:
            page.add_script_tag(path=str(SCRIPT), type="module")
            expect(page.locator("#id_port")).to_have_value(str(port))
            page.select_option("#id_dialect", "clickhouse")
            expect(page.locator("#id_port")).to_have_value(str(port))
