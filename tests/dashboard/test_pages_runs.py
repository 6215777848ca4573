"""The list of runs and the page of one."""

from __future__ import annotations

import re
import time
import uuid

import pytest
from django.urls import reverse

from dashboard import runs as verbs
from dashboard.live.board import Board
from dashboard.live.picture import draw
from dashboard.models import Run
from dashboard.views.contexts import run_view
from extraction.selection import Selection
from tests.dashboard import cast
from workers.contract import Event, Frame, PlanRecord, Progress, ShardPlan

pytestmark = pytest.mark.django_db


@pytest.fixture
def warehouse(db):
    return cast.connection()


def rows_of(page) -> list[str]:
    return re.findall(r'data-run-row="([^"]+)"', page.content.decode())


def test_the_root_leads_to_the_runs(client, viewer):
    client.force_login(viewer)
    assert client.get("/").headers["Location"] == reverse("runs")


def test_the_anonymous_go_to_sign_in(client):
    page = client.get("/runs/")
    assert (page.status_code, page.headers["Location"]) == (302, "/sign-in/?next=/runs/")


def test_without_a_role_the_page_says_whom_to_ask_and_leads_nowhere(
    client, outsider, admin, viewer
):
    client.force_login(outsider)
    page = client.get("/runs/")
    text = page.content.decode()
    assert page.status_code == 403
    assert "Your account outsider has no role," in text
    assert "Ask <b>admin</b> for one" in text
    assert re.findall(r'<a [^>]*href="(/[^"]*)"', text) == ["/"]


def test_runs_are_listed_newest_first_with_status_and_verdict(client, viewer, warehouse):
    old = cast.run(warehouse, "failed", ago=900, error={"message": "The password is wrong."})
    new = cast.run(warehouse, "queued", ago=5, waiting_reason="Temporal is unreachable")
    client.force_login(viewer)
    page = client.get("/runs/")
    assert rows_of(page) == [str(new.id), str(old.id)]
    text = page.content.decode()
    assert "waiting: Temporal is unreachable" in text
    assert "The password is wrong." in text
    assert 'href="#i-queued"' in text
    assert 'href="#i-failed"' in text


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (Selection(), ""),
        (Selection(["crm"]), "only crm"),
        (Selection([], ["tmp_*"], ["columns"]), "without tmp_*; kinds columns"),
        (Selection(list("abcde")), "only a, b, c and 2 more"),
        (Selection(["x" * 80]), f"only {'x' * 39}…"),
        (Selection(["a\u202eb"]), "only a\\u202eb"),
    ],
)
@pytest.mark.parametrize("page", ["/runs/", "/runs/{id}/", "/connections/{of}/"])
def test_a_run_of_a_part_says_so_wherever_its_result_is(
    client, viewer, warehouse, selection, said, page
):
    run = cast.run(warehouse, selection=selection)
    client.force_login(viewer)
    text = client.get(page.format(id=run.id, of=warehouse.id)).content.decode()
    assert re.findall(r'<span class="narrowed">(.*?)</span>', text) == [said] * bool(said)


def test_a_counter_filters_by_status_and_connection(client, viewer, warehouse):
    other = cast.connection("billing")
    cast.run(warehouse, "failed", ago=100)
    wanted = cast.run(other, "failed", ago=200)
    cast.run(other, "succeeded", ago=300)
    client.force_login(viewer)
    page = client.get("/runs/", {"status": "failed", "connection": other.id})
    assert rows_of(page) == [str(wanted.id)]
    counts = dict(
        re.findall(r"<b>(\d+)</b> (\w+)", page.content.decode())[i][::-1] for i in range(7)
    )
    assert counts["all"] == "2"
    assert counts["failed"] == "1"


@pytest.mark.parametrize(
    "query", ["status=odd", "connection=x", "after=x", f"after={uuid.UUID(int=7)}"]
)
def test_an_unreadable_filter_filters_nothing(client, viewer, warehouse, query):
    run = cast.run(warehouse)
    client.force_login(viewer)
    assert rows_of(client.get(f"/runs/?{query}")) == [str(run.id)]


def test_a_page_holds_fifty_and_leads_on(client, viewer, warehouse):
    runs = [cast.run(warehouse, ago=60 + i) for i in range(53)]
    client.force_login(viewer)
    first = client.get("/runs/")
    assert len(rows_of(first)) == 50
    older = re.search(r'href="([^"]+)" rel="next"', first.content.decode()).group(1)
    rest = client.get(older)
    assert rows_of(rest) == [str(run.id) for run in runs[50:]]
    assert 'rel="next"' not in rest.content.decode()


def test_the_list_costs_the_same_queries_for_one_and_for_many(
    client, viewer, warehouse, django_assert_max_num_queries
):
    client.force_login(viewer)
    cast.run(warehouse)
    with django_assert_max_num_queries(8) as one:
        client.get("/runs/")
    for i in range(20):
        cast.run(warehouse, ago=100 + i)
    with django_assert_max_num_queries(len(one)):
        client.get("/runs/")


def test_the_fragment_is_the_list_without_the_frame(client, viewer, warehouse):
    cast.run(warehouse, "failed")
    wanted = cast.run(warehouse, "succeeded", ago=90)
    client.force_login(viewer)
    page = client.get("/runs/fragment/?status=succeeded")
    assert rows_of(page) == [str(wanted.id)]
    assert "<html" not in page.content.decode()


def test_without_runs_the_page_says_what_a_run_is(client, viewer):
    client.force_login(viewer)
    assert "No run yet." in client.get("/runs/").content.decode()


def test_an_ended_run_shows_what_was_read_and_where_to_read_it(client, operator, warehouse):
    run = cast.run(warehouse)
    client.force_login(operator)
    text = client.get(f"/runs/{run.id}/").content.decode()
    assert "every selected scope is proven complete" in text
    assert "27 <small>of 27 selected</small>" in text
    assert f'href="/catalogue/{run.id}/"' in text
    assert "Run again" in text
    assert "Cancel…" not in text
    assert "http-equiv" not in text


def test_a_failed_run_says_why_who_must_act_and_what_mends_it(client, viewer, warehouse):
    error = {
        "category": "auth",
        "message": "The database refused <b>it</b>.",
        "audience": "admin",
        "fix": "Rotate the credential.",
    }
    run = cast.run(warehouse, "failed", error=error)
    client.force_login(viewer)
    text = client.get(f"/runs/{run.id}/").content.decode()
    assert "The database refused &lt;b&gt;it&lt;/b&gt;." in text
    assert "Rotate the credential." in text
    assert "<dd>admin</dd>" in text


def test_an_open_run_refreshes_itself_without_script(client, viewer, warehouse):
    run = cast.run(warehouse, "queued")
    client.force_login(viewer)
    text = client.get(f"/runs/{run.id}/").content.decode()
    assert '<noscript><meta http-equiv="refresh"' in text
    assert "cancel-dialog" not in text


def test_the_fragment_of_a_run_is_its_body(client, viewer, warehouse):
    run = cast.run(warehouse, "queued")
    client.force_login(viewer)
    text = client.get(f"/runs/{run.id}/fragment/").content.decode().strip()
    assert text.startswith(f'<surveyor-run data-run="{run.id}"')
    assert text.endswith("</surveyor-run>")


def test_an_unknown_run_is_not_found(client, viewer):
    client.force_login(viewer)
    assert client.get(f"/runs/{uuid.uuid4()}/").status_code == 404


@pytest.mark.parametrize("verb", ["cancel", "again"])
def test_a_viewer_may_not_act(client, viewer, warehouse, verb):
    run = cast.run(warehouse, "queued")
    client.force_login(viewer)
    assert client.post(f"/runs/{run.id}/{verb}/").status_code == 403


def test_cancel_asks_first_for_a_browser_without_script(client, operator, warehouse):
    run = cast.run(warehouse, "queued")
    client.force_login(operator)
    text = client.get(f"/runs/{run.id}/cancel/").content.decode()
    assert f'<form method="post" action="/runs/{run.id}/cancel/">' in text
    run.refresh_from_db()
    assert run.status == "queued"


def test_an_ended_run_cannot_be_cancelled(client, operator, warehouse):
    run = cast.run(warehouse)
    client.force_login(operator)
    page = client.post(f"/runs/{run.id}/cancel/")
    assert page.status_code == 409
    assert "Not done:" in page.content.decode()


def test_run_again_starts_the_same_selection(client, operator, warehouse):
    run = cast.run(warehouse)
    client.force_login(operator)
    page = client.post(f"/runs/{run.id}/again/")
    new = Run.objects.exclude(id=run.id).get()
    assert page.headers["Location"] == f"/runs/{new.id}/"
    assert new.input["selection"]["exclude"] == ["tmp_*"]
    assert (new.status, new.started_by) == ("queued", "operator")


def test_run_again_names_the_run_that_is_open(client, operator, warehouse):
    run = cast.run(warehouse, ago=500)
    open_run = cast.run(warehouse, "queued")
    client.force_login(operator)
    page = client.post(f"/runs/{run.id}/again/")
    assert page.status_code == 409
    assert f'href="/runs/{open_run.id}/"' in page.content.decode()
    assert Run.objects.count() == 2


def test_run_again_without_its_connection_says_so(client, operator, warehouse):
    run = cast.run(warehouse)
    warehouse.delete()
    client.force_login(operator)
    page = client.post(f"/runs/{run.id}/again/")
    assert page.status_code == 409
    assert "was deleted" in page.content.decode()


@pytest.mark.django_db(transaction=True)
def test_run_again_on_a_connection_just_deleted_says_so(client, operator, warehouse, monkeypatch):
    run = cast.run(warehouse)
    client.force_login(operator)
    monkeypatch.setattr("dashboard.runs.start", cast.gone_before(verbs.start))
    page = client.post(f"/runs/{run.id}/again/")
    assert page.status_code == 409
    assert "has just deleted" in page.content.decode()
    assert Run.objects.count() == 1


def test_the_workflow_link_needs_a_temporal_ui(client, viewer, warehouse, settings):
    run = cast.run(warehouse)
    client.force_login(viewer)
    assert "Workflow in Temporal" not in client.get(f"/runs/{run.id}/").content.decode()
    settings.ENV = settings.ENV.model_copy(update={"temporal_ui_url": "http://ui.internal:8233/"})
    text = client.get(f"/runs/{run.id}/").content.decode()
    assert f"http://ui.internal:8233/namespaces/default/workflows/run-{run.id}" in text


def working(shard: int, now: float, **fields) -> Progress:
    values = {
        "run_id": "r",
        "phase": "extract",
        "shard": shard,
        "attempt": 1,
        "worker": "w1",
        "total": 100,
        "beat_at": now,
        "advanced_at": now,
    }
    return Progress(**values | fields)


def test_the_story_is_ordered_by_time_then_by_seq(warehouse):
    now = time.time()
    board = Board(cast.run(warehouse, "running"))
    said = [("done", now + 1), ("late", now - 9), ("verifying", now + 2), ("again", now + 2)]
    for seq, (message, at) in enumerate(said, 1):
        event = Event(str(board.run.pk), "code", message, at=at)
        board.apply(seq, Frame("event", str(board.run.pk), event=event))
    shown = [event["message"] for event in run_view(board.run, draw(board, now)).events]
    assert shown == ["again", "verifying", "done", "late"]
    assert [line["seq"] for line in draw(board, now).events] == [1, 2, 3, 4]


def test_trouble_comes_first_and_done_last(warehouse):
    now = time.time()
    run = cast.run(warehouse, "running")
    board = Board(run)
    shards = [ShardPlan(i, f"s{i}", 100, i, 1) for i in range(4)]
    board.take_plan(PlanRecord(400, 4, 4, now - 10, shards))
    board.take(working(0, now, state="done", done=100, batch=1))
    board.take(working(2, now, done=40, in_flight=30))
    board.take(working(3, now, beat_at=now - 60, done=10))
    view = run_view(run, draw(board, now))
    assert [(line.id, line.trouble) for line in view.shards] == [
        (3, True),
        (2, False),
        (1, False),
        (0, False),
    ]
    assert (view.percent, view.bar.in_flight) == (37, 30)
    assert [(p.name, p.tone) for p in view.phases] == [
        ("Plan", "ok"),
        ("Extract", "run"),
        ("Finish", "idle"),
    ]


def test_a_cancelled_run_has_no_shard_at_work(warehouse):
    shard = {
        **{"id": 1, "label": "s", "done": 40, "in_flight": 9, "total": 100, "rate": 3.0},
        **{"attempt": 1, "worker": "w1", "beat_age_ms": 5, "advance_age_ms": 5},
        **{"verdict": "working", "tone": "run", "batch": 0, "batches": 1, "failures": 0},
        "last_failure": "",
    }
    final = {"phase": "extract", "done": 40, "total": 100, "shards": [shard]}
    run = cast.run(warehouse, "cancelled", final=final)
    (line,) = run_view(run, draw(Board(run), time.time())).shards
    assert (line.verdict.shown, line.verdict.tone, line.bar.in_flight) == (
        "not finished",
        "idle",
        0,
    )
