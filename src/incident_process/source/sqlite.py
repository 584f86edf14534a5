"""SQLite as the embedded source."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError, IncidentProcessError
from incident_process.database.errors import at_start, database_error
from incident_process.database.file_connection import FileConnection
from incident_process.database.sqlite_errors import meaning_of_sqlite
from incident_process.source.dialects import LOCAL_TEXT, SQLITE_DIALECT, SourceDialect
from incident_process.source.driver import Column, Row
from incident_process.source.load_date import local_text
from incident_process.source.queries import Statement
from incident_process.source.sql import SqlSource

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
        is_embedded: No configuration was found, and the file is the embedded default's.
    """

    def __init__(
        self,
        path: Path | str,
        zone: ZoneInfo = ZoneInfo("UTC"),  # noqa: B008 - immutable
        *,
        is_embedded: bool = False,
    ) -> None:
        super().__init__(SqliteDriver(Path(path), zone, is_embedded=is_embedded), zone)


class SqliteDriver:
    """One connection of ``sqlite3``, for reading."""

    place = "[DATABASE] URL"

    def __init__(self, path: Path, zone: ZoneInfo, *, is_embedded: bool) -> None:
        self.where = f"the SQLite source database {path}"
        self._path = path
        self._is_embedded = is_embedded
        self._zone = zone
        self._file = FileConnection("sqlite-source", self._set_up)

    async def connect(self) -> SourceDialect:
        """Open the file for reading."""
        if not self._file.is_open:
            await self._file.open(f"{self._path.absolute().as_uri()}?mode=ro", BUSY_SECONDS)
        return SQLITE_DIALECT

    async def close(self) -> None:
        """Close the file and end the thread, with what a cancelled task left behind in it."""
        self._file.interrupt()
        await self._file.close()

    async def drop(self) -> None:
        """Close as ``close`` does, to the end, even when the task is being cancelled."""
        await asyncio.shield(self.close())

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        """A transaction: from its first read on, no writer changes what it sees."""
        await self._file.call(self._execute, "BEGIN")
        yield
        await self._file.call(self._execute, "COMMIT")

    async def fetch(self, statement: Statement) -> list[Row]:
        """Return all rows of a statement."""
        return await self._file.call(lambda: list(self._cursor(statement).fetchall()))

    async def stream(self, statement: Statement, size: int) -> AsyncIterator[list[Row]]:
        """Yield the rows of a statement as SQLite finds them."""
        cursor = await self._file.call(self._cursor, statement)
        while rows := await self._file.call(cursor.fetchmany, size):
            yield list(rows)
        await self._file.call(cursor.close)

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
            absent = f"there is no file {self._path} that could be opened for reading."
            if self._is_embedded:
                return DatabaseConnectionError(
                    f"The embedded default's source: {absent} Run in the folder of your configuration, or name it with "
                    "--config; 'incident-process init --embedded' creates the file for a trial without one."
                )
            return DatabaseConnectionError(
                f"{self.place}: {absent} Name the SQLite file that holds the source tables, or create it."
            )
        if code == sqlite3.SQLITE_NOTADB:
            return DatabaseConnectionError(f"{self.place}: {self._path} is no SQLite database. Name one that is.")
        if str(error).startswith(("no such table", "no such column")):
            return ConfigurationError(f"{self.place}: {error}. The source needs the field's tables and columns.")
        return database_error(at_start(self.where), meaning_of_sqlite(error))

    def _set_up(self, connection: sqlite3.Connection) -> None:
        # A row whose text is no UTF-8 must neither end every run nor be quoted by the driver's error.
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        if connection.execute("PRAGMA encoding").fetchone()[0] != "UTF-8":
            raise ConfigurationError(
                f"{self.place}: {self._path} keeps its text in UTF-16, whose order is another. Use a database "
                "made with PRAGMA encoding = 'UTF-8'."
            )
        connection.execute("PRAGMA automatic_index = ON")  # the join with the newest dates stands on it
        connection.create_function(LOCAL_TEXT, 1, self._local_text, deterministic=True)

    def _local_text(self, value: str | float | bytes | None) -> str | float | bytes | None:
        return local_text(value, self._zone) if isinstance(value, str) else value

    def _cursor(self, statement: Statement) -> sqlite3.Cursor:
        return self._file.connection.execute(statement.sql, statement.parameters)

    def _execute(self, sql: str) -> None:
        self._cursor(Statement(sql=sql)).close()
