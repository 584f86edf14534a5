"""Converts LOAD_DATE between the database's types and instants. Pure (SPEC 2, 3).

A DATE or DATETIME has no zone and is read in ``source_timezone``; a TIMESTAMP is an instant, read in UTC. Two rules
give every local time an instant: a time that occurs twice (a clock set back) is the earlier instant, a time that never
occurs (a clock set forward) moves forward. A longer lookback reads again what the first rule may hide.
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
"""The form that ``text_bound`` returns for an instant in the second pass of a repeated hour."""

EARLIEST = datetime(1, 1, 3, tzinfo=UTC)
"""Instants are clamped between these two, so that no zone's offset leads out of the years 1 to 9999."""
LATEST = datetime(9999, 12, 29, tzinfo=UTC)

FIRST = datetime(1, 1, 1)  # noqa: DTZ001 - a local time
"""Python's first local time."""

_SETTLED = timedelta(days=1)
"""How far from an instant a clock change still matters: no zone's clock was ever set back by more than a day."""


class Kind(StrEnum):
    """The three types of LOAD_DATE in the field."""

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
        """The shortest lookback that closes ties: a day for a DATE, otherwise a second."""
        return timedelta(days=1) if self.kind is Kind.DATE else timedelta(seconds=1)


_LOCAL = LoadDateType(kind=Kind.DATETIME, digits=6)


def parse_type(declared: str) -> LoadDateType | None:
    """Return the type of a declaration such as ``datetime(6)``, or None when it is no date type."""
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
    """Return the newest local time that means an instant at or before this one (aware), as a naive datetime.

    That is what the clock shows. But in the second pass of a repeated hour, all times of that hour are over, because
    each means the earlier of its two instants.
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
    """Return an instant (aware) as text that sorts correctly among local times in the longest form.

    In the second pass of a repeated hour it is the newest time of that hour, followed by the instant itself.
    """
    native = reached(instant, column, zone)
    text = native.isoformat(" ", "microseconds")
    if native == local(instant, column, zone):
        return text
    return f"{text}|{instant.astimezone(UTC).replace(tzinfo=None).isoformat(' ', 'microseconds')}Z"


def native_bound(instant: datetime, column: LoadDateType, zone: tzinfo) -> datetime:
    """Return the naive value to compare the column with for an instant.

    It is rounded down to the column's precision, which changes no comparison: a value of the column is at or before
    the instant exactly when it is at or before the rounded one.
    """
    return floor(reached(instant, column, zone), column)


def lookback_start(watermark: datetime, seconds: float, column: LoadDateType, zone: tzinfo) -> datetime:
    """Return where the lookback begins, in the column's own terms (naive); that value is included (SPEC 3).

    ``seconds`` before the watermark, at least one unit of the column, rounded down to its precision. The lookback grows
    by a change of the zone's clock in between, or within a day before or after: a row loaded after the clock was set
    back has a time that seems past already, and a time that the clock skipped is read as a later one.
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
    """Return the instant (aware UTC) of a driver's value, or None for NULL and zero dates.

    Cached, because the rows of one load share their LOAD_DATE.

    Args:
        value: A date, a naive datetime, or text: SQLite's own form, and the MySQL driver's form of dates that Python
            lacks. In such a date, parts that do not exist become the nearest that do: month or day 0 is 1, February 30
            the month's last day.
        column: The type of the column.
        zone: The zone of local times; text that ends in Z or +00:00 is in UTC all the same.
    """
    if isinstance(value, str):
        if _SECOND_PASS.match(value):
            value = value.partition("|")[2]
        if value.endswith(("Z", "+00:00")):
            zone = UTC  # the text has its own zone
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
    """Return a row whose naive dates in these places are aware UTC; other values stay."""
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
    """Return a UTC time in text form as a zone's local times are compared; other text stays."""
    native = _from_text(text)
    return text if native is None else text_bound(native.replace(tzinfo=UTC), _LOCAL, zone)


def _twice(native: datetime, zone: tzinfo) -> bool:
    """Return True for a local time that occurs twice."""
    offsets = [native.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1)]
    return offsets[0] > offsets[1]


def _from_text(text: str) -> datetime | None:
    """Return the nearest existing date to one in text form; None for a zero date and other text."""
    match = _TEXT.match(text)
    if match is None or match[1] == "0000":
        return None
    year, month, day = int(match[1]), min(max(int(match[2]), 1), 12), max(int(match[3]), 1)
    day = min(day, calendar.monthrange(year, month)[1])
    hour, minute, second = (min(int(match[part] or 0), top) for part, top in ((4, 23), (5, 59), (6, 59)))
    return datetime(year, month, day, hour, minute, second, int((match[7] or "").ljust(6, "0")))  # noqa: DTZ001 - local
