"""Current rows read with all that the accounts have, and picked out here: cheaper where histories are short.

To let the server pick (``source.current``) costs it four times as much a row as to send the row: it looks
each newest row up again, makes text comparable exactly, and tells equal rows apart. That pays where an account has a
history. Where nearly every row is a current one anyway, as after a first load or where loads replace each other, all
rows are asked for, with a bound on their number. The server's answer decides: too many rows, or too few of them
current, and the next statements let the server pick again; now and then the other way is tried anew.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS
from incident_process.source.dialects import OLDEST, marks
from incident_process.source.driver import Row
from incident_process.source.queries import ACCOUNT_COLUMN, NEEDED_COLUMNS, Statement, TableQueries
from incident_process.source.temporal import Kind

FEW = 100
"""Below so many accounts the server always picks: there is nothing to save."""
MOST_ROWS = 8
"""How many rows an account may have on average: what is read in vain, once, where it has more."""
WORTH = 0.7
"""The share of current rows from which on it pays to read them all."""
AGAIN = 64
"""After so many statements the other way is tried again."""

_ASSET = CUSTOMER_COLUMNS.index("ASSET_ID")
_PAID = PAYMENT_COLUMNS.index("ACCOUNT_PAYMENT_DAT")


def all_rows(of: TableQueries, accounts: Sequence[str], as_of: datetime) -> Statement:
    """The rows of these accounts with a LOAD_DATE at or before ``as_of``, one more than ``most`` at the most."""
    until, until_values = of.dates.until(as_of)
    return Statement(
        sql=f"""
            SELECT {", ".join(NEEDED_COLUMNS[of.table])} FROM {of.table}
            WHERE {ACCOUNT_COLUMN[of.table]} IN {marks(of.dialect, accounts)} AND {until}
            LIMIT {most(accounts) + 1}
            """,  # noqa: S608 - names and a number only, values are bound
        parameters=(*accounts, *until_values),
    )


def most(accounts: Sequence[str]) -> int:
    """Return how many rows of these accounts are still worth reading."""
    return MOST_ROWS * len(accounts)


def current(rows: Sequence[Row]) -> list[Row]:
    """Return, of one account's rows, those with the newest LOAD_DATE of their ASSET_ID (NULL is one), equal rows once.

    LOAD_DATE, the last column, is as the driver gave it.
    """
    if len(rows) == 1:
        return list(rows)
    by_asset: dict[Any, list[Row]] = {}
    for row in rows:
        by_asset.setdefault(row[_ASSET], []).append(row)
    if len(by_asset) == len(rows):
        return list(rows)
    return [row for of_asset in by_asset.values() for row in _newest(of_asset)]


def newest_payments(rows: Sequence[Row], kind: Kind) -> list[Row]:
    """Return, of one account's payments, those with the newest ACCOUNT_PAYMENT_DAT, equal rows once.

    NULL and zero dates are the oldest, and equal. ``kind`` is that of the column.
    """
    if len(rows) == 1:
        return list(rows)
    dates = ["" if row[_PAID] is None else _native(row[_PAID]) for row in rows]
    valid = [date if date >= OLDEST[kind] else "" for date in dates]
    newest = max(valid)
    return list(dict.fromkeys(row for row, date in zip(rows, valid, strict=True) if date == newest))


def _newest(rows: Sequence[Row]) -> Iterable[Row]:
    if len(rows) == 1:
        return rows
    newest = max(_native(row[-1]) for row in rows)
    # As keys of a dictionary equal rows are one, and stay in their order.
    return dict.fromkeys(row for row in rows if _native(row[-1]) == newest)


def _native(loaded: date | str) -> str:
    """Return a LOAD_DATE in a form in which all of a column are ordered; a date that Python has not came as text."""
    return loaded if isinstance(loaded, str) else loaded.isoformat(" ") if isinstance(loaded, datetime) else str(loaded)


class Choice:
    """Which of the two ways the next statement goes."""

    def __init__(self) -> None:
        self._wait = 0

    def all_rows(self, accounts: Sequence[str]) -> bool:
        """Tell whether all rows of these accounts are to be read."""
        return self._wait == 0 and len(accounts) >= FEW

    def picked(self) -> None:
        """Note that the server has picked."""
        self._wait = max(0, self._wait - 1)

    def read(self, rows: int, current_rows: int) -> None:
        """Note how many of the rows that were read are current ones."""
        if current_rows < WORTH * rows:
            self._wait = AGAIN
