"""What the state asks of a connection: statements, in a transaction that ends in one way or the other."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from incident_process.state.codec import PART_BYTES
from incident_process.state.sql.dialect import StateDialect, rendered

Row = Sequence[Any]


class Connection(ABC):
    """One connection, used by one task at a time.

    Statements are written as ``dialect`` says. Errors are those of ``error_translation``.
    """

    dialect: StateDialect
    part_bytes = PART_BYTES
    """The most that one part of an outbox entry may have here."""

    async def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; return how many rows it has met, those included that were as it wanted them already."""
        return (await self._run(rendered(self.dialect, sql), values))[0]

    async def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query."""
        return (await self._run(rendered(self.dialect, sql), values))[1]

    async def row(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        """Return the first row of a query, None when it has none."""
        return next(iter(await self.rows(sql, values)), None)

    async def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Return the first column of the first row of a query, None when it has none."""
        return next(iter(await self.rows(sql, values)), (None,))[0]

    async def insert(self, sql: str, rows: Sequence[Row]) -> None:
        """Run an INSERT for each of the rows, in as few steps as the driver can."""
        await self._run_many(rendered(self.dialect, sql), rows)

    @abstractmethod
    async def connect(self) -> None:
        """Connect."""

    @abstractmethod
    async def alive(self) -> bool:
        """Return whether a connection that was left idle can still be used."""

    @abstractmethod
    def begin(self, *, writes: bool) -> None:
        """Let the next statement be the first of a transaction."""

    @abstractmethod
    async def commit(self) -> None:
        """End the transaction; what it wrote is durable."""

    @abstractmethod
    async def rollback(self) -> bool:
        """End the transaction and undo what it wrote; return whether the connection can be used again."""

    @abstractmethod
    async def close(self) -> None:
        """Close in order."""

    @abstractmethod
    def drop(self) -> None:
        """Close without waiting, whatever the connection is doing; its transaction is undone as soon as can be."""

    @abstractmethod
    async def _run(self, sql: str, values: Sequence[Any]) -> tuple[int, list[Row]]:
        """Run a statement as the driver takes it; return how many rows it has met, and its rows."""

    @abstractmethod
    async def _run_many(self, sql: str, rows: Sequence[Row]) -> None:
        """Run an INSERT as the driver takes it, for each row."""
