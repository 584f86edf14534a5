"""The lease and its fencing token, and the counter of Incident_Ids (SPEC 5, 6)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from incident_process.errors import LeaseHeldError, LeaseLostError
from incident_process.records import NEVER, Lease
from incident_process.state.sql.dialect import UtcNow
from incident_process.state.sql.schema import counter
from incident_process.state.sql.schema import lease as table

_COUNTER = "Incident_Id"


@dataclass(slots=True)
class SqlLeaseState:
    """Who holds the operation's lease now, by the store's clock. ``holder`` is empty when it is free."""

    holder: str
    token: int
    expires_at: datetime
    active: bool


async def ensure_row(connection: AsyncConnection, operation: str) -> None:
    """Create the operation's row, free, unless it is there; of two that try at once, both succeed."""
    # Asked first, because MySQL's driver logs each row that IGNORE has passed over.
    if await connection.scalar(select(table.c.Token).where(table.c.Operation_name == operation)) is not None:
        return
    await connection.execute(
        insert(table)
        .prefix_with("IGNORE", dialect="mysql")
        .prefix_with("OR IGNORE", dialect="sqlite")
        .values(Operation_name=operation, Holder=None, Token=0, Expires_Dtm=NEVER)
    )


async def _locked(connection: AsyncConnection, operation: str) -> tuple[str | None, int, datetime, datetime] | None:
    """Lock the row; return holder, token, expiry and the store's clock."""
    found = await connection.execute(
        select(table.c.Holder, table.c.Token, table.c.Expires_Dtm, UtcNow())
        .where(table.c.Operation_name == operation)
        .with_for_update()
    )
    row = found.one_or_none()
    return None if row is None else (row[0], row[1], row[2], row[3])


async def acquire(
    connection: AsyncConnection,
    operation: str,
    holder: str,
    seconds: float,
    *,
    evict: int | None,
    mine: set[tuple[str, int]],
) -> Lease:
    """Take the lease if it is free or expired.

    Args:
        connection: in a writing transaction.
        operation: whose lease.
        holder: who takes it, as others will read it.
        seconds: for how long.
        evict: the token of a holder known to be dead, whose lease need not have expired.
        mine: the holders and tokens this store has tried to write; one of them in the row means that an earlier
            commit went through although its answer was lost.

    Raises:
        LeaseHeldError: somebody else holds it.
    """
    row = await _locked(connection, operation)
    if row is None:
        await ensure_row(connection, operation)
        row = await _locked(connection, operation)
        assert row is not None  # noqa: S101 - just written, and nothing deletes leases
    held_by, token, expires, now = row
    if held_by is not None and expires > now and token != evict and (held_by, token) not in mine:
        raise LeaseHeldError(held_by, token, expires)
    # Never behind the clock: who deletes the row to free a lease must not make the next token lower than the outbox's.
    token = max(token + 1, int(now.timestamp() * 1000))
    mine.clear()
    mine.add((holder, token))
    await connection.execute(
        update(table)
        .where(table.c.Operation_name == operation)
        .values(Holder=holder, Token=token, Expires_Dtm=now + timedelta(seconds=seconds))
    )
    return Lease(operation=operation, holder=holder, token=token, seconds=seconds)


async def fence(connection: AsyncConnection, lease: Lease) -> datetime:
    """Lock the lease, check that it is still this holder's, extend it, and return the store's clock.

    The first step of every write: until the transaction ends nobody can take the lease over.

    Raises:
        LeaseLostError: a successor has taken over, or the lease was given back.
    """
    row = await _locked(connection, lease.operation)
    if row is None or (row[0], row[1]) != (lease.holder, lease.token):
        successor = row[0] if row is not None else None
        raise LeaseLostError(
            f"The lease {lease.token} on operation '{lease.operation}' is no longer held"
            + (f": {successor} has taken over" if successor and row and row[1] != lease.token else "")
        )
    now = row[3]
    await connection.execute(
        update(table)
        .where(table.c.Operation_name == lease.operation)
        .values(Expires_Dtm=now + timedelta(seconds=lease.seconds))
    )
    return now


async def raise_as_of(connection: AsyncConnection, operation: str, instant: datetime) -> datetime:
    """Remember the instant if it is the latest, and return the latest; after the fence, which has locked the row."""
    known = await connection.scalar(select(table.c.As_Of_Dtm).where(table.c.Operation_name == operation))
    latest: datetime = instant if known is None else max(known, instant)
    await connection.execute(update(table).where(table.c.Operation_name == operation).values(As_Of_Dtm=latest))
    return latest


async def release(connection: AsyncConnection, lease: Lease) -> None:
    """Free the lease if it is still this holder's. Its token stays: the next one must be higher."""
    await connection.execute(
        update(table)
        .where(table.c.Operation_name == lease.operation, table.c.Token == lease.token, table.c.Holder == lease.holder)
        .values(Holder=None, Expires_Dtm=UtcNow())
    )


async def read_state(connection: AsyncConnection, operation: str) -> SqlLeaseState | None:
    """Return the state of the lease; a lease that was never taken is None."""
    found = await connection.execute(
        select(table.c.Holder, table.c.Token, table.c.Expires_Dtm, UtcNow()).where(table.c.Operation_name == operation)
    )
    row = found.one_or_none()
    if row is None or not row[1]:
        return None
    holder, token, expires, now = row
    return SqlLeaseState(
        holder=holder or "", token=token, expires_at=expires, active=holder is not None and expires > now
    )


async def reserve_ids(connection: AsyncConnection, count: int, floor: int) -> int:
    """Reserve ``count`` ids above all that were handed out and not below ``floor``; return the first.

    One counter serves all operations of the store: an Incident_Id is unique at the receiver, not per operation.
    """
    query = select(counter.c.Last_Incident_Id).where(counter.c.Counter_Name == _COUNTER).with_for_update()
    last = await connection.scalar(query)
    if last is None:
        await connection.execute(
            insert(counter)
            .prefix_with("IGNORE", dialect="mysql")
            .prefix_with("OR IGNORE", dialect="sqlite")
            .values(Counter_Name=_COUNTER, Last_Incident_Id=0)
        )
        last = await connection.scalar(query)
    first = max((last or 0) + 1, floor)
    await connection.execute(
        update(counter).where(counter.c.Counter_Name == _COUNTER).values(Last_Incident_Id=first + count - 1)
    )
    return first
