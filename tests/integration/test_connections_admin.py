"""Connections through pages, API and admin: one behaviour, and a password that stays nowhere."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib.admin.models import LogEntry
from django.db import connection as database
from django.test import Client
from django.urls import reverse

from dashboard import connections, tokens
from dashboard.models import AuditEntry, Connection, StraySecret
from extraction.vault import Vault, credentials_from
from tests.dashboard import cast
from tests.integration.test_connections import closed_port, configured, open_run  # noqa: F401

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

CANARY = "canary-7b1f'\"<&>é"
ADD = "/admin/dashboard/connection/add/"
LIST = "/admin/dashboard/connection/"
TYPED = {
    "name": "hr",
    "dialect": "postgresql",
    "host": "hr.internal",
    "port": "5432",
    "database": "hr",
    "username": "surveyor",
    "password": CANARY,
    "tls": "verify-full",
    "tags": "pii, hr",
    "pace": "0.5",
}


@pytest.fixture
def browser(admin) -> Client:
    client = Client()
    client.force_login(admin, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def worker(vault) -> Vault:
    return Vault(vault.addr, vault.worker.role_id, vault.worker.secret_id_file, vault.mount)


def password_of(worker: Vault, connection: Connection) -> str:
    source = connections.source_of(Connection.objects.get(pk=connection.pk))
    secret = worker.read(source.credential.path, source.credential.version)
    return credentials_from(secret, source.target).password


def change(connection: Connection) -> str:
    return f"{LIST}{connection.pk}/change/"


def without_password(**values: str) -> dict[str, str]:
    return {**TYPED, "password": "", **values}


def said(page) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.content.decode()))


def test_the_admin_saves_through_the_same_verbs(browser, worker):
    answer = browser.post(ADD, TYPED)
    assert (answer.status_code, answer.url) == (302, LIST)
    saved = Connection.objects.get()
    assert password_of(worker, saved) == CANARY
    assert (saved.tags, saved.limits.pace, saved.credential_version) == (["pii", "hr"], 0.5, 1)
    answer = browser.post(change(saved), without_password(owner="team"))
    assert answer.status_code == 302
    saved.refresh_from_db()
    assert (saved.owner, saved.credential_version) == ("team", 1)
    actions = AuditEntry.objects.filter(action__startswith="connection").order_by("id")
    assert [(e.actor, e.action) for e in actions] == [
        ("admin", "connection.create"),
        ("admin", "connection.edit"),
    ]
    assert not StraySecret.objects.exists()


def test_the_admin_refuses_what_the_form_refuses(browser):
    page = browser.post(ADD, {**TYPED, "port": "70000", "dialect": "db2"})
    assert page.status_code == 200
    assert "70000 is not a port" in said(page)
    assert "not served" in said(page)
    assert not Connection.objects.exists()


def test_the_admin_asks_for_the_password_when_the_host_changes(browser, worker):
    browser.post(ADD, TYPED)
    saved = Connection.objects.get()
    page = browser.post(change(saved), without_password(host="evil.example"))
    assert "Enter the password again" in said(page)
    assert Connection.objects.get().host == "hr.internal"
    browser.post(change(saved), without_password(host="new.internal", password="second"))
    assert password_of(worker, saved) == "second"
    assert Connection.objects.get().credential_version == 2


def test_the_admin_keeps_what_was_typed_while_vault_is_down(browser, settings):
    env = settings.ENV
    settings.ENV = env.model_copy(update={"vault_addr": f"http://127.0.0.1:{closed_port()}"})
    page = browser.post(ADD, TYPED)
    assert page.status_code == 503
    assert "Nothing was saved" in said(page)
    text = page.content.decode()
    assert 'value="hr.internal"' in text
    assert "canary" not in text
    assert not Connection.objects.exists()
    assert not LogEntry.objects.exists()


def test_the_admin_rotates_on_a_page_of_its_own(browser, worker):
    browser.post(ADD, TYPED)
    saved = Connection.objects.get()
    action = {"action": "rotate_credential", "_selected_action": [saved.pk]}
    page = browser.post(LIST, action, follow=True)
    assert page.redirect_chain[-1][0] == f"{LIST}{saved.pk}/rotate/"
    refused = browser.post(f"{LIST}{saved.pk}/rotate/", {"username": "", "password": ""})
    assert refused.status_code == 422
    answer = browser.post(f"{LIST}{saved.pk}/rotate/", {"username": "reader", "password": "second"})
    assert (answer.status_code, answer.url) == (302, change(saved))
    assert password_of(worker, saved) == "second"
    saved.refresh_from_db()
    assert (saved.username, saved.credential_version) == ("reader", 2)


@pytest.mark.parametrize("way", ["page", "action"])
def test_the_admin_deletes_only_what_no_run_uses(browser, worker, way):
    browser.post(ADD, TYPED)
    saved = Connection.objects.get()
    run = open_run(saved)
    address = f"{LIST}{saved.pk}/delete/" if way == "page" else LIST
    data = {"post": "yes"}
    if way == "action":
        data |= {"action": "delete_selected", "_selected_action": str(saved.pk)}
    refused = browser.post(address, data, follow=True)
    assert f"run {run.pk} is open" in said(refused)
    assert password_of(worker, saved) == CANARY
    run.status = "failed"
    run.save()
    browser.post(address, data)
    assert not Connection.objects.exists()
    assert connections.vault().latest_version(saved.credential_path) == 0


@pytest.mark.parametrize("way", ["delete", "edit", "rotate"])
def test_the_admin_tells_that_somebody_else_deleted_it(browser, worker, monkeypatch, way):
    browser.post(ADD, TYPED)
    saved = Connection.objects.get()
    monkeypatch.setattr(connections, way, cast.gone_before(getattr(connections, way)))
    address, data = {
        "delete": (LIST, {"post": "yes", "action": "delete_selected"}),
        "edit": (change(saved), {**TYPED, "owner": "team"}),
        "rotate": (f"{LIST}{saved.pk}/rotate/", {"username": "", "password": "second"}),
    }[way]
    page = browser.post(address, data | {"_selected_action": str(saved.pk)}, follow=True)
    assert page.status_code in (200, 404)
    assert "deleted" in page.content.decode()
    assert not Connection.objects.exists()


def test_the_admin_tells_why_a_check_did_not_go(browser, settings):
    browser.post(ADD, TYPED)
    address = f"127.0.0.1:{closed_port()}"
    settings.ENV = settings.ENV.model_copy(update={"temporal_address": address})
    action = {"action": "check_connections", "_selected_action": [Connection.objects.get().pk]}
    page = browser.post(LIST, action, follow=True)
    assert "Temporal" in said(page)


def test_a_password_stays_nowhere_but_in_vault(browser, admin, worker, caplog, capfd):
    """Saved, refused, edited and rotated by every road; then everything is searched."""
    caplog.set_level(logging.DEBUG)
    seen = [
        browser.post(ADD, {**TYPED, "port": "70000"}),
        browser.post(ADD, TYPED, follow=True),
        browser.post(ADD, TYPED),
    ]
    saved = Connection.objects.get()
    seen += [
        browser.get(change(saved)),
        browser.post(change(saved), {**TYPED, "host": "new.internal"}, follow=True),
        browser.post(f"{LIST}{saved.pk}/rotate/", {"password": CANARY}, follow=True),
        browser.get(f"{LIST}{saved.pk}/history/"),
        browser.get("/admin/"),
        browser.get("/admin/dashboard/auditentry/"),
        browser.post(reverse("connection-new"), {**TYPED, "name": "page", "port": "x"}),
        browser.post(reverse("connection-edit", args=[saved.pk]), {**TYPED, "host": "a b"}),
        browser.post(reverse("connection-rotate", args=[saved.pk]), {"password": CANARY}),
    ]
    bearer = {"Authorization": f"Bearer {tokens.create(admin, 'ci', 'shell')}"}
    as_json = {"content_type": "application/json", "headers": bearer}
    api = {k: v for k, v in TYPED.items() if k not in {"pace", "tags"}}
    seen += [
        browser.post("/api/v1/connections", {**api, "name": "api", "port": 1}, **as_json),
        browser.post("/api/v1/connections", {**api, "port": "x"}, **as_json),
        browser.put(f"/api/v1/connections/{saved.pk}/credential", {"password": CANARY}, **as_json),
        browser.get("/api/v1/connections", headers=bearer),
    ]
    statuses = [page.status_code for page in seen]
    assert statuses == [*[200] * 9, 422, 422, 302, 201, 422, 200, 200]
    assert Connection.objects.get(pk=saved.pk).credential_version == 5
    assert password_of(worker, saved) == CANARY
    captured = capfd.readouterr()
    places = {
        "pages": "".join(page.content.decode() for page in seen),
        "logs": caplog.text + captured.out + captured.err,
        "database": database_bytes().decode("utf-8", "replace"),
        "admin log": str(list(LogEntry.objects.values())),
        "command lines": command_lines(),
    }
    assert [name for name, text in places.items() if "canary-7b1f" in text] == []
    # The search finds what is there.
    Connection.objects.filter(pk=saved.pk).update(owner=CANARY)
    assert b"canary-7b1f" in database_bytes()


def database_bytes() -> bytes:
    """The app database as it lies on the disk, its write-ahead log included.

    Another process reads it: closing the file in this one would drop SQLite's locks on it.
    """
    name = Path(str(database.settings_dict["NAME"]))
    assert django_settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
    files = [name, name.with_name(f"{name.name}-wal")]
    command = ["cat", *(str(file) for file in files if file.exists())]
    return subprocess.run(command, capture_output=True, check=True).stdout


def command_lines() -> str:
    if sys.platform == "linux":
        lines = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
        return b"\n".join(lines).decode("utf-8", "replace")
    return subprocess.run(["ps", "ax"], capture_output=True, text=True, check=True).stdout
