"""Settings that are legal but wrong, said at start, each with a hint."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Warning

from extraction import crash

KEY_LENGTH = 50
LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})
JSON_SESSIONS = "django.contrib.sessions.serializers.JSONSerializer"

Check = Callable[..., list[CheckMessage]]


def register() -> None:
    every: tuple[Check, ...] = (secret_key, debug, redis, pickles, temporal, vault, crashes)
    for check in every:
        checks.register(check, checks.Tags.security)


def refuse_unsafe() -> None:
    """Raise SystemExit, a line per error, instead of serving with settings that are unsafe."""
    found = checks.run_checks(tags=[checks.Tags.security])
    # Django keeps its checks in a set: without an order of ours the lines change places.
    errors = sorted(
        (e for e in found if e.is_serious() and not e.is_silenced()), key=lambda e: str(e.id)
    )
    if errors:
        raise SystemExit("Unsafe settings:\n  " + "\n  ".join(f"{e.msg} {e.hint}" for e in errors))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() in LOOPBACK_NAMES


def is_exposed() -> bool:
    """Whether people reach this site from other machines."""
    return not all(is_loopback(urlsplit(o).hostname or "") for o in settings.ORIGINS)


def secret_key(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    key: str = settings.ENV.secret_key.get_secret_value()
    if not is_exposed() or (len(key) >= KEY_LENGTH and not key.startswith("django-insecure")):
        return []
    return [
        Error(
            "SECRET_KEY is missing or too weak for a site that others can reach.",
            hint=f"Set SECRET_KEY to at least {KEY_LENGTH} random characters.",
            id="surveyor.E001",
        )
    ]


def debug(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    if not (settings.DEBUG and is_exposed()):
        return []
    return [
        Error(
            "DEBUG is on for a site that others can reach: its error pages show settings.",
            hint="Unset DEBUG, or let ALLOWED_ORIGINS name this machine only.",
            id="surveyor.E002",
        )
    ]


def redis(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    url = urlsplit(settings.ENV.redis_url.get_secret_value())
    if is_loopback(url.hostname or "localhost") or url.password:
        return []
    return [
        Error(
            "Redis is on another machine and asks for no password.",
            hint="Give Redis a password and write it in REDIS_URL; use rediss:// for TLS.",
            id="surveyor.E003",
        )
    ]


def pickles(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    """Whoever can write to Redis must not be able to run code here."""
    caches = [str(c.get("BACKEND", "")) for c in settings.CACHES.values()]
    shared = [c for c in caches if not c.endswith(("LocMemCache", "DummyCache", "DatabaseCache"))]
    if not shared and settings.SESSION_SERIALIZER == JSON_SESSIONS:
        return []
    return [
        Error(
            "The cache or the session would unpickle what somebody else may have written.",
            hint="Keep sessions in the database with the JSON serializer, and no shared cache.",
            id="surveyor.E004",
        )
    ]


def temporal(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    env = settings.ENV
    host = urlsplit(f"//{env.temporal_address}").hostname or ""
    if is_loopback(host) or env.temporal_tls_ca_file or env.temporal_tls_cert_file:
        return []
    return [
        Warning(
            "Temporal is on another machine and is spoken to without TLS.",
            hint="Set TEMPORAL_TLS_CA_FILE, and TEMPORAL_TLS_CERT_FILE with its key.",
            id="surveyor.W001",
        )
    ]


def vault(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    url = urlsplit(settings.ENV.vault_addr)
    if url.scheme == "https" or is_loopback(url.hostname or ""):
        return []
    return [
        Error(
            "Vault is on another machine and passwords would travel to it in clear.",
            hint="Write VAULT_ADDR with https://.",
            id="surveyor.E005",
        )
    ]


def crashes(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    refusal = crash.refusal(served=is_exposed())
    if not refusal:
        return []
    return [Error(refusal, hint="Unset CRASH_AT.", id="surveyor.E006")]
