"""Who did what: one row per verb, sign-in and change of rights; never a secret."""

from __future__ import annotations

import getpass
import os
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from dashboard.models import AuditEntry

Actor = AbstractBaseUser | AnonymousUser | str


def name_of(actor: Actor) -> str:
    return actor if isinstance(actor, str) else (actor.get_username() or "anonymous")


def shell(through: str = "shell") -> str:
    """Whoever runs this process, as an actor: "alice (shell)"."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an account that has a number only
        name = f"uid {os.getuid()}"
    return f"{name} ({through})"


def record(actor: Actor, action: str, subject: object, **detail: Any) -> AuditEntry:
    return AuditEntry.objects.create(
        actor=name_of(actor)[:150], action=action, subject=str(subject)[:200], detail=detail
    )


def listen() -> None:
    user_logged_in.connect(_signed_in, dispatch_uid="audit.signed_in")
    user_logged_out.connect(_signed_out, dispatch_uid="audit.signed_out")
    user_login_failed.connect(_sign_in_failed, dispatch_uid="audit.sign_in_failed")


def _signed_in(request: HttpRequest | None, user: AbstractBaseUser, **_: Any) -> None:
    record(user, "sign-in", user.get_username(), address=_address(request))


def _signed_out(request: HttpRequest | None, user: AbstractBaseUser | None, **_: Any) -> None:
    if user is not None:
        record(user, "sign-out", user.get_username(), address=_address(request))


def _sign_in_failed(
    credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any
) -> None:
    # Only a name that exists: people type passwords into the wrong field.
    typed = str(credentials.get("username", ""))
    known = get_user_model().objects.filter(username=typed).exists()
    record("anonymous", "sign-in.failed", typed if known else "unknown", address=_address(request))


def _address(request: HttpRequest | None) -> str:
    return str(request.META.get("REMOTE_ADDR", "")) if request is not None else ""
