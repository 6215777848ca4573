"""Who may open a socket, and who may keep it.

A refusal is an HTTP answer to the handshake: 400 for a token in the URL, 401 without a
sign-in, 403 for a foreign origin or a user without a role, 404 for no such run. A server
without that extension closes before accepting. An open socket whose sign-in or role ends
is closed with 4401 or 4403.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import structlog
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from dashboard import access, tokens
from dashboard.live.threads import in_thread
from dashboard.models import ApiToken

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SUBPROTOCOL = "bearer."
_TOKEN_NAMES = {"token", "access_token", "api_key", "apikey", "auth", "authorization", "bearer"}
_CLOSE_CODES = {400: 4400, 401: 4401, 403: 4403, 404: 4404}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ticket:
    """Who opened a socket and by what; `digest` is that of the token used."""

    user_id: int
    session: str = ""
    digest: str = ""
    subprotocol: str | None = None


class Admission:
    """Wraps the sockets: origin first, then who, then whether they may read."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await admit(scope)
        if isinstance(answer, int):
            await receive()
            await deny(scope, send, answer)
            return
        await self.app({**scope, "ticket": answer}, receive, send)


async def admit(scope: Scope) -> Ticket | int:
    """A ticket, or the HTTP status of the refusal."""
    if token_in_url(scope["query_string"].decode("latin-1")):
        return 400
    origin, token = _header(scope, b"origin"), bearer_of(scope)
    if origin is not None and origin not in settings.ORIGINS:
        log.warning("socket refused: foreign origin", origin=origin[:200], path=scope["path"])
        return 403
    if token is not None:
        return await in_thread(_by_token, token, scope)
    if origin is None:
        log.warning("socket refused: no origin and no bearer", path=scope["path"])
        return 401 if not scope["user"].is_authenticated else 403
    return await in_thread(_by_session, scope)


def token_in_url(query: str) -> bool:
    pairs = parse_qsl(query, keep_blank_values=True)
    return any(
        name.lower() in _TOKEN_NAMES or value.startswith(tokens.PREFIX) for name, value in pairs
    )


def bearer_of(scope: Scope) -> str | None:
    kind, _, token = (_header(scope, b"authorization") or "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    chosen = _subprotocol(scope)
    return chosen.removeprefix(SUBPROTOCOL) if chosen else None


def _subprotocol(scope: Scope) -> str | None:
    offered: list[str] = scope.get("subprotocols") or []
    return next((name for name in offered if name.startswith(SUBPROTOCOL)), None)


def _header(scope: Scope, name: bytes) -> str | None:
    values = [value for key, value in scope["headers"] if key.lower() == name]
    return values[0].decode("latin-1") if values else None


def _by_token(token: str, scope: Scope) -> Ticket | int:
    user = tokens.authenticate(token)
    if user is None:
        return 401
    if not access.has_role(user, "viewer"):
        return 403
    return Ticket(user.pk, digest=tokens.digest(token), subprotocol=_subprotocol(scope))


def _by_session(scope: Scope) -> Ticket | int:
    user = scope["user"]
    if not user.is_authenticated:
        return 401
    if not access.has_role(user, "viewer"):
        return 403
    return Ticket(user.pk, session=scope["session"].session_key)


async def deny(scope: Scope, send: Send, status: int) -> None:
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": _CLOSE_CODES[status]})
        return
    headers = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b""})


def expired(tickets: Iterable[Ticket]) -> dict[Ticket, int]:
    """The tickets that no longer hold, with the close code; few queries for any number."""
    held = set(tickets)
    users = {
        user.pk: user
        for user in User.objects.filter(
            pk__in={t.user_id for t in held}, is_active=True
        ).prefetch_related("groups")
    }
    sessions = Session.objects.filter(
        session_key__in={t.session for t in held if t.session}, expire_date__gt=timezone.now()
    )
    signed_in = {s.session_key: s.get_decoded() for s in sessions}
    digests = {t.digest for t in held if t.digest}
    known = set(ApiToken.objects.filter(digest__in=digests).values_list("digest", flat=True))
    verdicts = {t: _judge(t, users.get(t.user_id), signed_in.get(t.session), known) for t in held}
    return {ticket: code for ticket, code in verdicts.items() if code}


def _judge(
    ticket: Ticket, user: User | None, session: dict[str, Any] | None, known: set[str]
) -> int:
    if user is None or (ticket.digest and ticket.digest not in known):
        return 4401
    if ticket.session and not _still_signed_in(user, session):
        return 4401
    return 0 if access.has_role(user, "viewer") else 4403


def _still_signed_in(user: User, session: dict[str, Any] | None) -> bool:
    if session is None or session.get(SESSION_KEY) != str(user.pk):
        return False
    # A changed password ends the sessions of before.
    return constant_time_compare(session.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash())
