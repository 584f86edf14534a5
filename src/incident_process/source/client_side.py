"""Current rows read with all that the accounts have, and picked out here: cheaper where histories are short.

To let the server pick (``source.current_rows``) costs it four times as much a row as to send the row: it looks
each newest row up again, makes text comparable exactly, and tells equal rows apart. That pays where an account has a
history. Where nearly every row is a current one anyway, as after a first load or where loads replace each other, all
rows are asked for, with a bound on their number. The server's answer decides: too many rows, or too few of them
current, and the next statements let the server pick again; now and then the other way is tried anew.

The accounts of a chunk follow each other. Where nearly all that lie between its first and its last are among them, one
range is asked for: a thousand single ones cost the server half as much again.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS
from incident_process.source.dialects import OLDEST
from incident_process.source.driver import Row
from incident_process.source.load_date import Kind
from incident_process.source.queries import ACCOUNT_COLUMN, Statement, TableQueries, account_marks, plain_columns

FEW = 100
"""Below so many accounts the server always picks: there is nothing to save."""
MOST_ROWS = 8
"""How many rows an account may have on average: what is read in vain, once, where it has more."""
WORTH = 0.4
"""The share of current rows among an account's from which on it pays to read them all."""
DENSE = 0.85
"""The share of rows that were asked for among those of a range from which on it pays to ask for the range."""
AGAIN = 64
"""After so many statements what was not worth it is tried again."""

_ASSET = CUSTOMER_COLUMNS.index("ASSET_ID")
_PAID = PAYMENT_COLUMNS.index("ACCOUNT_PAYMENT_DAT")
_OLDEST = max(datetime.fromisoformat(oldest) for oldest in OLDEST.values())


def all_rows(of: TableQueries, accounts: Sequence[str], as_of: datetime, *, as_range: bool = False) -> Statement:
    """The rows of these accounts with a LOAD_DATE at or before ``as_of``, one more than ``most`` at the most.

    ``as_range``: those of all accounts from the first of these to the last; only where ``make_a_range``.
    """
    until, until_values = of.dates.until(as_of)
    among, values = f"IN {account_marks(of, accounts)}", tuple(accounts)
    if as_range:
        among, values = f"BETWEEN {of.dialect.mark} AND {of.dialect.mark}", (min(accounts), max(accounts))
    return Statement(
        sql=f"""
            SELECT {plain_columns(of)} FROM {of.table}
            WHERE {ACCOUNT_COLUMN[of.table]} {among} AND {until}
            LIMIT {most(accounts) + 1}
            """,  # noqa: S608 - names and a number only, values are bound
        parameters=(*values, *until_values),
    )


def make_a_range(accounts: Sequence[str]) -> bool:
    """Tell whether the column's collation, whichever it is, has all of these between the least and the greatest.

    Digits are in the same order in all of them, other characters are not.
    """
    length = len(accounts[0])
    return all(len(account) == length and account.isdecimal() and account.isascii() for account in accounts)


def most(accounts: Sequence[str]) -> int:
    """Return how many rows of these accounts are still worth reading."""
    return MOST_ROWS * len(accounts)


def current(rows: Sequence[Row]) -> list[Row]:
    """Return, of one account's rows, those with the newest LOAD_DATE of their ASSET_ID (NULL is one), equal rows once.

    LOAD_DATE, the last column, is as the driver gave it.
    """
    if len({row[_ASSET] for row in rows}) == len(rows):
        return list(rows)
    by_asset: dict[Any, list[Row]] = {}
    for row in rows:
        by_asset.setdefault(row[_ASSET], []).append(row)
    return [row for of_asset in by_asset.values() for row in _newest(of_asset)]


def newest_payments(rows: Sequence[Row], kind: Kind) -> list[Row]:
    """Return, of one account's payments, those with the newest ACCOUNT_PAYMENT_DAT, equal rows once.

    NULL and zero dates are the oldest, and equal. ``kind`` is that of the column.
    """
    if len(rows) == 1:
        return list(rows)
    dates: list[Any] = [row[_PAID] for row in rows]
    newest = max(dates) if all(type(date) is datetime for date in dates) else None
    if newest is None or newest < _OLDEST:
        native = ["" if date is None else _native(date) for date in dates]
        dates = [date if date >= OLDEST[kind] else "" for date in native]
        newest = max(dates)
    return list(dict.fromkeys(row for row, date in zip(rows, dates, strict=True) if date == newest))


def _newest(rows: Sequence[Row]) -> Iterable[Row]:
    if len(rows) == 1:
        return rows
    newest = max(_native(row[-1]) for row in rows)
    # As keys of a dictionary equal rows are one, and stay in their order.
    return dict.fromkeys(row for row in rows if _native(row[-1]) == newest)


def _native(loaded: date | str) -> str:
    """Return a LOAD_DATE in a form in which all of a column are ordered; a date that Python has not came as text."""
    return loaded if isinstance(loaded, str) else loaded.isoformat(" ") if isinstance(loaded, datetime) else str(loaded)


class StrategySelector:
    """Which of the ways the next statement goes."""

    def __init__(self) -> None:
        self._wait = 0
        self._wait_for_range = 0

    def all_rows(self, accounts: Sequence[str]) -> bool:
        """Tell whether all rows of these accounts are to be read."""
        return self._wait == 0 and len(accounts) >= FEW

    def picked(self) -> None:
        """Note that the server has picked."""
        self._wait = max(0, self._wait - 1)

    def as_range(self, accounts: Sequence[str]) -> bool:
        """Tell whether all that lie between the first and the last of them are to be asked for at once."""
        return self._wait_for_range == 0 and make_a_range(accounts)

    def read(self, rows: int, wanted: int, current_rows: int, *, as_range: bool) -> None:
        """Note how many of the rows that were read are of accounts that were asked for, and how many are current."""
        if not as_range:
            self._wait_for_range = max(0, self._wait_for_range - 1)
            wanted = rows
        if wanted < DENSE * rows:
            self._wait_for_range = AGAIN
        elif current_rows < WORTH * wanted:
            self._wait = AGAIN

    def read_too_many(self, rows: int, wanted: int, *, as_range: bool) -> None:
        """Note that there were more rows than are worth reading, and how many of these are of the accounts themselves.

        Where nearly all of a range's are, asking for the accounts one by one would bring too many as well.
        """
        if as_range and wanted < DENSE * rows:
            self._wait_for_range = AGAIN
        else:
            self._wait = AGAIN
