"""Transactions: begun, committed, retried where that is safe, over a small number of connections."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from incident_process.core.errors import ConfigurationError
from incident_process.core.retry import call_with_retries
from incident_process.database.errors import TransientDatabaseError
from incident_process.settings.database_urls import SqliteTarget, Target, parse_target
from incident_process.state.sql.connection import Connection

T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]
"""The statements of one transaction. It may be run again from its start, so it changes nothing outside of it."""

LEASE_SECONDS = 60.0
"""What holds where nobody says how long the lease is."""

READERS = 4
"""How many reads may be under way at once, beside one write: each has a connection of its own."""

_RETRY_ATTEMPTS = 5
_RETRY_SECONDS = 60.0


class SqlDatabase:
    """The connections to one database.

    All statements that the store runs are safe to repeat, so a transaction that died of a deadlock, a lock wait or a
    lost connection is run again a few times; then the caller gets DatabaseConnectionError.

    Args:
        target: the database, or its URL.
        lease_seconds: after how long a server lets go of what a runner has locked that fell silent.

    Raises:
        ConfigurationError: the URL cannot be one of a state, or the files for TLS are not right.
    """

    def __init__(self, target: Target | str, lease_seconds: float = LEASE_SECONDS) -> None:
        self._connection, self.place, self.file = _connector(target, lease_seconds)
        self._idle: list[Connection] = []
        self._readers = asyncio.Semaphore(READERS)
        # All writes of a store lock the same lease row: waiting here is fairer, and holds no connection.
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Connect once, without a second try: a wrong address should say so at once.

        Raises:
            DatabaseConnectionError: the database cannot be reached.
        """
        self._idle.append(await self._take())

    async def close(self) -> None:
        """Close the connections."""
        while self._idle:
            await self._idle.pop().close()

    async def read(self, work: Work[T]) -> T:
        """Run reads in one transaction and return what ``work`` returns."""
        async with self._readers:
            return await self._again(work, writes=False)

    async def write(self, work: Work[T]) -> T:
        """Run writes in one transaction, one after the other, and return what ``work`` returns.

        When ``work`` raises, nothing of it is in the database.
        """
        async with self._turn:
            return await self._again(work, writes=True)

    async def _again(self, work: Work[T], *, writes: bool) -> T:
        once = partial(self._once, work, writes=writes)
        return await call_with_retries(
            once, TransientDatabaseError, attempts=_RETRY_ATTEMPTS, wait_initial=0.1, seconds=_RETRY_SECONDS
        )

    async def _once(self, work: Work[T], *, writes: bool) -> T:
        connection = await self._take()
        usable = False
        try:
            connection.begin(writes=writes)
            result = await work(connection)
            await connection.commit()
            usable = True
        except Exception:
            usable = await connection.rollback()
            if not usable:
                # A server that was restarted has lost the others too.
                while self._idle:
                    self._idle.pop().drop()
            raise
        finally:
            # Not usable is also one whose task was cancelled: nobody waits for its answer, so nobody can undo in order.
            if usable:
                self._idle.append(connection)
            else:
                connection.drop()
        return result

    async def _take(self) -> Connection:
        """Return an idle connection that is alive, or a new one."""
        while True:
            fresh = not self._idle
            connection = self._connection() if fresh else self._idle.pop()
            usable = False
            try:
                if fresh:
                    await connection.connect()
                usable = fresh or await connection.alive()
            finally:
                if not usable:
                    connection.drop()
            if usable:
                return connection


def _connector(target: Target | str, lease_seconds: float) -> tuple[Callable[[], Connection], str, Path | None]:
    """Return what makes a connection, how messages name the database (never with user or password), and its file."""
    if isinstance(target, str):
        try:
            target = parse_target(target)
        except ValueError as exc:
            raise ConfigurationError(f"[STATE] url {exc}") from exc
    if isinstance(target, SqliteTarget):
        from incident_process.state.sql.sqlite import SqliteConnection

        file, at = target.path, f"SQLite file {target.path}"
        return lambda: SqliteConnection(file, f"The state's {at}"), at, file
    from incident_process.database.session import state_session
    from incident_process.state.sql.mysql import MySQLConnection

    session = state_session(lease_seconds)
    server, tls, at = target, target.ssl_context(), f"database {target.database} at {target.host}:{target.port}"
    return lambda: MySQLConnection(server, tls, f"The state's {at}", session), at, None
