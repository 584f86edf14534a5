"""SQLite as the embedded source, over the standard library, in one worker thread."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError, IncidentProcessError
from incident_process.database.errors import database_error
from incident_process.database.sqlite_errors import meaning_of_sqlite
from incident_process.source.dialects import LOCAL_TEXT, SQLITE_DIALECT, SourceDialect
from incident_process.source.driver import Column, Row
from incident_process.source.load_date import local_text
from incident_process.source.queries import Statement
from incident_process.source.sql import SqlSource

T = TypeVar("T")

BUSY_SECONDS = 10.0
"""How long a statement waits for a writer's lock."""


_INDEXES = """
    SELECT list.name, info.name
    FROM pragma_index_list(?) AS list JOIN pragma_index_info(list.name) AS info
    ORDER BY list.name, info.seqno
    """


class SqliteSource(SqlSource):
    """Customer and payment rows in a SQLite file, read only.

    Args:
        path: the file; it is never created.
        zone: ``source_timezone``, in which times are read that say no zone themselves.
    """

    def __init__(self, path: Path | str, zone: ZoneInfo = ZoneInfo("UTC")) -> None:  # noqa: B008 - immutable
        super().__init__(SqliteDriver(Path(path), zone), zone)


class SqliteDriver:
    """One connection of ``sqlite3`` and the thread that it lives in."""

    place = "[DATABASE] URL"

    def __init__(self, path: Path, zone: ZoneInfo) -> None:
        self.where = f"the SQLite source database {path}"
        self._path = path
        self._zone = zone
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def connect(self) -> SourceDialect:
        """Open the file for reading."""
        if self._connection is None:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-source")
            await self._in_thread(self._open)
        return SQLITE_DIALECT

    async def close(self) -> None:
        """Close the file and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            # What a cancelled task left behind in the thread ends now, and closing comes after it.
            if self._connection is not None:
                self._connection.interrupt()
            await asyncio.get_running_loop().run_in_executor(thread, self._shut)
            thread.shutdown()

    async def drop(self) -> None:
        """Close as ``close`` does, to the end, even when the task is being cancelled."""
        await asyncio.shield(self.close())

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        """A transaction: from its first read on, no writer changes what it sees."""
        await self._in_thread(self._execute, "BEGIN")
        yield
        await self._in_thread(self._execute, "COMMIT")

    async def fetch(self, statement: Statement) -> list[Row]:
        """Return all rows of a statement."""
        return await self._in_thread(lambda: list(self._cursor(statement).fetchall()))

    async def stream(self, statement: Statement, size: int) -> AsyncIterator[list[Row]]:
        """Yield the rows of a statement as SQLite finds them."""
        cursor = await self._in_thread(self._cursor, statement)
        while rows := await self._in_thread(cursor.fetchmany, size):
            yield list(rows)
        await self._in_thread(cursor.close)

    async def columns(self, table: str) -> Mapping[str, Column]:
        """Return the declared types of a table's columns."""
        rows = await self.fetch(Statement(sql="SELECT name, type FROM pragma_table_info(?)", parameters=(table,)))
        return {str(name).upper(): Column(declared=str(declared)) for name, declared in rows}

    async def indexes(self, table: str) -> list[tuple[str, ...]]:
        """Return the columns of each index; an expression counts as no column."""
        found: dict[str, list[str]] = {}
        for name, column in await self.fetch(Statement(sql=_INDEXES, parameters=(table,))):
            found.setdefault(str(name), []).append(str(column or "").upper())
        return [tuple(columns) for columns in found.values()]

    def translate(self, error: Exception) -> IncidentProcessError | None:
        """Return what an error of sqlite3 means, in words of its own only where they name tables and columns."""
        if not isinstance(error, sqlite3.Error):
            return None
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code == sqlite3.SQLITE_CANTOPEN:
            return DatabaseConnectionError(
                f"{self.place}: there is no file {self._path} that could be opened for reading. Name the SQLite file "
                "that holds the source tables, or create it; 'incident-process init --embedded' creates the one that "
                "holds without a configuration."
            )
        if code == sqlite3.SQLITE_NOTADB:
            return DatabaseConnectionError(f"{self.place}: {self._path} is no SQLite database. Name one that is.")
        if str(error).startswith(("no such table", "no such column")):
            return ConfigurationError(f"{self.place}: {error}. The source needs the field's tables and columns.")
        return database_error(f"{self.where[0].upper()}{self.where[1:]}", meaning_of_sqlite(error))

    async def _in_thread(self, call: "Callable[..., T]", *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *arguments))

    def _open(self) -> None:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,  # interrupt() comes from the event loop's thread
        )
        # A row whose text is no UTF-8 must neither end every run nor be quoted by the driver's error.
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        try:
            if connection.execute("PRAGMA encoding").fetchone()[0] != "UTF-8":
                raise ConfigurationError(
                    f"{self.place}: {self._path} keeps its text in UTF-16, whose order is another. Use a database "
                    "made with PRAGMA encoding = 'UTF-8'."
                )
            connection.execute("PRAGMA automatic_index = ON")  # the join with the newest dates stands on it
            connection.create_function(LOCAL_TEXT, 1, self._local_text, deterministic=True)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _local_text(self, value: str | float | bytes | None) -> str | float | bytes | None:
        return local_text(value, self._zone) if isinstance(value, str) else value

    def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _cursor(self, statement: Statement) -> sqlite3.Cursor:
        if self._connection is None:
            raise sqlite3.OperationalError("the file is closed")
        return self._connection.execute(statement.sql, statement.parameters)

    def _execute(self, sql: str) -> None:
        self._cursor(Statement(sql=sql)).close()
