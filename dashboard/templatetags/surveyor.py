"""How values look on a page: icons, figures, times, and names that nobody can trust."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django import template
from django.forms import BoundField
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard.models import Run

register = template.Library()

TONES = {
    "queued": "idle",
    "running": "run",
    "paused": "hold",
    "cancelling": "idle",
    "succeeded": "ok",
    "partial": "warn",
    "failed": "bad",
    "cancelled": "idle",
}
NARROW = "\N{NO-BREAK SPACE}"
DASH = "–"
# Space, tab and newline stay; all else of these categories is drawn as an escape.
_HIDDEN = {"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"}


def reveal(text: object, keep: str = "") -> str:
    """Text from a source with control, bidi and other invisible characters as escapes."""
    return "".join(_shown(char, keep) for char in str(text))


def _shown(char: str, keep: str) -> str:
    if char in keep or unicodedata.category(char) not in _HIDDEN:
        # An odd space (no-break, ideographic …) is told from the plain one.
        return (
            f"\\u{ord(char):04x}" if char != " " and char.isspace() and char not in keep else char
        )
    code = ord(char)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


@register.filter
def visible(text: object) -> str:
    """A name: every invisible character becomes an escape; an empty one is said to be so."""
    return reveal("" if text is None else text) or "(empty)"


@register.filter
def visible_text(text: object) -> str:
    """Longer text of a source (comment, view): as `visible`, but lines and tabs stay."""
    return reveal("" if text is None else text, keep="\n\t")


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    return format_html(
        '<svg class="i{}" aria-hidden="true"><use href="#i-{}"/></svg>',
        f" {extra}" if extra else "",
        name,
    )


@register.simple_tag(takes_context=True)
def current(context: dict[str, Any], prefix: str) -> SafeString:
    """` aria-current="page"` when the page lies under `prefix`."""
    request = context.get("request")
    here = request is not None and request.path.startswith(prefix)
    return SafeString(' aria-current="page"' if here else "")


@register.simple_tag(takes_context=True)
def theme(context: dict[str, Any]) -> SafeString:
    """` data-theme="…"` from the cookie, so the first paint has the right colours."""
    request = context.get("request")
    chosen = request.COOKIES.get("surveyor_theme", "") if request is not None else ""
    return SafeString(f' data-theme="{chosen}"' if chosen in {"light", "dark"} else "")


@register.simple_tag
def query(**values: object) -> str:
    """A query string of the values that are set."""
    return "?" + urlencode({key: value for key, value in values.items() if value not in ("", None)})


@register.simple_tag(takes_context=True)
def requery(context: dict[str, Any], **values: object) -> str:
    """The page's own query string with some values replaced ("" removes one)."""
    params = context["request"].GET.copy()
    for key, value in values.items():
        params.pop(key, None)
        if value not in ("", None):
            params[key] = str(value)
    return f"?{params.urlencode()}" if params else "?"


@register.filter
def number(value: object) -> str:
    """1234 → 1,234; unknown is an en dash, not zero."""
    if not isinstance(value, int | float):
        return DASH
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 10 else f"{value:,.1f}"


@register.filter
def duration(seconds: object) -> str:
    """131 → 2:11, 3671 → 1:01:11; unknown is an en dash."""
    if not isinstance(seconds, int | float):
        return DASH
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@register.filter
def seconds(value: object) -> str:
    """0.42 → 0.4 s, 12.3 → 12 s, 131 → 2:11."""
    if not isinstance(value, int | float):
        return DASH
    if value >= 100:
        return duration(value)
    return f"{value:.1f}{NARROW}s" if value < 10 else f"{value:.0f}{NARROW}s"


@register.filter
def exact(value: object) -> str:
    """A setting in seconds as it was set: 0.25 s, 60 s."""
    return f"{value:g}{NARROW}s" if isinstance(value, int | float) else DASH


@register.filter
def hours(limits: object) -> str:
    """When the source may be read: 22:00-06:00, mon-fri (Europe/Berlin)."""
    values = limits if isinstance(limits, dict) else vars(limits)
    if not values.get("hours"):
        return "always"
    days = f", {values['days']}" if values.get("days") else ""
    return f"{values['hours']}{days} ({values.get('timezone') or 'UTC'})"


@register.filter
def size(value: object) -> str:
    """Bytes with a decimal unit: 24700000 → 24.7 MB."""
    if not isinstance(value, int | float):
        return DASH
    amount, unit = float(value), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f}{NARROW}{unit}" if unit == "B" else f"{amount:.1f}{NARROW}{unit}"


def as_time(value: object) -> datetime | None:
    """A datetime out of what rows, records and stories hold: datetime, epoch or ISO text."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, int | float) and value:
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str) and value:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


@register.filter
def clock(value: object) -> SafeString | str:
    """The time to the second, with the date on other days than today."""
    return _time(value, lambda at: f"{_day(at)}{at:%H:%M:%S}")


@register.filter
def moment(value: object) -> SafeString | str:
    """As `clock`, but to the minute on other days."""
    return _time(value, lambda at: f"{day}{at:%H:%M}" if (day := _day(at)) else f"{at:%H:%M:%S}")


@register.filter
def ago(value: object) -> SafeString | str:
    """How long ago, in the unit that matters."""
    return _time(value, _past)


def _time(value: object, shown: Callable[[datetime], str]) -> SafeString | str:
    """What is shown, with the whole date and the zone in the title."""
    at = as_time(value)
    if at is None:
        return DASH
    at = at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        at.isoformat(timespec="seconds"),
        at.strftime("%-d %b %Y %H:%M:%S"),
        shown(at),
    )


def _day(at: datetime) -> str:
    today = timezone.now().astimezone(UTC).date()
    if at.date() == today:
        return ""
    year = "" if at.year == today.year else f"{NARROW}{at.year}"
    return f"{at.day}{NARROW}{at:%b}{year}{NARROW}"


def _past(at: datetime) -> str:
    past = (timezone.now() - at).total_seconds()
    for limit, unit, length in ((100, "s", 1), (5400, "min", 60), (129600, "h", 3600)):
        if past < limit:
            return f"{max(past, 0) / length:.0f}{NARROW}{unit} ago"
    return f"{past / 86400:.0f}{NARROW}d ago"


@register.filter
def short(value: object) -> str:
    """The first eight characters of an id."""
    return str(value)[:8]


@register.filter
def spaced(value: object) -> str:
    """materialized_view → materialized view."""
    return str(value).replace("_", " ")


@register.simple_tag
def widget(field: BoundField, extra: str = "") -> SafeString:
    """The field's widget in our dress; Django adds the aria attributes."""
    return field.as_widget(attrs={"class": f"in {extra}".strip()})


@register.filter
def lost(field: BoundField | None) -> bool:
    """Was something typed here that the page, drawn again, does not hold?"""
    return isinstance(field, BoundField) and field.widget_type == "password" and bool(field.data)


@register.filter
def tone(status: str) -> str:
    """The tone of a run's status."""
    return TONES[status]


@register.filter
def singular(kind: str) -> str:
    """relations → relation, indexes → index."""
    return {"indexes": "index"}.get(kind) or kind.removesuffix("s")


@register.filter
def names(values: object) -> str:
    """A list of names from a source in one line."""
    return ", ".join(reveal(value) for value in values) if isinstance(values, list) else ""


NAMED, LONGEST_NAMED = 3, 40


@register.filter
def narrowed(run: Run) -> str:
    """What a run was asked for, as "only crm; without tmp_*"; empty for one of everything."""
    selection: dict[str, Any] = run.input.get("selection") or {}
    words = (("only", "include"), ("without", "exclude"), ("kinds", "kinds"))
    parts = [(word, _named(selection.get(part) or [])) for word, part in words]
    return "; ".join(f"{word} {named}" for word, named in parts if named)


def _named(patterns: list[str]) -> str:
    more = f" and {len(patterns) - NAMED} more" if len(patterns) > NAMED else ""
    cut = (p if len(p) <= LONGEST_NAMED else p[: LONGEST_NAMED - 1] + "…" for p in patterns[:NAMED])
    return ", ".join(reveal(pattern) for pattern in cut) + more


@register.filter
def at(mapping: dict[str, Any], key: str) -> Any:
    return mapping.get(key, "")


@register.filter
def short_kind(kind: str) -> str:
    """primary_key → PK."""
    tags = {"primary_key": "PK", "foreign_key": "FK", "unique": "UQ", "check": "CK"}
    return tags.get(kind, "EX")


@register.simple_tag
def relation_icon(kind: str) -> SafeString:
    drawn = {"view", "materialized_view", "foreign_table", "partitioned_table"}
    return icon(kind if kind in drawn else "table")
