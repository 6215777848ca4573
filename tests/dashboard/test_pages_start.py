"""The page to start a run from, whichever the connection."""

from __future__ import annotations

import re
import uuid

import pytest

from dashboard import runs
from dashboard.models import Run
from tests.dashboard import cast

pytestmark = pytest.mark.django_db

START = "/runs/start/"


@pytest.fixture
def warehouse(db):
    return cast.connection()


@pytest.fixture
def browser(client, operator):
    client.force_login(operator)
    return client


def chosen(page) -> list[str]:
    return re.findall(r'<option value="([^"]+)" selected', page.content.decode())


def test_the_runs_lead_to_it_for_those_who_may(client, viewer, operator, warehouse):
    client.force_login(viewer)
    assert f'href="{START}"' not in client.get("/runs/").content.decode()
    client.force_login(operator)
    assert f'href="{START}"' in client.get("/runs/").content.decode()


def test_the_only_connection_is_chosen_and_one_of_several_is_not(browser, warehouse):
    assert chosen(browser.get(START)) == [str(warehouse.id)]
    cast.connection("billing")
    assert chosen(browser.get(START)) == []


def test_it_starts_what_was_asked_for(browser, warehouse):
    cast.connection("billing")
    page = browser.post(START, {"connection": warehouse.id, "include": "crm", "kinds": ["columns"]})
    run = Run.objects.get()
    assert page.headers["Location"] == f"/runs/{run.id}/"
    assert run.connection == warehouse
    assert run.input["selection"] == {"include": ["crm"], "exclude": [], "kinds": ["columns"]}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({}, "Choose a connection."),
        ({"connection": uuid.uuid4()}, "This connection is not there any more."),
        ({"include": "a.b.c"}, "The pattern &#x27;a.b.c&#x27;"),
    ],
)
def test_what_cannot_be_started_is_said_and_kept(browser, warehouse, typed, said):
    page = browser.post(START, {"exclude": "tmp_*", **typed})
    text = page.content.decode()
    assert page.status_code == 422
    assert said in text
    assert re.search(r"<textarea[^>]*>\s*tmp_\*</textarea>", text)
    assert not Run.objects.exists()


def test_an_open_run_is_named(browser, warehouse):
    open_run = cast.run(warehouse, "queued")
    page = browser.post(START, {"connection": warehouse.id})
    assert page.status_code == 409
    assert f'href="/runs/{open_run.id}/"' in page.content.decode()
    assert Run.objects.get() == open_run


@pytest.mark.django_db(transaction=True)
def test_a_connection_just_deleted_is_said(browser, warehouse, monkeypatch):
    monkeypatch.setattr("dashboard.runs.start", cast.gone_before(runs.start))
    page = browser.post(START, {"connection": warehouse.id})
    assert page.status_code == 404
    assert "has just deleted" in page.content.decode()


def test_in_the_list_the_id_leads_to_the_run_and_the_name_to_the_connection(browser):
    run = cast.run(cast.connection(environment="prod<1>"))
    orphan = cast.run(cast.connection("gone"))
    orphan.connection.delete()
    text = browser.get("/runs/").content.decode()
    assert f'<a href="/connections/{run.connection_id}/">warehouse</a>' in text
    assert 'env">env prod&lt;1&gt;<' in text
    for each in (run, orphan):
        assert re.search(rf'<a href="/runs/{each.id}/"[^>]*>{str(each.id)[:8]}</a>', text)
    assert re.search(r'c-name">gone <span class="quiet env">deleted<', text)
