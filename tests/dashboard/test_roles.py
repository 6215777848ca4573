"""Who may what: every route and socket against every role, generated from the URLconf.

A route that is not in the table fails, so nobody can add one without saying for whom.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group, User
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from config.asgi import application
from dashboard.live.routing import routes as socket_routes
from dashboard.models import Run

CAST = ("anonymous", "outsider", "viewer", "operator", "admin")
# The least of the cast who gets in; "nobody" is refused to all.
RANK = {"anyone": 0, "someone": 1, "viewer": 2, "operator": 3, "admin": 4, "nobody": 5}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ID = "3f0c2a52-3c2b-4f6e-9a51-0d6c6a2f4b11"

Cells = dict[str, str]
EVERY = dict.fromkeys(METHODS, "someone")
PAGE = {"GET": "viewer"}
FORM = {"GET": "admin", "POST": "admin"}
ACTION = {"POST": "operator"}
ASKED = {"GET": "operator", "POST": "operator"}

PAGES: dict[str, Cells] = {
    "": EVERY,
    "sign-in/": {"GET": "anyone", "POST": "anyone", "PUT": "anyone"},
    "sign-out/": {"POST": "someone"},
    "runs/": PAGE,
    "runs/start/": ASKED,
    "runs/fragment/": PAGE,
    "runs/<uuid:run_id>/": PAGE,
    "runs/<uuid:run_id>/fragment/": PAGE,
    "runs/<uuid:run_id>/cancel/": ASKED,
    "runs/<uuid:run_id>/limits/": ASKED,
    "runs/<uuid:run_id>/again/": ACTION,
    "connections/": PAGE,
    "connections/new/": FORM,
    "connections/<uuid:connection_id>/": PAGE,
    "connections/<uuid:connection_id>/edit/": FORM,
    "connections/<uuid:connection_id>/rotate/": FORM,
    "connections/<uuid:connection_id>/delete/": FORM,
    "connections/<uuid:connection_id>/check/": ASKED,
    "connections/<uuid:connection_id>/start/": ASKED,
    "catalogue/": PAGE,
    "catalogue/<uuid:run_id>/": PAGE,
    "workers/": PAGE,
    "workers/fragment/": PAGE,
    "healthz": {"GET": "anyone"},
    "readyz": {"GET": "anyone"},
}
API: dict[str, Cells] = {
    # What they do not answer themselves falls to the last, which knows no such path.
    "": dict.fromkeys(METHODS, "viewer"),
    "openapi.json": dict.fromkeys(METHODS, "viewer"),
    "connections": {"GET": "viewer", "POST": "admin"},
    "connections/<uuidstr:connection_id>": {
        "GET": "viewer",
        "PATCH": "admin",
        "DELETE": "admin",
    },
    "connections/<uuidstr:connection_id>/credential": {"PUT": "admin"},
    "connections/<uuidstr:connection_id>/check": ACTION,
    "runs": {"GET": "viewer", "POST": "operator"},
    "runs/<uuidstr:run_id>": PAGE,
    "runs/<uuidstr:run_id>/cancel": ACTION,
    "runs/<uuidstr:run_id>/limits": {"PATCH": "operator"},
    "runs/<uuidstr:run_id>/events": PAGE,
    "runs/<uuidstr:run_id>/snapshot": PAGE,
    "runs/<uuidstr:run_id>/snapshot/<kind>": PAGE,
    "workers": PAGE,
    "<path:rest>": dict.fromkeys(METHODS, "viewer"),
}
READ, SEEN = {"GET": "admin"}, {"GET": "admin", "POST": "nobody"}
OPEN, CLOSED = dict.fromkeys(("GET", "POST"), "admin"), dict.fromkeys(("GET", "POST"), "nobody")


def admin_model(name: str, add: Cells, change: Cells, delete: Cells) -> dict[str, Cells]:
    one = f"{name}/<path:object_id>/"
    return {
        f"{name}/": OPEN,
        f"{name}/add/": add,
        one: OPEN,
        f"{one}change/": change,
        f"{one}delete/": delete,
        f"{one}history/": OPEN,
    }


ADMIN: dict[str, Cells] = {
    **dict.fromkeys(("", "login/", "logout/", "password_change/"), OPEN),
    **dict.fromkeys(("password_change/done/", "jsi18n/"), READ),
    "autocomplete/": {"GET": "nobody"},
    "r/<path:content_type_id>/<path:object_id>/": OPEN,
    "^(?P<app_label>dashboard|auth)/$": OPEN,
    "(?P<url>.*)$": OPEN,
    **admin_model("dashboard/connection", add=OPEN, change=OPEN, delete=OPEN),
    "dashboard/connection/<uuid:pk>/rotate/": OPEN,
    **admin_model("dashboard/run", add=CLOSED, change=SEEN, delete=CLOSED),
    **admin_model("dashboard/auditentry", add=CLOSED, change=SEEN, delete=CLOSED),
    **admin_model("dashboard/apitoken", add=CLOSED, change=SEEN, delete=OPEN),
    **admin_model("auth/group", add=CLOSED, change=SEEN, delete=CLOSED),
    **admin_model("auth/user", add=OPEN, change=OPEN, delete=OPEN),
    "auth/user/<id>/password/": OPEN,
}
TABLE = {
    **PAGES,
    **{f"api/v1/{route}": cells for route, cells in API.items()},
    **{f"admin/{route}": cells for route, cells in ADMIN.items()},
}
# Whoever is signed in is led away from the sign-in, whatever the method.
OTHERS = [route for route in TABLE if not route.startswith(("admin/", "sign-in/"))]
SOCKETS = {"ws/runs/<uuid:run_id>/": "viewer", "ws/runs/": "viewer", "": "nobody"}


def walk(patterns: Iterable[URLPattern | URLResolver], prefix: str = "") -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, route)
        else:
            yield route


def address(route: str) -> str:
    plain = route.replace("^(?P<app_label>dashboard|auth)/$", "auth/").replace("(?P<url>.*)$", "x")
    filled = re.sub(r"<(uuid|uuidstr):\w+>", ID, plain)
    return "/" + re.sub(r"<[^>]+>", "999999", filled)


def outcome(answer: Any) -> str:
    if answer.status_code == 401 or "/sign-in/?next=" in answer.get("Location", ""):
        return "sign in first"
    if answer.get("Location", "").startswith("/admin/login/"):
        return "sign in first"
    return {403: "forbidden", 405: "no such method"}.get(answer.status_code, "in")


def expected(who: str, least: str) -> str:
    if CAST.index(who) >= RANK[least]:
        return "in"
    return "sign in first" if who == "anonymous" else "forbidden"


@pytest.fixture
def people(db) -> dict[str, Client]:
    """A signed-in browser for each of the cast."""
    return {who: browser_of(who) for who in CAST}


def browser_of(who: str) -> Client:
    browser = Client(raise_request_exception=False)
    if who != "anonymous":
        user = User.objects.create(username=who)
        user.groups.add(*Group.objects.filter(name=who))
        session = SessionStore()
        session[SESSION_KEY], session[HASH_SESSION_KEY] = user.pk, user.get_session_auth_hash()
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session.save()
        browser.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
    return browser


@pytest.fixture
def nothing_runs(settings) -> None:
    """Every server answers at once that it is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        here = f"127.0.0.1:{probe.getsockname()[1]}"
    settings.ENV = type(settings.ENV)(
        temporal_address=here, vault_addr=f"http://{here}", redis_url=f"redis://{here}/0"
    )


def ask(browser: Client, method: str, route: str) -> Any:
    where = address(route)
    if where.startswith("/admin/"):
        return browser.get(where) if method == "GET" else browser.post(where, {})
    return browser.generic(method, where, b"{}", content_type="application/json")


def test_every_route_is_in_the_table():
    assert set(walk(get_resolver().url_patterns)) == set(TABLE)


def test_every_socket_is_in_the_table():
    assert {str(route.pattern) for route in socket_routes} == set(SOCKETS)


@pytest.mark.parametrize("route", TABLE)
def test_a_route_lets_in_whom_the_table_says(route, people, nothing_runs):
    wanted, got = {}, {}
    for method, least in TABLE[route].items():
        for who in CAST:
            answer = ask(people[who], method, route)
            wanted[method, who], got[method, who] = expected(who, least), outcome(answer)
            assert answer.status_code != 500
    assert got == wanted


@pytest.mark.parametrize("route", OTHERS)
def test_other_methods_let_in_nobody(route, people, nothing_runs):
    others = [m for m in METHODS if m not in TABLE[route]]
    for method in others:
        assert outcome(ask(people["admin"], method, route)) == "no such method"
        for who in CAST[:-1]:
            assert outcome(ask(people[who], method, route)) != "in"


def cookie_of(who: str) -> str:
    """A session of this role, and an ended run to watch."""
    Run.objects.create(id=ID, connection_name="hr", status="failed", created_at=timezone.now())
    cookie = browser_of(who).cookies.get(settings.SESSION_COOKIE_NAME)
    return f"{settings.SESSION_COOKIE_NAME}={cookie.value}" if cookie else ""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("who", CAST)
@pytest.mark.parametrize("route", SOCKETS)
async def test_a_socket_lets_in_whom_the_table_says(route, who, nothing_runs):
    cookie = await sync_to_async(cookie_of)(who)
    headers = [(b"origin", settings.ORIGINS[0].encode()), (b"cookie", cookie.encode())]
    channel = WebsocketCommunicator(application, address(route), headers=headers)
    accepted, code = await channel.connect(timeout=10)
    if accepted:
        assert (await channel.receive_json_from(timeout=10))["type"] == "state"
    await channel.disconnect()
    assert accepted == (CAST.index(who) >= RANK[SOCKETS[route]])
    if not accepted:
        assert code == {"anonymous": 4401, "outsider": 4403}.get(who, 4404)
