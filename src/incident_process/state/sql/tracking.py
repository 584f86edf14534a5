"""``Process_Operation`` in SQL tracking: read, created, and moved on by compare-and-set (SPEC 6).

Other programs read and write this table, without a zone and in whole seconds. The watermark is kept to the microsecond
beside the lease, and counts as long as the table still says the same; a value that somebody set by hand wins.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from incident_process.errors import LeaseLostError
from incident_process.records import NEVER, Advance, Lease, Operation
from incident_process.state.sql import faults
from incident_process.state.sql.dialect import Exactly, UtcNow
from incident_process.state.sql.lease import ensure_row
from incident_process.state.sql.schema import lease as lease_table
from incident_process.state.sql.schema import process_operation as table
from incident_process.state.sql.schema import team

_NEVER_LOCAL = NEVER.replace(tzinfo=None)
_DEFAULT_MINUTES = 60


def to_local(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return an instant as ``Process_Operation`` holds it: in whole seconds, without a zone.

    NEVER is 1900-01-01 00:00:00 in every zone, because that is what other programs write.
    """
    if instant <= NEVER:
        return _NEVER_LOCAL
    return instant.astimezone(zone).replace(tzinfo=None, microsecond=0)


def from_local(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant of a local time; where two fit or none does, the earlier, so that nothing is skipped.

    What lies outside of Python's years once it is in UTC (an end date of 9999-12-31) is held at their edge.
    """
    if local <= _NEVER_LOCAL:
        return NEVER
    try:
        return min(local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _named(operation: str) -> ColumnElement[bool]:
    # The plain comparison can use an index that a site may have added; the exact one decides.
    return (table.c.Operation_name == operation) & (Exactly(table.c.Operation_name) == operation)


async def create(connection: AsyncConnection, operation: str, zone: ZoneInfo, execution_minutes: int) -> bool:
    """Create the table and the operation's row where they are missing; return whether the row was created."""
    await connection.run_sync(team.create_all)
    # The table has no key, so the lease's row is what keeps two from creating the same operation.
    await ensure_row(connection, operation)
    now = await connection.scalar(select(UtcNow()).where(lease_table.c.Operation_name == operation).with_for_update())
    assert now is not None  # noqa: S101 - just ensured
    if await connection.scalar(select(func.count()).select_from(table).where(_named(operation))):
        return False
    await connection.execute(
        insert(table).values(
            Process_Operation_Sequence=0,
            created_dtm=to_local(now, zone),
            Operation_name=operation,
            execution_duration=execution_minutes,
            Next_execution_dtm=_NEVER_LOCAL,
            Last_execution_dtm=_NEVER_LOCAL,
            end_dtm=None,
        )
    )
    return True


async def read(
    connection: AsyncConnection, operation: str, zone: ZoneInfo, *, locked: bool = False
) -> Operation | None:
    """Return the operation's row, None when there is no table or no row.

    Args:
        connection: in a transaction; a writing one when ``locked``.
        operation: its name, compared exactly.
        zone: in which the table's times are.
        locked: whether to keep others from changing the row until the transaction ends.
    """
    query = (
        select(
            func.coalesce(table.c.Process_Operation_Sequence, 0),
            table.c.execution_duration,
            table.c.Next_execution_dtm,
            table.c.Last_execution_dtm,
            table.c.end_dtm,
        )
        .where(_named(operation))
        # Nothing keeps a site from having two rows of one name: the one that was used last is meant.
        .order_by(table.c.Process_Operation_Sequence.desc(), table.c.Last_execution_dtm)
        .limit(1)
    )
    try:
        row = (await connection.execute(query.with_for_update() if locked else query)).one_or_none()
    except DBAPIError as exc:
        if faults.missing_table(exc):
            return None
        raise
    if row is None:
        return None
    sequence, minutes, next_local, last_local, end_local = row
    exact = await connection.scalar(
        select(lease_table.c.Watermark_Dtm).where(lease_table.c.Operation_name == operation)
    )
    last = NEVER if last_local is None else from_local(last_local, zone)
    if exact is not None and last_local is not None and to_local(exact, zone) == last_local.replace(microsecond=0):
        last = exact
    return Operation(
        name=operation,
        sequence=int(sequence),
        last_execution=last,
        next_execution=None if next_local is None else from_local(next_local, zone),
        execution_minutes=minutes,
        end=None if end_local is None else from_local(end_local, zone),
    )


async def advance(connection: AsyncConnection, lease: Lease, step: Advance, zone: ZoneInfo) -> Operation:
    """Apply the step if the row is still as ``step.before`` says, and return the operation as it is then.

    ``created_dtm`` and ``end_dtm`` are never touched. Called after the fence, in its transaction.

    Raises:
        LeaseLostError: somebody has changed the row since it was read.
    """
    name = lease.operation
    current = await read(connection, name, zone, locked=True)
    if current is None:
        raise LeaseLostError(f"Process_Operation has no row of operation '{name}' any more")
    if step.new_data and _applied(current, step):
        return current  # the commit went through, its answer was lost
    if (current.sequence, current.last_execution) != (step.before.sequence, step.before.last_execution):
        raise LeaseLostError(
            f"Process_Operation of '{name}' was changed by another program: sequence {step.before.sequence} was read, "
            f"now it is {current.sequence}, or its Last_execution_dtm differs"
        )
    minutes = _DEFAULT_MINUTES if current.execution_minutes is None else current.execution_minutes
    values: dict[str, object] = {"Next_execution_dtm": to_local(step.system_date + timedelta(minutes=minutes), zone)}
    if step.new_data:
        watermark = max(step.watermark, current.last_execution)
        values["Last_execution_dtm"] = to_local(watermark, zone)
        values["Process_Operation_Sequence"] = current.sequence + 1
        await connection.execute(
            update(lease_table).where(lease_table.c.Operation_name == name).values(Watermark_Dtm=watermark)
        )
    changed = await connection.execute(
        update(table)
        .where(_named(name), func.coalesce(table.c.Process_Operation_Sequence, 0) == current.sequence)
        .values(values)
    )
    if not changed.rowcount:
        raise LeaseLostError(f"Process_Operation of '{name}' was changed by another program")
    moved = await read(connection, name, zone)
    assert moved is not None  # noqa: S101 - just written
    return moved


def _applied(current: Operation, step: Advance) -> bool:
    """Whether the row stands where the step leads to; only the lease's holder could have taken it."""
    return current.sequence == step.before.sequence + 1 and current.last_execution == step.watermark
