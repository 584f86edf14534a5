"""The state's connection to MySQL 8 or MariaDB 10.6+: its transactions, and how much a statement may hold."""

import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from incident_process.core.errors import DatabaseConnectionError
from incident_process.database.server_connection import DRIVER_ERRORS, ServerConnection
from incident_process.database.server_errors import meaning_of_error
from incident_process.database.session import Session
from incident_process.settings.database_urls import MySQLTarget
from incident_process.state.codec import PART_BYTES
from incident_process.state.sql.connection import Connection, Row
from incident_process.state.sql.dialect import MYSQL
from incident_process.state.sql.error_translation import state_error

READ_SECONDS = 75.0
"""How long an answer may take; longer than a lock is waited for, so that the server can say why."""
STATEMENT_BYTES = 4096
"""Room for the rest of a statement beside a part of an outbox entry."""
TRUSTED_SECONDS = 1.0
"""A connection that was used so lately is not asked whether it is alive; if not, the transaction is run again."""


class MySQLConnection(Connection):
    """One connection of asyncmy. The server begins a transaction with the first statement after the last one."""

    dialect = MYSQL

    def __init__(self, target: MySQLTarget, tls: ssl.SSLContext | None, place: str, session: Session) -> None:
        self._place = place
        self._used = 0.0
        self._packet_bytes = 0
        self._server = ServerConnection(target, tls, session, place, read_seconds=READ_SECONDS, found_rows=True)

    async def connect(self) -> None:
        """Connect and set up the session."""
        with self._translated():
            opened = await self._server.connect()
        self._packet_bytes = opened.packet_bytes
        # Bytes are bound in base64, and something else of the statement needs room.
        self.part_bytes = min(PART_BYTES, max(self._packet_bytes - STATEMENT_BYTES, STATEMENT_BYTES) * 3 // 4)
        self._used = time.monotonic()

    async def alive(self) -> bool:
        """Ask the server, unless it has just answered."""
        if time.monotonic() - self._used < TRUSTED_SECONDS:
            return True
        try:
            with self._translated():
                await self._server.ping()
        except DatabaseConnectionError:
            return False
        return True

    def begin(self, *, writes: bool) -> None:
        """Nothing to do."""

    async def commit(self) -> None:
        """End the transaction; what it wrote is as durable as the server is set to make it."""
        with self._translated():
            await self._server.driver.commit()
        self._used = time.monotonic()

    async def rollback(self) -> bool:
        """Undo; see ``Connection``."""
        try:
            with self._translated():
                await self._server.driver.rollback()
        except DatabaseConnectionError:
            return False
        self._used = time.monotonic()
        return True

    async def close(self) -> None:
        """Say goodbye and close; a server that does not listen any more is no error."""
        await self._server.close()

    def drop(self) -> None:
        """Close the socket; the server undoes the transaction when it notices."""
        self._server.drop()

    async def _run(self, sql: str, values: Sequence[Any]) -> tuple[int, list[Row]]:
        with self._translated():
            return await self._server.run(sql, values)

    async def _run_many(self, sql: str, rows: Sequence[Row]) -> None:
        # The driver makes few statements of many rows, none larger than it is told.
        with self._translated():
            async with self._server.driver.cursor() as cursor:
                cursor.max_stmt_length = min(cursor.max_stmt_length, self._packet_bytes // 2)
                await cursor.executemany(sql, rows)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DRIVER_ERRORS as exc:
            meaning = meaning_of_error(exc)
            if meaning is None:
                raise
            raise state_error(self._place, meaning) from exc
