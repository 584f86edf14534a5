"""Transactions: begun, committed, retried where that is safe, and their errors translated."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import stamina
from sqlalchemy import URL, Column, Table, insert, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from incident_process.state.sql import dialect
from incident_process.state.sql.faults import TransientError, translated

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]
"""The statements of one transaction. It may be run again from its start, so it changes nothing outside of it."""

BATCH = 1000
"""How many values one IN list holds: SQLite takes 32,766 parameters, and MySQL plans long lists slowly."""

_RETRY_ATTEMPTS = 5
_RETRY_SECONDS = 60.0


class Database:
    """The connections to one database.

    All statements that the store runs are safe to repeat, so a transaction that died of a deadlock, a lock wait or a
    lost connection is run again a few times; then the caller gets DatabaseConnectionError.
    """

    def __init__(self, url: str | URL, tls: ssl.SSLContext | None = None) -> None:
        self._url = dialect.engine_url(url)
        self.place = dialect.place(self._url)
        self._engine: AsyncEngine = dialect.create_engine(self._url, tls)
        self._writer = self._engine.execution_options(**{dialect.WRITES: True})
        # All writes of a store lock the same lease row: waiting here is fairer, and holds no connection.
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Connect once, without a second try: a wrong address should say so at once.

        Raises:
            DatabaseConnectionError: the database cannot be reached.
        """
        dialect.require_folder(self._url)

        async def probe(connection: AsyncConnection) -> None:
            await connection.execute(text("SELECT 1"))

        await self._once(self._engine, probe)

    async def close(self) -> None:
        """Close the connections."""
        await self._engine.dispose()

    async def read(self, work: Work[T]) -> T:
        """Run reads in one transaction and return what ``work`` returns."""
        return await self._again(self._engine, work)

    async def write(self, work: Work[T]) -> T:
        """Run writes in one transaction, one after the other, and return what ``work`` returns.

        When ``work`` raises, nothing of it is in the database.
        """
        async with self._turn:
            return await self._again(self._writer, work)

    async def _again(self, engine: AsyncEngine, work: Work[T]) -> T:
        async for attempt in stamina.retry_context(
            on=TransientError,
            attempts=_RETRY_ATTEMPTS,
            timeout=_RETRY_SECONDS,
            wait_initial=0.1,
            wait_max=2.0,
            wait_jitter=0.2,
        ):
            with attempt:
                return await self._once(engine, work)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _once(self, engine: AsyncEngine, work: Work[T]) -> T:
        try:
            async with engine.begin() as connection:
                return await work(connection)
        except (SQLAlchemyError, OSError) as exc:
            raise translated(exc, self.place) from exc
        except RuntimeError as exc:
            if "socket instance" not in str(exc):
                raise
            # asyncmy's word for a connection that was reset between being made and being set up.
            raise translated(ConnectionResetError(str(exc)), self.place) from exc


def batches(values: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Yield the values in slices of at most ``size``."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def native(connection: AsyncConnection, column: Column[Any], value: object) -> object:
    """Return a value of the column as the driver takes it, for ``insert_rows``."""
    process = column.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
    return value if process is None else process(value)


async def insert_rows(connection: AsyncConnection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, each with a native value for every column in the table's order.

    Past SQLAlchemy's handling of each single value, which cost a quarter of the processor time of writing the ledger;
    the statement is SQLAlchemy's own, and its values are bound by the driver, which makes few statements of many rows.
    """
    await connection.exec_driver_sql(str(insert(table).compile(dialect=connection.dialect)), list(rows))
