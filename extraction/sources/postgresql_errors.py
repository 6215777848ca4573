"""What psycopg raises, in our words. Nothing of the driver's text passes.

The one exception is the server's primary message for a failed catalogue query:
those carry object ids and no values.
"""

from __future__ import annotations

import re

import psycopg

from extraction.errors import (
    AuthenticationFailed,
    NoSuchDatabase,
    PermissionDenied,
    SourceLocked,
    SourceTimeout,
    SourceUnreachable,
    SourceUnsupported,
    StatementFailed,
    SurveyorError,
    TLSFailed,
)

MAX_MESSAGE = 200

# SQLSTATE, or its class, for statements. Classes 08, 53 and 57 and the rest of
# the second group pass by themselves.
_TIMEOUTS = {
    "57014": "A statement took longer than the statement timeout allows, or was cancelled.",
}
# Syntax, unknown column, unknown function: the server is not the one we wrote for.
_SYSTEMIC = ("42601", "42703", "42883")
_TRANSIENT_CLASSES = ("08", "53", "57", "40")
_TRANSIENT = ("25P03", "25P04", "72000")

# libpq gives no SQLSTATE for a refused login, only text (English, unless the
# server's lc_messages says otherwise). First match wins.
_LOGIN: tuple[tuple[str, type[SurveyorError], str], ...] = (
    ("no encryption", TLSFailed, "The server accepts this login only over TLS."),
    ("no pg_hba.conf entry", AuthenticationFailed, "The server lets this user in from elsewhere only (pg_hba.conf)."),
    ("password authentication failed", AuthenticationFailed, "The database refused the username or password."),
    ("no password supplied", AuthenticationFailed, "The server asks for a password and none is stored."),
    ("not permitted to log in", AuthenticationFailed, "The role exists but may not log in."),
    ("permission denied for database", PermissionDenied, "The role may not connect to this database."),
    ("not currently accepting connections", PermissionDenied, "The database accepts no connections."),
    ("starting up", SourceUnreachable, "The database server is starting up."),
    ("shutting down", SourceUnreachable, "The database server is shutting down."),
    ("recovery", SourceUnreachable, "The database server is recovering."),
    ("too many", SourceUnreachable, "The server, database or role has no free connection."),
    ("remaining connection slots", SourceUnreachable, "The server has no free connection."),
    ("does not support ssl", TLSFailed, "The server does not offer TLS."),
    ("server certificate for", TLSFailed, "The server's certificate is for another name."),
    ("certificate", TLSFailed, "The server's certificate could not be verified."),
    ("ssl error", TLSFailed, "The TLS handshake with the server failed."),
    ("refused", SourceUnreachable, "Nothing answers at this host and port: the connection was refused."),
    ("timeout expired", SourceUnreachable, "The server did not answer in time."),
    ("closed the connection", SourceUnreachable, "The server closed the connection during login."),
    ("unreachable", SourceUnreachable, "No route leads to the server."),
    ("does not exist", NoSuchDatabase, "The server has no database of that name."),
    ("authentication", AuthenticationFailed, "The database refused the login."),
)  # fmt: skip


# Names that somebody chose must not be taken for libpq's words.
_PREFIX = re.compile(r'connection to server at "[^"]*"(?: \([^)]*\))?, port \d+ failed:')
_QUOTED = re.compile(r'"[^"]*"')
_QUOTES = "[\"'«»“”„‘’‚‹›「」]"


class Overdue(psycopg.OperationalError):
    """The server let in and then said nothing more."""

    def __init__(self) -> None:
        super().__init__("timeout expired")


def of_login(error: psycopg.Error, user: str, database: str) -> SurveyorError:
    text = _PREFIX.sub("", str(error).lower())
    words = _without_names(text, user.lower(), database.lower())
    if 'role "" does not exist' in words:
        return AuthenticationFailed()
    for needle, kind, message in _LOGIN:
        if needle in words:
            return kind(message)
    if error.pgconn is not None and error.pgconn.used_password:
        # A server that speaks another language: the name it quotes tells.
        only_database = database.lower() in text and user.lower() not in text
        return NoSuchDatabase() if only_database else AuthenticationFailed()
    return SourceUnreachable()


def _without_names(text: str, *names: str) -> str:
    """The text with `""` where a name stood; a name may itself hold quotes."""
    for name in names:
        text = re.sub(rf"{_QUOTES}\s?{re.escape(name)}\s?{_QUOTES}", '""', text)
    return _QUOTED.sub('""', text)


def of_statement(error: psycopg.Error) -> SurveyorError:
    if isinstance(error, Overdue):
        return SourceUnreachable("The database server stopped answering; the session was given up.")
    state = error.sqlstate or ""
    if state in _TIMEOUTS:
        return SourceTimeout(_TIMEOUTS[state])
    if state == "55P03":
        return SourceLocked()
    if state == "42501":
        return PermissionDenied()
    if state in _SYSTEMIC:
        return SourceUnsupported(f"The database answered with error {state}: {_safe(error)}")
    if state.startswith("28"):
        return AuthenticationFailed()
    if not state or state in _TRANSIENT or state.startswith(_TRANSIENT_CLASSES):
        return SourceUnreachable("The connection to the database was lost or the server is busy.")
    return StatementFailed(f"The database answered with error {state}: {_safe(error)}")


def _safe(error: psycopg.Error) -> str:
    text = " ".join((error.diag.message_primary or "unknown").split())
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown[:MAX_MESSAGE]
