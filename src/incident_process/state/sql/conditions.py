"""``Process_Operation_Condition`` in SQL: one row for each present condition (``state.alert_store``)."""

from incident_process.database.errors import DuplicateError
from incident_process.settings.database_urls import Target
from incident_process.state.alert_store import AlertCondition, Stage
from incident_process.state.damage import intact
from incident_process.state.sql import schema
from incident_process.state.sql.connection import Connection
from incident_process.state.sql.database import SqlDatabase
from incident_process.state.sql.dialect import instant_of, stamp

_ALL = """
    SELECT Condition_Name, Stage, Since_Dtm, Claimed_Dtm, Told FROM Process_Operation_Condition
    WHERE Operation_name = ?"""

_INSERT = """
    INSERT INTO Process_Operation_Condition (Stage, Since_Dtm, Claimed_Dtm, Told, Operation_name, Condition_Name)
    VALUES (?, ?, ?, ?, ?, ?)"""

_SAME = "Operation_name = ? AND Condition_Name = ? AND Stage = ? AND Claimed_Dtm = ?"

_UPDATE = f"""
    UPDATE Process_Operation_Condition SET Stage = ?, Since_Dtm = ?, Claimed_Dtm = ?, Told = ? WHERE {_SAME}"""

_DELETE = f"DELETE FROM Process_Operation_Condition WHERE {_SAME}"


class SqlConditions:
    """``AlertStore`` on MySQL 8, MariaDB 10.6+ or SQLite; arguments as in ``SqlStateStore``."""

    def __init__(self, target: Target | str, operation: str) -> None:
        self._database = SqlDatabase(target)
        self._operation = operation

    async def __aenter__(self) -> "SqlConditions":
        """Connect, and create the table where it is missing."""
        try:
            await self._database.open()
            await schema.prepare(self._database, [schema.CONDITION])
        except BaseException:
            await self._database.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the connections."""
        await self._database.close()

    async def all(self) -> dict[str, AlertCondition]:
        """Return the conditions by name."""
        rows = await self._database.read(lambda connection: connection.rows(_ALL, (self._operation,)))
        return {
            name: AlertCondition(
                name=name,
                stage=intact("Process_Operation_Condition.Stage", Stage, stage),
                since=intact("Process_Operation_Condition.Since_Dtm", instant_of, since),
                claimed_at=intact("Process_Operation_Condition.Claimed_Dtm", instant_of, claimed),
                told=told,
            )
            for name, stage, since, claimed, told in rows
        }

    async def change(self, before: AlertCondition | None, after: AlertCondition | None) -> bool:
        """Compare and set; see ``state.alert_store``."""

        async def write(connection: Connection) -> bool:
            if before is None:
                return after is None or await self._insert(connection, after)
            same = (self._operation, before.name, before.stage.value, stamp(before.claimed_at))
            if after is None:
                return bool(await connection.execute(_DELETE, same))
            return bool(await connection.execute(_UPDATE, (*_values(after), *same)))

        return await self._database.write(write)

    async def _insert(self, connection: Connection, new: AlertCondition) -> bool:
        try:
            await connection.execute(_INSERT, (*_values(new), self._operation, new.name))
        except DuplicateError:
            return False  # another process was faster
        return True


def _values(condition: AlertCondition) -> tuple[str, ...]:
    told = schema.shortened(condition.told) or ""
    return (condition.stage.value, stamp(condition.since), stamp(condition.claimed_at), told)
