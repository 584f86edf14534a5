"""Reads all rows of the accounts and picks the current ones here: cheaper where histories are short.

Picking (``source.current_rows``) costs the server four times as much a row as sending it: the server looks up each
newest row again, compares text exactly, and removes equal rows. That pays where accounts have a history. Where nearly
every row is current, as after a first load or where loads replace each other, the source asks for all rows, up to a
limit. If the answer has too many rows, or too few current ones, the server picks for the next statements; now and then
the source tries this way again.

The accounts of a chunk are consecutive. Where nearly all accounts between the first and the last are among them, the
source asks for one range: a thousand single accounts cost the server half as much again.
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
"""Accounts in a statement below which the server always picks: there is nothing to save."""
MOST_ROWS = 8
"""Rows per account, on average, up to which this way may read: the loss where accounts have more."""
WORTH = 0.4
"""Share of current rows among the accounts' rows from which on reading all rows pays."""
DENSE = 0.85
"""Share of wanted rows among those of a range from which on asking for the range pays."""
AGAIN = 64
"""Statements after which the source tries again what did not pay."""

_ASSET = CUSTOMER_COLUMNS.index("ASSET_ID")
_PAID = PAYMENT_COLUMNS.index("ACCOUNT_PAYMENT_DAT")
_OLDEST = max(datetime.fromisoformat(oldest) for oldest in OLDEST.values())


def all_rows(of: TableQueries, accounts: Sequence[str], as_of: datetime, *, as_range: bool = False) -> Statement:
    """Return the query for the accounts' rows with a LOAD_DATE at or before ``as_of``: at most ``most`` and one more.

    ``as_range``: the rows of all accounts from the first of these to the last; only where ``make_a_range``.
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
    """Tell whether any collation orders all of these accounts between the lowest and the highest.

    All collations order digits alike, but not other characters.
    """
    length = len(accounts[0])
    return all(len(account) == length and account.isdecimal() and account.isascii() for account in accounts)


def most(accounts: Sequence[str]) -> int:
    """Return how many rows of these accounts are still worth reading."""
    return MOST_ROWS * len(accounts)


def current(rows: Sequence[Row]) -> list[Row]:
    """Return one account's rows with the newest LOAD_DATE of their ASSET_ID (NULL is one), equal rows once.

    LOAD_DATE, the last column, is as the driver returned it.
    """
    if len({row[_ASSET] for row in rows}) == len(rows):
        return list(rows)
    by_asset: dict[Any, list[Row]] = {}
    for row in rows:
        by_asset.setdefault(row[_ASSET], []).append(row)
    return [row for of_asset in by_asset.values() for row in _newest(of_asset)]


def newest_payments(rows: Sequence[Row], kind: Kind) -> list[Row]:
    """Return one account's payments with the newest ACCOUNT_PAYMENT_DAT, equal rows once.

    NULL and zero dates are the oldest, and equal. ``kind`` is the column's.
    """
    dates: list[Any] = [row[_PAID] for row in rows]
    newest = max(dates) if set(map(type, dates)) == {datetime} else None
    if newest is None or newest < _OLDEST:
        native = ["" if date is None else _native(date) for date in dates]
        dates = [date if date >= OLDEST[kind] else "" for date in native]
        newest = max(dates)
    of_newest = [row for row, date in zip(rows, dates, strict=True) if date == newest]
    return of_newest if len(of_newest) == 1 else list(dict.fromkeys(of_newest))


def _newest(rows: Sequence[Row]) -> Iterable[Row]:
    if len(rows) == 1:
        return rows
    newest = max(_native(row[-1]) for row in rows)
    # The keys of a dictionary merge equal rows and keep their order.
    return dict.fromkeys(row for row in rows if _native(row[-1]) == newest)


def _native(loaded: date | str) -> str:
    """Return a LOAD_DATE as text that orders a column's values; dates that Python lacks come as text already."""
    return loaded if isinstance(loaded, str) else loaded.isoformat(" ") if isinstance(loaded, datetime) else str(loaded)


class StrategySelector:
    """Chooses how the next statement reads."""

    def __init__(self) -> None:
        self._wait = 0
        self._wait_for_range = 0

    def all_rows(self, accounts: Sequence[str]) -> bool:
        """Tell whether to read all rows of these accounts."""
        return self._wait == 0 and len(accounts) >= FEW

    def picked(self) -> None:
        """Note that the server picked."""
        self._wait = max(0, self._wait - 1)

    def as_range(self, accounts: Sequence[str]) -> bool:
        """Tell whether to ask for the range from the first to the last account."""
        return self._wait_for_range == 0 and make_a_range(accounts)

    def read(self, rows: int, wanted: int, current_rows: int, *, as_range: bool) -> None:
        """Note how many rows a statement read, how many of them are of wanted accounts, and how many are current."""
        if not as_range:
            self._wait_for_range = max(0, self._wait_for_range - 1)
            wanted = rows
        if wanted < DENSE * rows:
            self._wait_for_range = AGAIN
        elif current_rows < WORTH * wanted:
            self._wait = AGAIN

    def read_too_many(self, rows: int, wanted: int, *, as_range: bool) -> None:
        """Note that there were more rows than ``most``, and how many of those read are of wanted accounts.

        Where nearly all rows of a range are wanted, asking for single accounts would return too many as well.
        """
        if as_range and wanted < DENSE * rows:
            self._wait_for_range = AGAIN
        else:
            self._wait = AGAIN
