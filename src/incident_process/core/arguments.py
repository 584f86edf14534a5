"""Check the account, Incident_Id or time that a caller gives; a ValueError says what would be right."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import TypeGuard
from zoneinfo import ZoneInfo

from incident_process.core.logs import one_line
from incident_process.core.window import MAX_INCIDENT_ID

LONGEST_ACCOUNT = 255
"""Characters: the width of the ledger's column."""

LONGEST_WHY = 300
"""Characters of the reason that a run's record holds."""

NO_TIME = "is no date or time"

MOST_DIGITS = 20
"""Digits of an account's number up to which ``other_spellings`` guesses at its leading zeros."""
_OLDEST_YEAR, _NEWEST_YEAR = 1900, 9998
"""Years: no row is older than the first; the second leaves room for every time zone."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"([0-9]{1,4})([smhdw])")


def account_number(value: object) -> str:
    """Return an account's number as text: given as text, with its leading zeros, or as a whole number (ValueError)."""
    if _is_whole(value) and abs(value) < 10**LONGEST_ACCOUNT:  # str refuses numbers of thousands of digits
        value = str(value)
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_ACCOUNT or not is_utf8(value):
        raise ValueError(
            f"account_num must be the account's number as text of 1 to {LONGEST_ACCOUNT} characters or as a whole "
            "number, for example '0000003746'"
        )
    return str(value)


def is_utf8(text: str) -> bool:
    """Tell whether a text of the caller's was UTF-8; Python decodes other bytes to surrogates, which have no form."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def other_spellings(account: str) -> list[str]:
    """Return what an account's number may be in the databases where its leading zeros were left out or added."""
    if not (account.isascii() and account.isdecimal()) or len(account) > MOST_DIGITS:
        return []
    number = account.lstrip("0") or "0"
    return [text for width in range(len(number), MOST_DIGITS + 1) if (text := number.zfill(width)) != account]


def incident_id(value: object) -> int:
    """Return an Incident_Id, given as a whole number or its ASCII digits as text (SPEC 5); raise ValueError."""
    number = 0
    if _is_whole(value):
        number = value
    elif isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= len(str(MAX_INCIDENT_ID)):
        number = int(value)
    if not 0 < number <= MAX_INCIDENT_ID:
        raise ValueError(f"incident_id must be a whole number from 1 to {MAX_INCIDENT_ID}, or its digits as text")
    return number


def instant(text: str, name: str, zone: ZoneInfo, *, whole_day: bool = False) -> datetime:
    """Return the instant, in UTC, that a text in ISO form names; raise ValueError where it names none.

    The text is a time, or a date alone: its first moment or, with ``whole_day``, its last. ``zone`` is that of a text
    that names none, ``name`` the option or argument that the text was given as, for messages.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} {text!r} {NO_TIME}: write 2026-01-31 or 2026-01-31T10:00:00") from None
    if whole_day and len(text) <= len("2026-01-31"):
        when = when.replace(hour=23, minute=59, second=59, microsecond=999_999)
    return _in_utc(when, name, zone)


def relative_instant(
    text: str, name: str, zone: ZoneInfo, now: datetime, *, whole_day: bool = False
) -> datetime | None:
    """Return the instant that ``now``, ``today``, ``yesterday`` or ``2h`` (ago) names; None for another text.

    A day is one of the zone, and its first moment or, with ``whole_day``, its last. ValueError as of ``instant``.
    """
    word = text.strip().lower()
    if found := _AGO.fullmatch(word):
        return _in_utc(now - timedelta(**{_UNITS[found[2]]: int(found[1])}), name, zone)
    days = {"today": 0, "yesterday": 1}.get(word)
    if days is None:
        return now if word == "now" else None
    day = (now.astimezone(zone) - timedelta(days=days)).date()
    return instant(day.isoformat(), name, zone, whole_day=whole_day)


def age(text: str, name: str) -> timedelta:
    """Return the length of time that a text such as ``90d`` or ``36h`` names; raise ValueError."""
    found = _AGO.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{name} {text!r} is no age: write a whole number of days or hours, as 90d or 36h")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def kept_reason(text: str | None) -> str | None:
    """Return why a run was asked for as its record holds it: one line, cut; None for nothing."""
    return one_line(" ".join((text or "").split()))[:LONGEST_WHY] or None


def period_end(value: object, zone: ZoneInfo) -> datetime:
    """Return the last instant, in UTC, of a period that ends at a time or with a whole date; raise ValueError.

    Either may be text in ISO form; ``zone`` applies to a value that names none.
    """
    if isinstance(value, datetime):
        return _in_utc(value, "time_period_end", zone)
    text = value.isoformat() if isinstance(value, date) else value
    if not isinstance(text, str):
        raise ValueError(
            f"time_period_end must be a datetime, a date, or text in ISO form, not a {type(value).__name__}"
        )
    return instant(text, "time_period_end", zone, whole_day=True)


def _in_utc(when: datetime, name: str, zone: ZoneInfo) -> datetime:
    if not _OLDEST_YEAR <= when.year <= _NEWEST_YEAR:
        raise ValueError(f"{name} is out of range: give a year from {_OLDEST_YEAR} to {_NEWEST_YEAR}")
    return (when if when.tzinfo else when.replace(tzinfo=zone)).astimezone(UTC)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
