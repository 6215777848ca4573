"""What PyMySQL raises, in our words. Nothing of the driver's text passes.

The one exception is the server's message for a failed question about its catalogue,
which holds names and no values.
"""

from __future__ import annotations

import ssl
import struct

import pymysql

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
# What reading raises where no server of this kind speaks: a driver in Python trusts lengths.
PROTOCOL = (ValueError, LookupError, struct.error, AssertionError, RuntimeError, TypeError)

_LOGIN: dict[int, tuple[type[SurveyorError], str]] = {
    1044: (PermissionDenied, "The user may not use this database."),
    1045: (AuthenticationFailed, "The database refused the username or password."),
    1698: (AuthenticationFailed, "The database refused the username or password."),
    1049: (NoSuchDatabase, "The server has no database of that name."),
    1130: (AuthenticationFailed, "The server lets nobody in from this host."),
    1129: (SourceUnreachable, "The server has blocked this host after too many errors."),
    1251: (AuthenticationFailed, "The server asks for a way of signing in that is not spoken here."),
    1524: (AuthenticationFailed, "The user's way of signing in is not loaded in the server."),
    2059: (AuthenticationFailed, "The server asks for a way of signing in that is not spoken here."),
    1820: (AuthenticationFailed, "The user's password has expired."),
    1862: (AuthenticationFailed, "The user's password has expired."),
    3118: (AuthenticationFailed, "The user is locked."),
    4151: (AuthenticationFailed, "The user is locked."),
    3955: (AuthenticationFailed, "The user is blocked after failed logins."),
    1040: (SourceUnreachable, "The server has no free connection."),
    1203: (SourceUnreachable, "The user has no free connection."),
    1226: (SourceUnreachable, "The user has used up what the server allows it."),
    1053: (SourceUnreachable, "The database server is shutting down."),
    1227: (PermissionDenied, "The server admits administrators only."),
    1290: (SourceUnreachable, "The server runs in a mode that lets nobody in."),
    2026: (TLSFailed, "The server does not offer TLS."),
    3159: (TLSFailed, "The server accepts this login only over TLS."),
    2006: (SourceUnreachable, "The server closed the connection during login."),
    2013: (SourceUnreachable, "The server closed the connection during login."),
}  # fmt: skip

_DENIED = {1044, 1045, 1142, 1143, 1227, 1370, 1410, 1698, 4062}
_TIMEOUTS = {1317, 1969, 3024, 1028}
LOCKED = {1205, 3572, 1100}
_UNREACHABLE = {1040, 1053, 1080, 1077, 1129, 1152, 1158, 1159, 1160, 1161, 1203, 1226, 1927, 1213}
# Syntax, unknown column, table, variable, function: the server is not the one we wrote for.
_SYSTEMIC = {1054, 1064, 1109, 1128, 1193, 1231, 1305, 1582}


class ClearTextRefused(pymysql.OperationalError):
    """The server asks for the password as it is, over a connection anybody can read."""

    def __init__(self) -> None:
        super().__init__(2059, "refused")


def unreadable() -> SurveyorError:
    return SourceUnreachable(
        "What answers there does not speak as MySQL or MariaDB do.",
        "Check host and port of the connection.",
    )


def of_login(error: pymysql.Error | OSError) -> SurveyorError:
    if isinstance(error, ClearTextRefused):
        return TLSFailed(
            "The server asks for the password in a way that others could read; it was not sent.",
            "Choose TLS for the connection, or another authentication plugin for the user.",
        )
    cause = getattr(error, "original_exception", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return TLSFailed("The server's certificate could not be verified.")
    if isinstance(cause, ssl.SSLError):
        return TLSFailed("The TLS handshake with the server failed.")
    if isinstance(cause, ConnectionRefusedError):
        return SourceUnreachable(
            "Nothing answers at this host and port: the connection was refused."
        )
    if isinstance(cause, TimeoutError):
        return SourceUnreachable("The server did not answer in time.")
    if isinstance(cause, OSError):
        return SourceUnreachable("The server cannot be reached over the network.")
    kind, message = _LOGIN.get(number_of(error), (SourceUnreachable, ""))
    return kind(message)


def of_statement(error: pymysql.Error) -> SurveyorError:
    number = number_of(error)
    if number in _TIMEOUTS:
        return SourceTimeout(
            "A statement took longer than the statement timeout allows, or was cancelled."
        )
    if number in LOCKED:
        return SourceLocked()
    if number in _DENIED:
        return PermissionDenied()
    if number in _SYSTEMIC:
        return SourceUnsupported(f"The database answered with error {number}: {_safe(error)}")
    if number < 1000 or 2000 <= number < 3000 or number in _UNREACHABLE:
        return SourceUnreachable("The connection to the database was lost or the server is busy.")
    return StatementFailed(f"The database answered with error {number}: {_safe(error)}")


def number_of(error: BaseException) -> int:
    """The server's number, below 2000 or above 3000, or the driver's; 0 without one."""
    first = error.args[0] if error.args else 0
    return first if isinstance(first, int) else 0


def _safe(error: pymysql.Error) -> str:
    return printable(str(error.args[1]) if len(error.args) > 1 else "unknown")


def printable(text: str) -> str:
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return " ".join(shown.split())[:MAX_MESSAGE]
