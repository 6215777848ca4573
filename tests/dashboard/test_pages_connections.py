"""The pages of connections; what needs a real Vault is in the integration tests."""

from __future__ import annotations

import re
import uuid

import pytest

from dashboard.models import Connection, Run
from dashboard.views import connections as views
from dashboard.views.ladder import ladder
from tests.dashboard import cast
from workers.contract import CheckResult, CheckStep

pytestmark = pytest.mark.django_db

FORM = {
    "name": "hr",
    "dialect": "postgresql",
    "host": "db.internal",
    "port": "5432",
    "database": "hr",
    "username": "surveyor",
    "password": "canary-7f3a",
    "tls": "verify-full",
}


@pytest.fixture
def warehouse(db):
    return cast.connection(environment="production", tags=["nightly"])


@pytest.fixture
def no_vault(settings):
    """Nothing listens on port 1."""
    settings.ENV = settings.ENV.model_copy(update={"vault_addr": "http://127.0.0.1:1"})


def test_the_list_tells_the_last_result_from_what_goes_on(client, viewer, warehouse):
    ended = cast.run(warehouse, "failed", ago=900)
    open_run = cast.run(warehouse, "queued")
    client.force_login(viewer)
    text = client.get("/connections/").content.decode()
    assert re.search(rf'href="/runs/{ended.id}/"><span class="st" data-tone="bad">', text)
    assert re.search(rf'href="/runs/{open_run.id}/"><span class="st" data-tone="idle">', text)


def test_the_list_costs_the_same_queries_for_one_and_for_many(
    client, viewer, warehouse, django_assert_max_num_queries
):
    client.force_login(viewer)
    cast.run(warehouse)
    with django_assert_max_num_queries(8) as one:
        client.get("/connections/")
    for i in range(10):
        cast.run(cast.connection(f"c{i}"), ago=50)
    with django_assert_max_num_queries(len(one)):
        client.get("/connections/")


def test_a_long_list_has_pages(client, viewer):
    for i in range(51):
        cast.connection(f"c{i:02}")
    client.force_login(viewer)
    first, second = (client.get(f"/connections/?page={n}").content.decode() for n in (1, 2))
    assert (first.count('scope="row"'), second.count('scope="row"')) == (50, 1)
    assert 'rel="next"' in first


@pytest.mark.parametrize("page", ["new/", "{id}/edit/", "{id}/rotate/", "{id}/delete/"])
def test_an_operator_may_not_change_connections(client, operator, warehouse, page):
    client.force_login(operator)
    path = "/connections/" + page.format(id=warehouse.id)
    assert client.get(path).status_code == 403
    assert client.post(path, FORM).status_code == 403
    assert Connection.objects.count() == 1


@pytest.mark.parametrize("verb", ["check", "start"])
def test_a_viewer_neither_checks_nor_starts(client, viewer, warehouse, verb):
    client.force_login(viewer)
    assert client.post(f"/connections/{warehouse.id}/{verb}/").status_code == 403
    assert client.get(f"/connections/{warehouse.id}/").status_code == 200


def test_the_form_prints_the_role_for_what_was_typed(client, admin):
    client.force_login(admin)
    assert "CREATE ROLE &quot;surveyor&quot;" in client.get("/connections/new/").content.decode()
    typed = client.post("/connections/new/", FORM | {"username": "reader", "port": "70000"})
    assert "CREATE ROLE &quot;reader&quot;" in typed.content.decode()


def test_a_wrong_field_answers_422_with_a_notice_that_leads_to_it(client, admin):
    client.force_login(admin)
    page = client.post("/connections/new/", FORM | {"port": "70000"})
    text = page.content.decode()
    assert page.status_code == 422
    assert '<a href="#id_port">Port: 70000 is not a port.' in text
    assert 'value="70000"' in text
    assert 'id="id_port_error"' in text
    assert re.search(r'id="id_port"[^>]*|aria-invalid="true"', text)
    assert "canary-7f3a" not in text
    assert not Connection.objects.exists()


def test_what_is_needed_is_marked_and_said_once_a_field(client, admin):
    client.force_login(admin)
    text = client.get("/connections/new/").content.decode()
    marked = re.findall(r'<label for="id_(\w+)">[^<]*<span class="must"', text)
    assert marked == ["name", "dialect", "host", "port", "database", "username", "password"]
    text = client.post("/connections/new/", FORM | {"name": "", "host": ""}).content.decode()
    assert '<a href="#id_name">Name</a>' in text
    assert text.count("This is needed.") == 2


def test_a_password_that_is_not_sent_back_has_to_be_typed_again(client, admin):
    client.force_login(admin)
    again = "Type it again"
    assert again in client.post("/connections/new/", FORM | {"port": "0"}).content.decode()
    empty = FORM | {"port": "0", "password": ""}
    assert again not in client.post("/connections/new/", empty).content.decode()
    assert again not in client.get("/connections/new/").content.decode()


def test_vault_down_is_a_503_that_keeps_what_was_typed_but_the_password(client, admin, no_vault):
    client.force_login(admin)
    page = client.post("/connections/new/", FORM)
    text = page.content.decode()
    assert page.status_code == 503
    assert "Nothing was saved." in text
    assert 'value="db.internal"' in text
    assert "canary-7f3a" not in text
    assert not Connection.objects.exists()


def test_rotate_with_vault_down_changes_nothing(client, admin, warehouse, no_vault):
    client.force_login(admin)
    page = client.post(f"/connections/{warehouse.id}/rotate/", {"password": "canary-7f3a"})
    assert page.status_code == 503
    assert "canary-7f3a" not in page.content.decode()
    warehouse.refresh_from_db()
    assert warehouse.credential_version == 1


def test_rotate_needs_a_password(client, admin, warehouse):
    client.force_login(admin)
    page = client.post(f"/connections/{warehouse.id}/rotate/", {"password": ""})
    assert page.status_code == 422
    assert 'href="#id_password"' in page.content.decode()


def test_an_edit_that_moves_the_target_asks_for_the_password(client, admin, warehouse):
    client.force_login(admin)
    moved = FORM | {"name": "warehouse", "host": "elsewhere.internal", "password": ""}
    page = client.post(f"/connections/{warehouse.id}/edit/", moved)
    assert page.status_code == 422
    assert "Enter the password again" in page.content.decode()
    warehouse.refresh_from_db()
    assert warehouse.host == "db.internal"


def test_an_edit_of_the_rest_needs_no_password_and_no_vault(client, admin, warehouse, no_vault):
    client.force_login(admin)
    same = FORM | {"name": "warehouse", "database": "dw", "password": "", "owner": "finance"}
    page = client.post(f"/connections/{warehouse.id}/edit/", same)
    assert page.headers["Location"] == f"/connections/{warehouse.id}/"
    warehouse.refresh_from_db()
    assert (warehouse.owner, warehouse.credential_version) == ("finance", 1)


def test_a_busy_connection_is_not_deleted(client, admin, warehouse):
    run = cast.run(warehouse, "queued")
    client.force_login(admin)
    page = client.post(f"/connections/{warehouse.id}/delete/")
    assert page.status_code == 409
    assert f'href="/runs/{run.id}/"' in page.content.decode()
    assert Connection.objects.filter(id=warehouse.id).exists()


def test_delete_asks_and_keeps_the_runs(client, admin, warehouse, no_vault):
    run = cast.run(warehouse)
    client.force_login(admin)
    asked = client.get(f"/connections/{warehouse.id}/delete/")
    assert "Delete the connection" in asked.content.decode()
    assert Connection.objects.exists()
    assert (
        client.post(f"/connections/{warehouse.id}/delete/").headers["Location"] == "/connections/"
    )
    run.refresh_from_db()
    assert run.connection is None
    assert "warehouse" in client.get(f"/runs/{run.id}/").content.decode()


def test_start_saves_the_selection_and_leads_to_the_run(client, operator, warehouse):
    client.force_login(operator)
    page = client.post(
        f"/connections/{warehouse.id}/start/",
        {"include": "sales\n ref.* \n", "exclude": "*.tmp_?", "kinds": ["columns", "relations"]},
    )
    run = Run.objects.get()
    assert page.headers["Location"] == f"/runs/{run.id}/"
    assert run.input["selection"] == {
        "include": ["sales", "ref.*"],
        "exclude": ["*.tmp_?"],
        "kinds": ["columns", "relations"],
    }


def test_an_invalid_pattern_is_said_at_its_field_and_kept(client, operator, warehouse):
    client.force_login(operator)
    page = client.post(
        f"/connections/{warehouse.id}/start/", {"include": "sales", "exclude": "a.b.c.d"}
    )
    text = page.content.decode()
    assert page.status_code == 422
    assert re.search(r'id="id_exclude_error".*a\.b\.c\.d', text)
    assert "id_include_error" not in text
    assert re.search(r"<textarea[^>]*>\s*sales</textarea>", text)
    assert not Run.objects.exists()


def test_a_second_run_is_refused_naming_the_open_one(client, operator, warehouse):
    open_run = cast.run(warehouse, "queued")
    client.force_login(operator)
    page = client.post(f"/connections/{warehouse.id}/start/", {"include": "sales"})
    text = page.content.decode()
    assert page.status_code == 409
    assert str(open_run.id) in text
    assert re.search(r"<textarea[^>]*>\s*sales</textarea>", text)
    assert Run.objects.count() == 1


@pytest.mark.parametrize("verb", ["start", "check"])
def test_the_address_of_a_refusal_leads_to_the_connection(client, operator, warehouse, verb):
    client.force_login(operator)
    page = client.get(f"/connections/{warehouse.id}/{verb}/", follow=True)
    assert page.redirect_chain[0][0].partition("#")[0] == f"/connections/{warehouse.id}/"
    assert page.status_code == 200
    assert not Run.objects.exists()
    assert client.put(f"/connections/{warehouse.id}/{verb}/").status_code == 405


@pytest.fixture
def answers(monkeypatch) -> list[CheckResult]:
    """What the worker says to the next checks."""
    to_come: list[CheckResult] = []
    monkeypatch.setattr("dashboard.temporal.check", lambda _source: to_come.pop(0))
    return to_come


def checked(detail: str) -> CheckResult:
    return CheckResult(False, "", 12.0, [CheckStep("resolve", False, detail, "Mend it.")])


def test_a_check_is_shown_on_the_connections_own_page_until_the_next(
    client, operator, viewer, warehouse, answers
):
    answers += [checked("no such host"), checked("no <b>route</b>")]
    client.force_login(operator)
    here = f"/connections/{warehouse.id}/"
    assert client.post(f"{here}check/").headers["Location"] == f"{here}#check"
    for _ in range(2):
        assert "no such host" in client.get(here).content.decode()
    client.post(f"{here}check/")
    text = client.get(here).content.decode()
    assert "no such host" not in text
    assert "no &lt;b&gt;route&lt;/b&gt;" in text
    other = cast.connection("other")
    assert "route" not in client.get(f"/connections/{other.id}/").content.decode()
    client.force_login(viewer)
    assert "route" not in client.get(here).content.decode()


def test_a_check_says_nothing_of_a_connection_edited_since(client, operator, warehouse, answers):
    answers.append(checked("no such host"))
    client.force_login(operator)
    client.post(f"/connections/{warehouse.id}/check/")
    warehouse.save(update_fields=["updated_at"])
    assert "no such host" not in client.get(f"/connections/{warehouse.id}/").content.decode()


def test_an_unknown_connection_is_not_found(client, admin):
    client.force_login(admin)
    assert client.get(f"/connections/{uuid.uuid4()}/").status_code == 404


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", ["edit", "rotate", "delete", "start"])
def test_a_connection_that_goes_while_the_page_answers_is_not_found(
    client, admin, warehouse, no_vault, monkeypatch, page
):
    where = views.runs if page == "start" else views.verbs
    monkeypatch.setattr(where, page, cast.gone_before(getattr(where, page)))
    client.force_login(admin)
    typed = {**FORM, "name": warehouse.name, "username": "u", "password": "another"}
    answer = client.post(f"/connections/{warehouse.pk}/{page}/", typed)
    assert answer.status_code == 404
    assert not Connection.objects.exists()


def test_the_ladder_names_the_steps_that_were_not_tried():
    steps = [
        CheckStep("resolve", True, "db.internal is 10.0.0.1"),
        CheckStep("connect", False, "refused", "Open the port."),
    ]
    rungs = ladder(CheckResult(False, "", 12.0, steps))
    assert [(r.name, r.tone) for r in rungs] == [
        ("Resolve", "ok"),
        ("Connect", "bad"),
        ("TLS", "idle"),
        ("Log in", "idle"),
        ("Version", "idle"),
        ("Read the catalogue", "idle"),
    ]
    assert rungs[1].fix == "Open the port."
    assert rungs[5].detail == "not tried"


def test_the_page_of_a_file_speaks_of_a_file(client, admin):
    file = cast.connection(
        "shop", dialect="sqlite", host="", port=0, database="sub/shop.db", username="", tls=""
    )
    client.force_login(admin)
    text = client.get(f"/connections/{file.id}/").content.decode()
    assert "SQLite file sub/shop.db" in text
    assert "no password is needed" in text
    assert "Finds the file" in text
    assert "No role and no password" in text
    assert "<dt>TLS</dt>" not in text
    assert "/rotate/" not in text
    assert "SQLite file sub/shop.db" in client.get("/connections/").content.decode()


def test_a_file_has_no_credential_to_rotate(client, admin):
    file = cast.connection("shop", dialect="sqlite", host="", port=0, username="", tls="")
    client.force_login(admin)
    answer = client.post(f"/connections/{file.id}/rotate/", {"password": "canary"})
    assert answer.status_code == 409
    assert "takes no password" in answer.content.decode()


def test_what_a_kind_does_not_have_is_marked_for_the_script_and_refused_at_the_field(
    client, admin, no_vault
):
    client.force_login(admin)
    drawn = client.get("/connections/new/").content.decode()
    marked = re.findall(r'data-only="(\w+)"', drawn)
    assert sorted(marked) == ["host", "password", "port", "tls", "username"]
    page = client.post("/connections/new/", FORM | {"dialect": "sqlite", "database": "shop.db"})
    text = page.content.decode()
    assert page.status_code == 422
    for field in ("host", "username", "password"):
        assert f'id="id_{field}_error"' in text
    assert 'id="id_port_error"' not in text
    emptied = {"dialect": "sqlite", "host": "", "username": "", "password": ""}
    # Valid: only Vault is missing.
    assert client.post("/connections/new/", FORM | emptied).status_code == 503


def test_the_ladder_of_a_file_shows_the_steps_of_a_file():
    steps = [CheckStep("file", True, "found"), CheckStep("open", False, "no", "mend")]
    rungs = ladder(CheckResult(False, "", 0.0, steps))
    assert [(rung.name, rung.tone) for rung in rungs] == [
        ("Find the file", "ok"),
        ("Open it", "bad"),
        ("Version", "idle"),
        ("Read the catalogue", "idle"),
    ]
