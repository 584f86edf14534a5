"""A connection to MySQL 8 or MariaDB 10.6+, over asyncmy: under the source and the state."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from socket import SO_RCVBUF, SOL_SOCKET
from typing import Any

import asyncmy
from asyncmy.connection import Connection
from asyncmy.constants.CLIENT import FOUND_ROWS
from asyncmy.cursors import DictCursor, SSCursor

from incident_process.database.connect import CONNECT_SECONDS, set_up
from incident_process.database.login import logins
from incident_process.database.server_errors import handshake, meaning_of_error
from incident_process.database.session import Opened, Session
from incident_process.settings.database_urls import MySQLTarget

STREAM_BYTES = 128 * 1024
"""How much of a streamed result may wait unread, in the network's buffer. The driver takes whatever is there and makes
rows of it all: with the operating system's own limit of several MiB, a survey of a million accounts held 200 MiB."""

DRIVER_ERRORS = (asyncmy.MySQLError, OSError, RuntimeError)
"""What a connection raises; ``meaning_of_error`` knows what of it is the server's or the network's."""

Row = Sequence[Any]


def closed_error() -> Exception:
    """Return the error of a connection that is closed."""
    return asyncmy.errors.InterfaceError("the connection is closed")


class ServerConnection:
    """One connection whose session is as the program needs it; its errors are those that ``meaning_of_error`` knows.

    Args:
        target: The server, the database and the user.
        tls: A context for TLS, or None for a plain connection.
        session: What the session has to be like.
        where: The server in words, for messages.
        read_seconds: How long an answer may be silent before the connection counts as lost.
        found_rows: An UPDATE counts the rows that it has found, also those that it leaves as they are.
    """

    def __init__(
        self,
        target: MySQLTarget,
        tls: ssl.SSLContext | None,
        session: Session,
        where: str,
        *,
        read_seconds: float,
        found_rows: bool = False,
    ) -> None:
        self._database = target.database
        self._session = session
        self._where = where
        self.driver: Any = Connection(  # type: ignore[no-untyped-call]  # the driver says nothing about it
            host=target.host,
            port=target.port,
            user=target.user,
            # As bytes: asyncmy would encode text as Latin-1, and fail on what is not in it.
            password=target.password.get_secret_value().encode(),
            database=target.database,
            ssl=tls,
            auth_plugin_map=logins(encrypted=tls is not None),
            charset="utf8mb4",
            client_flag=FOUND_ROWS if found_rows else 0,
            autocommit=None,  # set with the session
            connect_timeout=CONNECT_SECONDS,
            read_timeout=read_seconds,
            program_name="incident-process",
        )

    async def connect(self) -> Opened:
        """Connect and set up the session; ConfigurationError when a setting of it did not take."""
        # The driver's own limit ends with the TCP connection; a server that accepts and says nothing is one too.
        async with asyncio.timeout(CONNECT_SECONDS):
            with handshake():
                await self.driver.connect()
                return await set_up(self.driver, self._session, self._database, self._where)

    async def ping(self) -> None:
        """Ask the server whether it is there."""
        async with asyncio.timeout(CONNECT_SECONDS):
            await self.driver.ping(reconnect=False)

    async def run(self, sql: str, values: Sequence[Any] = ()) -> tuple[int, list[Row]]:
        """Run a statement; return how many rows it has met, and its rows."""
        async with self.driver.cursor() as cursor:
            met = await cursor.execute(sql, values or None)
            return met, list(await cursor.fetchall()) if cursor.description else []

    async def named(self, sql: str) -> list[Mapping[str, Any]]:
        """Return the rows of a statement, each by the names of its columns."""
        async with self.driver.cursor(DictCursor) as cursor:
            await cursor.execute(sql)
            return list(await cursor.fetchall())

    async def stream(self, sql: str, values: Sequence[Any], size: int) -> AsyncIterator[list[Row]]:
        """Yield the rows of a statement as the server sends them, ``size`` at a time."""
        cursor = self.driver.cursor(SSCursor)
        # The driver has no flow control, and no other way to its socket.
        self.driver._transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_RCVBUF, STREAM_BYTES)
        await cursor.execute(sql, values or None)
        while rows := await cursor.fetchmany(size):
            yield list(rows)
        await cursor.close()

    async def close(self) -> None:
        """Say goodbye and close; a server that does not listen any more is no error."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self.driver.ensure_closed()
        except DRIVER_ERRORS as exc:
            if meaning_of_error(exc) is None:
                raise
            self.drop()

    def drop(self) -> None:
        """Close the socket at once; the server undoes a transaction when it notices."""
        self.driver.close()
