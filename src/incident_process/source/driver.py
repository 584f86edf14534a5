"""What the shared source asks of a database driver: connect, one consistent view, rows, and errors in our terms."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from incident_process.core.errors import IncidentProcessError
from incident_process.core.models import Record
from incident_process.source.dialects import SourceDialect
from incident_process.source.queries import Statement

Row = Sequence[Any]


class Column(Record, frozen=True, kw_only=True):
    """One column as the database declares it."""

    declared: str
    """Its type."""
    charset: str = ""
    """Its character set; empty where the database has one only, or the column holds no text."""
    collation: str = ""
    """Its collation, under the same conditions."""


class Driver(Protocol):
    """One connection, used by one task at a time."""

    where: str
    """The database in words, for messages: no password, no user."""
    place: str
    """The section and keys of the configuration that name the database, for messages."""

    async def connect(self) -> SourceDialect:
        """Connect if there is no connection, and return the dialect that the server speaks."""

    async def close(self) -> None:
        """Say goodbye and close; nothing happens when there is no connection."""

    async def drop(self) -> None:
        """Close at once, whatever the connection was doing."""

    def snapshot(self) -> AbstractAsyncContextManager[None]:
        """Return a context in which all statements see the database as it was at its beginning."""

    async def fetch(self, statement: Statement) -> list[Row]:
        """Return all rows of a statement."""

    def stream(self, statement: Statement, size: int) -> AsyncIterator[list[Row]]:
        """Yield the rows of a statement in lists of at most ``size``, without holding them all; read it to its end."""

    async def columns(self, table: str) -> Mapping[str, Column]:
        """Return what is declared of each column (name in capitals), nothing when there is no such table."""

    async def indexes(self, table: str) -> list[tuple[str, ...]]:
        """Return the columns (in capitals) of each index of the table."""

    def translate(self, error: Exception) -> IncidentProcessError | None:
        """Return the error of our tree that a driver's error stands for, or None when it is none of the driver's."""
