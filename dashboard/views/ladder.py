"""The steps of a connection check as a page shows them, those not tried included."""

from __future__ import annotations

from dataclasses import dataclass

from workers.contract import CheckResult, CheckStep

NAMES = {
    "resolve": "Resolve",
    "connect": "Connect",
    "tls": "TLS",
    "login": "Log in",
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


def ladder(result: CheckResult) -> list[Rung]:
    tried = {step.name: step for step in result.steps}
    order = [*NAMES, *(name for name in tried if name not in NAMES)]
    return [_rung(name, tried.get(name)) for name in order]


def _rung(name: str, step: CheckStep | None) -> Rung:
    shown = NAMES.get(name, name)
    if step is None:
        return Rung(shown, "not tried")
    if step.ok:
        return Rung(shown, step.detail, tone="ok", icon="succeeded")
    return Rung(shown, step.detail, step.fix, tone="bad", icon="failed")
