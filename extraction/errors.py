"""What can go wrong while reading a source, in the user's words.

    SurveyorError
    ├── SourceUnreachable    unreachable   network, DNS, refused, server starting or gone
    ├── SourceTimeout        timeout       statement or lock timeout
    │   └── SourceLocked                   a lock that somebody holds there
    ├── TLSFailed            tls
    ├── AuthenticationFailed auth          tried once, never retried
    ├── PermissionDenied     permission
    ├── NoSuchDatabase       config
    ├── AddressRefused       config        host not allowed here
    ├── FileRefused          config        file not allowed here, or none of this dialect
    ├── DriverMissing        config        an extra is not installed
    ├── InvalidSelection     config
    ├── SourceChanged        identity      another server answers now
    ├── StatementFailed      source        the server could not answer: a broken object
    │   └── SourceUnsupported              the server does not know what it was asked
    ├── CredentialRefused    credential    secret bound to another target, or gone
    ├── CredentialConflict   conflict      changed by somebody else meanwhile
    ├── VaultUnavailable     vault         sealed or unreachable: wait
    ├── StorageFailed        storage       full or unwritable: wait
    └── SnapshotDamaged      damaged       a part does not match its digest

`category` and `retry` decide what the engine does; `message`, `audience` and
`fix` are what a person reads. No message may hold a secret or a driver's text.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypedDict

Retry = Literal["never", "backoff", "wait"]
Audience = Literal["operator", "admin", "source owner", "developer"]


class ErrorDict(TypedDict):
    category: str
    message: str
    audience: str
    fix: str


class SurveyorError(Exception):
    """Something failed inside Surveyor."""

    category: ClassVar[str] = "internal"
    retry: ClassVar[Retry] = "backoff"
    audience: ClassVar[Audience] = "developer"
    default_fix: ClassVar[str] = "Look at the worker's log for this run."

    def __init__(self, message: str = "", fix: str = "") -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.fix = fix or self.default_fix
        super().__init__(self.message)

    def as_dict(self) -> ErrorDict:
        return {
            "category": self.category,
            "message": self.message,
            "audience": self.audience,
            "fix": self.fix,
        }


class SourceUnreachable(SurveyorError):
    """The database server cannot be reached."""

    category = "unreachable"
    audience = "operator"
    default_fix = (
        "Check host, port and firewall; the run goes on by itself once the server answers."
    )


class SourceTimeout(SurveyorError):
    """The database took longer than the statement or lock timeout allows."""

    category = "timeout"
    audience = "operator"
    default_fix = (
        "Raise the statement timeout of the connection, or run when the source is quieter."
    )


class SourceLocked(SourceTimeout):
    """Somebody in the source held a lock for longer than the lock timeout allows."""


class TLSFailed(SurveyorError):
    """The server's TLS could not be used or verified."""

    category = "tls"
    retry = "never"
    audience = "admin"
    default_fix = "Check the server's certificate, or choose another TLS mode for the connection."


class AuthenticationFailed(SurveyorError):
    """The database refused the username or password."""

    category = "auth"
    retry = "never"
    audience = "admin"
    default_fix = (
        "Rotate the credential of the connection. It was tried once, so no account is locked."
    )


class PermissionDenied(SurveyorError):
    """The database refused to show something that was selected."""

    category = "permission"
    retry = "never"
    audience = "source owner"
    default_fix = "Grant the role of the connection the rights that the connection form prints."


class NoSuchDatabase(SurveyorError):
    """The server has no database of that name."""

    category = "config"
    retry = "never"
    audience = "admin"
    default_fix = "Correct the database name of the connection."


class AddressRefused(SurveyorError):
    """This address may not be connected to from here."""

    category = "config"
    retry = "never"
    audience = "admin"
    default_fix = "Use an address that the operator of Surveyor allows as a source."


class FileRefused(SurveyorError):
    """This file may not be read from here."""

    category = "config"
    retry = "never"
    audience = "admin"
    default_fix = "Use a file that the operator of Surveyor allows as a source."


class DriverMissing(SurveyorError):
    """The driver of this kind of database is not installed."""

    category = "config"
    retry = "never"
    audience = "operator"
    default_fix = "Install the driver where the workers run."


class InvalidSelection(SurveyorError):
    """A pattern of the selection cannot be read."""

    category = "config"
    retry = "never"
    audience = "operator"
    default_fix = "Correct the pattern."


class SourceChanged(SurveyorError):
    """Another database answers at this address than the one the run began with."""

    category = "identity"
    retry = "never"
    audience = "operator"
    default_fix = "Start a new run; nothing of two databases is ever mixed."


class StatementFailed(SurveyorError):
    """The database could not answer a question about its catalogue."""

    category = "source"
    audience: ClassVar[Audience] = "source owner"
    default_fix = "Repair the object that the server's log names, then run again."
    # The question itself is wrong there: no object is to blame.
    systemic = False


class SourceUnsupported(StatementFailed):
    """The server does not know what it was asked: too old, or only alike."""

    retry = "never"
    audience = "developer"
    default_fix = "Use a server of a version that the documentation names."
    systemic = True


class CredentialRefused(SurveyorError):
    """The stored secret belongs to another target than the connection names."""

    category = "credential"
    retry = "never"
    audience = "admin"
    default_fix = "Enter the password again for the connection as it is now."


class CredentialConflict(SurveyorError):
    """The credential was changed by somebody else meanwhile."""

    category = "conflict"
    retry = "never"
    audience = "admin"
    default_fix = "Look at the connection as it is now, and enter the password again if need be."


class VaultUnavailable(SurveyorError):
    """Vault is sealed or cannot be reached."""

    category = "vault"
    retry = "wait"
    audience = "admin"
    default_fix = "Unseal or start Vault; the run waits and goes on by itself."


class StorageFailed(SurveyorError):
    """The snapshot storage is full or cannot be written."""

    category = "storage"
    retry = "wait"
    audience = "admin"
    default_fix = "Free space in the snapshot storage; the run waits and goes on by itself."


class SnapshotDamaged(SurveyorError):
    """A file of the snapshot does not match its digest."""

    category = "damaged"
    retry = "never"
    audience = "operator"
    default_fix = "Start a new run; a damaged snapshot is never shown."
