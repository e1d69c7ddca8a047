"""Nodes of dates, times and durations, which are ISO 8601 texts in JSON. No state.

All versions of Python accept the same texts. `datetime.fromisoformat` does not serve for that: Python 3.10 accepts less
than Python 3.11, and 3.14 more.

- date: `YYYY-MM-DD`
- time: `HH:MM`, `HH:MM:SS`, or with a fraction of a second after `.` or `,` (digits after the sixth are dropped); then
  nothing, `Z`, `+HH:MM`, `+HHMM` or `+HH`; an offset may have seconds too, which Python writes for old dates of cities
- datetime: a date, `T` or a space, a time; or a date alone, which is its midnight
- timedelta: `P[nW][nD][T[nH][nM][nS]]`, signed, with a fraction of seconds; or a number, which is seconds. At most
  999999999 days
"""

from __future__ import annotations

import datetime
import re

from herder.argument_errors import InvalidValue
from herder.typed_nodes import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DATE = "([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
TIME = (
    "([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:[.,]([0-9]+))?)?"
    "(?:([Zz])|([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9])(?::?([0-5][0-9])(?:[.]([0-9]{1,6}))?)?)?)?"
)
DATE_TEXT = re.compile(DATE)
TIME_TEXT = re.compile(TIME)
DATETIME_TEXT = re.compile(f"{DATE}(?:[Tt ]{TIME})?")
# The digits of each unit are limited, so that every text is in the range of `timedelta`: from -999999999 to 999999999
# days, the latter with a time of less than a day.
DURATION = (
    "(?!-P9{9}DT)[+-]?P(?:"
    "(?=[0-9T])(?:[0-9]{1,8}W)?(?:[0-9]{1,8}D)?"
    "(?:T(?=[0-9])(?:[0-9]{1,9}H)?(?:[0-9]{1,11}M)?(?:[0-9]{1,12}(?:[.,][0-9]+)?S)?)?"
    "|[0-9]{9}D(?:T(?=[0-9])(?:(?:[01]?[0-9]|2[0-3])H)?(?:[0-5]?[0-9]M)?(?:[0-5]?[0-9](?:[.,][0-9]+)?S)?)?)"
)
DURATION_TEXT = re.compile(DURATION)
DURATION_UNITS = re.compile(
    "([+-]?)P(?:([0-9]+)W)?(?:([0-9]+)D)?(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+)(?:[.,]([0-9]+))?S)?)?"
)
MAX_SECONDS = 86_399_999_913_600  # 999999999 days
UTC = datetime.timezone.utc


def to_date(value: Any) -> datetime.date:
    """Convert a date."""
    if type(value) is not str:
        raise InvalidValue("date_type", "Input should be a valid date")
    match = DATE_TEXT.fullmatch(value)
    try:
        if match is not None:
            year, month, day = match.groups()
            return datetime.date(int(year), int(month), int(day))
    except ValueError:  # February 30, or the year 0
        pass
    raise InvalidValue("date_parsing", "Input should be a valid date in the format YYYY-MM-DD")


def to_time(value: Any) -> datetime.time:
    """Convert a time of day."""
    if type(value) is not str:
        raise InvalidValue("time_type", "Input should be a valid time")
    match = TIME_TEXT.fullmatch(value)
    if match is None:
        raise InvalidValue("time_parsing", "Input should be in a valid time format, such as 08:40:00")
    hour, minute, second, fraction, zulu, *offset = match.groups()
    return datetime.time(
        int(hour), int(minute), int(second or 0), _microseconds(fraction), UTC if zulu else _zone(*offset)
    )


def to_datetime(value: Any) -> datetime.datetime:
    """Convert a date with a time."""
    if type(value) is not str:
        raise InvalidValue("datetime_type", "Input should be a valid datetime")
    match = DATETIME_TEXT.fullmatch(value)
    try:
        if match is not None:
            year, month, day, hour, minute, second, fraction, zulu, *offset = match.groups()
            zone = UTC if zulu else _zone(*offset)
            return datetime.datetime(
                int(year),
                int(month),
                int(day),
                int(hour or 0),
                int(minute or 0),
                int(second or 0),
                _microseconds(fraction),
                zone,
            )
    except ValueError:
        pass
    raise InvalidValue("datetime_parsing", "Input should be a valid datetime, such as 2026-01-31T08:40:00Z")


def _microseconds(fraction: str | None) -> int:
    return int(fraction[:6].ljust(6, "0")) if fraction else 0


def _zone(
    sign: str | None, hours: str, minutes: str | None, seconds: str | None, fraction: str | None
) -> datetime.timezone | None:
    if sign is None:
        return None
    offset = datetime.timedelta(0, int(seconds or 0), _microseconds(fraction), 0, int(minutes or 0), int(hours))
    return datetime.timezone(-offset if sign == "-" else offset) if offset else UTC


def to_timedelta(value: Any) -> datetime.timedelta:
    """Convert a duration."""
    if type(value) is str:
        if DURATION_TEXT.fullmatch(value) is not None:
            return _parse_duration(value)
    elif type(value) is not int and type(value) is not float:
        raise InvalidValue("time_delta_type", "Input should be a valid timedelta")
    elif -MAX_SECONDS <= value <= MAX_SECONDS:
        return datetime.timedelta(seconds=value)
    raise InvalidValue("time_delta_parsing", "Input should be a valid timedelta, such as P1DT2H30M")


def _parse_duration(text: str) -> datetime.timedelta:
    match = DURATION_UNITS.fullmatch(text)
    assert match is not None
    sign, *units, fraction = match.groups()
    weeks, days, hours, minutes, seconds = (int(unit or 0) for unit in units)
    duration = datetime.timedelta(days, seconds, _microseconds(fraction), 0, minutes, hours, weeks)
    return -duration if sign == "-" else duration


def time_node(cls: Any) -> Node | None:
    """Return the node of a class of `datetime`, or None."""
    # `datetime` is the module that the app has imported too, unless the app replaces it.
    if cls is datetime.datetime:
        return Node("datetime", to_datetime, annotation=cls, convert_key=to_datetime)
    if cls is datetime.date:
        return Node("date", to_date, annotation=cls, convert_key=to_date)
    if cls is datetime.time:
        return Node("time", to_time, annotation=cls, convert_key=to_time)
    if cls is datetime.timedelta:
        return Node("timedelta", to_timedelta, annotation=cls, convert_key=to_timedelta)
    return None
