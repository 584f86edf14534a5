"""One source value to one document value: text, whole number, money, instant (SPEC 4).

NULL text is ``""``, a NULL number 0, a NULL or zero date 1900-01-01. Drivers return different types (SQLite what was
stored, MySQL's driver text for an illegal date), so every function takes the types that any of them may return.
A value that does not fit its column's type raises ``ValueError`` without the value, which may be personal.
"""

from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from incident_process.document.validation import checked_timestamp

NO_DATE = "1900-01-01T00:00:00.000Z"
ZERO = Decimal("0.00")
_CENT = Decimal("0.01")
_MONEY = Context(prec=65, rounding=ROUND_HALF_UP)
"""65 digits are the most that a MySQL DECIMAL holds."""


def text(value: Any) -> str:
    """Return a text column's value: numbers as digits, bytes as UTF-8; raise ValueError for other bytes."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ValueError("holds bytes that are no UTF-8 text") from None
    return str(value)


def whole(value: Any) -> int:
    """Return a whole-number column's value; raise ValueError for anything else."""
    if type(value) is int:
        return value
    if value is None or value == "":
        return 0
    try:
        number = Decimal(str(value))
        if number == number.to_integral_value():
            return int(number)
    except (InvalidOperation, ValueError, OverflowError):
        pass
    raise ValueError("is not a whole number")


def money(value: Any) -> Decimal:
    """Return an amount with exactly two decimals, halves away from zero; zero has no sign.

    A float (SQLite) is read by its shortest decimal form, the one that was stored. Raises ValueError for no amount.
    """
    if value is None or value == "":
        return ZERO
    try:
        amount = value if type(value) is Decimal else Decimal(str(value))
        return amount.quantize(_CENT, context=_MONEY) or ZERO
    except InvalidOperation:
        raise ValueError("is not an amount of money") from None


@lru_cache(maxsize=8192)  # many rows share few distinct dates
def stamp(instant: datetime) -> str:
    """Return an aware UTC instant as ``YYYY-MM-DDTHH:MM:SS.mmmZ``, cut to milliseconds."""
    return checked_timestamp(f"{instant.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z")


def moment(value: Any, zone: ZoneInfo) -> str:
    """Return a date column's value as UTC text; ``zone`` applies to a value without one (SPEC 2)."""
    if type(value) is datetime and value.tzinfo is None and zone.key == "UTC":
        # Payments have hardly two instants alike, so no cache; and in UTC nothing needs converting.
        return checked_timestamp(f"{value.isoformat(timespec='milliseconds')}Z")
    return _moment(value, zone)


@lru_cache(maxsize=8192)  # as above
def _moment(value: Any, zone: ZoneInfo) -> str:
    when = instant(value, zone)
    return NO_DATE if when is None else stamp(when)


def instant(value: Any, zone: ZoneInfo) -> datetime | None:
    """Return a date column's value as an instant (aware UTC), None for no date; ``zone`` applies to local times."""
    when = _datetime(value)
    if when is None:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=zone)
    try:
        return when.astimezone(UTC)
    except OverflowError:  # the zone moves the first or last day of the calendar over its edge
        return when.replace(tzinfo=UTC)


def sortable(value: Any) -> tuple[int, Any]:
    """Return a key that orders any two values of a column: NULL, then numbers, dates, text."""
    if value is None:
        return (0, 0)
    if isinstance(value, int | float | Decimal):
        return (1, value)
    if isinstance(value, date):  # a datetime is one
        return (2, value.isoformat())
    return (3, value.decode("utf-8", "replace") if isinstance(value, bytes) else text(value))


def is_no_date(value: Any) -> bool:
    """Return True for NULL, empty text, and MySQL's zero dates, also the partial ones, which are no day."""
    if value is None or isinstance(value, date):
        return value is None
    written = text(value).strip()
    return not written or written.startswith("0000") or "-00" in written[:10]


def _datetime(value: Any) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time.min)
    if is_no_date(value):
        return None
    written = text(value).strip()
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        raise ValueError("is not a date") from None
