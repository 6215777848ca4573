"""Into a source, with credentials fetched late and kept by nobody beyond the session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from extraction.connection import Credentials, Session, open_session
from extraction.errors import AuthenticationFailed, SurveyorError
from extraction.vault import credentials_from
from workers.contract import CredentialRef, Source
from workers.needs import Needs


def label_of(run_id: str, name: str) -> str:
    """What the session called `name` is labelled in the source."""
    return f"surveyor run {run_id} {name}"


def read_credentials(needs: Needs, source: Source) -> Credentials:
    """The version that the run began with."""
    secret = needs.vault.read(source.credential.path, source.credential.version)
    return credentials_from(secret, source.target)


@dataclass
class Door:
    """The way of a run into its source. No password is sent twice after it was refused.

    A run outlives a rotation: when the source refuses the version the run began with,
    a newer one that is bound to the same target is tried, once, and `tell` hears of it.
    `refused` counts the logins that the source refused here.
    """

    needs: Needs
    run_id: str
    source: Source
    tell: Callable[[str], None]
    refused: int = field(default=0, init=False)

    def open(self, name: str) -> Session:
        """A session called `name`. Raises SurveyorError."""
        pinned = self.source.credential
        with self.needs.refusals.turn(pinned):
            try:
                return self._send(name, pinned, lambda: read_credentials(self.needs, self.source))
            except AuthenticationFailed:
                newer = self._newer()
                if newer is None:
                    raise
            version, credentials = newer
            session = self._send(name, replace(pinned, version=version), lambda: credentials)
        if self.refused:
            self.tell(
                f"The source refuses version {pinned.version} of the credential; version"
                f" {version}, stored since the run began, was accepted."
            )
        return session

    def _send(
        self, name: str, ref: CredentialRef, credentials: Callable[[], Credentials]
    ) -> Session:
        """Raises AuthenticationFailed without asking the source where that was the answer before."""
        needs, source = self.needs, self.source
        known = needs.refusals.find(needs.storage, self.run_id, ref)
        if known is not None:
            raise AuthenticationFailed(known.message, known.fix)
        read, label = credentials(), label_of(self.run_id, name)
        try:
            return open_session(source.target, read, source.options, needs.policy, label)
        except AuthenticationFailed as error:
            self.refused += 1
            needs.refusals.add(needs.storage, self.run_id, ref, error)
            raise

    def _newer(self) -> tuple[int, Credentials] | None:
        """None too when it cannot be read now: to wait for it would try the old one again."""
        credential = self.source.credential
        try:
            version, secret = self.needs.vault.newest(credential.path)
            credentials = credentials_from(secret, self.source.target)
        except SurveyorError:
            return None
        return (version, credentials) if version > credential.version else None
