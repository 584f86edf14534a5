"""``Incident_Outbox``: the exact bodies of incidents that have no outcome yet, one entry a chunk (SPEC 6)."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from incident_process.errors import LeaseLostError
from incident_process.records import Chunk, Incident, Lease, Outcome, Record
from incident_process.records import DeliveryStatus as Status
from incident_process.state import codec
from incident_process.state.sql.schema import outbox as table

SEARCHED_CHUNKS = 20
"""In so many chunks a kept body is looked for, at most; it is nearly always in the first."""


class Stored(Record, frozen=True, kw_only=True):
    """An entry as it is in the table, with the columns that a rewrite keeps."""

    run_id: str
    first_id: int
    created_at: datetime
    entry: codec.Entry


def _is(operation: str, chunk_id: str) -> ColumnElement[bool]:
    """The rows of an entry that still has something pending."""
    return and_(table.c.Operation_name == operation, table.c.Chunk_Id == chunk_id, table.c.Done_Dtm.is_(None))


async def put(connection: AsyncConnection, lease: Lease, chunk_id: str, stored: Stored, parts: Sequence[bytes]) -> None:
    """Write an entry, given also as encoded parts, under the lease's token."""
    shared = {
        "Operation_name": lease.operation,
        "Chunk_Id": chunk_id,
        "First_Incident_Id": stored.first_id,
        "Incidents": len(stored.entry.pending),
        "Token": lease.token,
        "Run_Id": stored.run_id,
        "Created_Dtm": stored.created_at,
        "Done_Dtm": None,
    }
    # A statement for each part: together they might be more than the server's max_allowed_packet.
    for number, part in enumerate(parts):
        await connection.execute(insert(table).values(Part_Number=number, Body=part, **shared))


async def load(connection: AsyncConnection, operation: str, chunk_id: str) -> Stored | None:
    """Return an entry that is not done, or None."""
    found = await connection.execute(
        select(table.c.Run_Id, table.c.First_Incident_Id, table.c.Created_Dtm, table.c.Body)
        .where(_is(operation, chunk_id))
        .order_by(table.c.Part_Number)
    )
    rows = found.all()
    if not rows:
        return None
    entry = await asyncio.to_thread(codec.decode, [row[3] for row in rows])
    return Stored(run_id=rows[0][0], first_id=rows[0][1], created_at=rows[0][2], entry=entry)


async def kept_body(connection: AsyncConnection, operation: str, run_id: str, incident_id: int) -> bytes | None:
    """Return a body that is kept for auditors, None where it is not (any more).

    A chunk's id begins with its run's, and its incidents follow on its first id: so the newest chunk that begins at
    or below the incident holds it, unless a receiver's 409 gave it a later id; then it is in one of those before.
    """
    found = await connection.scalars(
        select(table.c.Chunk_Id)
        .where(
            table.c.Operation_name == operation,
            table.c.Chunk_Id > f"{run_id}-",
            table.c.Chunk_Id < f"{run_id}.",  # the character after the hyphen
            table.c.First_Incident_Id <= incident_id,
        )
        .distinct()
        .order_by(table.c.Chunk_Id.desc())
        .limit(SEARCHED_CHUNKS)
    )
    for chunk_id in list(found):
        parts = await connection.scalars(
            select(table.c.Body)
            .where(table.c.Operation_name == operation, table.c.Chunk_Id == chunk_id)
            .order_by(table.c.Part_Number)
        )
        entry = await asyncio.to_thread(codec.decode, list(parts))
        body = codec.body_of(entry.incidents, incident_id)
        if body is not None:
            return body
    return None


async def claim(connection: AsyncConnection, lease: Lease) -> list[str]:
    """Put the lease's token on all entries that are not done; return their chunk ids, oldest first.

    Raises:
        LeaseLostError: an entry bears a higher token, so somebody has written past this lease.
    """
    waiting = and_(table.c.Operation_name == lease.operation, table.c.Done_Dtm.is_(None))
    found = await connection.execute(
        select(table.c.Chunk_Id, func.max(table.c.Token))
        .where(waiting)
        .group_by(table.c.Chunk_Id)
        .order_by(func.min(table.c.First_Incident_Id), table.c.Chunk_Id)
    )
    rows = found.all()
    if any(token > lease.token for _, token in rows):
        raise LeaseLostError(f"The outbox of operation '{lease.operation}' bears a newer token than {lease.token}")
    await connection.execute(update(table).where(waiting).values(Token=lease.token))
    return [row[0] for row in rows]


async def pending_ids(connection: AsyncConnection, operation: str, chunk_ids: Sequence[str]) -> set[int]:
    """Return the ids of all incidents that wait in these entries, read one entry at a time."""
    found: set[int] = set()
    for chunk_id in chunk_ids:
        stored = await load(connection, operation, chunk_id)
        if stored is not None:
            found.update(incident.incident_id for incident in stored.entry.pending)
    return found


async def settle(
    connection: AsyncConnection, lease: Lease, chunk: Chunk, outcomes: Sequence[Outcome], keep_since: datetime | None
) -> None:
    """Take out of the entry what has its outcome; keep the rest with its attempts and runs.

    Args:
        connection: in a writing transaction, after the fence.
        lease: whose token a rewritten entry bears.
        chunk: to which the outcomes belong.
        outcomes: of some or all of its incidents.
        keep_since: the store's clock, where bodies are kept for auditors; None where they go.
    """
    final = {outcome.incident_id for outcome in outcomes if outcome.status is not Status.PENDING}
    every = {incident.incident_id for incident in chunk.incidents}
    # The common case is decided without reading the bodies back.
    if every <= final and await _finish(connection, lease.operation, chunk.chunk_id, keep_since, len(every)):
        return
    stored = await load(connection, lease.operation, chunk.chunk_id)
    if stored is None:
        return  # an earlier call, whose answer was lost, has done it
    entry = codec.settle(stored.entry, outcomes, keep=keep_since is not None)
    if entry.pending:
        await _rewrite(connection, lease, chunk.chunk_id, stored, entry)
    else:
        await _finish(connection, lease.operation, chunk.chunk_id, keep_since, len(stored.entry.incidents))


async def replace(connection: AsyncConnection, lease: Lease, chunk_id: str, old_id: int, new: Incident) -> None:
    """Put an incident in the place of another; an entry that is gone or has it already is left as it is."""
    stored = await load(connection, lease.operation, chunk_id)
    if stored is not None:
        entry = codec.Entry(incidents=codec.substitute(stored.entry.incidents, old_id, new), done=stored.entry.done)
        await _rewrite(connection, lease, chunk_id, stored, entry)


async def purge(connection: AsyncConnection, operation: str, older_than: datetime) -> int:
    """Delete kept entries that were done before ``older_than``; return how many."""
    old = and_(table.c.Operation_name == operation, table.c.Done_Dtm < older_than)
    number = await connection.scalar(select(func.count(table.c.Chunk_Id.distinct())).where(old))
    await connection.execute(delete(table).where(old))
    return number or 0


async def _finish(
    connection: AsyncConnection, operation: str, chunk_id: str, keep_since: datetime | None, at_most: int
) -> bool:
    """Delete the entry, or mark it as done, if no more than ``at_most`` incidents are pending in it."""
    rows = and_(_is(operation, chunk_id), table.c.Incidents <= at_most)
    if keep_since is None:
        gone = await connection.execute(delete(table).where(rows))
    else:
        gone = await connection.execute(update(table).where(rows).values(Done_Dtm=keep_since, Incidents=0))
    return bool(gone.rowcount)


async def _rewrite(
    connection: AsyncConnection, lease: Lease, chunk_id: str, stored: Stored, entry: codec.Entry
) -> None:
    """Replace what an entry holds; its place in the order stays."""
    parts = await asyncio.to_thread(codec.encode, entry)
    await connection.execute(delete(table).where(_is(lease.operation, chunk_id)))
    kept = Stored(run_id=stored.run_id, first_id=stored.first_id, created_at=stored.created_at, entry=entry)
    await put(connection, lease, chunk_id, kept, parts)
