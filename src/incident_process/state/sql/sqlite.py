"""A connection to a SQLite file, over the standard library, in one worker thread."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from incident_process.core.errors import DatabaseConnectionError
from incident_process.database.sqlite_errors import meaning_of_sqlite
from incident_process.state.sql.connection import Connection, Row
from incident_process.state.sql.dialect import SQLITE
from incident_process.state.sql.error_translation import state_error

T = TypeVar("T")
P = ParamSpec("P")

BUSY_SECONDS = 12.0
"""How long SQLite waits for another process's write before it gives up; the transaction is then tried again."""


class SqliteConnection(Connection):
    """One connection of ``sqlite3`` and the thread that it lives in.

    The thread does one thing after the other, so what a cancelled task has left in it ends before it is undone.
    """

    dialect = SQLITE

    def __init__(self, path: Path, place: str) -> None:
        self._path = path
        self._place = place
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-state")
        self._connection: sqlite3.Connection | None = None
        self._begin = ""  # the statement that begins the transaction; it goes with the first one, in one step

    async def connect(self) -> None:
        """Open the file, or create it in a folder that is there."""
        folder = self._path.parent
        if not folder.is_dir():
            raise DatabaseConnectionError(
                f"The folder {folder} of the state's SQLite file does not exist: create it, or correct [STATE] url"
            )
        await self._call(self._open)

    async def alive(self) -> bool:
        """A file does not go away."""
        return True

    def begin(self, *, writes: bool) -> None:
        """Let the next statement be the first of a transaction."""
        # A writer takes the lock at once: a read that turned into a write could fail in the middle, its view outdated.
        self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN"

    async def commit(self) -> None:
        """End the transaction; what it wrote is on the disk."""
        if not self._begin:  # else there was no statement
            await self._call(self._statement, "COMMIT", ())

    async def rollback(self) -> bool:
        """Undo; see ``Connection``."""
        try:
            await self._call(self._undo)
        except DatabaseConnectionError:
            return False
        return True

    async def close(self) -> None:
        """Close the file and end the thread."""
        await self._call(self._shut)
        self._thread.shutdown()

    def drop(self) -> None:
        """Stop the statement, undo, and close, in the thread and without waiting for it."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.interrupt()
        self._thread.submit(self._shut)
        self._thread.shutdown(wait=False)

    async def _run(self, sql: str, values: Sequence[Any]) -> tuple[int, list[Row]]:
        return await self._call(self._statement, sql, values)

    async def _run_many(self, sql: str, rows: Sequence[Row]) -> None:
        await self._call(self._statements, sql, rows)

    async def _call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: call(*args, **kwargs))
        except sqlite3.Error as exc:
            raise state_error(self._place, meaning_of_sqlite(exc)) from exc

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        with suppress(OSError):  # of a file that is there, or cannot be made: SQLite says which
            # unsent bodies are personal data: for the owner's eyes, and SQLite gives the files beside it the same mode
            self._path.touch(mode=0o600, exist_ok=False)
        self._connection = sqlite3.connect(
            self._path,
            timeout=BUSY_SECONDS,
            isolation_level=None,  # transactions are begun and ended here, not by the driver
            check_same_thread=False,  # interrupt() comes from the event loop's thread
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")  # no commit may be forgotten by a power cut
        self._connection.execute("PRAGMA secure_delete = ON")  # bodies are personal data: gone means overwritten

    def _begun(self) -> sqlite3.Connection:
        """Return the connection, in its transaction."""
        assert self._connection is not None  # noqa: S101 - connect() comes first
        begin, self._begin = self._begin, ""
        if begin:
            self._connection.execute(begin)
        return self._connection

    def _statement(self, sql: str, values: Sequence[Any]) -> tuple[int, list[Row]]:
        cursor = self._begun().execute(sql, values)
        return cursor.rowcount, cursor.fetchall()

    def _statements(self, sql: str, rows: Sequence[Row]) -> None:
        self._begun().executemany(sql, rows)

    def _undo(self) -> None:
        self._begin = ""
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                # The journal still holds what was deleted. Whoever else has the file open keeps it from being removed
                # with the last connection, so it is emptied here, if nobody reads just now.
                connection.execute("PRAGMA busy_timeout = 0")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with suppress(sqlite3.Error):
                connection.close()
