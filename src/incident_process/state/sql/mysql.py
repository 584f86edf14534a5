"""A connection to MySQL 8 or MariaDB 10.6+, over asyncmy."""

import asyncio
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import asyncmy
from asyncmy.connection import Connection as Driver
from asyncmy.constants.CLIENT import FOUND_ROWS

from incident_process.core.errors import DatabaseConnectionError
from incident_process.database.connect import set_up
from incident_process.database.server_errors import handshake, meaning_of_error
from incident_process.database.session import Session
from incident_process.settings.database_urls import MySQLTarget
from incident_process.state.codec import PART_BYTES
from incident_process.state.sql.connection import Connection, Row
from incident_process.state.sql.dialect import MYSQL
from incident_process.state.sql.error_translation import state_error

CONNECT_SECONDS = 10.0
"""The limit for connecting, the handshake included."""
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
        self._session = session
        self._database = target.database
        self._used = 0.0
        self._packet_bytes = 0
        self._driver: Any = Driver(  # type: ignore[no-untyped-call]  # the driver says nothing about it
            host=target.host,
            port=target.port,
            user=target.user,
            # As bytes: asyncmy would encode text as Latin-1, and fail on what is not in it.
            password=target.password.get_secret_value().encode(),
            database=target.database,
            ssl=tls,
            charset="utf8mb4",
            client_flag=FOUND_ROWS,
            autocommit=None,  # set with the session
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            program_name="incident-process",
        )

    async def connect(self) -> None:
        """Connect and set up the session."""
        with self._translated():
            # The driver's own limit ends with the TCP connection; a server that accepts and says nothing is one too.
            async with asyncio.timeout(CONNECT_SECONDS):
                with handshake():
                    await self._driver.connect()
                opened = await set_up(self._driver, self._session, self._database, self._place)
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
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._driver.ping(reconnect=False)
        except DatabaseConnectionError:
            return False
        return True

    def begin(self, *, writes: bool) -> None:
        """Nothing to do."""

    async def commit(self) -> None:
        """End the transaction; what it wrote is as durable as the server is set to make it."""
        with self._translated():
            await self._driver.commit()
        self._used = time.monotonic()

    async def rollback(self) -> bool:
        """Undo; see ``Connection``."""
        try:
            with self._translated():
                await self._driver.rollback()
        except DatabaseConnectionError:
            return False
        self._used = time.monotonic()
        return True

    async def close(self) -> None:
        """Say goodbye and close; a server that does not listen any more is no error."""
        try:
            with self._translated():
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._driver.ensure_closed()
        except DatabaseConnectionError:
            self.drop()

    def drop(self) -> None:
        """Close the socket; the server undoes the transaction when it notices."""
        self._driver.close()

    async def _run(self, sql: str, values: Sequence[Any]) -> tuple[int, list[Row]]:
        with self._translated():
            async with self._driver.cursor() as cursor:
                met = await cursor.execute(sql, values or None)
                return met, list(await cursor.fetchall()) if cursor.description else []

    async def _run_many(self, sql: str, rows: Sequence[Row]) -> None:
        # The driver makes few statements of many rows, none larger than it is told.
        with self._translated():
            async with self._driver.cursor() as cursor:
                cursor.max_stmt_length = min(cursor.max_stmt_length, self._packet_bytes // 2)
                await cursor.executemany(sql, rows)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (asyncmy.MySQLError, OSError, RuntimeError) as exc:
            meaning = meaning_of_error(exc)
            if meaning is None:
                raise
            raise state_error(self._place, meaning) from exc
