"""``Process_Operation_Condition`` in SQL: one row for each condition that stands (``state.conditions``)."""

import ssl
from typing import Any

from sqlalchemy import URL, Column, MetaData, PrimaryKeyConstraint, Table, Text, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from incident_process.state.conditions import Condition, Stage
from incident_process.state.sql.database import Database
from incident_process.state.sql.dialect import ExactText, UtcDateTime
from incident_process.state.sql.schema import shortened

metadata = MetaData()

table = Table(
    "Process_Operation_Condition",
    metadata,
    Column("Operation_name", ExactText(255), nullable=False),
    Column("Condition_Name", ExactText(64), nullable=False),
    Column("Stage", ExactText(16), nullable=False),
    Column("Since_Dtm", UtcDateTime, nullable=False),
    Column("Claimed_Dtm", UtcDateTime, nullable=False),
    Column("Told", Text, nullable=False),
    PrimaryKeyConstraint("Operation_name", "Condition_Name"),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)


class SqlConditions:
    """``ConditionStore`` on MySQL 8, MariaDB 10.6+ or SQLite; arguments as in ``SqlStateStore``."""

    def __init__(self, url: str | URL, operation: str, *, tls: ssl.SSLContext | None = None) -> None:
        self._database = Database(url, tls)
        self._operation = operation

    async def __aenter__(self) -> "SqlConditions":
        """Connect, and create the table where it is missing."""
        try:
            await self._database.open()
            await self._database.write(lambda connection: connection.run_sync(metadata.create_all))
        except BaseException:
            await self._database.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the connections."""
        await self._database.close()

    async def all(self) -> dict[str, Condition]:
        """Return the conditions by name."""

        async def read(connection: AsyncConnection) -> dict[str, Condition]:
            rows = await connection.execute(select(table).where(table.c.Operation_name == self._operation))
            return {
                row["Condition_Name"]: Condition(
                    name=row["Condition_Name"],
                    stage=Stage(row["Stage"]),
                    since=row["Since_Dtm"],
                    claimed_at=row["Claimed_Dtm"],
                    told=row["Told"],
                )
                for row in rows.mappings()
            }

        return await self._database.read(read)

    async def change(self, before: Condition | None, after: Condition | None) -> bool:
        """Compare and set; see ``state.conditions``."""

        async def write(connection: AsyncConnection) -> bool:
            if before is None:
                return after is None or await self._insert(connection, after)
            same = (
                (table.c.Operation_name == self._operation)
                & (table.c.Condition_Name == before.name)
                & (table.c.Stage == before.stage.value)
                & (table.c.Claimed_Dtm == before.claimed_at)
            )
            if after is None:
                return bool((await connection.execute(delete(table).where(same))).rowcount)
            return bool((await connection.execute(update(table).where(same).values(_values(after)))).rowcount)

        return await self._database.write(write)

    async def _insert(self, connection: AsyncConnection, new: Condition) -> bool:
        key = {"Operation_name": self._operation, "Condition_Name": new.name}
        try:
            async with connection.begin_nested():
                await connection.execute(insert(table).values(key | _values(new)))
        except IntegrityError:
            return False  # somebody else was faster
        return True


def _values(condition: Condition) -> dict[str, Any]:
    return {
        "Stage": condition.stage.value,
        "Since_Dtm": condition.since,
        "Claimed_Dtm": condition.claimed_at,
        "Told": shortened(condition.told),
    }
