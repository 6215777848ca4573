"""When a source may be read, to the second, over changes of the clocks too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from extraction.hours import InvalidHours, parse


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "days", "zone", "now", "opens", "closes"),
    [
        ("", "", "UTC", "2026-07-01 12:00", None, None),
        ("22:00-06:00", "", "Europe/Berlin", "2026-07-01 19:59:59", "2026-07-01 20:00", None),
        ("22:00-06:00", "", "Europe/Berlin", "2026-07-01 20:00", None, "2026-07-02 04:00"),
        ("22:00-06:00", "", "Europe/Berlin", "2026-07-02 03:59", None, "2026-07-02 04:00"),
        ("22:00-06:00", "", "Europe/Berlin", "2026-07-02 04:00", "2026-07-02 20:00", None),
        # In winter the same window lies an hour later in UTC.
        ("22:00-06:00", "", "Europe/Berlin", "2026-12-01 20:30", "2026-12-01 21:00", None),
        # The night the clocks go back is an hour longer, the other one an hour shorter.
        ("22:00-06:00", "", "Europe/Berlin", "2026-10-24 20:00", None, "2026-10-25 05:00"),
        ("22:00-06:00", "", "Europe/Berlin", "2026-03-28 21:00", None, "2026-03-29 04:00"),
        # 02:30 does not exist that day; what begins there begins when the clock says 03:30.
        ("02:30-04:00", "", "Europe/Berlin", "2026-03-29 01:29", "2026-03-29 01:30", None),
        ("02:30-03:00", "", "Europe/Berlin", "2026-03-29 00:00", "2026-03-30 00:30", None),
        # A weekly window that does not exist that Sunday opens a week later.
        ("02:00-03:00", "sun", "Europe/Berlin", "2026-03-22 12:00", "2026-04-05 00:00", None),
        # The day is that of the start: Friday's window reaches into Saturday.
        ("22:00-06:00", "mon-fri", "UTC", "2026-07-04 05:00", None, "2026-07-04 06:00"),
        ("22:00-06:00", "mon-fri", "UTC", "2026-07-04 07:00", "2026-07-06 22:00", None),
        ("09:00-10:00", "sat,sun", "UTC", "2026-07-06 09:30", "2026-07-11 09:00", None),
        ("09:00-10:00", "fri-mon", "UTC", "2026-07-06 09:30", None, "2026-07-06 10:00"),
        # Windows that touch are one.
        ("08:00-10:00, 10:00-12:00", "", "UTC", "2026-07-01 09:00", None, "2026-07-01 12:00"),
        ("00:00-24:00", "", "UTC", "2026-07-01 09:00", None, None),
        ("00:00-24:00", "wed", "UTC", "2026-07-01 09:00", None, "2026-07-02 00:00"),
        ("10:00:05-10:00:09", "", "UTC", "2026-07-01 10:00:04", "2026-07-01 10:00:05", None),
    ],
)
def test_when_it_opens_and_closes(hours, days, zone, now, opens, closes):
    allowed = parse(hours, days, zone)
    assert allowed.opens_at(utc(now)) == (utc(opens) if opens else None)
    assert allowed.closes_at(utc(now)) == (utc(closes) if closes else None)


def test_every_minute_of_two_weeks_is_either_open_or_says_when_it_opens():
    allowed = parse("23:30-00:15, 02:15-02:45", "sat,sun,mon", "Europe/Berlin")
    now = utc("2026-10-19 00:00")
    while now < utc("2026-11-02 00:00"):
        opens, closes = allowed.opens_at(now), allowed.closes_at(now)
        assert (opens is None) != (closes is None)
        moment = opens or closes
        assert moment is not None and moment > now
        flipped = allowed.opens_at(moment)
        assert (flipped is None) == (opens is not None)
        now += timedelta(minutes=7)


@pytest.mark.parametrize(
    ("hours", "days", "zone", "field", "sentence"),
    [
        ("22-6", "", "UTC", "hours", "Write hours as 22:00-06:00"),
        ("always", "", "UTC", "hours", "Write hours as 22:00-06:00"),
        ("25:00-06:00", "", "UTC", "hours", "25:00 is no time of day"),
        ("22:00-22:00", "", "UTC", "hours", "begins and ends at the same time"),
        (",".join(["01:00-02:00"] * 7), "", "UTC", "hours", "At most 6 windows"),
        ("22:00-06:00", "mo-fr", "UTC", "days", "Write days as mon-fri"),
        ("22:00-06:00", "mon-", "UTC", "days", "Write days as mon-fri"),
        ("22:00-06:00", "", "Berlin", "timezone", "Europe/Berlin"),
        ("22:00-06:00", "", "../../etc/passwd", "timezone", "Europe/Berlin"),
    ],
)
def test_what_cannot_be_read_is_refused_at_its_field(hours, days, zone, field, sentence):
    with pytest.raises(InvalidHours) as refused:
        parse(hours, days, zone)
    assert refused.value.field == field
    assert sentence in refused.value.message


def test_the_sentence_names_the_day_only_when_it_is_far():
    berlin = parse("22:00-06:00", "mon-fri", "Europe/Berlin")
    assert berlin.sentence(utc("2026-07-01 12:00")) == "until 22:00 (Europe/Berlin)"
    assert berlin.sentence(utc("2026-07-04 12:00")) == "until Monday 22:00 (Europe/Berlin)"
    assert berlin.sentence(utc("2026-07-01 21:00")) == ""
