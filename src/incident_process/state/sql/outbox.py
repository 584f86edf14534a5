"""``Incident_Outbox``: the exact bodies of incidents without an outcome, one entry a chunk (SPEC 6)."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import msgspec

from incident_process.core.errors import LeaseLostError
from incident_process.core.models import Chunk, Incident, Lease, Outcome, Record
from incident_process.core.models import DeliveryStatus as Status
from incident_process.state import codec
from incident_process.state.damage import intact, text, whole
from incident_process.state.sql.connection import Connection
from incident_process.state.sql.dialect import instant_of, stamp
from incident_process.state.sql.lease import Scope
from incident_process.state.sql.schema import NO_SCOPE

SEARCHED_CHUNKS = 20
"""Chunks that are searched for a kept body at most; it is nearly always in the first."""

_PUT = """
    INSERT INTO Incident_Outbox (Operation_name, Chunk_Id, Part_Number, First_Incident_Id, Incidents, Token, Run_Id,
        Created_Dtm, Done_Dtm, Scope, Body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, {body})"""

_OPEN = "Operation_name = ? AND Scope = ? AND Chunk_Id = ? AND Done_Dtm IS NULL"
"""The rows of an entry with pending incidents."""

_LOAD = f"""
    SELECT Run_Id, First_Incident_Id, Created_Dtm, Body FROM Incident_Outbox WHERE {_OPEN} ORDER BY Part_Number"""

_CHUNKS_AT = f"""
    SELECT DISTINCT Chunk_Id FROM Incident_Outbox
    WHERE Operation_name = ? AND Chunk_Id > ? AND Chunk_Id < ? AND First_Incident_Id <= ? AND Scope = ?
    ORDER BY Chunk_Id DESC LIMIT {SEARCHED_CHUNKS}"""
"""The chunks of a run in one scope that begin at or below an incident, newest first."""

_BODIES = "SELECT Body FROM Incident_Outbox WHERE Operation_name = ? AND Chunk_Id = ? ORDER BY Part_Number"

_WAITING = """
    SELECT Chunk_Id, MAX(Token) FROM Incident_Outbox WHERE Operation_name = ? AND Scope = ? AND Done_Dtm IS NULL
    GROUP BY Chunk_Id ORDER BY MIN(First_Incident_Id), Chunk_Id"""
"""The entries that are not done, oldest first."""

_CLAIM = f"UPDATE Incident_Outbox SET Token = ? WHERE {_OPEN}"

_SCOPES = f"""
    SELECT DISTINCT Scope FROM Incident_Outbox WHERE Operation_name = ? AND Done_Dtm IS NULL AND Scope > {NO_SCOPE}
    ORDER BY Scope"""
"""The scopes with entries that are not done."""

_DELETE = f"DELETE FROM Incident_Outbox WHERE {_OPEN}"

_FINISH = f"{_DELETE} AND Incidents <= ?"

_FINISH_KEPT = f"UPDATE Incident_Outbox SET Done_Dtm = ?, Incidents = 0 WHERE {_OPEN} AND Incidents <= ?"

_OLD = f"Operation_name = ? AND Done_Dtm < ? AND (Scope = ? OR ? = {NO_SCOPE})"
"""Entries kept long enough; for the operation's own outbox in any scope: no worker needs what is done."""

_COUNT_OLD = f"SELECT COUNT(DISTINCT Chunk_Id) FROM Incident_Outbox WHERE {_OLD}"

_PURGE = f"DELETE FROM Incident_Outbox WHERE {_OLD}"


class StoredChunk(Record, frozen=True, kw_only=True):
    """An entry in the table, with the columns that a rewrite keeps."""

    run_id: str
    first_id: int
    created_at: datetime
    entry: codec.OutboxEntry


async def put(
    connection: Connection, lease: Lease, scope: Scope, chunk_id: str, stored: StoredChunk, parts: Sequence[bytes]
) -> None:
    """Write an entry, which ``parts`` encode, under the lease's token."""
    shared = (stored.first_id, len(stored.entry.pending), lease.token, stored.run_id, stamp(stored.created_at))
    # A statement for each part: together they might be more than the server's max_allowed_packet.
    for number, part in enumerate(codec.cut(parts, connection.part_bytes)):
        values = (scope.operation, chunk_id, number, *shared, scope.number, connection.dialect.packed(part))
        await connection.execute(_PUT, values)


async def load(connection: Connection, scope: Scope, chunk_id: str) -> StoredChunk | None:
    """Return an entry that is not done, or None."""
    rows = await connection.rows(_LOAD, (scope.operation, scope.number, chunk_id))
    if not rows:
        return None
    entry = await asyncio.to_thread(codec.decode, [row[3] for row in rows])
    created_at = intact("Incident_Outbox.Created_Dtm", instant_of, rows[0][2])
    run_id = intact("Incident_Outbox.Run_Id", text, rows[0][0])
    first_id = intact("Incident_Outbox.First_Incident_Id", whole, rows[0][1])
    return StoredChunk(run_id=run_id, first_id=first_id, created_at=created_at, entry=entry)


async def kept_body(connection: Connection, scope: Scope, run_id: str, incident_id: int) -> bytes | None:
    """Return a body that is kept for auditors, None where it is not kept.

    A chunk's id begins with its run's, and its incidents follow on its first id: so the scope's newest chunk that
    begins at or below the incident holds it, unless a receiver's 409 gave it a later id; then it is in one of those
    before.
    """
    of_run = (f"{run_id}-", f"{run_id}.")  # the character after the hyphen
    for (chunk_id,) in await connection.rows(_CHUNKS_AT, (scope.operation, *of_run, incident_id, scope.number)):
        parts = await connection.rows(_BODIES, (scope.operation, chunk_id))
        entry = await asyncio.to_thread(codec.decode, [row[0] for row in parts])
        body = codec.body_of(entry.incidents, incident_id)
        if body is not None:
            return body
    return None


async def claim(connection: Connection, lease: Lease, scope: Scope) -> list[str]:
    """Put the lease's token on all of the scope's entries that are not done; return their chunk ids, oldest first.

    Raises:
        LeaseLostError: An entry has a higher token: a successor has written it.
    """
    rows = await connection.rows(_WAITING, (scope.operation, scope.number))
    if any(intact("Incident_Outbox.Token", whole, token) > lease.token for _, token in rows):
        raise LeaseLostError(f"The outbox of {scope} bears a newer token than {lease.token}")
    # Chunk by chunk, every server uses the key, so that this waits for no row of a scope at work.
    for chunk_id, _ in rows:
        await connection.execute(_CLAIM, (lease.token, scope.operation, scope.number, chunk_id))
    return [row[0] for row in rows]


async def waiting_scopes(connection: Connection, operation: str) -> list[int]:
    """Return the scopes whose outbox is not empty, in ascending order."""
    return [row[0] for row in await connection.rows(_SCOPES, (operation,))]


async def pending_ids(connection: Connection, scope: Scope, chunk_ids: Sequence[str]) -> set[int]:
    """Return the ids of all pending incidents in these entries, read one entry at a time."""
    found: set[int] = set()
    for chunk_id in chunk_ids:
        stored = await load(connection, scope, chunk_id)
        if stored is not None:
            found.update(incident.incident_id for incident in stored.entry.pending)
    return found


async def settle(
    connection: Connection,
    lease: Lease,
    scope: Scope,
    chunk: Chunk,
    outcomes: Sequence[Outcome],
    keep_since: datetime | None,
) -> None:
    """Remove incidents with an outcome from the entry; keep the others with their attempts and runs.

    Called after the fence, in its transaction. A rewritten entry gets the lease's token. ``keep_since``: the store's
    clock, where bodies are kept for auditors; None: they are deleted.
    """
    final = {outcome.incident_id for outcome in outcomes if outcome.status is not Status.PENDING}
    every = {incident.incident_id for incident in chunk.incidents}
    # The common case needs no reading of the bodies.
    if every <= final and await _finish(connection, scope, chunk.chunk_id, keep_since, len(every)):
        return
    stored = await load(connection, scope, chunk.chunk_id)
    if stored is None:
        return  # done by an earlier call whose answer was lost
    entry = codec.settle(stored.entry, outcomes, keep=keep_since is not None)
    if entry.pending:
        await _rewrite(connection, lease, scope, chunk.chunk_id, msgspec.structs.replace(stored, entry=entry))
    else:
        await _finish(connection, scope, chunk.chunk_id, keep_since, len(stored.entry.incidents))


async def replace(
    connection: Connection, lease: Lease, scope: Scope, chunk_id: str, old_id: int, new: Incident
) -> None:
    """Put an incident in place of another; do nothing where the entry is gone or has it already."""
    stored = await load(connection, scope, chunk_id)
    if stored is not None:
        incidents = codec.substitute(stored.entry.incidents, old_id, new)
        entry = msgspec.structs.replace(stored.entry, incidents=incidents)
        await _rewrite(connection, lease, scope, chunk_id, msgspec.structs.replace(stored, entry=entry))


async def purge(connection: Connection, scope: Scope, older_than: datetime) -> int:
    """Delete kept entries that were done before ``older_than``; return how many."""
    old = (scope.operation, stamp(older_than), scope.number, scope.number)
    number: int = await connection.value(_COUNT_OLD, old)
    await connection.execute(_PURGE, old)
    return number


async def _finish(
    connection: Connection, scope: Scope, chunk_id: str, keep_since: datetime | None, at_most: int
) -> bool:
    """Delete the entry, or mark it as done, if at most ``at_most`` incidents are pending in it."""
    these = (scope.operation, scope.number, chunk_id, at_most)
    if keep_since is None:
        return bool(await connection.execute(_FINISH, these))
    return bool(await connection.execute(_FINISH_KEPT, (stamp(keep_since), *these)))


async def _rewrite(connection: Connection, lease: Lease, scope: Scope, chunk_id: str, stored: StoredChunk) -> None:
    """Replace an entry's content; it keeps its place in the order."""
    parts = await asyncio.to_thread(codec.encode, stored.entry)
    await connection.execute(_DELETE, (scope.operation, scope.number, chunk_id))
    await put(connection, lease, scope, chunk_id, stored, parts)
