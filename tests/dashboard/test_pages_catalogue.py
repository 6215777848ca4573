"""The catalogue, read from real parts whose names are hostile."""

from __future__ import annotations

import hashlib
import re

import orjson
import pyarrow as pa
import pytest

from dashboard.models import Run
from extraction.catalog import KINDS
from extraction.selection import Selection
from extraction.snapshot.layout import manifest_path
from extraction.snapshot.writer import write_part
from extraction.storage import open_storage
from extraction.tables import from_rows
from tests.dashboard import cast

pytestmark = pytest.mark.django_db

EVIL = 'or"ders <b>&\u202e\n\x1b[31m'


def rows(kind: str, *given: dict) -> pa.Table:
    return from_rows(kind, [[row.get(name) for name in KINDS[kind].columns] for row in given])


def relation(name: str, kind: str = "table", **more) -> dict:
    return {"schema_name": "sales", "relation_name": name, "kind": kind, **more}


def column(name: str, position: int, **more) -> dict:
    values = {"schema_name": "sales", "relation_name": EVIL, "data_type": "bigint"}
    return {**values, "column_name": name, "position": position, "nullable": False, **more}


def of_evil(**values) -> dict:
    return {"schema_name": "sales", "relation_name": EVIL, **values}


CONTENT = {
    "schemas": rows("schemas", {"schema_name": "empty"}, {"schema_name": "sales"}),
    "relations": rows(
        "relations",
        relation("invoices", comment="All invoices.\n<script>", owner="app"),
        relation(EVIL),
        relation("totals", "view", definition="SELECT 1 AS one\n  FROM <here>"),
    ),
    "columns": rows(
        "columns",
        column("id", 1, identity="always"),
        column("customer", 2, nullable=True, comment="who\u200bordered"),
        *(column(f"c{n}", n) for n in range(3, 10)),
    ),
    "indexes": rows("indexes", of_evil(index_name="by_customer", columns=["customer"])),
    "triggers": rows("triggers", of_evil(trigger_name="audit", timing="after", events=["insert"])),
    "sequences": rows("sequences", {"schema_name": "sales", "sequence_name": "ids"}),
    "constraints": rows(
        "constraints",
        {
            "schema_name": "sales",
            "relation_name": EVIL,
            "constraint_name": "fk",
            "kind": "foreign_key",
            "columns": ["customer"],
            "referenced_schema": "sales",
            "referenced_relation": "invoices",
            "referenced_columns": ["id"],
        },
        {
            "schema_name": "sales",
            "relation_name": EVIL,
            "constraint_name": "pk",
            "kind": "primary_key",
            "columns": ["id"],
        },
    ),
}


@pytest.fixture
def run(db, settings, tmp_path) -> Run:
    settings.ENV = settings.ENV.model_copy(update={"storage_url": f"file://{tmp_path}"})
    row = cast.run(cast.connection())
    storage = open_storage(settings.ENV.storage)
    parts = [write_part(storage, str(row.id), kind, data) for kind, data in CONTENT.items()]
    scopes = [
        {"schema": part_schema, "kind": part.kind, "status": "complete", "rows": count}
        for part in parts
        for part_schema, count in part.schemas.items()
    ]
    manifest = orjson.dumps({"files": [part.as_dict() for part in parts], "scopes": scopes})
    storage.put(manifest_path(str(row.id)), manifest)
    row.manifest = hashlib.sha256(manifest).hexdigest()
    row.save(update_fields=["manifest"])
    return row


@pytest.fixture
def page(client, viewer, run):
    client.force_login(viewer)

    def get(status: int = 200, **query: str) -> str:
        answer = client.get(f"/catalogue/{run.id}/", query)
        assert answer.status_code == status
        return answer.content.decode()

    return get


def picked(text: str) -> list[str]:
    return re.findall(r'<span class="name">(.*?)</span>', text)


def test_the_index_shows_the_newest_snapshot_of_each_connection(client, viewer, run):
    older = cast.run(run.connection, ago=9000)
    client.force_login(viewer)
    text = client.get("/catalogue/").content.decode()
    assert f'href="/catalogue/{run.id}/"' in text
    assert str(older.id) not in text


def test_a_narrower_snapshot_never_stands_for_the_database(client, viewer):
    of = cast.connection()
    whole = cast.run(of, ago=9000, selection=Selection())
    cast.run(of, ago=9900, selection=Selection())
    cast.run(of, ago=600, selection=Selection(["hr"]))
    newer = cast.run(of, ago=60, selection=Selection(["crm", "fin<b>"], ["tmp_*"]))
    client.force_login(viewer)
    text = client.get("/catalogue/").content.decode()
    assert re.findall(r'href="/catalogue/([^/"]+)/"', text) == [str(whole.id), str(newer.id)]
    assert "only crm, fin&lt;b&gt;; without tmp_*</a>" in text


@pytest.mark.parametrize("selection", [Selection(["crm"]), Selection([], [], ["relations"])])
def test_without_a_whole_snapshot_the_newest_is_shown_as_what_it_is(client, viewer, selection):
    newest = cast.run(cast.connection(), selection=selection)
    cast.run(newest.connection, ago=900, selection=selection)
    client.force_login(viewer)
    text = client.get("/catalogue/").content.decode()
    assert re.findall(r'href="/catalogue/([^/"]+)/"', text) == [str(newest.id)]
    said = '<span class="narrowed">'
    assert f"{said}only crm</span>" in text or f"{said}kinds relations</span>" in text


def test_a_snapshot_of_a_part_says_so_at_its_head(page):
    text = page()
    assert '<span class="narrowed">without tmp_*</span>' in text
    assert "all selected scopes complete" in text
    Run.objects.update(status="partial")
    text = page()
    assert "scopes complete" not in text and "some schemas may be hidden" in text


def test_a_deleted_connection_leaves_its_snapshots_readable(client, viewer, run):
    run.connection.delete()
    client.force_login(viewer)
    assert "connection deleted" in client.get("/catalogue/").content.decode()
    assert client.get(f"/catalogue/{run.id}/").status_code == 200


def test_the_index_costs_the_same_queries_for_one_and_for_many(
    client, viewer, django_assert_max_num_queries
):
    client.force_login(viewer)
    cast.run(cast.connection())
    with django_assert_max_num_queries(6) as one:
        client.get("/catalogue/")
    for i in range(9):
        cast.run(cast.connection(f"c{i}"))
    with django_assert_max_num_queries(len(one)):
        client.get("/catalogue/")


def test_schemas_come_with_their_number_of_relations(page):
    text = page()
    assert picked(text) == ["empty", "sales"]
    assert re.search(r'<span class="name">sales</span><span class="n">3</span>', text)


def test_schemas_can_be_narrowed_by_name(page):
    assert picked(page(schemas="SAL")) == ["sales"]
    assert "No schema is named like “odd”." in page(schemas="odd")


def test_a_schema_lists_its_relations_in_order(page):
    assert picked(page(schema="sales"))[2:] == [
        "invoices",
        "or&quot;ders &lt;b&gt;&amp;\\u202e\\x0a\\x1b[31m",
        "totals",
    ]
    assert picked(page(schema="sales", relations="tot"))[2:] == ["totals"]


def test_a_relation_with_a_hostile_name_can_be_reached_and_read(page):
    link = re.search(r'href="[^"]*(\?schema=sales&amp;relation=or[^"]+)"', page(schema="sales"))
    query = link.group(1).replace("&amp;", "&")
    assert "%0A" in query
    text = page(schema="sales", relation=EVIL)
    assert "<b>&" not in text
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "who\\u200bordered" in text
    assert '<span class="tag">PK</span>' in text
    assert "?schema=sales&amp;relation=invoices" in text
    assert "identity always" in text


def test_a_view_shows_its_text_and_a_table_its_comment(page):
    assert "SELECT 1 AS one\n  FROM &lt;here&gt;" in page(schema="sales", relation="totals")
    assert "All invoices.\n&lt;script&gt;" in page(schema="sales", relation="invoices")


def test_an_unknown_relation_is_not_found(page):
    page(404, schema="sales", relation="nowhere")


def test_a_search_finds_names_of_every_kind(page):
    found = page(q="CUSTOMER")
    assert re.search(r"customer</a></th><td>column</td>", found)
    for kind, name in (("constraint", "pk"), ("trigger", "audit"), ("sequence", "ids")):
        assert re.search(rf"{name}</a></th><td>{kind}</td>", page(q=name.upper()))
    assert re.search(r"by_customer</a></th><td>index</td>", found)
    nothing = page(q="%")
    assert "Nothing is called like <b>“%”</b>" in nothing
    assert "relations, columns, constraints, indexes, triggers, routines and sequences" in nothing


def test_a_search_shows_some_of_each_kind_and_says_how_many_more(page):
    found = page(q="c")
    assert len(re.findall(r"<td>column</td>", found)) == 3
    more = re.search(r'href="[^"]*\?([^"]+)">and 5 more columns</a>', found)
    assert more.group(1) == "q=c&amp;of=columns"
    assert len(re.findall(r"<td>(\w+)</td>", page(q="c", of="columns"))) == 8
    assert "more columns" not in page(q="c", of="columns")


def test_a_schema_shows_its_sequences(page):
    assert "<dt>ids</dt>" in page(schema="sales")


@pytest.mark.parametrize("value", ["-1", "x", "²", "9" * 30])
def test_an_odd_offset_is_the_first_page(page, value):
    assert picked(page(schemas_from=value)) == ["empty", "sales"]


def test_every_kind_can_be_downloaded_in_three_forms(page, run):
    text = page()
    for kind in KINDS:
        for form in ("jsonl", "csv", "parquet"):
            assert f'href="/api/v1/runs/{run.id}/snapshot/{kind}?format={form}"' in text


def test_a_manifest_that_is_not_the_runs_own_is_not_shown(page, run, settings):
    open_storage(settings.ENV.storage).put(manifest_path(str(run.id)), b'{"files":[],"scopes":[]}')
    text = page(500)
    assert "This snapshot cannot be shown" in text
    assert "Start a new run" in text


def test_a_part_that_is_cut_is_not_shown(page, run, settings):
    storage = open_storage(settings.ENV.storage)
    part = next(p for p in storage.list(f"snapshots/{run.id}/parts"))
    storage.put(part, storage.get(part)[:-1])
    assert "This snapshot cannot be shown" in page(500)


def test_a_part_whose_bytes_changed_is_not_shown(page, run, settings):
    storage = open_storage(settings.ENV.storage)
    for part in storage.list(f"snapshots/{run.id}/parts"):
        storage.put(part, b"\0" * storage.size(part))
    assert "This snapshot cannot be shown" in page(500)


def test_a_part_with_one_changed_byte_is_not_shown(page, client, run, settings):
    assert "invoices" in page(schema="sales")
    storage = open_storage(settings.ENV.storage)
    for part in storage.list(f"snapshots/{run.id}/parts"):
        data = bytearray(storage.get(part))
        # In the data, far from what a reader of the format looks at.
        data[8] ^= 1
        storage.put(part, bytes(data))
    assert "This snapshot cannot be shown" in page(500, schema="sales")
    answer = client.get(f"/api/v1/runs/{run.id}/snapshot/relations")
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:surveyor:damaged"


def test_a_run_without_a_snapshot_says_so(client, viewer):
    run = cast.run(cast.connection(), "failed")
    client.force_login(viewer)
    answer = client.get(f"/catalogue/{run.id}/")
    assert answer.status_code == 404
    assert "only a run that finishes leaves a snapshot" in answer.content.decode()
