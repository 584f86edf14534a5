"""Finds the current rows of accounts: by native groups first, by exact ones where a collation mixes them (SPEC 4).

Loads pile up for years. In groups of the column's collation, the newest date of each account and ASSET_ID is one step
in the index; for exact groups the server converts, sorts and compares the whole history. The two differ only where a
native group has more than one exact account or ASSET_ID, which is rare and which a query finds.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from incident_process.source import queries
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS
from incident_process.source.queries import Statement, TableQueries

Row = Sequence[Any]
Fetch = Callable[[Statement], Awaitable[list[Row]]]
"""Returns all rows of a statement; all calls see one consistent view."""

_CUSTOMER = CUSTOMER_COLUMNS.index("ACCOUNT_NUM")
_PAYER = PAYMENT_COLUMNS.index("AP_ACCOUNT_NUMBER")


async def customer_rows(fetch: Fetch, of: TableQueries, accounts: Sequence[str], as_of: datetime) -> list[Row]:
    """Return the current customer rows of these accounts, in the order of ``CUSTOMER_COLUMNS``.

    It may also return rows of other accounts that the collation considers equal.
    """
    if not of.dialect.steps or not accounts:
        return await fetch(queries.current_customers(of, accounts, as_of)) if accounts else []
    found = await fetch(queries.native_customers(of, accounts, as_of))
    # A group with a single LOAD_DATE hides nothing.
    with_history = list(dict.fromkeys(account_text(row[_CUSTOMER]) for row in found if row[-1]))
    pairs = await fetch(queries.mixed_accounts(of, with_history)) if with_history else []
    mixed = {account_text(account) for pair in pairs for account in pair}
    rows: list[Row] = [row[:-1] for row in found if not mixed or account_text(row[_CUSTOMER]) not in mixed]
    if again := [account for account in accounts if account in mixed]:
        rows += _those_of(again, await fetch(queries.current_customers(of, again, as_of)), _CUSTOMER)
    return rows


async def payment_rows(fetch: Fetch, of: TableQueries, accounts: Sequence[str], as_of: datetime) -> list[Row]:
    """Return the newest payments of these accounts, in the order of ``PAYMENT_COLUMNS``, and others' as above."""
    rows: list[Row] = []
    if of.dialect.steps and accounts and not of.payment_text:
        rows = await fetch(queries.native_payments(of, accounts, as_of))
    found = {account_text(row[_PAYER]) for row in rows}
    # No payment, none with a date, newer ones loaded after ``as_of``, or another account's in their place.
    if unknown := [account for account in accounts if account not in found]:
        rows += _those_of(unknown, await fetch(queries.newest_payments(of, unknown, as_of)), _PAYER)
    return rows


def _those_of(accounts: Sequence[str], rows: Sequence[Row], at: int) -> list[Row]:
    """Return the rows of exactly these accounts: the server adds those of equal ones, which may be there already."""
    wanted = set(accounts)
    return [row for row in rows if account_text(row[at]) in wanted]


def account_text(account: Any) -> str:
    """Return an account number as text, as the survey has it, also from a column of numbers or bytes."""
    if isinstance(account, bytes | bytearray):
        return account.decode("utf-8", "replace")
    return account if isinstance(account, str) else str(account)
