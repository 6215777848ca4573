"""The public probes: the process, and everything it needs."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client
from pydantic import SecretStr

from dashboard import health

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = {"database", "redis", "temporal", "vault", "storage", "workers"}


@pytest.fixture(autouse=True)
def nothing_answers(settings, tmp_path):
    settings.ENV = settings.ENV.model_copy(
        update={
            "temporal_address": "127.0.0.1:1",
            "redis_url": SecretStr("redis://127.0.0.1:1/0"),
            "vault_addr": "http://127.0.0.1:1",
            "storage_url": f"file://{tmp_path}",
        }
    )


def test_the_process_answers_anyone():
    response = Client().get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok\n")


def test_with_everything_down_but_the_database_the_page_is_served_with_reasons():
    response = Client().get("/readyz")
    assert response.status_code == 200
    found = response.json()
    assert found.keys() == NAMES
    states = {name: part["status"] for name, part in found.items()}
    assert states["database"] == states["storage"] == "ok"
    assert states["redis"] == states["temporal"] == states["vault"] == "down"
    assert all(part["reason"] for part in found.values() if part["status"] != "ok")


def test_strict_wants_everything():
    assert Client().get("/readyz?strict=1").status_code == 503


def test_an_unusable_database_is_503(monkeypatch):
    def broken() -> health.Health:
        return health._down("The app database cannot be read")

    monkeypatch.setitem(health.CHECKS, "database", broken)
    assert Client().get("/readyz").status_code == 503


def test_what_hangs_is_down_after_two_seconds(monkeypatch):
    monkeypatch.setitem(health.CHECKS, "redis", lambda: time.sleep(4) or health.OK)
    began = time.monotonic()
    response = Client().get("/readyz")
    assert time.monotonic() - began < 3.5
    assert response.json()["redis"]["status"] == "down"


def test_what_hangs_for_long_takes_no_threads_from_the_database(monkeypatch):
    """However often somebody looks meanwhile, and the answer is there once it ends."""
    release = threading.Event()
    monkeypatch.setattr(health, "LIMIT", 0.05)
    for name in NAMES - {"database"}:
        monkeypatch.setitem(health.CHECKS, name, lambda: release.wait(20) and health.OK)
    try:
        found = [health.examine() for _ in range(8)]
    finally:
        release.set()
    assert {seen["database"]["status"] for seen in found} == {"ok"}
    assert {seen["vault"]["status"] for seen in found} == {"down"}
    monkeypatch.setattr(health, "LIMIT", 2.0)
    assert {part["status"] for part in health.examine().values()} == {"ok"}


def test_a_check_that_fails_is_down_and_hides_no_other(monkeypatch):
    def failing() -> health.Health:
        raise RuntimeError("password=canary-pw")

    monkeypatch.setitem(health.CHECKS, "vault", failing)
    response = Client().get("/readyz")
    assert response.status_code == 200
    assert response.json()["vault"]["status"] == "down"
    assert "canary" not in response.content.decode()


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_error_is_told_without_its_text(monkeypatch, error):
    class Broken:
        def values_list(self, *_: object, **__: object) -> object:
            raise error("password=canary-pw")

    monkeypatch.setattr(health.Run, "objects", Broken())
    assert health._database() == health._down("The app database cannot be read")


def test_a_storage_that_cannot_be_written_is_down(settings, tmp_path):
    (tmp_path / "file").write_text("in the way")
    settings.ENV = settings.ENV.model_copy(update={"storage_url": f"file://{tmp_path}/file"})
    assert Client().get("/readyz").json()["storage"]["status"] == "down"
