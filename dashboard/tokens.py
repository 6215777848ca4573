"""Bearer tokens: shown once, stored as a digest, as good as their user."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from dashboard import audit
from dashboard.models import ApiToken

PREFIX = "svy_"
TOUCH_EVERY = timedelta(minutes=1)


def create(user: User, name: str, actor: audit.Actor) -> str:
    """The new token of `user`, in clear this one time."""
    token = PREFIX + secrets.token_urlsafe(32)
    with transaction.atomic():
        ApiToken.objects.create(user=user, name=name, digest=digest(token))
        audit.record(actor, "token.create", user.username, name=name)
    return token


def revoke(token: ApiToken, actor: audit.Actor) -> None:
    with transaction.atomic():
        audit.record(actor, "token.revoke", token.user.username, name=token.name)
        token.delete()


def authenticate(token: str) -> User | None:
    """The active user the token speaks for.

    One look-up of a digest, whatever the token: its time tells nothing about it.
    """
    found = ApiToken.objects.select_related("user").filter(digest=digest(token)).first()
    if found is None or not found.user.is_active:
        return None
    _touch(found)
    return found.user


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _touch(token: ApiToken) -> None:
    """At most one write a minute, however many requests."""
    now = timezone.now()
    if token.last_used_at is None or token.last_used_at < now - TOUCH_EVERY:
        ApiToken.objects.filter(
            Q(last_used_at=None) | Q(last_used_at__lt=now - TOUCH_EVERY), pk=token.pk
        ).update(last_used_at=now)
