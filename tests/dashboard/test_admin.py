"""Who gets into Django's admin, and what stays unchangeable there."""

from __future__ import annotations

import getpass
import re

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dashboard import audit, tokens
from dashboard.models import ApiToken, AuditEntry, Connection, Run, RunEvent, StraySecret

pytestmark = pytest.mark.django_db

BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def signed_in():
    def client(user: User) -> Client:
        browser = Client()
        browser.force_login(user, backend=BACKEND)
        return browser

    return client


def test_the_anonymous_are_sent_to_our_sign_in(client):
    for address in ("/admin/", "/admin/dashboard/connection/", "/admin/auth/user/add/"):
        answer = client.get(address, follow=True)
        assert answer.redirect_chain[-1] == (f"{reverse('sign-in')}?next={address}", 302)
    login = client.get("/admin/login/?next=/admin/dashboard/run/")
    assert login.url == f"{reverse('sign-in')}?next=/admin/dashboard/run/"
    assert client.post("/admin/login/", {"username": "a", "password": "b"}).status_code == 302


def test_only_the_role_opens_the_door(signed_in, viewer, operator, admin, outsider):
    staff = User.objects.create_user("staff", is_staff=True)
    for refused in (viewer, operator, outsider, staff):
        assert signed_in(refused).get("/admin/").status_code == 403
        assert signed_in(refused).get("/admin/login/").status_code == 403
    assert not admin.is_staff
    assert signed_in(admin).get("/admin/").status_code == 200
    root = User.objects.create_superuser("root")
    assert signed_in(root).get("/admin/").status_code == 200


def test_an_admin_sees_every_list(signed_in, admin):
    browser = signed_in(admin)
    for model in ("dashboard/connection", "dashboard/run", "dashboard/auditentry"):
        assert browser.get(f"/admin/{model}/").status_code == 200, model
    for model in ("dashboard/apitoken", "auth/user", "auth/group"):
        assert browser.get(f"/admin/{model}/").status_code == 200, model


def test_what_must_not_be_touched_by_hand_is_not_offered():
    from django.contrib import admin as django_admin

    registered = set(django_admin.site._registry)
    assert {Connection, Run, AuditEntry, ApiToken, User, Group} == registered
    assert not {RunEvent, StraySecret, Session} & registered


def test_audit_and_runs_are_for_reading(signed_in, admin):
    browser = signed_in(admin)
    entry = audit.record("alice", "connection.create", "hr", version=1)
    run = Run.objects.create(connection_name="hr", created_at=timezone.now())
    for model, pk in (("auditentry", entry.pk), ("run", run.pk), ("group", None)):
        base = f"/admin/{'auth' if model == 'group' else 'dashboard'}/{model}/"
        pk = pk or Group.objects.get(name="admin").pk
        assert browser.get(f"{base}{pk}/change/").status_code == 200
        assert browser.post(f"{base}{pk}/change/", {"actor": "x", "name": "x"}).status_code == 403
        assert browser.post(f"{base}{pk}/delete/", {"post": "yes"}).status_code == 403
        assert browser.get(f"{base}add/").status_code == 403
        action = {"action": "delete_selected", "_selected_action": [pk], "post": "yes"}
        browser.post(base, action)
    assert AuditEntry.objects.get(pk=entry.pk).actor == "alice"
    assert Run.objects.filter(pk=run.pk).exists()
    assert Group.objects.filter(name="admin").exists()


def test_lists_call_things_by_their_names_and_tell_whole_times(signed_in, admin):
    entry = audit.record(audit.shell(), "token.create", "ci")
    browser = signed_in(admin)
    assert "API tokens" in browser.get("/admin/").content.decode()
    text = browser.get("/admin/dashboard/auditentry/").content.decode()
    assert f"{entry.at.day} {entry.at:%b %Y, %H:%M:%S} UTC" in text
    assert f"{getpass.getuser()} (shell)" in text


def test_a_token_is_revoked_by_deleting_it(signed_in, admin, operator):
    browser = signed_in(admin)
    secret = tokens.create(operator, "ci", "shell")
    row = ApiToken.objects.get()
    page = browser.get(f"/admin/dashboard/apitoken/{row.pk}/change/")
    assert page.status_code == 200
    assert row.digest not in page.content.decode()
    assert browser.get("/admin/dashboard/apitoken/add/").status_code == 403
    browser.post(f"/admin/dashboard/apitoken/{row.pk}/delete/", {"post": "yes"})
    assert tokens.authenticate(secret) is None
    assert AuditEntry.objects.get(action="token.revoke").actor == "admin"


def test_a_person_gets_a_role_and_it_is_noted(signed_in, admin):
    browser = signed_in(admin)
    password = "long and unusual 7431"
    data = {"username": "carol", "password1": password, "password2": password, "role": "viewer"}
    for role in ("viewer", "operator", "admin"):
        assert f'value="{role}"' in browser.get("/admin/auth/user/add/").content.decode()
    answer = browser.post("/admin/auth/user/add/", {**data, "usable_password": "true"})
    assert answer.status_code == 302, answer.content
    carol = User.objects.get(username="carol")
    assert carol.groups.get().name == "viewer"
    page = browser.get(f"/admin/auth/user/{carol.pk}/change/").content.decode()
    assert re.findall(r'name="role" value="(\w*)"[^>]*checked', page) == ["viewer"]
    browser.post(
        f"/admin/auth/user/{carol.pk}/change/",
        {"username": "carol", "is_active": "on", "role": "operator", "email": ""},
    )
    assert carol.groups.get().name == "operator"
    entries = AuditEntry.objects.filter(subject="carol").order_by("id")
    assert [e.action for e in entries] == ["user.create", "user.edit"]
    assert [e.detail["roles"] for e in entries] == [["viewer"], ["operator"]]
    assert password not in str(list(AuditEntry.objects.values()))


def test_a_new_password_is_noted_and_ends_the_sessions(signed_in, admin, viewer):
    watching = signed_in(viewer)
    password = "long and unusual 7431"
    signed_in(admin).post(
        f"/admin/auth/user/{viewer.pk}/password/",
        {"password1": password, "password2": password, "usable_password": "true"},
    )
    assert AuditEntry.objects.get(action="user.password").subject == "viewer"
    assert watching.get(reverse("runs")).status_code == 302


def test_rights_beyond_the_roles_cannot_be_posted(signed_in, admin, viewer):
    signed_in(admin).post(
        f"/admin/auth/user/{viewer.pk}/change/",
        {"username": "viewer", "is_active": "on", "is_superuser": "on", "is_staff": "on"},
    )
    changed = User.objects.get(pk=viewer.pk)
    assert not changed.is_superuser
    assert not changed.is_staff


def test_nobody_locks_the_door_behind_themselves(signed_in, admin):
    browser = signed_in(admin)
    browser.post(f"/admin/auth/user/{admin.pk}/change/", {"username": "admin", "role": "viewer"})
    changed = User.objects.get(pk=admin.pk)
    assert changed.is_active
    assert changed.groups.get().name == "admin"
    answer = browser.post(f"/admin/auth/user/{admin.pk}/delete/", {"post": "yes"})
    assert answer.status_code == 403


def test_signing_out_of_the_admin_is_our_sign_out(signed_in, admin):
    browser = signed_in(admin)
    answer = browser.post("/admin/logout/", follow=True)
    assert answer.redirect_chain[0] == (reverse("sign-out"), 307)
    assert browser.get("/admin/").status_code == 302


def test_the_admin_has_no_inline_script_or_style(signed_in, admin):
    browser = signed_in(admin)
    for address in ("/admin/", "/admin/dashboard/connection/add/", "/admin/auth/user/add/"):
        page = browser.get(address)
        text = page.content.decode()
        assert "unsafe-inline" not in page["Content-Security-Policy"]
        assert "<script>" not in text
        assert " style=" not in text
        assert "onclick=" not in text
