"""What a refused login is called, whatever the names in it are."""

from __future__ import annotations

import psycopg
import pytest

from extraction.errors import (
    AuthenticationFailed,
    NoSuchDatabase,
    PermissionDenied,
    SourceUnreachable,
    SurveyorError,
    TLSFailed,
)
from extraction.sources.postgresql_errors import of_login

SERVER = 'connection failed: connection to server at "{host}" (10.0.0.1), port 5432 failed: '
NAMES = (
    *("recovery_2024", "certificates", "too many", "timeout expired", "refused", "ssl error"),
    *('a" recovery "b', 'x" does not exist', "no encryption", "authentication", "e", "."),
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('FATAL:  database "{name}" does not exist', NoSuchDatabase),
        ('FATAL:  role "{name}" does not exist', AuthenticationFailed),
        ('FATAL:  password authentication failed for user "{name}"', AuthenticationFailed),
        ('FATAL:  permission denied for database "{name}"', PermissionDenied),
        ('FATAL:  too many connections for role "{name}"', SourceUnreachable),
        ("FATAL:  the database system is in recovery mode", SourceUnreachable),
        ('server certificate for "{name}" does not match host name "x"', TLSFailed),
        ('root certificate file "/refused/recovery.pem" does not exist', TLSFailed),
    ],
)
def test_names_are_not_taken_for_the_servers_words(
    name: str, text: str, kind: type[SurveyorError]
) -> None:
    said = psycopg.OperationalError(SERVER.format(host="recovery") + text.format(name=name))
    assert type(of_login(said, name, name)) is kind


@pytest.mark.parametrize("host", ["certificate.example", "refused.example", "recovery"])
def test_the_hosts_name_is_not_taken_for_the_servers_words(host: str) -> None:
    said = psycopg.OperationalError(
        SERVER.format(host=host) + 'FATAL:  database "shop" does not exist'
    )
    assert type(of_login(said, "reader", "shop")) is NoSuchDatabase


def test_quotes_of_other_languages_hold_names_too() -> None:
    text = SERVER.format(host="h") + "FATAL:  la base de données « recovery » n'existe pas"
    assert (
        "recovering" not in of_login(psycopg.OperationalError(text), "reader", "recovery").message
    )
