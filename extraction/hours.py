"""When a source may be read: daily windows on some days of the week, in a time zone.

Pure: the moment is given, so that a workflow may ask too. A window that ends at or
before its start ends on the next day; its weekday is that of its start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WINDOW = re.compile(r"(\d\d?):(\d\d)(?::(\d\d))?\s*[-–]\s*(\d\d?):(\d\d)(?::(\d\d))?")
MOST_WINDOWS = 6
# Days: two weeks, since a weekly window may lie within a change of the clocks, and a day more.
AHEAD = 16

HOURS_WRONG = "Write hours as 22:00-06:00; several with commas between them."
DAYS_WRONG = "Write days as mon-fri or sat,sun."


class InvalidHours(ValueError):
    """`field` is hours, days or timezone; the message is a sentence for who typed it."""

    def __init__(self, field: str, message: str) -> None:
        self.field, self.message = field, message
        super().__init__(message)


@dataclass(frozen=True)
class AllowedHours:
    """No window means always."""

    windows: tuple[tuple[time, time], ...]
    days: frozenset[int]
    zone: tzinfo
    zone_name: str

    def opens_at(self, now: datetime) -> datetime | None:
        """When reading may go on; None while it is allowed."""
        if not self.windows or self._closes(now) is not None:
            return None
        later = self._moment(now.astimezone(self.zone).date() + timedelta(days=AHEAD), time(0))
        return min((start for start, _ in self._spans(now) if start > now), default=later)

    def closes_at(self, now: datetime) -> datetime | None:
        """When the reading that is allowed now has to stop; None for never, or if it is not."""
        end = self._closes(now)
        for _ in range(MOST_WINDOWS * AHEAD):
            further = None if end is None else self._closes(end)
            if further is None:
                return end
            end = further
        return None  # the windows touch each other all through the week

    def _closes(self, now: datetime) -> datetime | None:
        return max((end for start, end in self._spans(now) if start <= now < end), default=None)

    def _spans(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The windows around a moment, in UTC, so that no change of the clocks moves them."""
        today = now.astimezone(self.zone).date()
        for offset in range(-1, AHEAD):
            day = today + timedelta(days=offset)
            if day.weekday() not in self.days:
                continue
            for start, end in self.windows:
                last = day + timedelta(days=end <= start)
                span = (self._moment(day, start), self._moment(last, end))
                if span[0] < span[1]:
                    yield span

    def _moment(self, day: date, at: time) -> datetime:
        return datetime.combine(day, at, self.zone).astimezone(UTC)

    def sentence(self, now: datetime) -> str:
        """`until 22:00 (Europe/Berlin)`, with the day unless it is within one."""
        opens = self.opens_at(now)
        if opens is None:
            return ""
        there = opens.astimezone(self.zone)
        day = "" if opens - now < timedelta(hours=24) else f"{there:%A} "
        clock = f"{there:%H:%M:%S}" if there.second else f"{there:%H:%M}"
        return f"until {day}{clock} ({self.zone_name})"


def parse(hours: str, days: str = "", timezone: str = "UTC") -> AllowedHours:
    """Raises InvalidHours."""
    texts = [part.strip() for part in hours.split(",") if part.strip()]
    if len(texts) > MOST_WINDOWS:
        raise InvalidHours("hours", f"At most {MOST_WINDOWS} windows.")
    windows = tuple(_window(text) for text in texts)
    return AllowedHours(windows, _days(days), _zone(timezone), timezone or "UTC")


def _window(text: str) -> tuple[time, time]:
    found = WINDOW.fullmatch(text)
    if not found:
        raise InvalidHours("hours", HOURS_WRONG)
    numbers = [int(part or 0) for part in found.groups()]
    start, end = _time(*numbers[:3]), _time(*numbers[3:])
    if start == end and numbers[3] != 24:
        raise InvalidHours("hours", f"{text} begins and ends at the same time.")
    return start, end


def _time(hour: int, minute: int, second: int) -> time:
    if (hour, minute, second) == (24, 0, 0):
        return time(0)
    try:
        return time(hour, minute, second)
    except ValueError:
        raise InvalidHours(
            "hours", f"{hour}:{minute:02} is no time of day: from 0:00 to 24:00."
        ) from None


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in (part.strip().lower() for part in text.split(",")):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if not part:
            continue
        if first not in DAYS or (dash and last not in DAYS):
            raise InvalidHours("days", DAYS_WRONG)
        start, end = DAYS.index(first), DAYS.index(last or first)
        found |= {(start + step) % 7 for step in range((end - start) % 7 + 1)}
    return frozenset(found or range(7))


def _zone(name: str) -> tzinfo:
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidHours(
            "timezone", "This time zone is not known here. Write one as Europe/Berlin, or UTC."
        ) from None
