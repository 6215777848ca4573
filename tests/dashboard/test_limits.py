"""The limits of an open run: what may be typed, who is refused, and what the row keeps."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from dashboard import connections, limits
from dashboard.forms import ConnectionForm
from dashboard.limit_fields import RunLimitsForm
from dashboard.limits import StateForbids
from dashboard.models import AuditEntry, Connection, Run, RunEvent
from extraction.connection import Options
from tests.dashboard.test_roles import nothing_runs  # noqa: F401

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("nothing_runs")]

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def source() -> Connection:
    return Connection.objects.create(
        name="hr",
        host="hr.internal",
        port=5432,
        database="hr",
        username="surveyor",
        options={"sessions": 3},
        credential_path="connections/x",
        credential_version=1,
    )


@pytest.fixture
def run(source: Connection) -> Run:
    return a_run(source)


def a_run(source: Connection, status: str = "running") -> Run:
    given = {"source": {"options": {"sessions": 3, "pace": 0.5, "statement_timeout": 60.0}}}
    return Run.objects.create(
        connection=source, connection_name="hr", status=status, input=given, created_at=NOON
    )


def patch(client: Client, run: Run, **body: Any) -> Any:
    return client.patch(
        f"/api/v1/runs/{run.pk}/limits", json.dumps(body), content_type="application/json"
    )


def test_a_change_is_kept_with_the_row_audited_and_told_in_the_story(run, operator):
    limits.change(run, {"sessions": 1, "pace": 2.0, "hours": ""}, operator)
    run.refresh_from_db()
    assert (run.options.sessions, run.options.pace, run.options.statement_timeout) == (1, 2.0, 60.0)
    assert run.input["source"]["options"]["sessions"] == 3
    assert (run.limits_version, run.limits_told) == (1, 0)
    entry = AuditEntry.objects.get(action="run.limits")
    assert entry.actor == "operator"
    assert entry.detail == {"run": str(run.pk), "changed": {"sessions": 1, "pace": 2.0}}
    line = RunEvent.objects.get(run=run, code="limits_set")
    assert line.message == "operator changed the limits: sessions 3 → 1, pace 0.5 → 2"
    assert "could not be told yet" in limits.sentence(run)


def test_the_same_limits_again_are_no_change(run, operator):
    limits.change(run, {"sessions": 3, "pace": 0.5}, operator)
    run.refresh_from_db()
    assert run.limits_version == 0
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("status", ["succeeded", "partial", "failed", "cancelled", "cancelling"])
def test_a_run_that_has_ended_or_is_ending_keeps_its_limits(source, operator, status):
    run = a_run(source, status)
    with pytest.raises(StateForbids):
        limits.change(run, {"sessions": 1}, operator)
    run.refresh_from_db()
    assert run.limits == {}


def test_a_queued_run_begins_with_them(source, operator):
    from dashboard import runs

    run = runs._new(source, runs.Selection(), "alice")
    run.save(force_insert=True)
    changed = limits.change(run, {"sessions": 2}, operator)
    assert runs.input_of(changed).source.options.sessions == 2
    assert "begins with these limits" in limits.sentence(changed)


def test_saving_the_limits_of_a_connection_gives_its_open_run_what_changed(source, run):
    limits.change(run, {"pace": 9.0}, "bob")
    form = ConnectionForm.from_api({"options": {"sessions": 1}}, source)
    assert form.is_valid(), form.errors
    connections.edit(source, form, "alice")
    run.refresh_from_db()
    # The pace that was set for this run stays: only the sessions changed there.
    assert (run.options.sessions, run.options.pace) == (1, 9.0)
    assert run.limits_version == 2


def test_saving_something_else_leaves_the_open_run_alone(source, run):
    form = ConnectionForm.from_api({"owner": "team"}, source)
    assert form.is_valid(), form.errors
    connections.edit(source, form, "alice")
    run.refresh_from_db()
    assert run.limits_version == 0


def test_the_api_takes_a_part_of_them_and_answers_with_the_run(client, run, operator):
    client.force_login(operator)
    answer = patch(client, run, sessions=1, hours="22:00-06:00", timezone="Europe/Berlin")
    assert answer.status_code == 202
    shown = answer.json()["limits"]
    assert (shown["sessions"], shown["pace"], shown["hours"]) == (1, 0.5, "22:00-06:00")
    assert (shown["timezone"], shown["told"]) == ("Europe/Berlin", False)


@pytest.mark.parametrize(
    ("body", "field", "sentence"),
    [
        ({"sessions": 0}, "sessions", "At least 1."),
        ({"sessions": 33}, "sessions", "At most 32."),
        ({"pace": -1}, "pace", "At least 0"),
        ({"statement_timeout": 0.5}, "statement_timeout", "At least 1"),
        ({"lock_timeout": 61}, "lock_timeout", "At most 60"),
        ({"hours": "late"}, "hours", "Write hours as 22:00-06:00"),
        ({"days": "someday"}, "days", "Write days as mon-fri"),
        ({"timezone": "Mars/Olympus"}, "timezone", "not known here"),
        ({"connect_timeout": 3}, "connect_timeout", "is not a limit of a run"),
        ({"password": "x"}, "password", "is not a limit of a run"),
    ],
)
def test_what_is_out_of_range_is_422_at_its_field(client, run, operator, body, field, sentence):
    client.force_login(operator)
    answer = patch(client, run, **body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert sentence in error["message"]
    run.refresh_from_db()
    assert run.limits == {}


def test_an_ended_run_is_409_with_the_reason(client, source, operator):
    client.force_login(operator)
    answer = patch(client, a_run(source, "succeeded"), sessions=1)
    assert answer.status_code == 409
    assert answer.json()["detail"] == "The run has ended already: it is succeeded."


def test_a_viewer_changes_nothing(client, run, viewer):
    client.force_login(viewer)
    assert patch(client, run, sessions=1).status_code == 403
    assert client.post(f"/runs/{run.pk}/limits/", {"sessions": 1}).status_code == 403
    run.refresh_from_db()
    assert run.limits == {}


def test_the_page_shows_what_is_in_force_and_saves(client, run, operator):
    client.force_login(operator)
    page = client.get(f"/runs/{run.pk}/limits/").content.decode()
    assert 'name="sessions" value="3"' in page
    assert 'name="connect_timeout"' not in page
    answer = client.post(f"/runs/{run.pk}/limits/", {"sessions": "2", "pace": "0.5"}, follow=True)
    assert "could not be told yet" in answer.content.decode()
    run.refresh_from_db()
    assert run.limits == {"sessions": 2}


def test_the_page_refuses_at_the_field_and_after_the_end(client, run, operator):
    client.force_login(operator)
    answer = client.post(f"/runs/{run.pk}/limits/", {"sessions": "0"})
    assert answer.status_code == 422
    assert "At least 1." in answer.content.decode()
    Run.objects.filter(pk=run.pk).update(status="failed", finished_at=NOON)
    for response in (
        client.get(f"/runs/{run.pk}/limits/"),
        client.post(f"/runs/{run.pk}/limits/", {"sessions": "1"}),
    ):
        assert response.status_code == 409
        assert "it is failed" in response.content.decode()


def test_a_form_without_a_field_keeps_it():
    form = RunLimitsForm({"pace": "1"}, Options(sessions=2, hours="01:00-02:00"))
    assert form.is_valid(), form.errors
    assert form.cleaned_data["hours"] == "01:00-02:00"
    assert form.cleaned_data["sessions"] == 2


@pytest.mark.parametrize("name", ["hours", "days", "timezone"])
def test_a_connection_refuses_hours_at_their_field(source, name):
    form = ConnectionForm.from_api({"options": {name: "whenever"}}, source)
    assert not form.is_valid()
    assert list(form.errors) == [name]


def test_a_page_without_hours_keeps_those_of_the_connection(source):
    source.options = {"hours": "22:00-06:00", "timezone": "Europe/Berlin"}
    source.save()
    fields = {"name": "hr", "dialect": "postgresql", "host": "hr.internal", "port": "5432"}
    fields |= {"database": "hr", "username": "surveyor", "tls": "verify-full"}
    form = ConnectionForm(fields, instance=source)
    assert form.is_valid(), form.errors
    assert form.limits["hours"] == "22:00-06:00"
    emptied = ConnectionForm({**fields, "hours": "", "timezone": ""}, instance=source)
    assert emptied.is_valid(), emptied.errors
    assert (emptied.limits["hours"], emptied.limits["timezone"]) == ("", "UTC")
