"""The contract of a source. Two sources keep it: MySQL/MariaDB and SQLite.

A source only reads. It converts between instants (aware UTC) and the types of its LOAD_DATE columns; no native date
leaves it. Errors: ``DatabaseConnectionError`` when the database cannot be reached or a read fails after its retries,
``ConfigurationError`` when a table or a needed column is missing.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol

from incident_process.core.models import SOURCE_TABLES, Record

CUSTOMER_TABLE, PAYMENT_TABLE = SOURCE_TABLES


class ReadRange(Record, frozen=True, kw_only=True):
    """The rows that a run selects, per table ``since <= LOAD_DATE <= until`` (both ends included).

    ``since`` is ``watermark - lookback``, rounded down by the source to the column's precision; the lookback is at
    least one unit of that precision. ``watermark < LOAD_DATE`` marks the window's own rows.
    """

    watermark: datetime
    lookback_seconds: float
    until: datetime


class SelectedAccount(Record, frozen=True, kw_only=True):
    """An account with a row in the range; ``in_window``: it has one newer than the watermark."""

    account: str
    in_window: bool


class Survey(Record, frozen=True, kw_only=True):
    """The totals of a survey over a range."""

    rows: dict[str, int]
    """Rows in the window, per table."""
    newest: datetime | None
    """The newest LOAD_DATE in the range, None when it is empty."""
    accounts: int
    """Accounts with a row in the window."""
    reread: int
    """Accounts with rows in the lookback only."""


class AccountRows(Record, frozen=True, kw_only=True):
    """The current rows of one account as of the window's end, as the driver returned them.

    ``customers`` rows follow ``columns.CUSTOMER_COLUMNS``: for each ASSET_ID all rows of its newest LOAD_DATE (the
    document's order decides between them). ``payments`` rows follow ``columns.PAYMENT_COLUMNS``: all rows of the newest
    ACCOUNT_PAYMENT_DAT. LOAD_DATE values are aware UTC instants; where ``source_timezone`` is not UTC, so are those of
    other TIMESTAMP columns. Every other value is native.
    """

    account: str
    customers: Sequence[Sequence[Any]]
    payments: Sequence[Sequence[Any]]

    def __repr__(self) -> str:
        """Leave the rows out: they are personal data."""
        return f"AccountRows({len(self.customers)} customer rows, {len(self.payments)} payments)"


def ignore_count(accounts: int) -> None:
    """Ignore the count of accounts: the default of ``seen``."""


class ExcludedRows(Record, frozen=True, kw_only=True):
    """The rows of one table that no window takes (SPEC 2).

    ``unprocessable``: rows that no window can ever take, because LOAD_DATE is NULL or zero, or the account number is
    missing or cannot be queried: bytes that are no UTF-8, or a FLOAT that its text form cuts. ``future``: rows whose
    LOAD_DATE is still to come, the last of them at ``latest`` (aware UTC). They wait.
    """

    unprocessable: int = 0
    future: int = 0
    latest: datetime | None = None


class Source(Protocol):
    """Customer and payment rows, read only. An asynchronous context manager."""

    async def __aenter__(self) -> "Source":
        """Connect and read the types of the LOAD_DATE columns."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close the connections."""

    async def now(self) -> datetime:
        """Return the database's clock."""

    async def writers(self) -> list[datetime] | None:
        """Return when each open transaction that has changed rows began, by the database's clock (whole seconds).

        None when the user lacks the privilege or the server does not tell; empty where there is no such view (SQLite).
        """

    @property
    def load_date_types(self) -> Mapping[str, object]:
        """The type of LOAD_DATE in each table as the database declares it; ``str`` of a type names it."""

    async def indexes(self) -> dict[str, list[tuple[str, ...]]]:
        """Return, per table, the columns of each index, in capitals and in the index's order."""

    async def excluded(self) -> dict[str, "ExcludedRows"]:
        """Return, per table, how many rows no window takes, by the database's clock."""

    @property
    def unprocessable_rows(self) -> Mapping[str, str]:
        """The statement with which an operator finds the unprocessable rows, per table."""

    async def survey(self, span: ReadRange, seen: Callable[[int], None] = ignore_count) -> "Survey":
        """Survey the range in one consistent view and keep its accounts, ascending, for ``selected_accounts``.

        Meanwhile it calls ``seen`` repeatedly with the number of accounts so far.
        """

    def selected_accounts(self, size: int) -> AsyncIterator[list[SelectedAccount]]:
        """Yield the accounts of the last survey in order, in lists of at most ``size``."""

    async def read(self, accounts: Sequence[str], as_of: datetime) -> list[AccountRows]:
        """Read the current rows of these accounts with ``LOAD_DATE <= as_of``, in one consistent view.

        It returns the accounts in the given order, one without any row empty. It compares account numbers exactly,
        whatever the column's collation.
        """
