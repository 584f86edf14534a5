"""The lease and its fencing token, and the counter of Incident_Ids (SPEC 5, 6)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from incident_process.core.errors import LeaseHeldError, LeaseLostError
from incident_process.core.models import NEVER, Lease, LeaseState
from incident_process.state.damage import intact, or_none, text, whole
from incident_process.state.sql.connection import Connection
from incident_process.state.sql.dialect import instant_of, stamp
from incident_process.state.sql.schema import NO_SCOPE

_COUNTER = "Incident_Id"


class _Statements:
    """The statements for the row of a lease in its table."""

    def __init__(self, table: str, row: str) -> None:
        self.read = f"SELECT Holder, Token, Expires_Dtm, {{now}} FROM {table} WHERE {row}"
        """Who holds the lease, and the store's clock."""
        self.lock = f"{self.read} {{locked}}"
        """The same, with the row locked until the transaction ends."""
        self.take = f"UPDATE {table} SET Holder = ?, Token = ?, Expires_Dtm = ? WHERE {row}"
        self.extend = f"UPDATE {table} SET Expires_Dtm = ? WHERE {row}"
        self.free = f"UPDATE {table} SET Holder = NULL, Expires_Dtm = {{now}} WHERE {row} AND Token = ? AND Holder = ?"


_OF_OPERATION = _Statements("Process_Operation_Lease", "Operation_name = ?")
_OF_SCOPE = _Statements("Process_Operation_Scope", "Operation_name = ? AND Scope = ?")

_TOKEN = "SELECT Token FROM Process_Operation_Lease WHERE Operation_name = ?"  # noqa: S105 - no password

_CREATE = """
    INSERT {or_ignore} INTO Process_Operation_Lease (Operation_name, Holder, Token, Expires_Dtm)
    VALUES (?, NULL, 0, ?)"""

_READ_AS_OF = "SELECT As_Of_Dtm FROM Process_Operation_Lease WHERE Operation_name = ?"

_WRITE_AS_OF = "UPDATE Process_Operation_Lease SET As_Of_Dtm = ? WHERE Operation_name = ?"

_LAST_ID = "SELECT Last_Incident_Id FROM Incident_Counter WHERE Counter_Name = ? {locked}"

_CREATE_COUNTER = "INSERT {or_ignore} INTO Incident_Counter (Counter_Name, Last_Incident_Id) VALUES (?, 0)"

_WRITE_LAST_ID = "UPDATE Incident_Counter SET Last_Incident_Id = ? WHERE Counter_Name = ?"


@dataclass(frozen=True, slots=True)
class Scope:
    """The owner of a lease and an outbox: the operation, or one of its chunks."""

    operation: str
    number: int = NO_SCOPE

    def __str__(self) -> str:
        """Name it as messages do."""
        of = "" if self.number == NO_SCOPE else f"chunk {self.number} of "
        return f"{of}operation '{self.operation}'"

    @property
    def statements(self) -> _Statements:
        """The statements for the row of its lease."""
        return _OF_OPERATION if self.number == NO_SCOPE else _OF_SCOPE

    @property
    def row(self) -> tuple[str | int, ...]:
        """The key of that row."""
        return (self.operation,) if self.number == NO_SCOPE else (self.operation, self.number)


async def ensure_row(connection: Connection, operation: str) -> None:
    """Create the operation's row, free, unless it is there; two callers at once both succeed."""
    # The query comes first, because MySQL's driver logs each row that IGNORE skips.
    if await connection.value(_TOKEN, (operation,)) is None:
        await connection.execute(_CREATE, (operation, stamp(NEVER)))


def token_of(stored: Any) -> int:
    """Return the token of a lease."""
    return intact("Token of a lease", whole, stored)


async def _read(connection: Connection, query: str, scope: Scope) -> tuple[str | None, int, datetime, datetime] | None:
    """Return holder, token, expiry and the store's clock, of ``read`` or ``lock``."""
    row = await connection.row(query, scope.row)
    if row is None:
        return None
    holder = intact("Holder of a lease", or_none(text), row[0])
    return holder, token_of(row[1]), intact("Expires_Dtm of a lease", instant_of, row[2]), instant_of(row[3])


async def acquire(
    connection: Connection,
    operation: str,
    holder: str,
    seconds: float,
    *,
    evict: int | None,
    mine: set[tuple[str, int]],
) -> Lease:
    """Take the lease if it is free or expired; it lasts ``seconds`` by the store's clock.

    ``evict``: the token of a holder known to be gone, whose lease need not have expired. ``mine``: the holders and
    tokens that this store has tried to write; one of them in the row means that an earlier commit succeeded although
    its answer was lost. Raises LeaseHeldError where another runner holds it.
    """
    whole = Scope(operation)
    row = await _read(connection, whole.statements.lock, whole)
    if row is None:
        await ensure_row(connection, operation)
        row = await _read(connection, whole.statements.lock, whole)
        assert row is not None  # noqa: S101 - just written, and nothing deletes leases
    held_by, token, expires, now = row
    if held_by is not None and expires > now and token != evict and (held_by, token) not in mine:
        raise LeaseHeldError(held_by, token, expires)
    # Never behind the clock: if an operator deletes the row, the next token must not be lower than the outbox's.
    token = max(token + 1, int(now.timestamp() * 1000))
    mine.clear()
    mine.add((holder, token))
    await connection.execute(whole.statements.take, (holder, token, stamp(now + timedelta(seconds=seconds)), operation))
    return Lease(operation=operation, holder=holder, token=token, seconds=seconds)


async def fence(connection: Connection, lease: Lease, scope: Scope) -> datetime:
    """Lock the lease, check that it is still this holder's, extend it, and return the store's clock.

    The first step of every write: no runner can take the lease over until the transaction ends.

    Raises:
        LeaseLostError: A successor has taken over, or the lease was released.
    """
    row = await _read(connection, scope.statements.lock, scope)
    if row is None or (row[0], row[1]) != (lease.holder, lease.token):
        successor = row[0] if row is not None else None
        raise LeaseLostError(
            f"The lease {lease.token} on {scope} is no longer held"
            + (f": {successor} has taken over" if successor and row and row[1] != lease.token else "")
        )
    now = row[3]
    await connection.execute(scope.statements.extend, (stamp(now + timedelta(seconds=lease.seconds)), *scope.row))
    return now


async def raise_as_of(connection: Connection, operation: str, instant: datetime) -> datetime:
    """Note the instant if it is the latest, and return the latest; after the fence, which has locked the row."""
    stored = await connection.value(_READ_AS_OF, (operation,))
    known = intact("Process_Operation_Lease.As_Of_Dtm", or_none(instant_of), stored)
    latest = instant if known is None else max(known, instant)
    await connection.execute(_WRITE_AS_OF, (stamp(latest), operation))
    return latest


async def release(connection: Connection, lease: Lease, scope: Scope) -> None:
    """Free the lease if it is still this holder's. Its token stays: the next one must be higher."""
    await connection.execute(scope.statements.free, (*scope.row, lease.token, lease.holder))


async def read_state(connection: Connection, scope: Scope) -> LeaseState | None:
    """Return the state of the lease; a lease that was never taken is None."""
    row = await _read(connection, scope.statements.read, scope)
    if row is None or not row[1]:
        return None
    holder, token, expires, now = row
    return LeaseState(holder=holder or "", token=token, expires_at=expires, active=holder is not None and expires > now)


async def reserve_ids(connection: Connection, count: int, floor: int) -> int:
    """Reserve ``count`` ids above all reserved ones and not below ``floor``; return the first.

    One counter serves all operations of the store: an Incident_Id is unique at the receiver, not per operation.
    """
    last = await connection.value(_LAST_ID, (_COUNTER,))
    if last is None:
        await connection.execute(_CREATE_COUNTER, (_COUNTER,))
        last = await connection.value(_LAST_ID, (_COUNTER,))
    first = max(intact("Incident_Counter.Last_Incident_Id", whole, last or 0) + 1, floor)
    await connection.execute(_WRITE_LAST_ID, (first + count - 1, _COUNTER))
    return first
