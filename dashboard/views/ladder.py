"""The steps of a connection check as a page shows them, those not tried included."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from django.contrib.sessions.backends.base import SessionBase
from django.utils import timezone

from dashboard.models import Connection
from workers.contract import CheckResult, CheckStep

KEPT, MOST_KEPT = "checks", 8
NAMES = {
    "resolve": "Resolve",
    "connect": "Connect",
    "tls": "TLS",
    "login": "Log in",
    "version": "Version",
    "catalogue": "Read the catalogue",
}
OF_FILES = {
    "file": "Find the file",
    "open": "Open it",
    "version": "Version",
    "catalogue": "Read the catalogue",
}


@dataclass(frozen=True)
class Rung:
    name: str
    detail: str
    fix: str = ""
    tone: str = "idle"
    icon: str = "queued"


@dataclass(frozen=True)
class Checked:
    """A check that somebody made, for their own eyes."""

    at: datetime
    ok: bool
    latency_ms: float
    rungs: list[Rung]


def keep(session: SessionBase, connection: Connection, result: CheckResult) -> None:
    """Remember the newest checks of this person, one a connection."""
    made = {k: v for k, v in session.get(KEPT, {}).items() if k != str(connection.pk)}
    made[str(connection.pk)] = {"at": timezone.now().isoformat(), "result": asdict(result)}
    session[KEPT] = dict(list(made.items())[-MOST_KEPT:])


def kept(session: SessionBase, connection: Connection) -> Checked | None:
    """The newest check of the connection as it is now; none once it was edited."""
    made = session.get(KEPT, {}).get(str(connection.pk))
    if made is None:
        return None
    at, values = datetime.fromisoformat(made["at"]), made["result"]
    if at < connection.updated_at:
        return None
    result = CheckResult(**values | {"steps": [CheckStep(**step) for step in values["steps"]]})
    return Checked(at, result.ok, result.latency_ms, ladder(result))


def ladder(result: CheckResult) -> list[Rung]:
    tried = {step.name: step for step in result.steps}
    names = OF_FILES if "file" in tried else NAMES
    order = [*names, *(name for name in tried if name not in names)]
    return [_rung(name, tried.get(name)) for name in order]


def _rung(name: str, step: CheckStep | None) -> Rung:
    shown = (NAMES | OF_FILES).get(name, name)
    if step is None:
        return Rung(shown, "not tried")
    if step.ok:
        return Rung(shown, step.detail, tone="ok", icon="succeeded")
    return Rung(shown, step.detail, step.fix, tone="bad", icon="failed")
