"""Who may keep a socket, and what counts as a token in an address."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from dashboard import tokens
from dashboard.live.admission import Ticket, bearer_of, expired, token_in_url
from dashboard.live.consumers import after_of
from dashboard.models import ApiToken


@pytest.fixture
def session(viewer) -> Ticket:
    client = Client()
    client.force_login(viewer, backend="django.contrib.auth.backends.ModelBackend")
    return Ticket(viewer.pk, session=client.session.session_key)


@pytest.fixture
def bearer(viewer) -> Ticket:
    return Ticket(viewer.pk, digest=tokens.digest(tokens.create(viewer, "laptop", viewer)))


def test_what_still_holds_stays(session, bearer):
    assert expired([session, bearer]) == {}


def test_a_sign_out_ends_the_session_only(session, bearer):
    Session.objects.all().delete()
    assert expired([session, bearer]) == {session: 4401}


def test_a_session_ends_with_its_time(session):
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert expired([session]) == {session: 4401}


def test_a_changed_password_ends_the_sessions_of_before(session, bearer, viewer):
    viewer.set_password("another one entirely")
    viewer.save()
    assert expired([session, bearer]) == {session: 4401}


def test_a_revoked_token_ends_its_sockets_only(session, bearer, viewer):
    tokens.revoke(ApiToken.objects.get(), viewer)
    assert expired([session, bearer]) == {bearer: 4401}


def test_a_lost_role_and_an_inactive_user_end_all(session, bearer, viewer):
    viewer.groups.clear()
    assert expired([session, bearer]) == {session: 4403, bearer: 4403}
    viewer.is_active = False
    viewer.save()
    assert expired([session, bearer]) == {session: 4401, bearer: 4401}


@pytest.mark.parametrize(
    ("query", "held"),
    [
        ("", False),
        ("after=1790000000000000", False),
        ("token=x", True),
        ("ACCESS_TOKEN=", True),
        ("after=svy_abc", True),
        ("note=bearer", False),
    ],
)
def test_a_token_in_the_url(query, held):
    assert token_in_url(query) is held


@pytest.mark.parametrize(
    ("header", "offered", "token"),
    [
        (b"Bearer svy_a", [], "svy_a"),
        (b"bearer svy_a", [], "svy_a"),
        (b"Basic abc", [], None),
        (b"", ["chat", "bearer.svy_b"], "svy_b"),
        (b"Bearer svy_a", ["bearer.svy_b"], "svy_a"),
        (b"", ["chat"], None),
    ],
)
def test_where_a_bearer_may_be(header, offered, token):
    assert bearer_of({"headers": [(b"authorization", header)], "subprotocols": offered}) == token


@pytest.mark.parametrize(
    ("query", "after"),
    [(b"", 0), (b"after=17", 17), (b"after=-1", 0), (b"after=x", 0), (b"after=" + b"9" * 40, 0)],
)
def test_nonsense_as_a_seq_counts_as_nothing(query, after):
    assert after_of({"query_string": query}) == after
