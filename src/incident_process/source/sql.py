"""The source over a driver, the same for both databases: it surveys a range, keeps its accounts, reads current rows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar
from zoneinfo import ZoneInfo

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError
from incident_process.core.retry import call_with_retries
from incident_process.database.errors import MissingPrivilegeError, TransientDatabaseError
from incident_process.source import client_side, queries
from incident_process.source.account_spool import Sighting, SurveySpool
from incident_process.source.base import (
    CUSTOMER_TABLE,
    PAYMENT_TABLE,
    AccountRows,
    ExcludedRows,
    ReadRange,
    SelectedAccount,
    Survey,
    ignore_count,
)
from incident_process.source.column_types import Reading, expected, reading
from incident_process.source.current_rows import account_text, customer_rows, payment_rows
from incident_process.source.dialects import SQLITE_DIALECT, SourceDialect, converted_mark, is_utc, load_dates
from incident_process.source.driver import Column, Driver, Row
from incident_process.source.in_flight import open_writers
from incident_process.source.load_date import Kind, LoadDateType, in_utc, instant_of, lookback_start, parse_type
from incident_process.source.queries import ACCOUNT_COLUMN, NEEDED_COLUMNS, Statement, TableQueries

T = TypeVar("T")

ATTEMPTS = 3
"""Attempts of one read. Reads are repeatable, so after a lost connection the source starts over."""

STATEMENT_ACCOUNTS = 1000
"""Accounts in one statement: with each bound twice, far below every limit, and the server's plans use the index."""

BATCH = 2000
"""Rows that one fetch takes from a streaming cursor."""

_TEXT_TYPES = ("CHAR", "TEXT", "CLOB", "ENUM", "SET", "STRING")
_WRITTEN = (Reading.TEXT, Reading.NUMBER_TEXT)
_NUMBERS = (Reading.NUMBER, Reading.NUMBER_TEXT)
_LOSSY_TYPES = ("FLOAT", "REAL", "DOUBLE", "BINARY", "BLOB", "BIT")
"""Types whose text form may match another value, or none."""


class SqlSource:
    """A ``Source`` over a driver; see ``source.base`` for the contract of each method."""

    def __init__(self, driver: Driver, zone: ZoneInfo) -> None:
        self._driver = driver
        self._zone = zone
        self._lock = asyncio.Lock()
        self._tables: dict[str, TableQueries] = {}
        self._clock = ""
        self._choices = {table: client_side.StrategySelector() for table in NEEDED_COLUMNS}
        self._spool: SurveySpool | None = None

    async def __aenter__(self) -> Self:
        """Connect and read the types of the columns.

        Raises:
            DatabaseConnectionError: The database cannot be reached.
            ConfigurationError: A table or a needed column is missing, or LOAD_DATE is no date.
        """
        try:
            await self._attempt(self._learn)
        except BaseException:
            await self._driver.drop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection and forget the survey."""
        self._forget()
        await self._driver.close()

    @property
    def load_date_types(self) -> Mapping[str, LoadDateType]:
        """The type of LOAD_DATE in each table, as the database declares it."""
        return {name: of.dates.column for name, of in self._tables.items()}

    async def now(self) -> datetime:
        """Return the database's clock (aware UTC)."""
        return await self._attempt(self._now)

    async def writers(self) -> list[datetime] | None:
        """Return when each open transaction that has changed rows began; None when that cannot be known (SPEC 3)."""

        async def work() -> list[datetime] | None:
            dialect = await self._driver.connect()
            return await open_writers(self._driver, dialect.now) if dialect.tells_writers else []

        try:
            return await self._attempt(work)
        except MissingPrivilegeError:
            return None

    async def indexes(self) -> dict[str, list[tuple[str, ...]]]:
        """Return, per table, the columns of each index, in capitals and in the index's order."""

        async def work() -> dict[str, list[tuple[str, ...]]]:
            return {table: await self._driver.indexes(table) for table in NEEDED_COLUMNS}

        return await self._attempt(work)

    async def excluded(self) -> dict[str, ExcludedRows]:
        """Return, per table, how many rows no window takes (SPEC 2)."""

        async def work() -> dict[str, ExcludedRows]:
            async with self._driver.snapshot():
                # Asked within the view, which lacks rows committed and stamped after this moment.
                now = await self._now()
                return {name: await self._excluded(of, now) for name, of in self._tables.items()}

        return await self._attempt(work)

    @property
    def unprocessable_rows(self) -> Mapping[str, str]:
        """The statement with which an operator finds the unprocessable rows, per table."""
        return {name: queries.unprocessable_rows(of) for name, of in self._tables.items()}

    async def survey(self, span: ReadRange, seen: Callable[[int], None] = ignore_count) -> Survey:
        """Survey the range in one consistent view and keep its accounts for ``selected_accounts``."""

        async def work() -> Survey:
            self._forget()
            spool = self._spool = SurveySpool()
            accounts = 0
            async with self._driver.snapshot():
                async for batch in self._sightings(CUSTOMER_TABLE, span):
                    accounts += spool.customers(batch)
                    seen(accounts)
                async for batch in self._sightings(PAYMENT_TABLE, span):
                    spool.payments(batch)
            return spool.finish()

        return await self._attempt(work)

    async def selected_accounts(self, size: int) -> AsyncIterator[list[SelectedAccount]]:
        """Yield the accounts of the last survey in order, in lists of at most ``size``; each call starts over."""
        spool, position = self._spool, 0
        if spool is None:
            raise RuntimeError("selected_accounts() needs a survey() before it")
        while True:
            accounts, position = spool.selected_accounts(position, size)
            if not accounts:
                return
            yield accounts

    async def read(self, accounts: Sequence[str], as_of: datetime) -> list[AccountRows]:
        """Read the current rows of these accounts as of an instant (aware), in one consistent view."""

        async def work() -> list[AccountRows]:
            customers: dict[str, list[Row]] = {}
            payments: dict[str, list[Row]] = {}
            distinct = list(dict.fromkeys(accounts))
            async with self._driver.snapshot():
                for start in range(0, len(distinct), STATEMENT_ACCOUNTS):
                    part = distinct[start : start + STATEMENT_ACCOUNTS]
                    customers |= await self._read(CUSTOMER_TABLE, part, as_of)
                    payments |= await self._read(PAYMENT_TABLE, part, as_of)
            return [
                AccountRows(account=account, customers=customers[account], payments=payments[account])
                for account in accounts
            ]

        return await self._attempt(work)

    # -- the parts ------------------------------------------------------------------------------------------------

    async def _attempt(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do some reading; after a lost connection, connect and start over, at most ``ATTEMPTS`` times.

        Each attempt repeats the whole work, which must therefore build its result anew.
        """
        async with self._lock:
            return await call_with_retries(
                partial(self._once, work), TransientDatabaseError, attempts=ATTEMPTS, wait_initial=0.2
            )

    async def _once(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            dialect = await self._driver.connect()
            self._clock = dialect.now
            return await work()
        except BaseException as error:
            # After any error, also a cancellation, the connection may be in the middle of an answer.
            await self._driver.drop()
            translated = self._driver.translate(error) if isinstance(error, Exception) else None
            if translated is None:
                raise
            raise translated from error

    async def _now(self) -> datetime:
        rows = await self._driver.fetch(Statement(sql=self._clock))
        instant = instant_of(rows[0][0], LoadDateType(kind=Kind.TIMESTAMP, digits=6), self._zone)
        if instant is None:
            raise DatabaseConnectionError(f"{self._driver.where} did not tell the time.")
        return instant

    async def _excluded(self, of: TableQueries, now: datetime) -> ExcludedRows:
        ((never, future, latest),) = await self._driver.fetch(queries.excluded(of, now))
        return ExcludedRows(
            unprocessable=int(never),
            future=int(future),
            latest=instant_of(latest, of.dates.column, self._zone) if future else None,
        )

    async def _learn(self) -> None:
        """Read the tables' columns and their types."""
        dialect = await self._driver.connect()
        for table, needed in NEEDED_COLUMNS.items():
            columns = await self._driver.columns(table)
            self._check(table, columns, needed)
            column = parse_type(columns["LOAD_DATE"].declared)
            if column is None and dialect.mark == "?":
                column = LoadDateType(kind=Kind.DATETIME, digits=6)  # SQLite: a text column needs no type
            if column is None:
                raise ConfigurationError(
                    f"{self._driver.place}: the column LOAD_DATE of the table {table} is of type "
                    f"{columns['LOAD_DATE'].declared}; it has to be DATE, DATETIME or TIMESTAMP."
                )
            paid = parse_type(columns["ACCOUNT_PAYMENT_DAT"].declared) if table == PAYMENT_TABLE else None
            readings = self._readings(table, columns, needed, dialect)
            account = columns[ACCOUNT_COLUMN[table]]
            self._tables[table] = TableQueries(
                table=table,
                dialect=dialect,
                dates=load_dates(dialect, column, self._zone),
                text_columns=frozenset(name for name in needed if _is_any(_TEXT_TYPES, columns[name].declared)),
                written_columns=frozenset(
                    name for name in needed if _is_written(name, columns[name].declared) or readings[name] in _WRITTEN
                ),
                number_columns=frozenset(name for name in needed if readings[name] in _NUMBERS),
                lossy_account=not account.declared or _is_any(_LOSSY_TYPES, account.declared),
                account_mark=converted_mark(dialect, account.charset, account.collation),
                instants=() if is_utc(self._zone) else _instants(needed, columns),
                payment_kind=Kind.DATETIME if paid is None else paid.kind,
                payment_text=table == PAYMENT_TABLE and paid is None and dialect is not SQLITE_DIALECT,
            )

    def _check(self, table: str, columns: Mapping[str, Column], needed: Sequence[str]) -> None:
        if not columns:
            raise ConfigurationError(
                f"{self._driver.place}: {self._driver.where} has no table {table}, or the user may not read it. "
                f"Name the database that holds {CUSTOMER_TABLE} and {PAYMENT_TABLE}, or grant SELECT on both."
            )
        missing = [name for name in needed if name not in columns]
        if missing:
            raise ConfigurationError(
                f"{self._driver.place}: the table {table} in {self._driver.where} has no column "
                f"{', '.join(missing)}, or the user may not read it. The document needs it: add it (it may be NULL), "
                "or grant SELECT on it."
            )

    def _readings(
        self, table: str, columns: Mapping[str, Column], needed: Sequence[str], dialect: SourceDialect
    ) -> Mapping[str, Reading]:
        """Return how to read each needed column; raise ConfigurationError for one that cannot be read."""
        if dialect is SQLITE_DIALECT:  # its values have types of their own, whatever the column declares
            return dict.fromkeys(needed, Reading.PLAIN)
        readings = {name: reading(name, columns[name].declared) for name in needed}
        # These two have rules of their own: LOAD_DATE by its type, the account in the survey's form.
        readings["LOAD_DATE"] = readings[ACCOUNT_COLUMN[table]] = Reading.PLAIN
        for name, how in readings.items():
            if how is Reading.REFUSED:
                raise ConfigurationError(
                    f"{self._driver.place}: the column {name} of the table {table} is of type "
                    f"{columns[name].declared}; it has to be {expected(name)}."
                )
        return readings

    async def _sightings(self, table: str, span: ReadRange) -> AsyncIterator[Iterable[Sighting]]:
        of = self._tables[table]
        dates = of.dates
        since = lookback_start(span.watermark, span.lookback_seconds, dates.column, self._zone)
        statement = queries.survey(of, span.watermark, since, span.until)
        async for batch in self._driver.stream(statement, BATCH):
            yield self._seen(of, batch, span.until)

    def _seen(self, of: TableQueries, batch: Sequence[Row], until: datetime) -> Iterator[Sighting]:
        instants: dict[Any, datetime | None] = {}  # many rows share few dates
        for account, rows, newest in batch:
            if newest not in instants:
                instant = instant_of(newest, of.dates.column, self._zone)
                # A local time that never occurred moves forward, but must not leave the range.
                instants[newest] = None if instant is None else min(instant, until)
            yield Sighting(account.encode() if isinstance(account, str) else account, int(rows), instants[newest])

    async def _read(self, table: str, accounts: Sequence[str], as_of: datetime) -> dict[str, list[Row]]:
        """Return a table's current rows by account, picked by the server or here (see ``client_side``)."""
        of, choice = self._tables[table], self._choices[table]
        is_customers = table == CUSTOMER_TABLE
        here = of.dialect is not SQLITE_DIALECT and not of.payment_text
        while here and choice.all_rows(accounts):
            as_range = choice.as_range(accounts)
            rows = await self._driver.fetch(client_side.all_rows(of, accounts, as_of, as_range=as_range))
            found = _by_account(of, rows, accounts)
            wanted = sum(map(len, found.values()))
            if len(rows) <= client_side.most(accounts):
                pick = (
                    client_side.current if is_customers else partial(client_side.newest_payments, kind=of.payment_kind)
                )
                picked = self._picked(of, found, pick)
                choice.read(len(rows), wanted, sum(map(len, picked.values())), as_range=as_range)
                return picked
            choice.read_too_many(len(rows), wanted, as_range=as_range)  # the selector then chooses another way
        choice.picked()
        fetch = customer_rows if is_customers else payment_rows
        return self._picked(of, _by_account(of, await fetch(self._driver.fetch, of, accounts, as_of), accounts), list)

    def _picked(
        self, of: TableQueries, found: Mapping[str, list[Row]], pick: Callable[[list[Row]], list[Row]]
    ) -> dict[str, list[Row]]:
        """Return those rows of each account that ``pick`` selects, with LOAD_DATE (the last column) as an instant."""
        instants: dict[Any, datetime | None] = {}  # many rows share few dates
        picked: dict[str, list[Row]] = {}
        for account, rows in found.items():
            its_rows = picked[account] = []
            for row in pick(rows) if len(rows) > 1 else rows:
                values = in_utc(row, of.instants) if of.instants else list(row)
                loaded = values[-1]
                if loaded not in instants:
                    instants[loaded] = instant_of(loaded, of.dates.column, self._zone)
                values[-1] = instants[loaded]
                its_rows.append(values)
        return picked

    def _forget(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None


def _instants(needed: Sequence[str], columns: Mapping[str, Column]) -> tuple[int, ...]:
    """Return the places of the TIMESTAMP columns in a row, without LOAD_DATE, the last."""
    types = [parse_type(columns[name].declared) for name in needed[:-1]]
    return tuple(place for place, one in enumerate(types) if one is not None and one.kind is Kind.TIMESTAMP)


def _by_account(of: TableQueries, rows: Iterable[Row], accounts: Iterable[str]) -> dict[str, list[Row]]:
    """Return the rows of exactly these accounts: the database found them by its own equality of account numbers."""
    at = NEEDED_COLUMNS[of.table].index(ACCOUNT_COLUMN[of.table])
    found: dict[str, list[Row]] = {account: [] for account in accounts}
    for row in rows:
        account = row[at]
        its_rows = found.get(account if type(account) is str else account_text(account))
        if its_rows is not None:
            its_rows.append(row)
    return found


def _is_any(types: Iterable[str], declared: str) -> bool:
    return any(name in declared.upper() for name in types)


def _is_written(name: str, declared: str) -> bool:
    """Tell whether a column of another type is read as text: an account number, or a zero-filled one."""
    return not _is_any(_TEXT_TYPES, declared) and (name in ACCOUNT_COLUMN.values() or _is_any(["ZEROFILL"], declared))
