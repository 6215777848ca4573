"""How politely a source is used, as fields: of a connection, and of a run that is open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from dashboard import fields
from extraction import hours
from extraction.connection import Options
from extraction.hours import InvalidHours

LIMITS = (
    *("sessions", "pace", "statement_timeout", "lock_timeout", "connect_timeout"),
    *("hours", "days", "timezone"),
)
# A session that is open has been connected.
OF_A_RUN = tuple(name for name in LIMITS if name != "connect_timeout")


class HoursField(fields.TextField):
    """One of the three texts that say when a source may be read."""

    def __init__(self, part: str, **kwargs: Any) -> None:
        super().__init__(required=False, max_length=100, **kwargs)
        self._part = part
        self.widget.attrs.update({"autocomplete": "off", "spellcheck": "false"})

    def clean(self, value: Any) -> str:
        text = str(super().clean(value))
        try:
            hours.parse(**{"hours": "", self._part: text})
        except InvalidHours as wrong:
            raise ValidationError(wrong.message, code=self._part) from None
        return text or str(getattr(Options(), self._part))


class LimitFields(forms.Form):
    sessions = fields.CountField(
        label="Source sessions", maximum=32, help_text="At most, at any time."
    )
    pace = fields.SecondsField(
        label="Pace", minimum=0, maximum=60, help_text="Seconds of rest between two batches."
    )
    statement_timeout = fields.SecondsField(
        label="Statement limit",
        minimum=1,
        maximum=3600,
        help_text="Seconds; the server ends a longer statement.",
    )
    lock_timeout = fields.SecondsField(
        label="Lock limit",
        minimum=0.1,
        maximum=60,
        help_text="Seconds to wait for a lock, at most.",
    )
    connect_timeout = fields.SecondsField(
        label="Connect limit", minimum=1, maximum=30, help_text="Seconds to reach the server."
    )
    hours = HoursField(
        "hours",
        label="Allowed hours",
        help_text="As 22:00-06:00; outside them nothing is sent. Empty: always.",
    )
    days = HoursField(
        "days",
        label="On days",
        help_text="As mon-fri; the day on which the hours begin. Empty: every day.",
    )
    timezone = HoursField(
        "timezone", label="Time zone", help_text="Of the hours, as Europe/Berlin. Empty: UTC."
    )


class RunLimitsForm(LimitFields):
    """The limits of a run that is open; what is left out stays as it is."""

    connect_timeout = None  # type: ignore[assignment]

    def __init__(self, given: Mapping[str, Any] | None, options: Options) -> None:
        now = {name: getattr(options, name) for name in OF_A_RUN}
        super().__init__(None if given is None else {**now, **given}, initial=now)
        self.unknown = [name for name in given or () if name not in now]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name in self.unknown:
            text = f"{name[:80]} is not a limit of a run. Those are {', '.join(OF_A_RUN)}."
            self.errors[name[:80]] = self.error_class([ValidationError(text, code="unknown")])
        return cleaned


def said(before: Options, after: Options) -> str:
    """`sessions 3 → 1, pace 0 → 2`: what is different."""
    old, new = asdict(before), asdict(after)
    return ", ".join(
        f"{name.replace('_', ' ')} {_shown(old[name])} → {_shown(new[name])}"
        for name in LIMITS
        if old[name] != new[name]
    )


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value or "any")
