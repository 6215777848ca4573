"""The API without its servers: who may call, what errors look like, how lists go on."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils.crypto import get_random_string
from pydantic import SecretStr

from dashboard import connections, runs, tokens
from dashboard.models import Connection, Run
from tests.dashboard import cast

pytestmark = pytest.mark.django_db

ROOT = "/api/v1"
RUN = "00000000-0000-0000-0000-000000000001"
CREDENTIAL = "connections/x"
# A moment that has no date in UTC.
BEFORE_TIME = base64.urlsafe_b64encode(f"0001-01-01T00:00:00+14:00 {RUN}".encode()).decode()


@pytest.fixture(autouse=True)
def nothing_answers(settings):
    """No server is there: every address is a closed port."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.ENV = settings.ENV.model_copy(
        update={
            "temporal_address": "127.0.0.1:1",
            "redis_url": SecretStr("redis://127.0.0.1:1/0"),
            "vault_addr": "http://127.0.0.1:1",
        }
    )


@pytest.fixture
def source() -> Connection:
    return connection("source")


def connection(name: str, **fields) -> Connection:
    return Connection.objects.create(
        name=name,
        host="db.example",
        port=5432,
        database="app",
        username="reader",
        credential_path=CREDENTIAL,
        credential_version=1,
        **fields,
    )


def run_of(source: Connection | None, **fields) -> Run:
    fields.setdefault("created_at", datetime.now(UTC))
    fields.setdefault("status", "succeeded")
    return Run.objects.create(connection=source, connection_name="source", **fields)


def bearer(user) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.create(user, 'test', user)}"}


def call(method: str, path: str, user=None, body=None):
    content = {"data": json.dumps(body), "content_type": "application/json"} if body else {}
    headers = bearer(user) if user else {}
    return getattr(Client(), method)(ROOT + path, headers=headers, **content)


def assert_problem(response, status: int) -> dict:
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert {"type", "title", "status", "detail", "errors"} <= problem.keys()
    return problem


# --- who may call -----------------------------------------------------------

VIEWERS = [
    ("get", "/connections"),
    ("get", f"/connections/{RUN}"),
    ("get", "/runs"),
    ("get", f"/runs/{RUN}"),
    ("get", f"/runs/{RUN}/events"),
    ("get", f"/runs/{RUN}/snapshot"),
    ("get", f"/runs/{RUN}/snapshot/columns"),
    ("get", "/workers"),
    ("get", "/openapi.json"),
]
OPERATORS = [
    ("post", "/runs"),
    ("post", f"/runs/{RUN}/cancel"),
    ("post", f"/connections/{RUN}/check"),
]
ADMINS = [
    ("post", "/connections"),
    ("patch", f"/connections/{RUN}"),
    ("delete", f"/connections/{RUN}"),
    ("put", f"/connections/{RUN}/credential"),
]
NEEDED = {
    "viewer": VIEWERS,
    "operator": OPERATORS,
    "admin": ADMINS,
}
CALLS = [(role, *call) for role, calls in NEEDED.items() for call in calls]
RANKS = ["outsider", "viewer", "operator", "admin"]


@pytest.mark.parametrize(("needed", "method", "path"), CALLS)
def test_without_sign_in_everything_is_401(needed, method, path):
    response = call(method, path)
    assert_problem(response, 401)
    assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("needed", "method", "path"), CALLS)
def test_below_the_role_it_is_403_and_from_it_on_not(
    needed, method, path, outsider, viewer, operator, admin
):
    cast = {"outsider": outsider, "viewer": viewer, "operator": operator, "admin": admin}
    for role in RANKS:
        response = call(method, path, cast[role])
        if RANKS.index(role) < RANKS.index(needed):
            assert needed in assert_problem(response, 403)["detail"]
        else:
            assert response.status_code not in (401, 403)


def test_a_wrong_token_is_401_even_beside_a_session(viewer):
    client = Client()
    client.force_login(viewer)
    wrong = client.get(f"{ROOT}/runs", headers={"Authorization": "Bearer svy_wrong"})
    problem = assert_problem(wrong, 401)
    assert problem["detail"] == "This token is unknown or revoked."
    assert 'error="invalid_token"' in wrong["WWW-Authenticate"]
    assert "Sign in" in assert_problem(Client().get(f"{ROOT}/runs"), 401)["detail"]
    assert client.get(f"{ROOT}/runs").status_code == 200


def test_a_deactivated_user_is_401(viewer):
    headers = bearer(viewer)
    assert Client().get(f"{ROOT}/runs", headers=headers).status_code == 200
    viewer.is_active = False
    viewer.save()
    assert_problem(Client().get(f"{ROOT}/runs", headers=headers), 401)


def test_a_session_changes_nothing_without_its_csrf_token(operator, source, settings):
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    body = {"data": json.dumps({"connection": "source"}), "content_type": "application/json"}
    assert_problem(client.post(f"{ROOT}/runs", **body), 403)
    assert not Run.objects.exists()
    token = get_random_string(32)
    client.cookies[settings.CSRF_COOKIE_NAME] = token
    with_token = client.post(f"{ROOT}/runs", **body, headers={"X-CSRFToken": token})
    assert with_token.status_code == 201


def test_a_token_needs_no_csrf(operator, source):
    client = Client(enforce_csrf_checks=True)
    response = client.post(
        f"{ROOT}/runs",
        data=json.dumps({"connection": "source"}),
        content_type="application/json",
        headers=bearer(operator),
    )
    assert response.status_code == 201


# --- what is not there --------------------------------------------------------


def test_an_unknown_path_is_a_problem_and_401_to_strangers(viewer):
    assert_problem(call("get", "/nonsense", viewer), 404)
    assert_problem(call("get", "/nonsense"), 401)
    assert_problem(call("get", "/", viewer), 404)
    assert_problem(call("get", "/"), 401)
    assert_problem(call("get", "/runs/no-uuid", viewer), 404)


def test_a_wrong_method_is_a_problem_with_what_is_allowed(viewer):
    response = call("delete", "/runs", viewer)
    assert_problem(response, 405)
    assert set(response["Allow"].split(", ")) == {"GET", "POST"}


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("get", f"/runs/{RUN}", "viewer"),
        ("get", f"/runs/{RUN}/events", "viewer"),
        ("get", f"/runs/{RUN}/snapshot", "viewer"),
        ("get", f"/connections/{RUN}", "viewer"),
        ("post", f"/runs/{RUN}/cancel", "operator"),
        ("post", f"/connections/{RUN}/check", "operator"),
        ("delete", f"/connections/{RUN}", "admin"),
    ],
)
def test_an_unknown_id_is_404(method, path, role, request):
    assert_problem(call(method, path, request.getfixturevalue(role)), 404)


# --- bodies -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "connection"),
        ({"connection": "source", "include": ["a.b.c"]}, "include"),
        ({"connection": "source", "exclude": [""]}, "exclude"),
        ({"connection": "source", "kinds": ["tables"]}, "kinds"),
        ({"connection": "source", "include": "a"}, "include"),
        ({"connection": "source", "include": [7]}, "include.0"),
        ({"connection": "source", "extra": 1}, "extra"),
    ],
)
def test_a_run_with_an_invalid_body_names_the_field(body, field, operator, source):
    problem = assert_problem(call("post", "/runs", operator, body or {"include": []}), 422)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert problem["errors"][0]["message"]
    assert not Run.objects.exists()


def test_a_body_that_is_no_json_is_400(operator, admin):
    for path, user in (("/runs", operator), ("/connections", admin)):
        response = Client().post(
            ROOT + path, data="{", content_type="application/json", headers=bearer(user)
        )
        assert_problem(response, 400)


def test_a_run_of_an_unknown_connection_is_404(operator):
    for name in ("nobody", RUN, "\x00"):
        assert_problem(call("post", "/runs", operator, {"connection": name}), 404)


def test_an_invalid_connection_names_every_field_in_plain_words(admin):
    body = {"name": "x", "host": "a b", "port": 70000, "database": "", "username": "u"}
    body |= {"password": "canary-pw", "dialect": "postgresql", "options": {"local_infile": 1}}
    response = call("post", "/connections", admin, body)
    problem = assert_problem(response, 422)
    fields = {error["field"] for error in problem["errors"]}
    assert {"host", "port", "database", "options.local_infile"} == fields
    assert "canary-pw" not in response.content.decode()
    assert not Connection.objects.exists()


def test_a_body_that_is_no_object_is_422(admin):
    assert_problem(call("post", "/connections", admin, ["name"]), 422)


def test_a_credential_takes_two_fields_only(admin, source):
    body = {"username": "u", "password": "canary-pw", "host": "elsewhere"}
    problem = assert_problem(call("put", f"/connections/{source.pk}/credential", admin, body), 422)
    assert [error["field"] for error in problem["errors"]] == ["host"]


# --- something is down ----------------------------------------------------------


def test_without_vault_a_connection_is_503_and_not_half_saved(admin):
    body = {"name": "x", "host": "db.example", "port": 5432, "database": "d", "username": "u"}
    body |= {"password": "canary-pw", "dialect": "postgresql"}
    response = call("post", "/connections", admin, body)
    assert_problem(response, 503)
    assert "canary-pw" not in response.content.decode()
    assert not Connection.objects.exists()


def test_without_temporal_workers_and_checks_are_503(viewer, operator, source):
    assert_problem(call("get", "/workers", viewer), 503)
    assert_problem(call("post", f"/connections/{source.pk}/check", operator), 503)


# --- reading ----------------------------------------------------------------------


def test_a_run_has_the_whole_contract(viewer, source):
    now = datetime(2026, 11, 24, 4, 0, 0, 500_000, tzinfo=UTC)
    error = {"category": "auth", "message": "No.", "audience": "admin", "fix": "Rotate."}
    run = run_of(
        source,
        status="failed",
        created_at=now,
        started_at=now,
        finished_at=now + timedelta(seconds=2),
        error=error,
        started_by="alice",
        final={"done": 3, "total": 10, "phase": "extract", "shards": []},
    )
    assert call("get", f"/runs/{run.pk}", viewer).json() == {
        "id": str(run.pk),
        "connection": {"id": str(source.pk), "name": "source"},
        "status": "failed",
        "verdict": "finished: No.",
        "phase": "extract",
        "progress": {
            "done": 3,
            "in_flight": 0,
            "total": 10,
            "unit": "relations",
            "rate": 1.5,
            "eta_seconds": None,
        },
        "counts": {},
        "completeness": {"complete": 0, "denied": 0, "errored": 0, "filtered": 0},
        "limits": {
            **{"sessions": 3, "pace": 0.0, "statement_timeout": 60.0, "lock_timeout": 2.0},
            **{"connect_timeout": 5.0, "hours": "", "days": "", "timezone": "UTC", "told": True},
        },
        "load": {
            **{"sessions": 0, "statements": 0, "server_seconds": 0.0, "rows": 0, "bytes": 0},
            **{"lost": 0, "exact": False},
        },
        "error": error,
        "started_by": "alice",
        "retry_of": None,
        "created_at": "2026-11-24T04:00:00.500Z",
        "started_at": "2026-11-24T04:00:00.500Z",
        "finished_at": "2026-11-24T04:00:02.500Z",
        "workflow_id": f"run-{run.pk}",
    }


def test_a_connection_shows_its_credential_without_the_secret(viewer, source):
    shown = call("get", f"/connections/{source.pk}", viewer).json()
    assert shown["credential"] == {"kind": "vault", "version": 1, "rotated_at": None}
    assert "password" not in shown
    assert CREDENTIAL not in json.dumps(shown)


def test_lists_are_newest_first_and_go_on_where_they_ended(viewer, source):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    # Three at one moment: the id decides, and none is left out or shown twice.
    runs = [run_of(source, created_at=at + timedelta(minutes=n // 3)) for n in range(7)]
    expected = [str(run.pk) for run in sorted(runs, key=lambda r: (r.created_at, r.pk))[::-1]]
    seen, cursor = [], ""
    while cursor is not None:
        page = call("get", f"/runs?limit=2&cursor={cursor}", viewer).json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert seen == expected


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "cursor=nonsense", f"cursor={BEFORE_TIME}", "status=x"],
)
def test_a_list_refuses_what_it_cannot_read(query, viewer):
    assert_problem(call("get", f"/runs?{query}", viewer), 422)


def test_a_body_too_large_is_said_to_be(admin):
    body = {"name": "x" * 3_000_000}
    assert_problem(call("post", "/connections", admin, body), 413)


def test_lists_filter_by_status_and_connection(viewer, source):
    mine = run_of(source, status="failed")
    run_of(None, status="failed")
    run_of(source)
    found = call("get", f"/runs?status=failed&connection={source.pk}", viewer).json()
    assert [item["id"] for item in found["items"]] == [str(mine.pk)]


@pytest.mark.parametrize("many", [1, 12])
def test_a_list_of_runs_costs_the_same_whatever_its_length(
    many, viewer, source, django_assert_max_num_queries
):
    for _ in range(many):
        run_of(source)
    headers = bearer(viewer)
    with django_assert_max_num_queries(4):
        assert len(Client().get(f"{ROOT}/runs", headers=headers).json()["items"]) == many


def test_an_open_run_and_a_failed_one_have_no_snapshot(viewer, source):
    for run in (run_of(source, status="running"), run_of(source, status="failed")):
        problem = assert_problem(call("get", f"/runs/{run.pk}/snapshot", viewer), 404)
        assert "run has" in problem["detail"]


def test_the_openapi_page_names_every_refusal(viewer):
    page = call("get", "/openapi.json", viewer).json()
    assert page["openapi"].startswith("3.")
    operations = [
        (path, method, operation)
        for path, methods in page["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) == 16
    for path, method, operation in operations:
        assert {"401", "403", "404", "409", "422"} <= operation["responses"].keys(), (path, method)
        assert operation["security"]
        assert operation["summary"] and operation["description"], (path, method)
    summaries = [operation["summary"] for _, _, operation in operations]
    assert len(set(summaries)) == len(summaries)
    assert "/api/v1/runs/{run_id}/snapshot/{kind}" in page["paths"]


def test_nothing_is_kept_by_a_cache_and_nothing_is_sniffed(viewer, source):
    response = call("get", "/runs", viewer)
    assert response["Cache-Control"] == "no-store"
    assert response["X-Content-Type-Options"] == "nosniff"


# --- cancelling ---------------------------------------------------------------


def test_a_run_that_ended_cannot_be_cancelled(operator, source):
    run = run_of(source)
    problem = assert_problem(call("post", f"/runs/{run.pk}/cancel", operator), 409)
    assert "succeeded" in problem["detail"]


def test_a_running_run_is_not_cancelled_while_temporal_is_down(operator, source):
    run = run_of(source, status="running")
    assert_problem(call("post", f"/runs/{run.pk}/cancel", operator), 503)
    run.refresh_from_db()
    assert (run.status, run.cancel_requested_by) == ("running", "")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("method", "path", "verb", "body"),
    [
        ("delete", "/connections/{}", "connections.delete", None),
        ("patch", "/connections/{}", "connections.edit", {"owner": "team"}),
        ("put", "/connections/{}/credential", "connections.rotate", {"password": "another"}),
        ("post", "/runs", "runs.start", {"connection": "source"}),
    ],
)
def test_a_connection_just_deleted_is_not_found(
    source, admin, monkeypatch, method, path, verb, body
):
    module, name = verb.split(".")
    real = getattr({"connections": connections, "runs": runs}[module], name)
    monkeypatch.setattr(f"dashboard.{verb}", cast.gone_before(real))
    problem = assert_problem(call(method, path.format(source.pk), admin, body), 404)
    assert "deleted" in problem["detail"]
