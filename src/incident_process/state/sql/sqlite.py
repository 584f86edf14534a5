"""The state's connection to a SQLite file: its transactions, and what keeps it durable and private."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from incident_process.core.errors import DatabaseConnectionError
from incident_process.core.safe_files import refuse_planted_database
from incident_process.database.file_connection import FileConnection
from incident_process.database.sqlite_errors import meaning_of_sqlite
from incident_process.state.sql.connection import Connection, Row
from incident_process.state.sql.dialect import SQLITE
from incident_process.state.sql.error_translation import state_error

T = TypeVar("T")
P = ParamSpec("P")

BUSY_SECONDS = 12.0
"""How long SQLite waits for another process's write before it gives up; the transaction is then tried again."""

WORTH = 0.1
"""Share of free pages from which on ``compact`` writes a file anew: below it, new entries soon fill them."""


class SqliteConnection(Connection):
    """One connection of ``sqlite3``; what a cancelled task has left in its thread ends before it is undone."""

    dialect = SQLITE

    def __init__(self, path: Path, place: str) -> None:
        self._path = path
        self._place = place
        self._file = FileConnection("sqlite-state", _set_up, _empty_journal)
        self._begin = ""  # the statement that begins the transaction; it goes with the first one, in one step

    async def connect(self) -> None:
        """Open the file, or create it in a folder that is there."""
        folder = self._path.parent
        if not folder.is_dir():
            raise DatabaseConnectionError(
                f"The folder {folder} of the state's SQLite file does not exist: create it, or correct [STATE] url"
            )
        try:
            refuse_planted_database(self._path)
        except PermissionError as exc:
            raise DatabaseConnectionError(
                f"The state's SQLite file is refused: {exc.strerror}. Remove it, or name another file in [STATE] url"
            ) from exc
        with suppress(OSError):  # of a file that is there, or cannot be made: SQLite says which
            # unsent bodies are personal data: for the owner's eyes, and SQLite gives the files beside it the same mode
            self._path.touch(mode=0o600, exist_ok=False)
        with self._translated():
            await self._file.open(self._path, BUSY_SECONDS)

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
        await self._file.close()

    def drop(self) -> None:
        """Stop the statement, undo, and close, in the thread and without waiting for it."""
        self._file.drop()

    async def _run(self, sql: str, values: Sequence[Any]) -> tuple[int, list[Row]]:
        return await self._call(self._statement, sql, values)

    async def _run_many(self, sql: str, rows: Sequence[Row]) -> None:
        await self._call(self._statements, sql, rows)

    async def _call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._translated():
            return await self._file.call(call, *args, **kwargs)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise state_error(self._place, meaning_of_sqlite(exc)) from exc

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _begun(self) -> sqlite3.Connection:
        """Return the connection, in its transaction."""
        begin, self._begin = self._begin, ""
        if begin:
            self._file.connection.execute(begin)
        return self._file.connection

    def _statement(self, sql: str, values: Sequence[Any]) -> tuple[int, list[Row]]:
        cursor = self._begun().execute(sql, values)
        return cursor.rowcount, cursor.fetchall()

    def _statements(self, sql: str, rows: Sequence[Row]) -> None:
        self._begun().executemany(sql, rows)

    def _undo(self) -> None:
        self._begin = ""
        if self._file.is_open and self._file.connection.in_transaction:
            self._file.connection.execute("ROLLBACK")


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # no commit may be forgotten by a power cut
    connection.execute("PRAGMA secure_delete = ON")  # bodies are personal data: gone means overwritten


def _empty_journal(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    # The journal still holds what was deleted. Whoever else has the file open keeps it from being removed with the last
    # connection, so it is emptied here, if nobody reads just now.
    connection.execute("PRAGMA busy_timeout = 0")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def compact(path: Path) -> str | None:
    """Write a file anew where much of it is free; return why SQLite could not, if it could not."""
    # The file that SQLite writes meanwhile holds unsent bodies, too: beside the state, not in a folder of all.
    os.environ.setdefault("SQLITE_TMPDIR", str(path.absolute().parent))
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
            _set_up(connection)
            (free,), (pages,) = (
                connection.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_count")
            )
            if free and free >= WORTH * pages:
                connection.execute("VACUUM")
            _empty_journal(connection)
    except sqlite3.Error as exc:
        return f"SQLite could not write the file anew ({exc})"
    return None
