"""Which of an account's rows count: its current customer rows and its newest payment (SPEC 4)."""

from collections.abc import Sequence
from functools import cmp_to_key
from typing import Any
from zoneinfo import ZoneInfo

from incident_process.document.convert import instant, sortable, whole
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS

Row = Sequence[Any]

_LOADED = CUSTOMER_COLUMNS.index("LOAD_DATE")
_ASSET = CUSTOMER_COLUMNS.index("ASSET_ID")
_PAID = PAYMENT_COLUMNS.index("ACCOUNT_PAYMENT_DAT")
_SEQ = PAYMENT_COLUMNS.index("ACCOUNT_PAYMENT_SEQ")


def current_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the newest row of each ASSET_ID (NULL counts as one), newest first.

    Rows of one LOAD_DATE are ordered by their other values, so the database's order does not matter.
    """
    if len(rows) == 1:
        return list(rows)
    newest: dict[Any, Row] = {}
    for row in rows:
        known = newest.setdefault(row[_ASSET], row)
        if known is not row and _by_age(row, known) > 0:
            newest[row[_ASSET]] = row
    try:
        # For values of one type Python's order equals that of ``sortable``, and runs in C; NULL beside a value raises.
        return sorted(newest.values(), key=_age, reverse=True)
    except TypeError:
        return sorted(newest.values(), key=cmp_to_key(_by_age), reverse=True)


def newest_payment(rows: Sequence[Row], zone: ZoneInfo) -> Row | None:
    """Return the newest payment: by ACCOUNT_PAYMENT_DAT, then ACCOUNT_PAYMENT_SEQ, then the rest of the row.

    Dates compare as instants and sequences as whole numbers, whatever type a site has declared; a value that is neither
    counts as the newest. NULL and zero dates are equal, and older than every date: the document shows both as no date.
    """
    if len(rows) < 2:
        return rows[0] if rows else None

    def age(row: Row) -> tuple[Any, ...]:
        return _when(row[_PAID], zone), _number(row[_SEQ]), [sortable(value) for value in row]

    return max(rows, key=age)


def _when(value: Any, zone: ZoneInfo) -> tuple[int, Any]:
    try:
        when = instant(value, zone)
    except ValueError:
        return sortable(value)
    return (0, 0) if when is None else (2, when)


def _number(value: Any) -> tuple[int, Any]:
    try:
        return (0, 0) if value is None else (1, whole(value))
    except ValueError:
        return sortable(value)


def _age(row: Row) -> tuple[Any, Row]:
    return row[_LOADED], row


def _by_age(one: Row, other: Row) -> int:
    """Compare two rows by LOAD_DATE, then column by column; positive when ``one`` is newer."""
    if one[_LOADED] != other[_LOADED]:
        return 1 if one[_LOADED] > other[_LOADED] else -1
    for mine, theirs in zip(one, other, strict=True):
        if mine != theirs:
            return 1 if sortable(mine) > sortable(theirs) else -1
    return 0
