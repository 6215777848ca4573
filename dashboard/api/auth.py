"""Who calls: a bearer token, or a session with its CSRF token; then the role."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from ninja.errors import AuthorizationError
from ninja.security import HttpBearer
from ninja.security.apikey import APIKeyCookie

from dashboard.access import Role, has_role, user_from_authorization
from dashboard.api.problems import UnknownToken


class Bearer(HttpBearer):
    def __init__(self, role: Role) -> None:
        self.role = role
        super().__init__()

    def authenticate(self, request: HttpRequest, token: str) -> User:
        user = user_from_authorization(f"Bearer {token}")
        if user is None:
            # Not passed on to the session: who sends a token means the token.
            raise UnknownToken
        request.user = user
        return _in_role(user, self.role)


class Session(APIKeyCookie):
    param_name = settings.SESSION_COOKIE_NAME

    def __init__(self, role: Role) -> None:
        self.role = role
        super().__init__(csrf=True)

    def _get_key(self, request: HttpRequest) -> str | None:
        # Nobody at all is 401; only somebody can fail the CSRF check.
        if not request.user.is_authenticated:
            return None
        return super()._get_key(request)

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        user: Any = request.user
        return _in_role(user, self.role) if user.is_authenticated else None


def _in_role(user: User, role: Role) -> User:
    if not has_role(user, role):
        raise AuthorizationError(message=f"This needs the role {role}.")
    return user


def by(role: Role) -> list[Bearer | Session]:
    """Callers of at least this role."""
    return [Bearer(role), Session(role)]
