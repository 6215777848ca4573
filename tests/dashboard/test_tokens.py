from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from dashboard import tokens
from dashboard.access import user_from_authorization
from dashboard.models import ApiToken, AuditEntry

pytestmark = pytest.mark.django_db


def test_a_token_speaks_for_its_user_and_is_not_stored(operator):
    token = tokens.create(operator, "ci", operator)
    assert tokens.authenticate(token) == operator
    row = ApiToken.objects.values().get()
    assert token not in str(row)
    assert row["digest"] == tokens.digest(token)
    assert token.startswith("svy_")
    assert len(token) >= 40


@pytest.mark.parametrize("wrong", ["", "svy_", "svy_" + "a" * 43, "x\x00y", "\ud800", "é" * 5000])
def test_another_token_speaks_for_nobody(operator, wrong):
    tokens.create(operator, "ci", operator)
    assert tokens.authenticate(wrong) is None


def test_the_digest_is_not_a_token(operator):
    token = tokens.create(operator, "ci", operator)
    assert tokens.authenticate(tokens.digest(token)) is None


def test_a_deactivated_user_is_refused_and_comes_back(operator):
    token = tokens.create(operator, "ci", operator)
    operator.is_active = False
    operator.save()
    assert tokens.authenticate(token) is None
    operator.is_active = True
    operator.save()
    assert tokens.authenticate(token) == operator


def test_a_revoked_token_is_refused(operator, admin):
    token = tokens.create(operator, "ci", operator)
    tokens.revoke(ApiToken.objects.get(), admin)
    assert tokens.authenticate(token) is None
    entry = AuditEntry.objects.get(action="token.revoke")
    assert (entry.actor, entry.subject, entry.detail) == ("admin", "operator", {"name": "ci"})


def test_use_is_noted_at_most_once_a_minute(operator, django_assert_num_queries):
    token = tokens.create(operator, "ci", operator)
    tokens.authenticate(token)
    first = ApiToken.objects.get().last_used_at
    assert first is not None
    with django_assert_num_queries(1):
        tokens.authenticate(token)
    assert ApiToken.objects.get().last_used_at == first
    ApiToken.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
    tokens.authenticate(token)
    assert ApiToken.objects.get().last_used_at >= first


@pytest.mark.parametrize("shape", ["Bearer {}", "bearer {}", "  BEARER   {} "])
def test_a_header_gives_the_user(operator, shape):
    token = tokens.create(operator, "ci", operator)
    assert user_from_authorization(shape.format(token)) == operator


@pytest.mark.parametrize("shape", [None, "", "Bearer", "Bearer ", "{}", "Basic {}", "Token {}"])
def test_another_header_gives_nobody(operator, shape):
    token = tokens.create(operator, "ci", operator)
    assert user_from_authorization(shape.format(token) if shape else shape) is None


def test_the_command_prints_a_working_token_once_as_its_last_word(operator):
    out = StringIO()
    call_command("create_token", "operator", "--name", "laptop", stdout=out)
    token = out.getvalue().split()[-1]
    assert out.getvalue().count(token) == 1
    assert tokens.authenticate(token) == operator
    entry = AuditEntry.objects.get(action="token.create")
    assert token not in str(entry.detail)


@pytest.mark.parametrize(
    ("user", "name", "says"),
    [("nobody", "x", "no user nobody"), ("operator", " ", "1 to 80"), ("operator", "a\nb", "1 to")],
)
def test_the_command_says_what_is_wrong(operator, user, name, says):
    with pytest.raises(CommandError, match=says):
        call_command("create_token", user, "--name", name)
    assert not ApiToken.objects.exists()


def test_the_command_refuses_a_deactivated_user(operator):
    operator.is_active = False
    operator.save()
    with pytest.raises(CommandError, match="not active"):
        call_command("create_token", "operator", "--name", "x")
