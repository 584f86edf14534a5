"""The leases of parallel chunks: ``Process_Operation_Scope``, one row a chunk."""

from datetime import datetime, timedelta

from incident_process.core.errors import LeaseLostError
from incident_process.core.models import Lease
from incident_process.state.sql import ledger, outbox
from incident_process.state.sql.connection import Connection
from incident_process.state.sql.dialect import instant_of, stamp
from incident_process.state.sql.lease import Scope, token_of

_READ = """
    SELECT Token, Epoch, {now} FROM Process_Operation_Scope WHERE Operation_name = ? AND Scope = ? {locked}"""

_ALL = "SELECT Scope, Token FROM Process_Operation_Scope WHERE Operation_name = ? {locked}"

_CREATE = """
    INSERT INTO Process_Operation_Scope (Operation_name, Scope, Epoch, Holder, Token, Expires_Dtm)
    VALUES (?, ?, ?, NULL, ?, ?)"""

_REOPEN = """
    UPDATE Process_Operation_Scope SET Epoch = ?, Holder = NULL, Token = ?, Expires_Dtm = ? WHERE Operation_name = ?"""


async def acquire(connection: Connection, scope: Scope, epoch: int, holder: str, seconds: float) -> Lease:
    """Take the scope's lease from any holder; raise LeaseLostError where it is not (or no longer) open in ``epoch``."""
    row = await connection.row(_READ, scope.row)
    if row is None or row[1] != epoch:
        raise LeaseLostError(f"The {scope} cannot be claimed under the lease {epoch}: a later run has begun")
    token, now = token_of(row[0]) + 1, instant_of(row[2])
    taken = (holder, token, stamp(now + timedelta(seconds=seconds)))
    await connection.execute(scope.statements.take, (*taken, *scope.row))
    return Lease(operation=scope.operation, holder=holder, token=token, seconds=seconds)


async def reopen(connection: Connection, lease: Lease, count: int, now: datetime) -> list[int]:
    """Open the scopes under the operation's lease; see ``base.StateStore.open_scopes``.

    Called after the fence, in its transaction: a worker has written to its scope by now, or is fenced.
    """
    operation = lease.operation
    tokens: dict[int, int] = {row[0]: token_of(row[1]) for row in await connection.rows(_ALL, (operation,))}
    waiting = await outbox.waiting_scopes(connection, operation)
    # Never behind the clock: if an operator deletes the rows, the next token must not be lower than the outbox's.
    token = max([int(now.timestamp() * 1000), *(token + 1 for token in tokens.values())])
    if tokens:
        await connection.execute(_REOPEN, (lease.token, token, stamp(now), operation))
    # A leftover needs a row to be claimed, also after an operator has deleted it.
    missing = sorted({*range(count), *waiting} - tokens.keys())
    if missing:
        await connection.insert(_CREATE, [(operation, scope, lease.token, token, stamp(now)) for scope in missing])
    if tokens or missing:
        await ledger.withdraw_orphans_of_idle(connection, operation, waiting)
    return waiting
