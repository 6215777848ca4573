"""Into a source, with credentials fetched late and kept by nobody beyond the session."""

from __future__ import annotations

from collections.abc import Callable

from extraction.connection import Credentials, Session, open_session
from extraction.errors import AuthenticationFailed, SurveyorError
from extraction.vault import credentials_from
from workers.contract import Source
from workers.needs import Needs


def label_of(run_id: str, name: str) -> str:
    """What the session called `name` is labelled in the source."""
    return f"surveyor run {run_id} {name}"


def read_credentials(needs: Needs, source: Source) -> Credentials:
    """The version that the run began with."""
    secret = needs.vault.read(source.credential.path, source.credential.version)
    return credentials_from(secret, source.target)


def log_in(needs: Needs, source: Source, label: str, tell: Callable[[str], None]) -> Session:
    """A session with the source. No password is sent twice after it was refused.

    A run outlives a rotation: when the source refuses the version the run began with,
    a newer one that is bound to the same target is tried, once, and `tell` hears of it.
    """
    pinned = source.credential
    if (pinned.path, pinned.version) in needs.superseded:
        return _open(needs, source, _newest(needs, source)[1], label)
    try:
        return _open(needs, source, read_credentials(needs, source), label)
    except AuthenticationFailed:
        newer = _newer(needs, source)
        if newer is None:
            raise
    version, credentials = newer
    session = _open(needs, source, credentials, label)
    needs.superseded.add((pinned.path, pinned.version))
    tell(
        f"The source refuses version {pinned.version} of the credential; version {version},"
        " stored since the run began, was accepted."
    )
    return session


def _open(needs: Needs, source: Source, credentials: Credentials, label: str) -> Session:
    return open_session(source.target, credentials, source.options, needs.policy, label)


def _newer(needs: Needs, source: Source) -> tuple[int, Credentials] | None:
    """None too when it cannot be read now: to wait for it would try the old one again."""
    try:
        version, credentials = _newest(needs, source)
    except SurveyorError:
        return None
    return (version, credentials) if version > source.credential.version else None


def _newest(needs: Needs, source: Source) -> tuple[int, Credentials]:
    version, secret = needs.vault.newest(source.credential.path)
    return version, credentials_from(secret, source.target)
