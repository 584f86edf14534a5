"""``Process_Operation`` in SQL tracking: read, created, and moved on by compare-and-set (SPEC 6).

Other programs read and write this table, without a zone and in whole seconds. The lease's row has the watermark to the
microsecond, which applies as long as the table says the same; a value set by hand wins.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from incident_process.core.errors import ConfigurationError, LeaseLostError
from incident_process.core.models import NEVER, Advance, Lease, Operation
from incident_process.database.errors import MissingTableError
from incident_process.state.damage import intact, or_none
from incident_process.state.sql import schema
from incident_process.state.sql.connection import Connection
from incident_process.state.sql.dialect import instant_of, local_of, local_stamp, stamp
from incident_process.state.sql.lease import ensure_row

_NEVER_LOCAL = NEVER.replace(tzinfo=None)
_DEFAULT_MINUTES = 60

_LOCK_LEASE = "SELECT {now} FROM Process_Operation_Lease WHERE Operation_name = ? {locked}"

_COUNT = "SELECT COUNT(*) FROM Process_Operation WHERE {named}"

_CREATE = """
    INSERT INTO Process_Operation (Process_Operation_Sequence, created_dtm, Operation_name, execution_duration,
        Next_execution_dtm, Last_execution_dtm, end_dtm)
    VALUES (0, ?, ?, ?, ?, ?, NULL)"""

_READ = """
    SELECT COALESCE(Process_Operation_Sequence, 0), execution_duration, Next_execution_dtm, Last_execution_dtm, end_dtm
    FROM Process_Operation WHERE {named}
    ORDER BY Process_Operation_Sequence DESC, Last_execution_dtm LIMIT 1"""
"""The operation's row. A site may have two of one name: the one used last applies."""

_LOCK = f"{_READ} {{locked}}"

_EXACT = "SELECT Watermark_Dtm FROM Process_Operation_Lease WHERE Operation_name = ?"

WRITE_EXACT = "UPDATE Process_Operation_Lease SET Watermark_Dtm = ? WHERE Operation_name = ?"

_NOT_BEFORE = """
    UPDATE Process_Operation SET Next_execution_dtm = ?
    WHERE {named} AND COALESCE(Process_Operation_Sequence, 0) = ?"""
"""A run without new data."""

_MOVE = """
    UPDATE Process_Operation SET Next_execution_dtm = ?, Last_execution_dtm = ?, Process_Operation_Sequence = ?
    WHERE {named} AND COALESCE(Process_Operation_Sequence, 0) = ?"""
"""A run with new data."""


def to_local(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return an instant as ``Process_Operation`` has it: in whole seconds, without a zone.

    NEVER is 1900-01-01 00:00:00 in every zone, because that is what other programs write.
    """
    if instant <= NEVER:
        return _NEVER_LOCAL
    return instant.astimezone(zone).replace(tzinfo=None, microsecond=0)


def from_local(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant of a local time; where two fit or none does, the earlier, so that a window skips nothing.

    Instants outside of Python's years in UTC (an end date of 9999-12-31) are clamped to their end.
    """
    if local <= _NEVER_LOCAL:
        return NEVER
    try:
        return min(local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _name(connection: Connection, operation: str) -> tuple[str, ...]:
    """Return the bound values of ``{named}``."""
    return (operation,) * connection.dialect.names


async def create(connection: Connection, operation: str, zone: ZoneInfo, execution_minutes: int) -> bool:
    """Create the table and the operation's row where they are missing; return whether the row was created."""
    await schema.create(connection, schema.PROCESS_OPERATION)
    # The table has no key, so the lock on the lease's row keeps two runners from creating one operation twice.
    await ensure_row(connection, operation)
    now = instant_of(await connection.value(_LOCK_LEASE, (operation,)))
    if await connection.value(_COUNT, _name(connection, operation)):
        return False
    created, never = local_stamp(to_local(now, zone)), local_stamp(_NEVER_LOCAL)
    await connection.execute(_CREATE, (created, operation, execution_minutes, never, never))
    return True


async def read(connection: Connection, operation: str, zone: ZoneInfo, *, locked: bool = False) -> Operation | None:
    """Return the operation's row, its name compared exactly; None when there is no table or no row.

    ``zone``: of the table's times. ``locked``, in a writing transaction: others cannot change the row until it ends.
    Raises ConfigurationError where sequence or execution_duration is no whole number: a table of another form may hold
    text.
    """
    try:
        row = await connection.row(_LOCK if locked else _READ, _name(connection, operation))
    except MissingTableError:
        return None
    if row is None:
        return None
    sequence, minutes = row[:2]
    next_local, last_local, end_local = map(local_of, row[2:])
    stored = await connection.value(_EXACT, (operation,))
    exact = intact("Process_Operation_Lease.Watermark_Dtm", or_none(instant_of), stored)
    last = NEVER if last_local is None else from_local(last_local, zone)
    if exact is not None and last_local is not None and to_local(exact, zone) == last_local.replace(microsecond=0):
        last = exact
    return Operation(
        name=operation,
        sequence=_whole(sequence, "Process_Operation_Sequence"),
        last_execution=last,
        next_execution=None if next_local is None else from_local(next_local, zone),
        execution_minutes=None if minutes is None else _whole(minutes, "execution_duration"),
        end=None if end_local is None else from_local(end_local, zone),
    )


def _whole(value: Any, column: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ConfigurationError(
            f"Process_Operation: {column} is no whole number. Write one, for example 60."
        ) from None


async def advance(connection: Connection, lease: Lease, step: Advance, zone: ZoneInfo) -> Operation:
    """Apply the step if the row is still as ``step.before`` says; return the new operation.

    It never changes ``created_dtm`` and ``end_dtm``. Called after the fence, in its transaction.

    Raises:
        LeaseLostError: Another program has changed the row.
    """
    name = lease.operation
    current = await read(connection, name, zone, locked=True)
    if current is None:
        raise LeaseLostError(f"Process_Operation has no row of operation '{name}' any more")
    if step.new_data and _applied(current, step):
        return current  # an earlier commit succeeded, but its answer was lost
    if (current.sequence, current.last_execution) != (step.before.sequence, step.before.last_execution):
        raise LeaseLostError(
            f"Process_Operation of '{name}' was changed by another program: sequence {step.before.sequence} was read, "
            f"now it is {current.sequence}, or its Last_execution_dtm differs"
        )
    minutes = _DEFAULT_MINUTES if current.execution_minutes is None else current.execution_minutes
    due = local_stamp(to_local(step.system_date + timedelta(minutes=minutes), zone))
    this = (*_name(connection, name), current.sequence)
    if step.new_data:
        watermark = max(step.watermark, current.last_execution)
        await connection.execute(WRITE_EXACT, (stamp(watermark), name))
        moved_to = (due, local_stamp(to_local(watermark, zone)), current.sequence + 1)
        changed = await connection.execute(_MOVE, (*moved_to, *this))
    else:
        changed = await connection.execute(_NOT_BEFORE, (due, *this))
    if not changed:
        raise LeaseLostError(f"Process_Operation of '{name}' was changed by another program")
    moved = await read(connection, name, zone)
    assert moved is not None  # noqa: S101 - just written
    return moved


def _applied(current: Operation, step: Advance) -> bool:
    """Return whether the row is where the step leads; only the lease's holder could have taken it."""
    return current.sequence == step.before.sequence + 1 and current.last_execution == step.watermark
