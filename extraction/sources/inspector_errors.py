"""What drivers of any kind raise, in our words. Nothing of their texts passes but a class.

Drivers agree on little beyond PEP 249, so words are looked for. A login that fails for a reason
that is not known is not tried again: it may lock an account.
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from extraction.errors import (
    AuthenticationFailed,
    NoSuchDatabase,
    PermissionDenied,
    SourceTimeout,
    SourceUnreachable,
    StatementFailed,
    SurveyorError,
    TLSFailed,
)

_NETWORK = (
    *("timed out", "timeout", "refused", "unreachable", "could not connect", "cannot connect"),
    *("name or service not known", "failed to resolve", "getaddrinfo", "connection reset"),
    *("ora-12541", "ora-12170", "dpy-6005", "max retries exceeded", "network"),
)
_TLS = ("certificate", "ssl", "tls handshake")
_DATABASE = ("unknown database", "database does not exist", "ora-12514", "cannot open database")
_DENIED = (
    *("permission", "insufficient privilege", "access denied", "not authorized", "unauthorized"),
    *("ora-00942", "ora-01031", "forbidden", "does not have privileges"),
)


def of_login(error: Exception) -> SurveyorError:
    text = str(getattr(error, "orig", None) or error).lower()
    if any(words in text for words in _TLS):
        return TLSFailed()
    if any(words in text for words in _DATABASE):
        return NoSuchDatabase()
    if any(words in text for words in _NETWORK) and "login" not in text:
        return SourceUnreachable()
    return AuthenticationFailed("The database refused the login.")


def of_statement(error: Exception, *, overdue: bool = False) -> SurveyorError:
    if overdue:
        return SourceTimeout("A statement took longer than the statement timeout allows.")
    if not isinstance(error, DBAPIError):
        return StatementFailed(f"SQLAlchemy could not read it: {type(error).__name__}.")
    text = str(error.orig).lower()
    if error.connection_invalidated or any(words in text for words in _NETWORK):
        return SourceUnreachable("The connection to the database was lost or the server is busy.")
    if any(words in text for words in _DENIED):
        return PermissionDenied()
    return StatementFailed(f"The database answered with an error: {type(error.orig).__name__}.")
