"""What the pipeline asks of a source. Two sources keep this contract: MySQL/MariaDB and SQLite.

A source only reads. It knows the types of its LOAD_DATE columns and turns instants (aware UTC) into bounds of those
types and back; above it nobody sees a native date. Errors: ``DatabaseConnectionError`` when it cannot be reached or a
read gave up after its retries, ``ConfigurationError`` when a table or a needed column is missing.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol

from incident_process.core.models import SOURCE_TABLES, Record

CUSTOMER_TABLE, PAYMENT_TABLE = SOURCE_TABLES


class ReadRange(Record, frozen=True, kw_only=True):
    """The rows that a run looks at, per table ``since <= LOAD_DATE <= until`` (both ends included).

    ``since`` is ``watermark - lookback`` and is rounded down to the column's precision by the source; the lookback is
    widened to one unit of that precision where it is shorter. ``watermark < LOAD_DATE`` marks the window's own rows.
    """

    watermark: datetime
    lookback_seconds: float
    until: datetime


class SelectedAccount(Record, frozen=True, kw_only=True):
    """An account with at least one row in the span; in_window when one of them is newer than the watermark."""

    account: str
    in_window: bool


class Survey(Record, frozen=True, kw_only=True):
    """The outcome of looking over a span: totals, and the accounts in ascending order of their code points."""

    rows: dict[str, int]
    """Rows in the window, per table."""
    newest: datetime | None
    """The newest LOAD_DATE in the span, None when it is empty."""
    accounts: int
    """Accounts with a row in the window."""
    reread: int
    """Accounts that have rows in the lookback only."""


class AccountRows(Record, frozen=True, kw_only=True):
    """The current rows of one account as of the window's end, as the driver gave them.

    ``customers`` rows follow ``columns.CUSTOMER_COLUMNS``: for each ASSET_ID all rows that share its newest LOAD_DATE
    (the document's order decides between them). ``payments`` rows follow ``columns.PAYMENT_COLUMNS``: all that share
    the newest ACCOUNT_PAYMENT_DAT. LOAD_DATE values are already aware UTC instants, and where ``source_timezone``
    is not UTC those of other TIMESTAMP columns are, too; every other value is native.
    """

    account: str
    customers: Sequence[Sequence[Any]]
    payments: Sequence[Sequence[Any]]

    def __repr__(self) -> str:
        """Leave the rows out: they are personal data."""
        return f"AccountRows({len(self.customers)} customer rows, {len(self.payments)} payments)"


def unheard(accounts: int) -> None:
    """Nobody wants to know how many accounts a survey has seen."""


class ExcludedRows(Record, frozen=True, kw_only=True):
    """The rows of one table that no window takes (SPEC 2).

    ``unprocessable``: rows that never can enter one, as LOAD_DATE is NULL or zero, or there is no account number. A
    number that cannot be asked for is none: bytes that are no UTF-8, or a FLOAT that its text form cuts.
    ``future``: rows whose LOAD_DATE is still to come, the last of them at ``latest`` (aware UTC). They wait.
    """

    unprocessable: int = 0
    future: int = 0
    latest: datetime | None = None


class Source(Protocol):
    """Customer and payment rows, read only. An asynchronous context manager."""

    async def __aenter__(self) -> "Source":
        """Connect and read the types of the LOAD_DATE columns."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close the connections."""
        ...

    async def now(self) -> datetime:
        """Return the database's clock."""
        ...

    async def writers(self) -> list[datetime] | None:
        """Return when each open transaction that has changed rows began, by the database's clock (whole seconds).

        None when the user may not know or the server does not tell; empty where transactions cannot be asked for
        (SQLite).
        """
        ...

    @property
    def load_date_types(self) -> Mapping[str, object]:
        """The type of LOAD_DATE in each table as the database declares it; ``str`` of a type names it."""
        ...

    async def indexes(self) -> dict[str, list[tuple[str, ...]]]:
        """Return, per table, the columns of each index, in capitals and in the index's order."""
        ...

    async def excluded(self) -> dict[str, "ExcludedRows"]:
        """Return, per table, how many rows no window takes, by the database's clock."""
        ...

    @property
    def unprocessable_rows(self) -> Mapping[str, str]:
        """The statement by which an operator finds these rows, per table."""
        ...

    async def survey(self, span: ReadRange, seen: Callable[[int], None] = unheard) -> "Survey":
        """Look over the span in one consistent view and hold its accounts ready for ``selected_accounts``.

        Meanwhile ``seen`` is told again and again how many accounts there are at least.
        """
        ...

    def selected_accounts(self, size: int) -> AsyncIterator[list[SelectedAccount]]:
        """Yield the accounts of the last survey in order, in lists of at most ``size``."""
        ...

    async def read(self, accounts: Sequence[str], as_of: datetime) -> list[AccountRows]:
        """Read the current rows of these accounts with ``LOAD_DATE <= as_of``, in one consistent view.

        Accounts come back in the order asked; one that has no row at all by then comes back empty. Account numbers
        are compared exactly, whatever the collation of the column.
        """
        ...
