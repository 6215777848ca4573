"""Sign-in, and the pages for what did not work: plain words, never a traceback."""

from __future__ import annotations

import uuid

import pytest
from django.db import OperationalError
from django.test import RequestFactory

from dashboard.views import errors

pytestmark = pytest.mark.django_db


def test_sign_in_leads_to_the_page_that_was_asked_for(client, viewer):
    page = client.post(
        "/sign-in/",
        {"username": "viewer", "password": "viewer-passes-here", "next": "/connections/"},
    )
    assert page.headers["Location"] == "/connections/"


def test_sign_in_leads_nowhere_else(client, viewer):
    page = client.post(
        "/sign-in/",
        {"username": "viewer", "password": "viewer-passes-here", "next": "//evil.example/"},
    )
    assert page.headers["Location"] == "/runs/"


def test_a_wrong_password_answers_422_and_keeps_the_name_only(client, viewer):
    page = client.post("/sign-in/", {"username": "viewer", "password": "guess-91"})
    text = page.content.decode()
    assert page.status_code == 422
    assert 'value="viewer"' in text
    assert "guess-91" not in text


def test_sign_out_takes_post_only(client, viewer):
    client.force_login(viewer)
    assert client.get("/sign-out/").status_code == 405
    assert client.post("/sign-out/").headers["Location"] == "/sign-in/"
    assert client.get("/runs/").status_code == 302


def test_a_page_that_is_not_there(client, viewer):
    client.force_login(viewer)
    page = client.get("/nowhere/")
    assert page.status_code == 404
    assert "There is nothing at this address." in page.content.decode()


def test_a_page_that_only_takes_a_button_says_so(client, operator):
    client.force_login(operator)
    page = client.get(f"/runs/{uuid.uuid4()}/again/")
    assert (page.status_code, page.headers["Allow"]) == (405, "POST")
    assert "There is nothing to see at this address." in page.content.decode()
    assert client.post("/healthz").content == b""


def test_a_failure_shows_no_cause(client, viewer, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("secret-cause")

    monkeypatch.setattr("dashboard.views.runs._list", broken)
    client.force_login(viewer)
    client.raise_request_exception = False
    page = client.get("/runs/")
    text = page.content.decode()
    assert page.status_code == 500
    assert "Runs that are going go on" in text
    assert "secret-cause" not in text


def test_a_lost_app_database_is_unavailable_and_not_a_failure(client, viewer, monkeypatch):
    def lost(*_args, **_kwargs):
        raise OperationalError("connection to host db.internal refused")

    monkeypatch.setattr("dashboard.views.runs._list", lost)
    client.force_login(viewer)
    client.raise_request_exception = False
    page = client.get("/runs/")
    text = page.content.decode()
    assert page.status_code == 503
    assert "The app database does not answer." in text
    assert "db.internal" not in text


def test_the_api_gets_problems_and_not_pages():
    request = RequestFactory().get("/api/v1/nothing")
    answer = errors.not_found(request, Exception())
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/sign-in/", "/runs/", "/nowhere/"])
def test_every_page_carries_a_strict_policy(client, viewer, path):
    client.force_login(viewer) if path != "/sign-in/" else None
    page = client.get(path)
    policy = page.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    text = page.content.decode()
    assert "style=" not in text
    assert "onclick" not in text
    assert "<script>" not in text
