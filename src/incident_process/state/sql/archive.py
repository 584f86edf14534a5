"""Reads and restores the ledger and ``Process_Operation`` for a copy of the state (``state_copy``)."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import msgspec

from incident_process.core.models import DeliveryStatus, LedgerEntry, Operation
from incident_process.state.sql import ledger, tracking
from incident_process.state.sql.connection import Connection
from incident_process.state.sql.dialect import MYSQL, local_stamp, marks, stamp
from incident_process.state.sql.schema import NO_SCOPE

_AFTER = f"""
    SELECT {ledger.COLUMNS}, Rows_Digest, Earlier_Digests FROM Incident_Delivery {{by_key}}
    WHERE {{plus}}Operation_name = ? AND Incident_Id > ? AND Status <> '{DeliveryStatus.PENDING.value}'
    ORDER BY Incident_Id LIMIT ?"""

_THERE = "SELECT Incident_Id FROM Incident_Delivery WHERE Incident_Id IN "

_OPERATION = """
    UPDATE Process_Operation SET Process_Operation_Sequence = ?, Last_execution_dtm = ?, Next_execution_dtm = ?,
        execution_duration = ?, end_dtm = ?
    WHERE {named}"""


async def ledger_after(connection: Connection, operation: str, incident_id: int, limit: int) -> list[LedgerEntry]:
    """Return entries that have an outcome, above an id, in ascending order."""
    # By the key, page after page: by another index, each page would read and sort all that is left of the ledger.
    is_mysql = connection.dialect is MYSQL
    query = _AFTER.format(by_key="FORCE INDEX (PRIMARY)" if is_mysql else "", plus="" if is_mysql else "+")
    rows = await connection.rows(query, (operation, incident_id, limit))
    return [
        msgspec.structs.replace(ledger.entry_of(row), rows_digest=row[-2], earlier=tuple((row[-1] or "").split()))
        for row in rows
    ]


async def restore_ledger(connection: Connection, operation: str, entries: Sequence[LedgerEntry]) -> None:
    """Write the missing entries."""
    ids = [entry.incident_id for entry in entries]
    there = {row[0] for row in await connection.rows(f"{_THERE} ({marks(len(ids))})", ids)}
    missing = [msgspec.structs.replace(one, operation=operation) for one in entries if one.incident_id not in there]
    if missing:
        await connection.insert(ledger.INSERT, [ledger.row_of(entry, NO_SCOPE) for entry in missing])


async def restore_operation(connection: Connection, given: Operation, zone: ZoneInfo, minutes: int) -> None:
    """Write the given operation to ``Process_Operation``; one that was not in SQL is due at once."""
    await tracking.create(connection, given.name, zone, minutes)
    last = given.last_execution
    values = (
        given.sequence,
        local_stamp(tracking.to_local(last, zone)),
        local_stamp(tracking.to_local(given.next_execution or last, zone)),
        given.execution_minutes or minutes,
        None if given.end is None else local_stamp(tracking.to_local(given.end, zone)),
    )
    await connection.execute(_OPERATION, (*values, *(given.name,) * connection.dialect.names))
    await connection.execute(tracking.WRITE_EXACT, (stamp(last), given.name))
