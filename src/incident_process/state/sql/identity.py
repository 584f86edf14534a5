"""``Process_Operation_Identity`` in SQL: what the state knows of its operations, and their renaming."""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from incident_process.core.errors import ConfigurationError
from incident_process.core.models import Identity, Lease, RunKind
from incident_process.database.errors import MissingTableError
from incident_process.state.sql import tracking
from incident_process.state.sql.connection import Connection, Row
from incident_process.state.sql.dialect import stamp

_FIELDS = ("Key_Name", "Source", "Receiver", "Renaming", "Moved_To")
_COLUMNS = ", ".join(("Operation_name", *_FIELDS))
"""In the order of the fields of ``Identity``."""
_READ = f"SELECT {_COLUMNS} FROM Process_Operation_Identity WHERE Operation_name = ?"
_ALL = f"SELECT {_COLUMNS} FROM Process_Operation_Identity ORDER BY Operation_name"
_ADD = f"INSERT {{or_ignore}} INTO Process_Operation_Identity ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"
_WRITE = f"""
    UPDATE Process_Operation_Identity SET {", ".join(f"{name} = ?" for name in _FIELDS)} WHERE Operation_name = ?"""
_REMOVE = "DELETE FROM Process_Operation_Identity WHERE Operation_name = ?"

_RAN = f"""
    SELECT 1 FROM Process_Operation_Run WHERE Operation_name = ? AND Kind <> '{RunKind.PRUNE.value}' LIMIT 1"""
"""A prune takes no lease: its record may follow a rename, and makes no operation known."""
_DELIVERED = "SELECT 1 FROM Incident_Delivery WHERE Operation_name = ? LIMIT 1"
_NEXT_NAME = "SELECT MIN(Operation_name) FROM Process_Operation_Run WHERE Operation_name > ?"
_TRACKED = "SELECT DISTINCT Operation_name FROM Process_Operation"

_NAMED = ("Process_Operation_Run", "Incident_Outbox", "Process_Operation_Scope", "Process_Operation_Condition")
"""The tables that change in one statement each; the ledger, which may be large, in parts."""
PART = 20_000
_PART_ENDS = """
    SELECT MAX(Incident_Id) FROM (
        SELECT Incident_Id FROM Incident_Delivery WHERE Incident_Id > ? ORDER BY Incident_Id LIMIT ?
    ) AS part"""
_RENAME_PART = """
    UPDATE Incident_Delivery SET Operation_name = ? WHERE Incident_Id > ? AND Incident_Id <= ? AND Operation_name = ?"""


async def read(connection: Connection, operation: str) -> Identity | None:
    """Return what is known of the operation; only its name, if it last ran under 0.1.0."""
    row = await connection.row(_READ, (operation,))
    if row is not None:
        return _identity(row)
    has_run = await connection.value(_RAN, (operation,)) or await connection.value(_DELIVERED, (operation,))
    return Identity(operation=operation, key_name=operation) if has_run else None


async def write(connection: Connection, identity: Identity) -> None:
    """Write the row over the earlier one."""
    await add(connection, identity)
    operation, *values = msgspec.structs.astuple(identity)
    await connection.execute(_WRITE, (*values, operation))


async def add(connection: Connection, identity: Identity) -> None:
    """Write the row unless there is one."""
    if await connection.row(_READ, (identity.operation,)) is None:
        await connection.execute(_ADD, msgspec.structs.astuple(identity))


async def known(connection: Connection) -> list[Identity]:
    """Return what is known of every operation in the state."""
    found = {row[0]: _identity(row) for row in await connection.rows(_ALL)}
    name = ""
    while (name := await connection.value(_NEXT_NAME, (name,))) is not None:
        if name not in found and await connection.value(_RAN, (name,)):
            found[name] = Identity(operation=name, key_name=name)
    return list(found.values())


async def tracked(connection: Connection) -> list[str]:
    """Return the names in ``Process_Operation``."""
    try:
        return [str(row[0]) for row in await connection.rows(_TRACKED) if row[0] is not None]
    except MissingTableError:
        return []


async def rename(connection: Connection, lease: Lease, new: str, zone: ZoneInfo, now: datetime) -> None:
    """Give the operation another name, after the fence and in its transaction; see ``base.StateStore.rename``."""
    old = lease.operation
    before = await read(connection, old) or Identity(operation=old, key_name=old)
    await _make_way(connection, new, zone)
    for statement, values in _statements(connection, old, new, now):
        try:
            await connection.execute(statement, values)
        except MissingTableError:  # alerts are not configured, or the team's table is elsewhere
            continue
    await _rename_ledger(connection, old, new)
    await connection.execute(_REMOVE, (old,))
    await write(connection, msgspec.structs.replace(before, operation=new, renaming=None, moved_to=None))


async def _make_way(connection: Connection, new: str, zone: ZoneInfo) -> None:
    """Remove what ``init`` has created under the new name; raise ConfigurationError where that operation has run."""
    row = await tracking.read(connection, new, zone)
    ran = await connection.value(_RAN, (new,)) or await connection.value(_DELIVERED, (new,))
    if ran or (row is not None and row.sequence):
        raise ConfigurationError(f"Operation '{new}' has runs of its own in this state: give a name that is free.")
    if row is not None:
        named = (new,) * connection.dialect.names
        await connection.execute("DELETE FROM Process_Operation WHERE {named}", named)
    await connection.execute("DELETE FROM Process_Operation_Lease WHERE Operation_name = ?", (new,))
    await connection.execute("DELETE FROM Process_Operation_Scope WHERE Operation_name = ?", (new,))
    await connection.execute(_REMOVE, (new,))


def _statements(connection: Connection, old: str, new: str, now: datetime) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "UPDATE Process_Operation SET Operation_name = ? WHERE {named}", (new, *(old,) * connection.dialect.names)
    for table in _NAMED:
        yield f"UPDATE {table} SET Operation_name = ? WHERE Operation_name = ?", (new, old)
    lease = "UPDATE Process_Operation_Lease SET Operation_name = ?, Holder = NULL, Expires_Dtm = ? "
    yield f"{lease} WHERE Operation_name = ?", (new, stamp(now), old)


async def _rename_ledger(connection: Connection, old: str, new: str) -> None:
    after = 0
    while (last := await connection.value(_PART_ENDS, (after, PART))) is not None:
        await connection.execute(_RENAME_PART, (new, after, last, old))
        after = last


def _identity(row: Row) -> Identity:
    return Identity(**dict(zip(Identity.__struct_fields__, row, strict=True)))
