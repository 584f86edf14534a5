"""Instants in MongoDB: BSON dates in whole milliseconds, other programs' forms, and the exact watermark."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from incident_process.core.errors import ConfigurationError
from incident_process.core.models import NEVER

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(instant: datetime) -> int:
    """Return an aware instant as whole microseconds since 1970, which a 64-bit integer holds exactly."""
    return (instant - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the instant of a number of ``to_micros``."""
    return _EPOCH + timedelta(microseconds=micros)


@lru_cache(maxsize=64)  # the entries of a chunk share their time
def to_bson(instant: datetime) -> datetime:
    """Return the instant cut to the whole milliseconds of a BSON date."""
    return instant.astimezone(UTC).replace(microsecond=instant.microsecond // 1000 * 1000)


def stored_date(value: object) -> datetime:
    """Return a date that the program has written itself; raise TypeError for anything else."""
    if not isinstance(value, datetime):
        raise TypeError(type(value).__name__)
    return value


def read_date(value: object, field: str) -> datetime:
    """Return the instant that a field of ``Process_Operation`` means (SPEC 6).

    Args:
        value: A BSON date (aware), an ISO string, or MongoDB's extended JSON as some tools store it:
            ``{"$date": ISO string}``, ``{"$date": milliseconds}``, ``{"$date": {"$numberLong": "milliseconds"}}``.
            None and a missing field mean that nothing was processed yet.
        field: The field's name, for the message.

    Returns:
        The instant in UTC; text without a zone is UTC.

    Raises:
        ConfigurationError: The value is no date in any of these forms.
    """
    try:
        return _read(value)
    except (ValueError, TypeError, OverflowError) as exc:
        raise ConfigurationError(
            f"Process_Operation holds a {field} that is no date: write it as a BSON date, "
            'for example {"$set": {"' + field + '": ISODate("2024-01-31T00:00:00Z")}}.'
        ) from exc


def _read(value: object) -> datetime:
    if value is None:
        return NEVER
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, str):
        # The team's scripts append the Z to a text that has a zone already.
        return _read(datetime.fromisoformat(value.strip().replace("+00:00Z", "Z")))
    if isinstance(value, Mapping):
        return _read_extended(value.get("$date"))
    raise TypeError(type(value).__name__)


def _read_extended(value: object) -> datetime:
    if isinstance(value, Mapping):
        value = int(value.get("$numberLong", ""))
    if isinstance(value, (int, float)):  # mongosh writes so large a number as a double
        return _EPOCH + timedelta(milliseconds=value)
    if isinstance(value, (str, datetime)):
        return _read(value)
    raise TypeError(type(value).__name__)
