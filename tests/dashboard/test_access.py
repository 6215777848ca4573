"""Roles, and the sign-in with its lock-out."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.test import Client
from django.urls import reverse

from dashboard.access import has_role, role_of
from dashboard.models import AuditEntry

pytestmark = pytest.mark.django_db

HERE, ELSEWHERE = {"REMOTE_ADDR": "203.0.113.5"}, {"REMOTE_ADDR": "203.0.113.9"}


def sign_in(name: str, password: str, **extra: str):
    data = {"username": name, "password": password}
    return Client(**extra).post(reverse("sign-in"), data)


def test_the_three_roles_exist_after_migrate():
    assert set(Group.objects.values_list("name", flat=True)) == {"viewer", "operator", "admin"}


def test_each_role_includes_the_ones_below(viewer, operator, admin, outsider):
    ladder = [AnonymousUser(), outsider, viewer, operator, admin]
    assert [role_of(u) for u in ladder] == ["none", "none", "viewer", "operator", "admin"]
    assert [has_role(u, "operator") for u in ladder] == [False, False, False, True, True]


def test_a_superuser_is_an_admin_and_staff_alone_is_nobody(db):
    assert role_of(User.objects.create_superuser("root")) == "admin"
    assert role_of(User.objects.create_user("staff", is_staff=True)) == "none"


def test_a_deactivated_admin_has_no_role(admin):
    admin.is_active = False
    admin.save()
    assert role_of(User.objects.get(pk=admin.pk)) == "none"


def test_sign_in_leads_to_the_runs_and_is_noted(viewer):
    answer = sign_in("viewer", "viewer-passes-here", **HERE)
    assert (answer.status_code, answer.url) == (302, reverse("runs"))
    entry = AuditEntry.objects.get(action="sign-in")
    assert (entry.actor, entry.detail) == ("viewer", {"address": "203.0.113.5"})


def test_a_failed_sign_in_is_noted_without_what_was_typed(viewer):
    sign_in("viewer", "canary-password", **HERE)
    sign_in("canary-typed-as-name", "x", **HERE)
    known, unknown = AuditEntry.objects.filter(action="sign-in.failed").order_by("id")
    assert (known.subject, unknown.subject) == ("viewer", "unknown")
    assert "canary" not in str(list(AuditEntry.objects.values()))


def test_five_failures_lock_this_user_from_this_address_only(viewer, operator):
    answers = [sign_in("viewer", f"guess {n}", **HERE).status_code for n in range(5)]
    assert answers[:4] == [422] * 4
    locked = sign_in("viewer", "viewer-passes-here", **HERE)
    assert locked.status_code == 429
    text = re.sub(r"<[^>]+>", " ", locked.content.decode())
    assert "quarter of an hour" in text
    assert sign_in("viewer", "viewer-passes-here", **ELSEWHERE).status_code == 302
    assert sign_in("operator", "operator-passes-here", **HERE).status_code == 302


def test_a_forged_address_does_not_unlock(viewer):
    for n in range(5):
        sign_in("viewer", f"guess {n}", **HERE, HTTP_X_FORWARDED_FOR=f"198.51.100.{n}")
    forged = sign_in("viewer", "viewer-passes-here", **HERE, HTTP_X_FORWARDED_FOR="198.51.100.77")
    assert forged.status_code == 429


def test_guesses_after_the_lock_never_reach_the_password(viewer, monkeypatch):
    asked: list[str] = []
    check = User.check_password
    monkeypatch.setattr(User, "check_password", lambda u, p: asked.append(p) or check(u, p))
    for n in range(12):
        sign_in("viewer", f"guess {n}", **HERE)
    assert asked == [f"guess {n}" for n in range(5)]


def test_a_deactivated_user_is_out_at_the_next_request(client, viewer):
    client.force_login(viewer, backend="django.contrib.auth.backends.ModelBackend")
    assert client.get(reverse("runs")).status_code == 200
    viewer.is_active = False
    viewer.save()
    assert client.get(reverse("runs")).status_code == 302


def test_audit_entries_cannot_be_changed_or_removed(admin):
    sign_in("admin", "admin-passes-here")
    entry = AuditEntry.objects.get(action="sign-in")
    entry.actor = "somebody else"
    for attempt in (
        entry.save,
        entry.delete,
        AuditEntry.objects.all().delete,
        lambda: AuditEntry.objects.update(actor="x"),
    ):
        with pytest.raises(TypeError, match="append-only"):
            attempt()
    assert AuditEntry.objects.get(pk=entry.pk).actor == "admin"
