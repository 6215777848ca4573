"""Settings that must not serve, each with its hint."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks

from config.settings import WebSettings
from dashboard.checks import refuse_unsafe
from extraction import crash

LONG = "k" * 60
PUBLIC = ["https://surveyor.example"]


def use(settings, origins=None, debug=False, **values) -> None:
    settings.ENV = WebSettings(**values)
    settings.DEBUG = debug
    settings.ORIGINS = origins or ["http://127.0.0.1:8000"]


def found() -> set[str]:
    return {m.id for m in run_checks(tags=["security"]) if str(m.id).startswith("surveyor.")}


def test_loopback_with_defaults_is_fine(settings):
    use(settings)
    assert found() == set()
    refuse_unsafe()


def test_a_public_site_set_up_well_is_fine(settings):
    use(
        settings,
        PUBLIC,
        secret_key=LONG,
        redis_url="rediss://:secret@redis.internal/0",
        vault_addr="https://vault.internal:8200",
        temporal_address="temporal.internal:7233",
        temporal_tls_ca_file="/etc/ca.pem",
    )
    assert found() == set()
    refuse_unsafe()


@pytest.mark.parametrize("key", ["", "short", "django-insecure-" + LONG])
def test_a_weak_key_on_a_public_site(settings, key):
    use(settings, PUBLIC, secret_key=key)
    assert found() == {"surveyor.E001"}


def test_debug_on_a_public_site(settings):
    use(settings, PUBLIC, secret_key=LONG, debug=True)
    assert found() == {"surveyor.E002"}


def test_redis_without_a_password_elsewhere(settings):
    use(settings, redis_url="redis://redis.internal:6379/0")
    assert found() == {"surveyor.E003"}


@pytest.mark.parametrize(
    "cache", ["django.core.cache.backends.redis.RedisCache", "django_redis.cache.RedisCache"]
)
def test_a_cache_that_unpickles(settings, cache):
    use(settings)
    settings.CACHES = {"default": {"BACKEND": cache}}
    assert found() == {"surveyor.E004"}


def test_sessions_that_unpickle(settings):
    use(settings)
    settings.SESSION_SERIALIZER = "django.contrib.sessions.serializers.PickleSerializer"
    assert found() == {"surveyor.E004"}


def test_vault_in_clear_elsewhere(settings):
    use(settings, vault_addr="http://vault.internal:8200")
    assert found() == {"surveyor.E005"}


def test_temporal_in_clear_elsewhere_is_a_warning(settings):
    use(settings, temporal_address="temporal.internal:7233")
    assert found() == {"surveyor.W001"}
    refuse_unsafe()


def test_unsafe_settings_end_the_process_with_their_hints(settings):
    use(settings, PUBLIC, secret_key="short", vault_addr="http://vault.internal")
    with pytest.raises(SystemExit) as ended:
        refuse_unsafe()
    lines = str(ended.value).splitlines()
    assert len(lines) == 3
    assert "Set SECRET_KEY" in lines[1]
    assert "https://" in lines[2]
    assert "short" not in str(ended.value).replace("too weak", "")


def test_a_crash_point_on_a_public_site(settings, monkeypatch):
    monkeypatch.setattr(crash, "ARMED", True)
    monkeypatch.setattr(crash, "_point", "part.after")
    use(settings)
    assert found() == set()
    use(settings, PUBLIC, secret_key=LONG)
    assert found() == {"surveyor.E006"}
    with pytest.raises(SystemExit, match="CRASH_AT is set"):
        refuse_unsafe()
