"""What the page of a finished run says of what is not there."""

from __future__ import annotations

import hashlib
import re

import orjson
import pytest

from dashboard.models import Run
from extraction.snapshot.layout import manifest_path
from extraction.storage import open_storage
from tests.dashboard import cast

pytestmark = pytest.mark.django_db

EVIL = "or<b>\u202e\n\x1b"
SHOWN = "or&lt;b&gt;\\u202e\\x0a\\x1b"
GRANT = "GRANT SELECT ON pg_catalog.pg_proc TO surveyor;"


@pytest.fixture
def page(client, viewer, settings, tmp_path):
    settings.ENV = settings.ENV.model_copy(update={"storage_url": f"file://{tmp_path}"})

    def shown(status: str = "partial", **manifest) -> str:
        run = cast.run(cast.connection(f"c{Run.objects.count()}"), status)
        data = orjson.dumps({"files": [], "scopes": [], **manifest})
        open_storage(settings.ENV.storage).put(manifest_path(str(run.id)), data)
        Run.objects.filter(pk=run.pk).update(manifest=hashlib.sha256(data).hexdigest())
        client.force_login(viewer)
        return client.get(f"/runs/{run.id}/").content.decode()

    return shown


def scopes(status: str, kind: str, *schemas: str) -> list[dict]:
    return [{"schema": s, "kind": kind, "status": status, "rows": 0} for s in schemas]


def cause(kind: str, *fixes: str, schema: str = "", reason: str = "May not.") -> dict:
    """Advice is what is no statement."""
    statements = [fix for fix in fixes if fix.endswith(";")]
    said = {"fix": "\n".join(fixes), "fixes": statements}
    return {"kind": kind, "schema": schema, "reason": reason, **said}


def articles(text: str) -> list[str]:
    return re.findall(r'<article class="cause".*?</article>', text, re.S)


def test_a_denied_kind_has_its_schemas_its_reason_and_its_statements(page):
    names = [f"s{n:02}" for n in range(14)]
    text = page(
        scopes=scopes("denied", "routines", *names) + scopes("denied", "columns", "a"),
        denied=[cause("routines", GRANT), cause("columns", GRANT, "GRANT EXECUTE ON x TO y;")],
    )
    columns, routines = articles(text)
    assert "Denied: columns in 1 schema<" in columns
    assert f"{GRANT}\nGRANT EXECUTE ON x TO y;</pre>" in columns
    assert "Denied: routines in 14 schemas" in routines
    assert "s11 and 2 more" in routines
    assert "<p>May not.</p>" in routines
    (block,) = re.findall(r'<pre class="code" id="([^"]+)"[^>]*>(.*?)</pre>', routines)
    assert block == ("grants-routines", GRANT)
    assert 'data-copy="grants-routines"' in routines


def test_a_fix_that_is_no_statement_is_a_sentence(page):
    text = page(scopes=scopes("denied", "routines", "a"), denied=[cause("routines", "Ask them.")])
    (article,) = articles(text)
    assert '<p class="fix">Ask them.</p>' in article
    assert "<pre" not in article and "data-copy" not in article


def test_a_cause_without_a_scope_is_said_too(page):
    """Schemas that are not listed, where that kind was not selected or none is listed."""
    (article,) = articles(page(denied=[cause("schemas", GRANT, reason="Cannot be known.")]))
    assert "<span>Denied: schemas</span>" in article
    assert "<p>Cannot be known.</p>" in article and GRANT in article


def test_several_reasons_of_a_kind_are_each_said_once(page):
    causes = [
        cause("relations", GRANT, schema=s, reason=f"Hidden in {s}.") for s in ("a", "b", "a")
    ]
    text = page(scopes=scopes("denied", "relations", "a", "b"), denied=causes)
    (article,) = articles(text)
    assert re.findall(r"<p>(Hidden.*?)</p>", article) == ["Hidden in a.", "Hidden in b."]
    assert article.count(GRANT) == 1


def test_what_errored_is_named_with_its_reason_and_the_rest_is_counted(page):
    errored = [
        {"kind": "dependencies", "schema": "s", "name": f"v{n:02}", "reason": f"why {n}"}
        for n in range(15)
    ]
    text = page(scopes=scopes("errored", "dependencies", "s"), errored=errored)
    (article,) = articles(text)
    named = re.findall(r"<dt[^>]*>(.*?)</dt><dd>(.*?)</dd>", article)
    assert named == [(f"s.v{n:02}", f"why {n}") for n in range(12)]
    assert "and 3 more, all named in" in article


def test_a_whole_run_says_what_vanished_and_what_its_role_may_not_do(page):
    vanished = [{"of": "relations", "schema": "s", "name": f"t{n:02}"} for n in range(14)]
    text = page(
        "succeeded",
        vanished=vanished,
        unmatched=["gone.*"],
        notes=[{"text": "The role has no USAGE.", "count": 40, "names": ["a", "b"]}],
    )
    assert articles(text) == [] and "What is missing" not in text
    remarks = re.findall(r"<dt>(.*?)</dt><dd[^>]*>(.*?)</dd>", text[text.index("h-remarks") :])
    listed = ", ".join(f"s.t{n:02}" for n in range(12))
    assert remarks[:3] == [
        ("14 vanished during the run", f"{listed} and 2 more"),
        ("1 include pattern matched nothing", "gone.*"),
        ("The role has no USAGE.", "a, b and 38 more"),
    ]


def test_a_run_without_anything_to_say_says_nothing(page):
    text = page("succeeded", scopes=scopes("complete", "routines", "a"))
    assert "h-missing" not in text and "h-remarks" not in text


def test_a_snapshot_that_cannot_be_read_breaks_no_page(client, viewer):
    run = cast.run(cast.connection(), "partial", manifest="ab" * 32)
    client.force_login(viewer)
    page = client.get(f"/runs/{run.id}/")
    assert page.status_code == 200 and "h-missing" not in page.content.decode()


def test_names_reasons_and_statements_of_the_source_show_what_hides_in_them(page):
    text = page(
        scopes=scopes("denied", "columns", EVIL) + scopes("errored", "triggers", EVIL),
        denied=[cause("columns", f"Ask {EVIL}.", reason=f"reason {EVIL}")],
        errored=[{"kind": "triggers", "schema": EVIL, "name": EVIL, "reason": EVIL}],
        vanished=[{"of": "relations", "schema": EVIL, "name": EVIL}],
        unmatched=[EVIL],
        notes=[{"text": "No.", "count": 1, "names": [EVIL]}],
    )
    assert EVIL not in text and "or<b>" not in text and "\u202e" not in text
    # one for schemas, reason, twice for the errored name, once for its reason …
    assert text.count(SHOWN) == 9


def test_no_statement_is_printed_whose_lines_could_be_taken_apart(page):
    """The second one's first line is the first one's too: without it the rest would be live."""
    grant = "GRANT SELECT ON `A\n{}`.* TO `u`@`%`;"
    evil = [grant.format("x"), grant.format("; DROP DATABASE prod; -- ")]
    text = page(scopes=scopes("denied", "columns", "a"), denied=[cause("columns", *evil, GRANT)])
    (article,) = articles(text)
    (block,) = re.findall(r"<pre[^>]*>(.*?)</pre>", article, re.S)
    assert block == GRANT and "DROP" not in article
    assert article.count("grant by hand") == 1
