"""``Incident_Delivery``: every incident and its outcome (SPEC 6)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from incident_process.core.errors import IncidentProcessError
from incident_process.core.models import (
    Chunk,
    DeliveryStatus,
    Incident,
    LastDelivery,
    LedgerEntry,
    Outcome,
    UnsendableAccount,
    first_entries,
)
from incident_process.state.batches import batches, equal_outcomes, id_ranges
from incident_process.state.codec import LAST_CHARACTER
from incident_process.state.damage import intact, ledger_entry
from incident_process.state.remembered import delivered_among, followed
from incident_process.state.sql.connection import Connection, Row
from incident_process.state.sql.dialect import MYSQL, instant_of, marks, stamp
from incident_process.state.sql.lease import Scope
from incident_process.state.sql.schema import NO_SCOPE, shortened

PAGE = 2000
"""Accounts that one query of ``delivered_accounts`` reads."""

_DELIVERED = DeliveryStatus.DELIVERED.value
_DEAD = DeliveryStatus.DEAD.value
_PENDING = DeliveryStatus.PENDING.value

COLUMNS = """Incident_Id, Operation_name, Account_Num, Digest, Idempotency_Key, Status, Attempts, Runs,
        Last_Http_Status, Last_Error, Run_Id, Created_Dtm, Updated_Dtm"""
_NAMES = [name.strip() for name in COLUMNS.split(",")]

INSERT = f"INSERT INTO Incident_Delivery ({COLUMNS}, Scope, Rows_Digest, Earlier_Digests) VALUES ({marks(16)})"
"""Of the values that ``row_of`` returns."""

_PENDING_ENTRIES = """
    INSERT INTO Incident_Delivery (
        Operation_name, Run_Id, Created_Dtm, Updated_Dtm, Scope, Status,
        Incident_Id, Account_Num, Digest, Idempotency_Key, Rows_Digest, Attempts, Runs
    ) VALUES """
_PENDING_ENTRY = f"({{shared}}1, {{shared}}2, {{shared}}3, {{shared}}3, {{shared}}4, '{_PENDING}', ?, ?, ?, ?, ?, ?, ?)"
_SHARED = "SET {shared}1 = ?, {shared}2 = ?, {shared}3 = ?, {shared}4 = ?"
"""On MySQL, gives the values that all entries of a statement share to variables of the session."""

_WHOSE = "SELECT Operation_name, Account_Num, Digest, Run_Id FROM Incident_Delivery WHERE Incident_Id = ?"

_OUTCOME = """
    UPDATE Incident_Delivery
    SET Status = ?, Attempts = ?, Runs = ?, Last_Http_Status = ?, Last_Error = ?, Updated_Dtm = ?
    WHERE Incident_Id """
"""For incidents with equal outcomes."""
_NOT_TRIED = _OUTCOME.replace(" Last_Http_Status = ?, Last_Error = ?,", "")
"""For incidents that this run has not tried: why an earlier run's attempt failed stays."""

_REPLACE = f"""
    UPDATE Incident_Delivery
    SET Incident_Id = ?, Digest = ?, Idempotency_Key = ?, Attempts = ?, Runs = ?, Updated_Dtm = ?
    WHERE Incident_Id = ? AND Operation_name = ? AND Status = '{_PENDING}'"""
"""Give a pending entry a new id."""

_DELIVERED_BEFORE = f"""
    SELECT Account_Num, Digest, Earlier_Digests, Status, Incident_Id FROM Incident_Delivery
    WHERE Operation_name = ? AND Status IN ('{_DELIVERED}', '{_DEAD}') AND Account_Num IN ({{}})
        AND (Digest IN ({{}}) OR Earlier_Digests IS NOT NULL) AND (Status = '{_DELIVERED}' OR Attempts > 0)"""

_ALL_PENDING = f"SELECT Incident_Id, Scope FROM Incident_Delivery WHERE Operation_name = ? AND Status = '{_PENDING}'"

_WITHDRAW = f"""
    DELETE FROM Incident_Delivery WHERE Operation_name = ? AND Status = '{_PENDING}' AND Incident_Id IN """

_DELIVERED_ACCOUNTS = f"""
    SELECT DISTINCT Account_Num FROM Incident_Delivery
    WHERE Operation_name = ? AND Account_Num > ? AND Status = '{_DELIVERED}' ORDER BY Account_Num LIMIT {PAGE}"""

_ACCOUNTS = """
    SELECT DISTINCT Account_Num FROM Incident_Delivery
    WHERE Operation_name = ? AND Account_Num >= ? AND Account_Num <= ? ORDER BY Account_Num LIMIT ?"""

_DELIVERING_RUN = f"""
    SELECT Run_Id, Scope FROM Incident_Delivery
    WHERE Incident_Id = ? AND Operation_name = ? AND Status = '{_DELIVERED}'"""

_ENTRIES = f"SELECT {COLUMNS} FROM Incident_Delivery WHERE {{}} ORDER BY Incident_Id DESC LIMIT ?"

_NO_INDEX = frozenset({"Attempts > ?", "Attempts <= ?", "Incident_Id < ?"})
"""Conditions for which no index but the key is of use."""

_OPEN_ENTRIES = f"""
    SELECT {COLUMNS} FROM Incident_Delivery AS entry
    WHERE {{}} AND NOT EXISTS (
        SELECT 1 FROM Incident_Delivery AS later
        WHERE later.Operation_name = entry.Operation_name AND later.Account_Num = entry.Account_Num
            AND later.Incident_Id > entry.Incident_Id
    )
    ORDER BY entry.Incident_Id DESC LIMIT ?"""
"""The wanted entries that no later one of their account follows."""

_COUNTS = "SELECT Status, COUNT(*) FROM Incident_Delivery WHERE Operation_name = ? GROUP BY Status"


async def is_written(connection: Connection, operation: str, chunk: Chunk) -> bool:
    """Return whether the chunk is in the ledger already, by a commit whose answer was lost.

    One transaction writes a chunk, so its first entry stands for all.

    Raises:
        IncidentProcessError: The id belongs to another incident.
    """
    first: Incident | UnsendableAccount = chunk.incidents[0] if chunk.incidents else chunk.parked[0]
    row = await connection.row(_WHOSE, (first.incident_id,))
    if row is None:
        return False
    if tuple(row) == (operation, first.account, first.digest, chunk.run_id):
        return True
    raise IncidentProcessError(
        f"Incident_Id {first.incident_id} is another incident's in the ledger; nothing was written"
    )


async def add(connection: Connection, scope: Scope, chunk: Chunk, now: datetime) -> None:
    """Write the entries of a chunk: pending for its incidents, and as decided for what is parked."""
    # Each value of a row is written into the statement (MySQL) or bound (SQLite), so what all rows share is there once;
    # and SQLite's thread waits for Python's lock after each statement, so all rows are in one.
    shared: tuple[object, ...] = (scope.operation, chunk.run_id, stamp(now), scope.number)
    if chunk.incidents and connection.dialect is MYSQL:
        await connection.execute(_SHARED, shared)
        shared = ()
    for some in batches(chunk.incidents):
        values = [
            value
            for one in some
            for value in (one.incident_id, one.account, one.digest, one.key, one.rows_digest, one.attempts, one.runs)
        ]
        entries = ", ".join([_PENDING_ENTRY] * len(some))
        await connection.execute(_PENDING_ENTRIES + entries, (*shared, *values))
    if chunk.parked:
        parked = first_entries(msgspec.structs.replace(chunk, incidents=()), scope.operation, now)
        await connection.insert(INSERT, [row_of(entry, scope.number) for entry in parked])


def row_of(entry: LedgerEntry, scope: int) -> tuple[object, ...]:
    """Return an entry as ``INSERT`` takes it."""
    return (
        entry.incident_id,
        entry.operation,
        entry.account,
        entry.digest,
        entry.key,
        entry.status.value,
        entry.attempts,
        entry.runs,
        entry.http_status,
        shortened(entry.error),
        entry.run_id,
        stamp(entry.created_at),
        stamp(entry.updated_at),
        scope,
        entry.rows_digest,
        " ".join(entry.earlier) or None,
    )


async def write_outcomes(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Write the outcomes of incidents. ``Updated_Dtm`` of equal ones is the time of the last."""
    for one, its_ids in equal_outcomes(outcomes):
        last = (one.http_status, shortened(one.error)) if one.is_tried else ()
        told = (one.status.value, one.attempts, one.runs, *last, stamp(one.at))
        update = _OUTCOME if one.is_tried else _NOT_TRIED
        ranges, single = id_ranges(its_ids)
        for ids in ranges:
            await connection.execute(f"{update} BETWEEN ? AND ?", (*told, *ids))
        for some in batches(single):
            await connection.execute(f"{update} IN ({marks(len(some))})", (*told, *some))


async def replace(connection: Connection, operation: str, old_id: int, new: Incident, now: datetime) -> None:
    """Give a pending entry a new id, in place.

    Raises:
        IncidentProcessError: There is no such pending entry.
    """
    values = (new.incident_id, new.digest, new.key, new.attempts, new.runs, stamp(now))
    if await connection.execute(_REPLACE, (*values, old_id, operation)):
        return
    whose = await connection.row(_WHOSE, (new.incident_id,))
    account = None if whose is None else whose[1]
    if account != new.account:
        raise IncidentProcessError(f"Incident_Id {old_id} is not pending in the ledger of operation '{operation}'")


def newest_entries(accounts: int) -> str:
    """Return the query for account, status, id and digests of each account's newest entry in each status.

    One statement, so that it sees an entry that gets a new id meanwhile either before or after. Its values are the
    operation and ``accounts`` account numbers.
    """
    # With the operation in the group, MariaDB steps through the index instead of reading all of it.
    return f"""
        SELECT entry.Account_Num, entry.Status, entry.Incident_Id, entry.Digest, entry.Rows_Digest
        FROM Incident_Delivery AS entry JOIN (
            SELECT MAX(Incident_Id) AS Newest_Id FROM Incident_Delivery
            WHERE Operation_name = ? AND Account_Num IN ({marks(accounts)})
            GROUP BY Operation_name, Account_Num, Status
        ) AS newest ON newest.Newest_Id = entry.Incident_Id"""


async def last_known(connection: Connection, operation: str, accounts: Sequence[str]) -> dict[str, LastDelivery]:
    """Return the last delivery of these accounts."""
    newest: dict[str, tuple[int, DeliveryStatus, str, str]] = {}
    delivered: dict[str, tuple[str, int]] = {}
    for some in batches(accounts):
        for account, status, incident_id, digest, of_rows in await connection.rows(
            newest_entries(len(some)), (operation, *some)
        ):
            if account not in newest or newest[account][0] < incident_id:
                newest[account] = (incident_id, _status(status), digest, of_rows)
            if status == _DELIVERED:
                delivered[account] = digest, incident_id
    return {
        account: LastDelivery(
            delivered_digest=delivered.get(account, (None, 0))[0],
            delivered_id=delivered.get(account, (None, 0))[1],
            newest_digest=digest,
            newest_status=status,
            newest_rows=of_rows,
        )
        for account, (_, status, digest, of_rows) in newest.items()
    }


async def delivered_before(
    connection: Connection, operation: str, contents: Collection[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Return those (account, digest) pairs that the receiver may have had before what it has now."""
    wanted = set(contents)
    found: set[tuple[str, str]] = set()
    for some in batches(sorted(wanted)):
        accounts_of, digests = ({one[part] for one in some} for part in (0, 1))
        query = _DELIVERED_BEFORE.format(marks(len(accounts_of)), marks(len(digests)))
        rows = await connection.rows(query, (operation, *accounts_of, *digests))
        dead = [(account, digest, number) for account, digest, _, status, number in rows if status == _DEAD]
        known = await last_known(connection, operation, list({account for account, _, _ in dead}))
        found |= delivered_among(
            some,
            ((row[0], row[1], (row[2] or "").split()) for row in rows if row[3] == _DELIVERED),
            followed(dead, known),
        )
    return found


async def withdraw_orphans(connection: Connection, scope: Scope, waiting: Collection[int]) -> None:
    """Delete the scope's pending entries without a body in its outbox; ``waiting`` are the ids that the outbox has.

    No run could ever send them, and their accounts would wait behind them for ever. They exist only after an operator
    has emptied the outbox by hand, or restored it without the ledger.
    """
    await _withdraw(connection, scope.operation, lambda number, of: of == scope.number and number not in waiting)


async def withdraw_orphans_of_idle(connection: Connection, operation: str, busy: Collection[int]) -> None:
    """Delete pending entries of all scopes but the ``busy`` ones, whose outbox is not empty."""
    await _withdraw(connection, operation, lambda _number, of: of != NO_SCOPE and of not in busy)


async def _withdraw(connection: Connection, operation: str, orphaned: Callable[[int, int], bool]) -> None:
    pending = await connection.rows(_ALL_PENDING, (operation,))
    for some in batches(sorted(number for number, of in pending if orphaned(number, of))):
        await connection.execute(f"{_WITHDRAW} ({marks(len(some))})", (operation, *some))


async def delivered_accounts(connection: Connection, operation: str, after: str) -> list[str]:
    """Return the next page of accounts with a delivered incident, in ascending order of code points."""
    return [row[0] for row in await connection.rows(_DELIVERED_ACCOUNTS, (operation, after))]


async def accounts(connection: Connection, operation: str, starting: str, limit: int) -> list[str]:
    """Return accounts that begin with the text, in ascending order of code points."""
    values = (operation, starting, starting + LAST_CHARACTER, limit)
    return [row[0] for row in await connection.rows(_ACCOUNTS, values)]


async def delivering_run(connection: Connection, operation: str, incident_id: int) -> tuple[str, Scope] | None:
    """Return the run and the scope that wrote a delivered incident; None when it was not delivered."""
    row = await connection.row(_DELIVERING_RUN, (incident_id, operation))
    return None if row is None else (row[0], Scope(operation, row[1]))


async def entries(
    connection: Connection, operation: str, wanted: Mapping[str, str | int | None], limit: int, *, is_open: bool = False
) -> list[LedgerEntry]:
    """Return ledger entries that meet the conditions (without those whose value is None), newest Incident_Id first.

    ``is_open``: only entries that no later one of their account follows.
    """
    given = {condition: value for condition, value in wanted.items() if value is not None}
    # Without the plus, SQLite would find the whole ledger by an index and sort it; with it, it reads the key's end.
    plus = "+" if connection.dialect is not MYSQL and given.keys() <= _NO_INDEX else ""
    query = (_OPEN_ENTRIES if is_open else _ENTRIES).format(" AND ".join([f"{plus}Operation_name = ?", *given]))
    return [entry_of(row) for row in await connection.rows(query, (operation, *given.values(), limit))]


async def counts(connection: Connection, operation: str) -> dict[DeliveryStatus, int]:
    """Return how many entries have each status; a status without entries is 0."""
    by_status = {_status(row[0]): int(row[1]) for row in await connection.rows(_COUNTS, (operation,))}
    return {status: by_status.get(status, 0) for status in DeliveryStatus}


def _status(stored: Any) -> DeliveryStatus:
    return intact("Incident_Delivery.Status", DeliveryStatus, stored)


def entry_of(row: Row) -> LedgerEntry:
    """Return a row of ``COLUMNS`` as a record."""
    return ledger_entry(dict(zip(_NAMES, row, strict=False)), "Incident_Id", instant_of)
