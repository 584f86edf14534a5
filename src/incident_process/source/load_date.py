"""LOAD_DATE between the database's types and instants: pure arithmetic, no database (SPEC 2, 3).

A DATE or DATETIME says no zone and is read in ``source_timezone``; a TIMESTAMP is an instant, read in UTC. Two rules
make local times total: one that occurs twice (a clock set back) is the earlier instant, one that never occurs (a
clock set forward) moves forward. What the first rule may hide, a longer lookback looks at again.
"""

import calendar
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from typing import Any

from incident_process.core.models import Record

_DECLARED = re.compile(r"\s*(date|datetime|timestamp)\b\s*(?:\(\s*(\d)\s*\))?", re.IGNORECASE)
_TEXT = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?)?")
_SECOND_PASS = re.compile(r".{26}\|\d{4}-\d\d-\d\d .{15}Z$")
"""What ``text_bound`` makes of an instant in the second pass of a repeated hour."""

EARLIEST = datetime(1, 1, 3, tzinfo=UTC)
"""Instants are held between these two, so that no zone's offset leads out of the years 1 to 9999."""
LATEST = datetime(9999, 12, 29, tzinfo=UTC)

FIRST = datetime(1, 1, 1)  # noqa: DTZ001 - a local time
"""The first local time that Python knows."""

_SETTLED = timedelta(days=1)
"""How far around an instant a clock change still matters: no zone was ever set back by more than a day."""


class Kind(StrEnum):
    """The three types that LOAD_DATE has in the field."""

    DATE = "date"  # a local day
    DATETIME = "datetime"  # a local time
    TIMESTAMP = "timestamp"  # an instant


class LoadDateType(Record, frozen=True, kw_only=True):
    """The type of one LOAD_DATE column; ``digits`` is the number of fractional digits of a second, 0 to 6."""

    kind: Kind
    digits: int = 0

    def __str__(self) -> str:
        """Return the type as a declaration names it."""
        name = self.kind.value.upper()
        return f"{name}({self.digits})" if self.digits else name

    @property
    def unit(self) -> timedelta:
        """The least lookback that closes ties: a day for a DATE, otherwise a second."""
        return timedelta(days=1) if self.kind is Kind.DATE else timedelta(seconds=1)


_LOCAL = LoadDateType(kind=Kind.DATETIME, digits=6)


def parse_type(declared: str) -> LoadDateType | None:
    """Return the type that a declaration such as ``datetime(6)`` names, or None when it is no type of date."""
    match = _DECLARED.match(declared)
    if match is None:
        return None
    return LoadDateType(kind=Kind(match[1].lower()), digits=min(int(match[2] or 0), 6))


def floor(native: datetime, column: LoadDateType) -> datetime:
    """Return the newest value of the column's type at or before ``native``, a day as its midnight."""
    if column.kind is Kind.DATE:
        return native.replace(hour=0, minute=0, second=0, microsecond=0)
    step = 10 ** (6 - column.digits)
    return native.replace(microsecond=native.microsecond // step * step)


def local(instant: datetime, column: LoadDateType, zone: tzinfo) -> datetime:
    """Return what a clock of the column's zone shows at an instant (aware), as a naive datetime."""
    held = min(max(instant, EARLIEST), LATEST)
    return held.astimezone(UTC if column.kind is Kind.TIMESTAMP else zone).replace(tzinfo=None, fold=0)


def reached(instant: datetime, column: LoadDateType, zone: tzinfo) -> datetime:
    """Return the newest local time that is read as an instant at or before this one (aware), as a naive datetime.

    That is what the clock shows; but in the second pass of a repeated hour, all times of that hour are over, because
    each is read as the earlier of its two instants.
    """
    shown = local(instant, column, zone)
    if column.kind is Kind.TIMESTAMP or not min(max(instant, EARLIEST), LATEST).astimezone(zone).fold:
        return shown
    low, high = shown, shown + _SETTLED
    while high - low > timedelta.resolution:
        middle = low + (high - low) // 2
        low, high = (middle, high) if _twice(middle, zone) else (low, middle)
    return low


def text_bound(instant: datetime, column: LoadDateType, zone: tzinfo) -> str:
    """Return an instant (aware) as text that is in its order among local times in the longest form.

    In the second pass of a repeated hour it is the newest time of that hour, and the instant itself behind it.
    """
    native = reached(instant, column, zone)
    text = native.isoformat(" ", "microseconds")
    if native == local(instant, column, zone):
        return text
    return f"{text}|{instant.astimezone(UTC).replace(tzinfo=None).isoformat(' ', 'microseconds')}Z"


def native_bound(instant: datetime, column: LoadDateType, zone: tzinfo) -> datetime:
    """Return the value that stands for an instant in comparisons with the column (naive).

    It is rounded down to the column's precision, which changes no comparison: a column's value is at or before the
    instant exactly when it is at or before the rounded one, and after it exactly when it is after the rounded one.
    """
    return floor(reached(instant, column, zone), column)


def lookback_start(watermark: datetime, seconds: float, column: LoadDateType, zone: tzinfo) -> datetime:
    """Return where the lookback begins, in the column's own terms (naive); that value is included (SPEC 3).

    ``seconds`` before the watermark, never less than one unit of the column, rounded down to its precision. Where the
    zone's clock was changed in between, or within a day before or after, the lookback grows by that change: a row that
    is loaded after the clock was set back bears a time that seems to be past already, and one that bears a time which
    the clock left out is read as a later one.
    """
    try:
        back = max(timedelta(seconds=seconds), column.unit)
        start = max(watermark - back, EARLIEST)
    except OverflowError:
        start = EARLIEST
    native = local(start, column, zone)
    if column.kind is not Kind.TIMESTAMP:
        before = max(start, EARLIEST + _SETTLED) - _SETTLED
        moments = (before, start, watermark, min(watermark, LATEST - _SETTLED) + _SETTLED)
        offsets = [min(max(moment, EARLIEST), LATEST).astimezone(zone).utcoffset() or timedelta() for moment in moments]
        native -= min(max(offsets) - min(offsets), native - FIRST)
    return floor(native, column)


@lru_cache(maxsize=4096)
def instant_of(value: Any, column: LoadDateType, zone: tzinfo) -> datetime | None:
    """Return the instant (aware UTC) of a value as the driver gives it, or None where it is none (NULL, zero date).

    Cached, because the rows of one load share their LOAD_DATE.

    Args:
        value: a date, a naive datetime, or text: SQLite's own form, and what the MySQL driver makes of dates that
            Python has not. Of such a date the parts that do not exist are read as the nearest that do: month or day 0
            as 1, February 30 as the month's last day.
        column: the type of the column.
        zone: the zone of local times; text that ends in Z or +00:00 is in UTC all the same.
    """
    if isinstance(value, str):
        if _SECOND_PASS.match(value):
            value = value.partition("|")[2]
        if value.endswith(("Z", "+00:00")):
            zone = UTC  # it says its zone itself
        value = _from_text(value)
    if isinstance(value, datetime):
        native = value
    elif isinstance(value, date):
        native = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a local time gets its zone below
    else:
        return None
    if not EARLIEST.replace(tzinfo=None) <= native <= LATEST.replace(tzinfo=None):
        return None
    return native.replace(tzinfo=UTC if column.kind is Kind.TIMESTAMP else zone, fold=0).astimezone(UTC)


def in_utc(row: Sequence[Any], places: Collection[int]) -> list[Any]:
    """Return a row with the zone UTC at its dates in these places; what says its zone or is no date stays as it is."""
    values = list(row)
    for place in places:
        value = values[place]
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value.strip())
        if isinstance(value, datetime) and value.tzinfo is None:
            values[place] = value.replace(tzinfo=UTC)
    return values


def as_text(native: datetime, column: LoadDateType) -> str:
    """Return a bound as a literal of the column's type: ``YYYY-MM-DD`` or ``YYYY-MM-DD HH:MM:SS.ffffff``."""
    if column.kind is Kind.DATE:
        return native.date().isoformat()
    return native.isoformat(" ", "microseconds")


@lru_cache(maxsize=4096)  # as above
def local_text(text: str, zone: tzinfo) -> str:
    """Return a UTC time in text form as local times of a zone are compared; no date text stays as it is."""
    native = _from_text(text)
    return text if native is None else text_bound(native.replace(tzinfo=UTC), _LOCAL, zone)


def _twice(native: datetime, zone: tzinfo) -> bool:
    """Return True for a local time that occurs twice."""
    offsets = [native.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1)]
    return offsets[0] > offsets[1]


def _from_text(text: str) -> datetime | None:
    """Return the nearest date that exists to one in text form; None without a year (a zero date) or any date."""
    match = _TEXT.match(text)
    if match is None or match[1] == "0000":
        return None
    year, month, day = int(match[1]), min(max(int(match[2]), 1), 12), max(int(match[3]), 1)
    day = min(day, calendar.monthrange(year, month)[1])
    hour, minute, second = (min(int(match[part] or 0), top) for part, top in ((4, 23), (5, 59), (6, 59)))
    return datetime(year, month, day, hour, minute, second, int((match[7] or "").ljust(6, "0")))  # noqa: DTZ001 - local
