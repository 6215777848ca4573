"""One connection and its run through the API, on the real servers and a real worker."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import secrets
import sqlite3

import psycopg
import pyarrow.parquet as pq
import pytest
from django.test import AsyncClient, Client

from dashboard import temporal as temporal_bridge
from dashboard import tokens
from dashboard.models import AuditEntry, Connection, Run
from dashboard.reconcile import Reconciler
from extraction.catalog import KINDS
from tests.integration.fleet import Fleet
from tests.integration.scripted import ScriptedWorker, make_connection, until

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

ROOT = "/api/v1"
PASSWORD = "canary-" + secrets.token_hex(8)


@pytest.fixture(scope="module")
def database(postgres) -> str:
    """A small source: two schemas, three tables, no trigger, a name a spreadsheet would run."""
    postgres.create_database("api_source")
    postgres.execute(
        "api_source",
        f"""
        CREATE ROLE api_reader LOGIN PASSWORD '{PASSWORD}';
        CREATE SCHEMA sales;
        CREATE TABLE sales.orders (id bigint PRIMARY KEY, note text);
        CREATE TABLE sales.lines (order_id bigint REFERENCES sales.orders, amount numeric(10,2));
        CREATE TABLE public."=1+1" (a integer);
        """,
    )
    return "api_source"


@pytest.fixture
def fleet(instance, tmp_path):
    started = Fleet(instance.worker_environment, tmp_path)
    started.start("w1")
    pid = str(started.processes["w1"].pid)
    until(lambda: any(w.pid == pid and w.is_alive for w in temporal_bridge.workers()), 30)
    yield started
    started.stop()


class Caller:
    """A user with a token."""

    def __init__(self, user) -> None:
        token = tokens.create(user, "test", user)
        self.headers = {"Authorization": f"Bearer {token}"}

    def __call__(self, method: str, path: str, body: object = None):
        content = {} if body is None else {"data": json.dumps(body)}
        return (
            getattr(Client(), method)(
                ROOT + path, content_type="application/json", headers=self.headers, **content
            )
            if content
            else getattr(Client(), method)(ROOT + path, headers=self.headers)
        )


@pytest.fixture
def call(admin) -> Caller:
    return Caller(admin)


def described(postgres, database: str) -> dict[str, object]:
    return {
        "name": "shop",
        "dialect": "postgresql",
        "host": postgres.host,
        "port": postgres.port,
        "database": database,
        "username": "api_reader",
        "password": PASSWORD,
        "options": {"sessions": 2, "tls": "disable"},
    }


def finished(call: Caller, run_id: str) -> dict:
    reconciler = Reconciler()

    def is_over() -> bool:
        reconciler.sweep()
        return call("get", f"/runs/{run_id}").json()["finished_at"] is not None

    until(is_over, 60)
    return call("get", f"/runs/{run_id}").json()


def rows_of(call: Caller, run_id: str, kind: str, format: str) -> tuple[bytes, object]:
    response = call("get", f"/runs/{run_id}/snapshot/{kind}?format={format}")
    assert response.status_code == 200
    return b"".join(response.streaming_content), response


def test_from_a_connection_to_the_rows_of_its_snapshot(call, fleet, postgres, database):
    made = call("post", "/connections", described(postgres, database))
    assert made.status_code == 201
    assert made.json()["credential"]["version"] == 1
    assert PASSWORD not in made.content.decode()
    key = made.json()["id"]

    checked = call("post", f"/connections/{key}/check").json()
    assert checked["ok"], checked
    assert [step["name"] for step in checked["steps"]][-1] == "catalogue"
    assert checked["server_version"]

    started = call("post", "/runs", {"connection": "SHOP"})
    assert started.status_code == 201
    run_id = started.json()["id"]
    assert started.json()["started_by"] == "admin"
    second = call("post", "/runs", {"connection": key})
    if second.status_code != 201:  # the first may have ended already
        assert (second.status_code, second.json()["run"]) == (409, run_id)

    run = finished(call, run_id)
    assert run["status"] == "succeeded", run
    assert run["progress"]["done"] == run["progress"]["total"] == 3
    assert run["counts"]["columns"] == 5
    assert run["completeness"]["denied"] == run["completeness"]["errored"] == 0
    story = call("get", f"/runs/{run_id}/events").json()["items"]
    codes = [event["code"] for event in story]
    assert codes[0] == "created"
    assert {"started", "planned", "ended"} <= set(codes)
    assert [event["seq"] for event in story] == sorted(event["seq"] for event in story)
    later = call("get", f"/runs/{run_id}/events?after={story[0]['seq']}").json()["items"]
    assert later == story[1:]

    manifest = call("get", f"/runs/{run_id}/snapshot")
    assert manifest["Content-Type"] == "application/json"
    saved = Run.objects.get(pk=run_id)
    assert hashlib.sha256(manifest.content).hexdigest() == saved.manifest

    assert_columns(call, run_id, postgres, database)
    assert_every_kind(call, run_id)
    assert_refusals(call, run_id, key)
    assert PASSWORD not in json.dumps([run, story, manifest.json()])


def assert_columns(call: Caller, run_id: str, postgres, database: str) -> None:
    with psycopg.connect(postgres.url(database)) as connection:
        expected = connection.execute(
            "SELECT table_schema, table_name, column_name FROM information_schema.columns"
            " WHERE table_schema IN ('sales', 'public')"
            ' ORDER BY table_schema COLLATE "C", table_name COLLATE "C", ordinal_position'
        ).fetchall()
    body, response = rows_of(call, run_id, "columns", "jsonl")
    rows = [json.loads(line) for line in body.splitlines()]
    names = ("schema_name", "relation_name", "column_name")
    assert [tuple(row[name] for name in names) for row in rows] == expected
    assert response["Content-Type"] == "application/x-ndjson"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Disposition"] == (f'attachment; filename="{run_id[:8]}-columns.jsonl"')

    text = rows_of(call, run_id, "columns", "csv")[0].decode()
    table = list(csv.DictReader(io.StringIO(text)))
    assert len(table) == len(rows)
    assert table[0]["relation_name"] == "'=1+1"
    parquet = pq.read_table(io.BytesIO(rows_of(call, run_id, "columns", "parquet")[0]))
    assert parquet.column("column_name").to_pylist() == [row["column_name"] for row in rows]


def assert_every_kind(call: Caller, run_id: str) -> None:
    for kind in KINDS:
        for format in ("jsonl", "csv", "parquet"):
            rows_of(call, run_id, kind, format)
    assert rows_of(call, run_id, "triggers", "jsonl")[0] == b""
    empty = pq.read_table(io.BytesIO(rows_of(call, run_id, "triggers", "parquet")[0]))
    assert empty.num_rows == 0


def assert_refusals(call: Caller, run_id: str, key: str) -> None:
    assert call("get", f"/runs/{run_id}/snapshot/tables").status_code == 404
    assert call("get", f"/runs/{run_id}/snapshot/columns?format=xml").status_code == 422
    assert call("post", f"/runs/{run_id}/cancel").status_code == 409
    moved = call("patch", f"/connections/{key}", {"host": "127.0.0.2"})
    assert [error["field"] for error in moved.json()["errors"]] == ["password"]
    assert Connection.objects.get(pk=key).host == "127.0.0.1"


async def test_under_asgi_the_rows_are_streamed_too(admin, fleet, postgres, database):
    from asgiref.sync import sync_to_async

    def run_one() -> tuple[str, bytes, dict[str, str]]:
        call = Caller(admin)
        assert call("post", "/connections", described(postgres, database)).status_code == 201
        run_id = call("post", "/runs", {"connection": "shop"}).json()["id"]
        finished(call, run_id)
        return run_id, rows_of(call, run_id, "columns", "csv")[0], call.headers

    run_id, expected, headers = await sync_to_async(run_one)()
    path = f"{ROOT}/runs/{run_id}/snapshot/columns?format=csv"
    response = await AsyncClient().get(path, headers=headers)
    assert response.status_code == 200
    assert response.is_async
    assert b"".join([chunk async for chunk in response]) == expected


def test_a_file_is_checked_and_read_by_workers_that_allow_it(call, instance, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    with sqlite3.connect(files / "shop.db") as shop:
        shop.execute("create table artist (id integer primary key, name text not null)")
        shop.execute("create view names as select name from artist")
    started = Fleet(instance.worker_environment, tmp_path)
    started.start("w1", SOURCE_FILES=str(files))
    try:
        body = {"name": "shop", "dialect": "sqlite", "database": "shop.db"}
        made = call("post", "/connections", body)
        assert made.status_code == 201, made.content
        shown = made.json()
        assert (shown["host"], shown["port"], shown["username"], shown["tls"]) == ("", 0, "", "")
        until(lambda: any(w.is_alive for w in temporal_bridge.workers()), 30)
        checked = call("post", f"/connections/{shown['id']}/check").json()
        assert checked["ok"], checked
        assert [step["name"] for step in checked["steps"]] == [
            *("file", "open", "version", "catalogue"),
        ]
        run_id = call("post", "/runs", {"connection": "shop"}).json()["id"]
        run = finished(call, run_id)
        assert (run["status"], run["counts"]["relations"], run["counts"]["columns"]) == (
            *("succeeded", 2, 3),
        )
        elsewhere = call("patch", f"/connections/{shown['id']}", {"database": "absent.db"})
        assert elsewhere.status_code == 200
        checked = call("post", f"/connections/{shown['id']}/check").json()
        assert [(step["name"], step["ok"]) for step in checked["steps"]] == [("file", False)]
        refused = call("put", f"/connections/{shown['id']}/credential", {"password": "x"})
        assert refused.status_code == 409
    finally:
        started.stop()


def test_rotating_editing_and_deleting(call, instance, postgres, database):
    key = call("post", "/connections", described(postgres, database)).json()["id"]
    rotated = call("put", f"/connections/{key}/credential", {"password": "another-canary"})
    assert rotated.status_code == 200
    assert rotated.json()["credential"]["version"] == 2
    assert rotated.json()["username"] == "api_reader"

    edited = call("patch", f"/connections/{key}", {"owner": "team", "options": {"pace": 0.5}})
    assert edited.status_code == 200
    assert (edited.json()["owner"], edited.json()["options"]["pace"]) == ("team", 0.5)
    assert edited.json()["options"]["sessions"] == 2

    taken = call("post", "/connections", described(postgres, database))
    assert [error["field"] for error in taken.json()["errors"]] == ["name"]
    assert call("delete", f"/connections/{key}").status_code == 204
    assert call("get", f"/connections/{key}").status_code == 404
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"connection.create", "credential.write", "connection.edit", "connection.delete"} <= (
        actions
    )


def test_a_connection_with_an_open_run_is_not_deleted_and_the_run_is_cancelled(
    call, instance, temporal
):
    source = make_connection("busy")
    with ScriptedWorker(temporal):
        run_id = call("post", "/runs", {"connection": "busy", "include": ["hang"]}).json()["id"]
        second = call("post", "/runs", {"connection": str(source.pk)})
        assert (second.status_code, second.json()["run"]) == (409, run_id)
        assert call("delete", f"/connections/{source.pk}").status_code == 409

        cancelled = call("post", f"/runs/{run_id}/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelling")
        assert finished(call, run_id)["status"] == "cancelled"
    assert call("delete", f"/connections/{source.pk}").status_code == 204
    assert call("get", f"/runs/{run_id}").json()["connection"] == {"id": None, "name": "busy"}


def test_the_fleet_is_what_temporal_sees(call, fleet):
    pid = str(fleet.processes["w1"].pid)

    def alive() -> list[dict]:
        items = call("get", "/workers").json()["items"]
        return [w for w in items if w["pid"] == pid and w["status"] == "running"]

    # The first beat of a worker may come before it has counted its slots.
    until(lambda: any(w["slots_free"] for w in alive()), 30)
    worker = alive()[0]
    assert worker["identity"] == "w1"
    assert worker["slots_free"] > 0
    assert worker["beat_age_ms"] < 10_000
    fleet.kill("w1")
    until(lambda: not alive(), 20)


def test_a_check_without_a_worker_says_so(call, instance):
    source = make_connection("lonely")
    until(
        lambda: not any(w["status"] == "running" for w in call("get", "/workers").json()["items"]),
        20,
    )
    response = call("post", f"/connections/{source.pk}/check")
    assert response.status_code == 503
    assert "worker" in response.json()["detail"]


def test_readiness_with_everything_up(call, fleet):
    def all_ok() -> bool:
        return Client().get("/readyz?strict=1").status_code == 200

    until(all_ok, 30)
    assert {part["status"] for part in Client().get("/readyz").json().values()} == {"ok"}
