"""Who may what: three roles as groups, and fetches that answer with an object or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Group, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from dashboard import tokens

Role = Literal["none", "viewer", "operator", "admin"]
RANK: dict[Role, int] = {"none": 0, "viewer": 1, "operator": 2, "admin": 3}
ROLES: tuple[Role, ...] = ("admin", "operator", "viewer")
View = Callable[..., HttpResponseBase]


class SignedInRequest(HttpRequest):
    user: User


def role_of(user: AbstractBaseUser | AnonymousUser) -> Role:
    """The highest role of an active user; one query, kept on the user object."""
    if not user.is_authenticated or not user.is_active:
        return "none"
    assert isinstance(user, User)
    if "_surveyor_role" not in user.__dict__:
        names = set(user.groups.values_list("name", flat=True))
        names |= {"admin"} if user.is_superuser else set()
        user.__dict__["_surveyor_role"] = next((r for r in ROLES if r in names), "none")
    role: Role = user.__dict__["_surveyor_role"]
    return role


def has_role(user: AbstractBaseUser | AnonymousUser, needed: Role) -> bool:
    return RANK[role_of(user)] >= RANK[needed]


def user_from_authorization(header: str | None) -> User | None:
    """The user of an `Authorization: Bearer …` header, or None; asks the database."""
    scheme, _, token = (header or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return None
    return tokens.authenticate(token.strip())


def create_roles(**_: Any) -> None:
    """The three groups, after every migrate (and every flush between tests)."""
    for role in ROLES:
        Group.objects.get_or_create(name=role)


def require(needed: Role) -> Callable[[View], View]:
    """Decorate a view: 403 below `needed` (the middleware sends the anonymous to sign-in)."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not has_role(request.user, needed):
                raise PermissionDenied(f"This needs the role {needed}.")
            return view(request, *args, **kwargs)

        return guarded

    return decorate


def context(request: HttpRequest) -> dict[str, object]:
    """Template context: what the viewer may do."""
    role = role_of(request.user) if hasattr(request, "user") else "none"
    return {
        "role": role,
        "may_operate": RANK[role] >= RANK["operator"],
        "may_admin": RANK[role] >= RANK["admin"],
    }
