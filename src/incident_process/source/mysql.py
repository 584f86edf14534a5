"""MySQL 8 and MariaDB 10.6+ as a source, over asyncmy."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from zoneinfo import ZoneInfo

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError, IncidentProcessError
from incident_process.database.connect import CONNECT_SECONDS
from incident_process.database.errors import (
    ErrorKind,
    ErrorMeaning,
    MissingPrivilegeError,
    at_start,
    database_error,
    explained,
)
from incident_process.database.server_connection import ServerConnection, closed_error
from incident_process.database.server_errors import meaning_of_error
from incident_process.database.session import SOURCE
from incident_process.settings.database_urls import MySQLTarget
from incident_process.source.dialects import EXACT_COLLATIONS, SourceDialect, mysql_dialect
from incident_process.source.driver import Column, Row
from incident_process.source.queries import Statement
from incident_process.source.sql import SqlSource

SILENCE_SECONDS = 1800.0
"""How long a statement may be silent before its connection counts as lost. A survey of a large table without an index
sends its first row late; a server that vanished without closing never sends one."""

_COLLATIONS = f"""
    SELECT COLLATION_NAME FROM information_schema.COLLATIONS
    WHERE COLLATION_NAME IN ({", ".join(f"'{name}'" for name in EXACT_COLLATIONS)})
    """  # noqa: S608 - names of the server's

_COLUMNS = """
    SELECT COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s
    """

_INDEXES = """
    SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s
    ORDER BY INDEX_NAME, SEQ_IN_INDEX
    """


class MySQLDriver:
    """One connection of asyncmy."""

    place = "[DATABASE] MYSQL_DATABASE"
    server = "MySQL source database"
    """What messages call it."""

    def __init__(self, target: MySQLTarget) -> None:
        self.where = f"the {self.server} {target.database} at {target.host}:{target.port}"
        self._target = target
        self._ssl = target.ssl_context()
        self._connection: ServerConnection | None = None
        self._dialect: SourceDialect | None = None

    async def connect(self) -> SourceDialect:
        """Connect and set up the session."""
        if self._connection is None or self._dialect is None:
            self._connection = ServerConnection(
                self._target, self._ssl, SOURCE, self.where, read_seconds=SILENCE_SECONDS
            )
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._connection.connect()
                collations = {str(name) for (name,) in await self.fetch(Statement(sql=_COLLATIONS))}
            self._dialect = mysql_dialect(collations, self.where)
        return self._dialect

    async def close(self) -> None:
        """Say goodbye and close; a server that does not listen any more is no error."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def drop(self) -> None:
        """Close the socket at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        """A read-only transaction over one consistent view; it ends with the connection if anything fails in it."""
        await self._open.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        yield
        await self._open.run("COMMIT")

    async def fetch(self, statement: Statement) -> list[Row]:
        """Return all rows of a statement."""
        return (await self._open.run(statement.sql, statement.parameters))[1]

    def stream(self, statement: Statement, size: int) -> AsyncIterator[list[Row]]:
        """Yield the rows of a statement as the server sends them."""
        return self._open.stream(statement.sql, statement.parameters, size)

    async def columns(self, table: str) -> Mapping[str, Column]:
        """Return the columns that the user may see, with their types and character sets."""
        rows = await self.fetch(Statement(sql=_COLUMNS, parameters=(table,)))
        return {
            str(name).upper(): Column(declared=str(declared), charset=charset or "", collation=collation or "")
            for name, declared, charset, collation in rows
        }

    async def indexes(self, table: str) -> list[tuple[str, ...]]:
        """Return the indexes that the user may see; one over a prefix or an expression does not count."""
        found: dict[str, list[str]] = {}
        for name, column, prefix in await self.fetch(Statement(sql=_INDEXES, parameters=(table,))):
            found.setdefault(str(name), []).append("" if column is None or prefix else str(column).upper())
        return [tuple(columns) for columns in found.values()]

    def translate(self, error: Exception) -> IncidentProcessError | None:
        """Return what an error of asyncmy or of the network means.

        The server's own words are repeated only where they cannot hold a value of a row.
        """
        meaning = meaning_of_error(error)
        return None if meaning is None else self._translate(meaning)

    def _translate(self, meaning: ErrorMeaning) -> IncidentProcessError:
        where = at_start(self.where)
        match meaning.kind:
            case ErrorKind.ACCESS:
                return explained(DatabaseConnectionError, f"{where} ([DATABASE] MYSQL_USER, MYSQL_PASSWORD)", meaning)
            case ErrorKind.PRIVILEGE:
                remedy = "Grant the user SELECT on both source tables"
                return explained(MissingPrivilegeError, f"[DATABASE] MYSQL_USER: {where}", meaning.with_remedy(remedy))
            case ErrorKind.NO_TABLE | ErrorKind.NO_COLUMN:
                remedy = "The source needs the tables and columns of the field's contract"
                return explained(ConfigurationError, f"{self.place}: {where}", meaning.with_remedy(remedy))
            case ErrorKind.NO_DATABASE:
                return explained(ConfigurationError, f"{self.place}: {where}", meaning)
            case _:
                return database_error(where, meaning)

    @property
    def _open(self) -> ServerConnection:
        if self._connection is None:
            raise closed_error()
        return self._connection


class MySQLSource(SqlSource):
    """Customer and payment rows in a MySQL or MariaDB database, read only.

    Args:
        target: the database, with a user who may SELECT from the two tables.
        zone: ``source_timezone``, in which DATE and DATETIME are read.
    """

    driver_type: type[MySQLDriver] = MySQLDriver

    def __init__(self, target: MySQLTarget, zone: ZoneInfo = ZoneInfo("UTC")) -> None:  # noqa: B008 - immutable
        super().__init__(self.driver_type(target), zone)
