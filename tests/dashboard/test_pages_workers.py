"""The page of the fleet; who may see it is in the table of roles."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dashboard.temporal import TemporalUnavailable
from dashboard.temporal_records import WorkerView

pytestmark = pytest.mark.django_db

WORKER = WorkerView(
    identity="w1",
    host="node <1>",
    pid="77",
    version="temporal-python 1.9",
    status="running",
    slots_used=1,
    slots_free=3,
    beat_age_ms=400,
    started_at=datetime(2020, 1, 2, 3, 4, tzinfo=UTC),
)


@pytest.fixture
def page(client, viewer, monkeypatch):
    client.force_login(viewer)

    def get(*workers: WorkerView, address: str = "/workers/") -> str:
        monkeypatch.setattr("dashboard.temporal.workers", lambda: list(workers))
        return client.get(address).content.decode()

    return get


@pytest.mark.parametrize("address", ["/workers/", "/workers/fragment/"])
def test_each_worker_has_its_state_its_slots_and_its_last_beat(page, address):
    lost = replace(WORKER, identity="w2", status="lost", beat_age_ms=95_000)
    old = replace(WORKER, identity="w3", slots_used=None, slots_free=None, beat_age_ms=None)
    text = page(WORKER, lost, old, address=address)
    cells = [
        re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)).strip()
        for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)[1:]
    ]
    when = "2\u00a0Jan\u00a02020\u00a003:04".replace("\u00a0", " ")
    rest = f"{when} node &lt;1&gt; 77 temporal-python 1.9"
    assert cells == [
        f"w1 running 1 of 4 0.4 s ago {rest}",
        f"w2 lost 1 of 4 95 s ago {rest}",
        f"w3 running – – ago {rest}",
    ]
    assert "2 at work" in text
    assert "1 slot in use, 3 free" in text
    assert ("<html" in text) == (address == "/workers/")


def test_without_a_worker_the_page_says_what_that_means(page):
    text = page()
    assert "0 at work" in text
    assert "Runs that are started wait until one is" in text


def test_without_temporal_nobody_knows(client, viewer, monkeypatch):
    def down() -> list[WorkerView]:
        raise TemporalUnavailable("Temporal is unreachable")

    monkeypatch.setattr("dashboard.temporal.workers", down)
    client.force_login(viewer)
    for address in ("/workers/", "/workers/fragment/"):
        answer = client.get(address)
        assert answer.status_code == 503
        assert "Temporal does not answer" in answer.content.decode()


def test_the_navigation_leads_to_the_workers(page):
    assert '<a href="/workers/" aria-current="page">Workers</a>' in page()
