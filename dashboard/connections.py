"""The verbs on connections. The row is the switch, Vault holds the secret.

A secret is written first and named by the commit of the row; until then, and
once no row names it any more, a StraySecret remembers it for the sweep. So a
crash at any point leaves either a whole connection or a secret to destroy.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import ClassVar

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from dashboard import audit, limits, temporal
from dashboard.forms import TARGET, ConnectionForm
from dashboard.models import AuditEntry, Connection, Run, StraySecret
from extraction.errors import CredentialConflict, SurveyorError
from extraction.vault import Vault, secret_for
from workers.contract import CheckResult, CredentialRef, Source

log = structlog.get_logger(__name__)

CHECKS_PER_MINUTE = 5
# Longer than any save between its write to Vault and its commit.
STRAY_AFTER = timedelta(minutes=2)
CHANGED = "Somebody else has just saved this connection. Look at it again, then repeat the change."
VAULT_FIX = "Unseal or start Vault, then save again; what was typed as password is kept nowhere."


class ConnectionRefused(Exception):
    """The verb does not fit the state of the connection; nothing was changed."""

    status: ClassVar[int] = 409


class ConnectionBusy(ConnectionRefused):
    """A run of the connection is open."""


class ConnectionChanged(ConnectionRefused):
    """Somebody else saved the connection in the meantime."""


class ConnectionGone(ConnectionRefused):
    """Somebody else deleted the connection in the meantime."""

    status = 404

    def __init__(self) -> None:
        super().__init__("Somebody else has just deleted this connection.")


class NameTaken(ConnectionRefused):
    """Another connection has this name."""


class NoCredential(ConnectionRefused):
    """This kind of database takes no password."""


class TooManyChecks(ConnectionRefused):
    """The actor checked too often within the last minute."""

    status = 429


class Unavailable(Exception):
    """Something needed is down; nothing was saved, and trying again later is safe."""

    status: ClassVar[int] = 503

    def __init__(self, message: str, fix: str = "") -> None:
        self.message, self.fix = message, fix
        super().__init__(message)


# One client per process, however often it is asked for.
_client = functools.cache(Vault)


def vault() -> Vault:
    """Vault with the dashboard's own role, which writes and destroys but cannot read."""
    env = settings.ENV
    return _client(env.vault_addr, env.vault_role_id, env.vault_secret_id_file, env.vault_mount)


def create(form: ConnectionForm, actor: audit.Actor) -> Connection:
    """Save a valid form as a new connection.

    Raises Unavailable, NameTaken.
    """
    connection = form.save(commit=False)
    path = connection.credential_path = f"connections/{connection.pk}"
    stray = _announce(path)
    version = _write(path, connection, form.cleaned_data["password"], cas=0)
    connection.credential_version, connection.rotated_at = version, timezone.now()
    try:
        with transaction.atomic():
            connection.save(force_insert=True)
            stray.delete()
            audit.record(actor, "connection.create", connection, **_detail(connection))
    except IntegrityError:
        _destroy_soon(_announce(path))
        raise NameTaken(f"There is a connection named {connection.name} already.") from None
    return connection


def edit(connection: Connection, form: ConnectionForm, actor: audit.Actor) -> Connection:
    """Save a valid form over `connection`; a new target or password is a new version.

    An open run obeys changed limits from now on. Raises Unavailable, NameTaken, ConnectionChanged, ConnectionGone.
    """
    before = _current(connection)
    changed = form.save(commit=False)
    password = form.cleaned_data["password"]
    if changed.target != before.target and not form.new_secret:
        raise ConnectionChanged(CHANGED)
    stray = _write_next(before, changed, password) if form.new_secret else None
    columns = _changed_columns(before, changed)
    try:
        with transaction.atomic():
            _switch(before, changed, columns, stray)
            limits.follow(changed, before.limits, actor)
            audit.record(actor, "connection.edit", changed, changed=sorted(columns))
            if stray:
                audit.record(actor, "credential.write", changed, **_detail(changed))
    except IntegrityError:
        raise NameTaken(f"There is a connection named {changed.name} already.") from None
    return changed


def rotate(connection: Connection, username: str, password: str, actor: audit.Actor) -> Connection:
    """Store a new password, and perhaps another user, as the next version.

    Raises Unavailable, NoCredential, ConnectionChanged, ConnectionGone.
    """
    if not connection.kind.secret:
        raise NoCredential(f"{connection.kind.label} takes no password: there is none to rotate.")
    before, changed = _current(connection), _current(connection)
    changed.username = username or before.username
    stray = _write_next(before, changed, password)
    with transaction.atomic():
        _switch(before, changed, {"username"}, stray)
        audit.record(actor, "credential.write", changed, **_detail(changed))
    return changed


def delete(connection: Connection, actor: audit.Actor) -> None:
    """Remove the row, then destroy the secret; what Vault cannot do now the sweep does.

    Raises ConnectionBusy, ConnectionGone.
    """
    with transaction.atomic():
        # A run inserted now would wait for this lock, or we see it.
        locked = _current(connection, lock=True)
        run = locked.runs.filter(status__in=Run.OPEN).first()
        if run is not None:
            raise ConnectionBusy(f"{locked} has an open run, {run.pk}. Cancel it first.")
        stray = _announce(locked.credential_path)
        audit.record(actor, "connection.delete", locked, **_detail(locked))
        locked.delete()
        transaction.on_commit(lambda: _destroy_soon(stray))


def check(connection: Connection, actor: audit.Actor) -> CheckResult:
    """Try the connection from a worker, where runs will use it.

    Raises TooManyChecks, Unavailable.
    """
    recent = AuditEntry.objects.filter(
        actor=audit.name_of(actor),
        action="connection.check",
        at__gt=timezone.now() - timedelta(minutes=1),
    )
    if recent.count() >= CHECKS_PER_MINUTE:
        raise TooManyChecks(f"At most {CHECKS_PER_MINUTE} checks a minute. Wait a little.")
    audit.record(actor, "connection.check", connection)
    try:
        return temporal.check(source_of(connection))
    except temporal.TemporalUnavailable as error:
        raise Unavailable(str(error), "Start Temporal and a worker, then check again.") from None


def source_of(connection: Connection) -> Source:
    return Source(
        connection_id=str(connection.pk),
        connection_name=connection.name,
        target=connection.target,
        credential=CredentialRef(connection.credential_path, connection.credential_version),
        options=connection.limits,
    )


def _current(connection: Connection, *, lock: bool = False) -> Connection:
    rows = Connection.objects.select_for_update() if lock else Connection.objects.all()
    found = rows.filter(pk=connection.pk).first()
    if found is None:
        raise ConnectionGone
    return found


def sweep() -> int:
    """Destroy what no row names; returns how many secrets. Vault being down is no error."""
    cutoff = timezone.now() - STRAY_AFTER
    with contextlib.suppress(SurveyorError):
        return sum(_settle(s, cutoff) for s in StraySecret.objects.filter(since__lt=cutoff))
    return 0


def _settle(stray: StraySecret, cutoff: datetime) -> bool:
    """Destroy one stray, unless a row or an open run names it by now.

    Vault is asked before the row: a version is announced before it is written,
    so one that exists and is still announced long ago has no writer any more.
    """
    written = vault().latest_version(stray.path) >= max(stray.version, 1)
    still_old = StraySecret.objects.filter(pk=stray.pk, since__lt=cutoff)
    if not still_old.exists() or _is_named(stray):
        return False
    if written:
        _destroy_in_vault(stray)
    still_old.delete()
    return written


def _is_named(stray: StraySecret) -> bool:
    if stray.version == 0:
        return Connection.objects.filter(credential_path=stray.path).exists()
    return (stray.path, stray.version) in _versions_in_use()


def _versions_in_use() -> set[tuple[str, int]]:
    """The versions that rows name, and those that open runs began with."""
    versions = set(Connection.objects.values_list("credential_path", "credential_version"))
    for run_input in Run.objects.filter(status__in=Run.OPEN).values_list("input", flat=True):
        credential = run_input.get("source", {}).get("credential", {})
        versions.add((credential.get("path", ""), credential.get("version", 0)))
    return versions


def _announce(path: str, version: int = 0) -> StraySecret:
    """Commit that Vault is about to hold this, before it does."""
    return StraySecret.objects.update_or_create(
        path=path, version=version, defaults={"since": timezone.now()}
    )[0]


def _write_next(before: Connection, changed: Connection, password: str) -> StraySecret:
    """Write the next version, bound to the changed target, and let `changed` name it."""
    path = before.credential_path
    with _vault_errors():
        latest = vault().latest_version(path)
    stray = _announce(path, latest + 1)
    changed.credential_version = _write(path, changed, password, cas=latest)
    changed.rotated_at = timezone.now()
    return stray


def _write(path: str, connection: Connection, password: str, cas: int) -> int:
    secret = secret_for(connection.target, connection.username, password)
    with _vault_errors():
        return vault().write(path, secret, cas)


@contextlib.contextmanager
def _vault_errors() -> Iterator[None]:
    """Vault's refusals as ours; causes may hold the secret and are dropped."""
    try:
        yield
    except CredentialConflict:
        raise ConnectionChanged(CHANGED) from None
    except SurveyorError as error:
        log.warning("vault_unavailable", category=error.category, reason=error.message)
        raise Unavailable(f"{error.message} Nothing was saved.", VAULT_FIX) from None


def _switch(
    before: Connection, changed: Connection, columns: set[str], stray: StraySecret | None
) -> None:
    """Let the row name the new version and leave the old one to the sweep."""
    current = _current(before, lock=True)
    if current.credential_version != before.credential_version:
        raise ConnectionChanged(CHANGED)
    if stray:
        columns = columns | {"credential_version", "rotated_at"}
        stray.delete()
        _announce(before.credential_path, before.credential_version)
    changed.save(update_fields={*columns, "updated_at"})


def _destroy_soon(stray: StraySecret) -> None:
    """At once if Vault answers, else by the sweep."""
    try:
        _destroy_in_vault(stray)
    except SurveyorError as error:
        log.warning("secret_left_to_the_sweep", path=stray.path, reason=error.message)
    else:
        stray.delete()


def _destroy_in_vault(stray: StraySecret) -> None:
    vault().destroy(stray.path, [stray.version] if stray.version else None)


def _changed_columns(before: Connection, changed: Connection) -> set[str]:
    columns = (*TARGET, "name", "owner", "environment", "tags", "options")
    return {c for c in columns if getattr(before, c) != getattr(changed, c)}


def _detail(connection: Connection) -> dict[str, object]:
    target = asdict(connection.target)
    return {**target, "connection": str(connection.pk), "version": connection.credential_version}
