"""What reaches a source: a target without a password, and how politely to use it.

A dialect is a module that has `open_session` with the signature below and a
line in extraction/dialects.py. It is imported by name when it is needed, so that this module
stays free of drivers: workflows import it too.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self, cast

from extraction.address import AddressPolicy as AddressPolicy
from extraction.address import resolve
from extraction.dialects import DIALECTS as DIALECTS
from extraction.dialects import Dialect as Dialect
from extraction.errors import StatementFailed
from extraction.files import resolve_file
from extraction.hours import AllowedHours
from extraction.hours import parse as parse_hours

if TYPE_CHECKING:
    import socket

    import pyarrow as pa

TLSMode = Literal["disable", "require", "verify-full"]


@dataclass(frozen=True)
class Target:
    """Where to connect and as whom. Fields only, never a URL."""

    dialect: str
    host: str
    port: int
    database: str
    username: str
    tls: str = "verify-full"

    def digest(self) -> str:
        """sha256 over all fields: what a secret is bound to."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Options:
    """How a run uses the source. Seconds where not said otherwise; `hours`, `days` and
    `timezone` are read by `hours.parse`, no hours mean always."""

    sessions: int = 3
    pace: float = 0.0
    statement_timeout: float = 60.0
    lock_timeout: float = 2.0
    connect_timeout: float = 5.0
    hours: str = ""
    days: str = ""
    timezone: str = "UTC"

    def allowed_hours(self) -> AllowedHours:
        """Raises InvalidHours."""
        return parse_hours(self.hours, self.days, self.timezone)


@dataclass(frozen=True)
class Credentials:
    username: str
    password: str = field(repr=False)


class Stopped(Exception):
    """The reading was asked to stop: nothing failed."""


class Oversized(Exception):
    """These items are too much to read at once."""


class SourceMoved(Exception):
    """The catalogue changed while it was read."""


class Broken(StatementFailed):
    """The source says nothing of these, by schema and name, and lists them all the same."""

    def __init__(self, names: Collection[tuple[str, str]], reason: str) -> None:
        super().__init__(reason)
        self.names = frozenset(names)


@dataclass(frozen=True)
class Load:
    """What was asked of the source. `sessions` counts logins, refused ones too; `bytes` what
    the network brought from it. `lost` counts attempts that ended without a word: of those
    it holds what was known at their last sign, so with any of them it is a lower bound."""

    sessions: int = 0
    statements: int = 0
    server_seconds: float = 0.0
    rows: int = 0
    bytes: int = 0
    lost: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(
            self.sessions + other.sessions,
            self.statements + other.statements,
            self.server_seconds + other.server_seconds,
            self.rows + other.rows,
            self.bytes + other.bytes,
            self.lost + other.lost,
        )


BY_HAND = "A name holds invisible characters: grant by hand what is lacking there."


@dataclass(frozen=True)
class Unseen:
    """Rows or texts of a kind that the source refuses, or hides so that nobody can tell whether
    all of them are there. No `schema` means in every one; `fix` is what its owner can do,
    `fixes` the same as statements, each whole, where statements do it."""

    kind: str
    schema: str = ""
    reason: str = ""
    fix: str = ""
    fixes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # From JSON comes a list.
        object.__setattr__(self, "fixes", tuple(self.fixes))

    @classmethod
    def mended_by(
        cls, statements: Sequence[str], kind: str, schema: str, reason: str, otherwise: str = ""
    ) -> Self:
        """`otherwise` is the advice where no statement is known. Names come from the source and
        statements are pasted: one with a character that does not show is not given."""
        fixes = tuple(one for one in statements if one.isprintable())
        lines = [*fixes, BY_HAND] if len(fixes) < len(statements) else fixes
        return cls(kind, schema, reason, "\n".join(lines) or otherwise, fixes)


@dataclass(frozen=True)
class Note:
    """What the role may not do there and that hides nothing: of how many objects, and the
    first of their names."""

    text: str
    count: int
    names: list[str]


Per = Literal["schemas", "relations", "routines", "sequences"]


class Item(NamedTuple):
    """Something the inventory found. `weight` is how many columns it has."""

    schema: str
    name: str
    id: int
    weight: int = 0


class Session(Protocol):
    """One read-only, labelled session in a source. Only `cancel` and `build` may be called
    while another call runs; `cancel` makes the running and all later statements raise
    Stopped."""

    @property
    def dialect(self) -> str: ...
    @property
    def backend_id(self) -> int: ...
    @property
    def product(self) -> str:
        """What answers, as people call it: PostgreSQL, MariaDB."""

    @property
    def server_version(self) -> str: ...
    @property
    def oldest(self) -> str:
        """The oldest version of the product that the statements are written for."""

    @property
    def identity(self) -> str:
        """Differs between two databases, is the same for replicas of one."""

    @property
    def database(self) -> str: ...
    @property
    def view_dialect(self) -> str:
        """In which of sqlglot's dialects the texts of views are written, where they have to be
        parsed for what they read; nothing where the catalogue records it."""

    @property
    def load(self) -> Load: ...
    @property
    def deadline(self) -> float | None:
        """Until when the running statement may take (seconds since the epoch)."""

    def inventory(self, per: Per) -> list[Item]:
        """All that exists of a sort, by schema and name in binary order."""

    def present(self, per: Per, items: Sequence[Item]) -> list[Item]:
        """Those that still exist under their name, with the ids they have now."""

    def receive(self, kind: str, items: Sequence[Item]) -> Any:
        """What the source says of a kind, as it comes. Raises Oversized when that is more
        than memory should hold."""

    def build(self, kind: str, items: Sequence[Item], received: Any) -> pa.Table:
        """The rows in the order of the kind's key, columns as in the catalog.

        May run in another thread than `receive`, and while the next kind is received.
        Raises SourceMoved when what was read does not belong together.
        """

    def moved(self, per: Per, items: Sequence[Item]) -> list[Item]:
        """Those that changed since they were found present, as far as the source tells. Asked
        when all kinds of a batch are read."""

    def unseen(self, kinds: Sequence[str]) -> list[Unseen]:
        """What the source hides without refusing it, as far as its rights tell. Asked once,
        after the inventory; nothing where all that exists is always listed."""

    def notes(self, schemas: Sequence[str]) -> list[Note]:
        """What the role may not do in these schemas, though all that is read is shown to it.
        Asked once, after the inventory; one statement."""

    def remedy(self, of: str) -> list[str]:
        """After a refusal of a kind: the statements that would grant it, or nothing."""

    def begin(self) -> None:
        """Start again from what the source holds now: a new transaction."""

    def end(self) -> None:
        """Give up the transaction, so that nothing in the source is held."""

    def cancel(self) -> None: ...
    def end_siblings(self) -> list[int]:
        """End older sessions with the same label; their ids."""

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class Source(Protocol):
    """What a dialect's module has to have."""

    def open_session(
        self,
        target: Target,
        credentials: Credentials,
        options: Options,
        addresses: Sequence[str],
        label: str,
    ) -> Session:
        """One login, at the first of the addresses that answers; of a file the one path."""

    def role_script(self, target: Target) -> str:
        """What to run in the source for the least-privileged role."""

    def start_tls(self, connection: socket.socket) -> bool:
        """Ask for TLS on a fresh connection as the server's protocol does, up to where the
        handshake begins; whether the server offers it."""


def source_of(target: Target) -> Source:
    return cast(Source, importlib.import_module(DIALECTS[target.dialect].module))


def checked(target: Target, policy: AddressPolicy, timeout: float) -> list[str]:
    """What may be connected to: the addresses of the host, or the path of the file; nothing
    where a service has no host to choose."""
    dialect = DIALECTS[target.dialect]
    if dialect.file:
        return [str(resolve_file(target.database, policy))]
    if not dialect.has("host"):
        return []
    return resolve(target.host, target.port, policy, timeout)


def open_session(
    target: Target,
    credentials: Credentials,
    options: Options,
    policy: AddressPolicy,
    label: str,
) -> Session:
    """Log in once. Raises a SurveyorError that says what to mend."""
    addresses = checked(target, policy, options.connect_timeout)
    return source_of(target).open_session(target, credentials, options, addresses, label)
