"""``Incident_Delivery``: what was meant to be sent, and what became of it (SPEC 6)."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from incident_process.errors import IncidentProcessError
from incident_process.records import Chunk, DeliveryStatus, Incident, Known, LedgerEntry, Outcome, Parked
from incident_process.state.codec import LAST_CHARACTER
from incident_process.state.sql.database import batches, insert_rows, native
from incident_process.state.sql.schema import delivery as table
from incident_process.state.sql.schema import shortened

PAGE = 2000
"""Accounts that are read at a time when all of them are gone through."""


_FRESH = f"""
    INSERT INTO {table.name} (
        Incident_Id, Account_Num, Digest, Idempotency_Key, Operation_name, Run_Id, Created_Dtm, Updated_Dtm, Status,
        Attempts, Runs
    ) VALUES"""
_FRESH_ROW = f"(%s, %s, %s, %s, @operation, @run, @now, @now, '{DeliveryStatus.PENDING.value}', 0, 0)"
"""Entries of incidents that were never tried, on MySQL; what they share stands in variables."""


async def is_written(connection: AsyncConnection, operation: str, chunk: Chunk) -> bool:
    """Return whether this very chunk is in the ledger: a commit whose answer was lost has gone through.

    A chunk is written in one transaction, so its first entry stands for all.

    Raises:
        IncidentProcessError: the id belongs to another incident.
    """
    first: Incident | Parked = chunk.incidents[0] if chunk.incidents else chunk.parked[0]
    found = await connection.execute(
        select(table.c.Operation_name, table.c.Account_Num, table.c.Digest, table.c.Run_Id).where(
            table.c.Incident_Id == first.incident_id
        )
    )
    row = found.one_or_none()
    if row is None:
        return False
    if tuple(row) == (operation, first.account, first.digest, chunk.run_id):
        return True
    raise IncidentProcessError(
        f"Incident_Id {first.incident_id} is another incident's in the ledger; nothing was written"
    )


async def add(connection: AsyncConnection, operation: str, chunk: Chunk, now: datetime) -> None:
    """Write the entries of a chunk: pending for its incidents, and as decided for what is parked."""
    stamp = native(connection, table.c.Created_Dtm, now)
    shared = (operation, chunk.run_id, stamp)
    fresh: list[Incident] = []
    tried: list[Incident] = []
    for incident in chunk.incidents:
        (tried if incident.attempts or incident.runs else fresh).append(incident)
    if fresh and connection.dialect.name == "mysql":
        # What all rows have in common stands in variables of the session: the driver writes each value of a row into
        # the statement, and a third of the values took a third of the time.
        await connection.exec_driver_sql("SET @operation = %s, @run = %s, @now = %s", shared)
        for some in batches(fresh):
            values = tuple(value for one in some for value in (one.incident_id, one.account, one.digest, one.key))
            await connection.exec_driver_sql(f"{_FRESH} {', '.join([_FRESH_ROW] * len(some))}", values)
    else:
        tried = list(chunk.incidents)
    rows: list[tuple[Any, ...]] = [
        (
            incident.incident_id,
            operation,
            incident.account,
            incident.digest,
            incident.key,
            DeliveryStatus.PENDING.value,
            incident.attempts,
            incident.runs,
            None,
            None,
            chunk.run_id,
            stamp,
            stamp,
        )
        for incident in tried
    ]
    rows += [
        (
            parked.incident_id,
            operation,
            parked.account,
            parked.digest,
            "",  # no idempotency key: nothing is sent for it
            parked.status.value,
            0,
            0,
            None,
            shortened(parked.error),
            chunk.run_id,
            stamp,
            stamp,
        )
        for parked in chunk.parked
    ]
    if rows:
        await insert_rows(connection, table, rows)


async def write_outcomes(connection: AsyncConnection, outcomes: Sequence[Outcome]) -> None:
    """Write what became of incidents.

    A chunk whose incidents all fared alike, which is the rule, takes one statement. ``Updated_Dtm`` of such a group
    is the time of its last outcome.
    """
    groups: defaultdict[tuple[Any, ...], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        alike = (outcome.status, outcome.attempts, outcome.runs, outcome.http_status, outcome.error)
        groups[alike].append(outcome)
    for (status, attempts, runs, http_status, error), group in groups.items():
        values = {
            "Status": status.value,
            "Attempts": attempts,
            "Runs": runs,
            "Last_Http_Status": http_status,
            "Last_Error": shortened(error),
            "Updated_Dtm": max(outcome.at for outcome in group),
        }
        for some in batches([outcome.incident_id for outcome in group]):
            await connection.execute(update(table).where(table.c.Incident_Id.in_(some)).values(values))


async def replace(connection: AsyncConnection, operation: str, old_id: int, new: Incident, now: datetime) -> None:
    """Give a pending entry a new id, in place.

    Raises:
        IncidentProcessError: there is no such pending entry.
    """
    changed = await connection.execute(
        update(table)
        .where(
            table.c.Incident_Id == old_id,
            table.c.Operation_name == operation,
            table.c.Status == DeliveryStatus.PENDING.value,
        )
        .values(
            Incident_Id=new.incident_id,
            Digest=new.digest,
            Idempotency_Key=new.key,
            Attempts=new.attempts,
            Runs=new.runs,
            Updated_Dtm=now,
        )
    )
    if changed.rowcount:
        return
    account = await connection.scalar(select(table.c.Account_Num).where(table.c.Incident_Id == new.incident_id))
    if account != new.account:
        raise IncidentProcessError(f"Incident_Id {old_id} is not pending in the ledger of operation '{operation}'")


def newest_entries(operation: str, accounts: Sequence[str]) -> Select[str, str, int, str]:
    """Return the query for account, status, id and digest of each account's newest entry in each status.

    One statement, so that an entry that gets a new id meanwhile is seen either before or after.
    """
    newest = (
        select(func.max(table.c.Incident_Id).label("Newest_Id"))
        .where(table.c.Operation_name == operation, table.c.Account_Num.in_(accounts))
        # The operation is in the group for MariaDB: so it steps through the index instead of walking it.
        .group_by(table.c.Operation_name, table.c.Account_Num, table.c.Status)
        .subquery()
    )
    return select(table.c.Account_Num, table.c.Status, table.c.Incident_Id, table.c.Digest).join(
        newest, newest.c.Newest_Id == table.c.Incident_Id
    )


async def last_known(connection: AsyncConnection, operation: str, accounts: Sequence[str]) -> dict[str, Known]:
    """Return what the ledger last says of these accounts."""
    newest: dict[str, tuple[int, DeliveryStatus, str]] = {}
    delivered: dict[str, tuple[str, int]] = {}
    for some in batches(accounts):
        for account, status, incident_id, digest in await connection.execute(newest_entries(operation, some)):
            if account not in newest or newest[account][0] < incident_id:
                newest[account] = (incident_id, DeliveryStatus(status), digest)
            if status == DeliveryStatus.DELIVERED.value:
                delivered[account] = digest, incident_id
    return {
        account: Known(
            delivered_digest=delivered.get(account, (None, 0))[0],
            delivered_id=delivered.get(account, (None, 0))[1],
            newest_digest=digest,
            newest_status=status,
        )
        for account, (_, status, digest) in newest.items()
    }


async def delivered_before(
    connection: AsyncConnection, operation: str, contents: Collection[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Return those (account, digest) pairs that were delivered at any time."""
    wanted = set(contents)
    found: set[tuple[str, str]] = set()
    for some in batches(sorted(wanted)):
        rows = await connection.execute(
            select(table.c.Account_Num, table.c.Digest)
            .where(
                table.c.Operation_name == operation,
                table.c.Account_Num.in_({account for account, _ in some}),
                table.c.Status == DeliveryStatus.DELIVERED.value,
                table.c.Digest.in_({digest for _, digest in some}),
            )
            .distinct()
        )
        found.update((row[0], row[1]) for row in rows)
    return found & wanted


async def withdraw_orphans(connection: AsyncConnection, operation: str, waiting: Collection[int]) -> int:
    """Delete pending entries whose bodies the outbox no longer has; return how many.

    Nothing could ever send or settle them, and while they stood their accounts would wait behind them for ever. It
    takes an outbox that somebody emptied by hand, or restored without the ledger.
    """
    pending = (table.c.Operation_name == operation, table.c.Status == DeliveryStatus.PENDING.value)
    orphans = sorted(set(await connection.scalars(select(table.c.Incident_Id).where(*pending))) - set(waiting))
    for some in batches(orphans):
        await connection.execute(delete(table).where(table.c.Incident_Id.in_(some), *pending))
    return len(orphans)


async def delivered_accounts(connection: AsyncConnection, operation: str, after: str) -> list[str]:
    """Return the next accounts with a delivered incident, in ascending order of code points, a page of them."""
    found = await connection.scalars(
        select(table.c.Account_Num)
        .where(
            table.c.Operation_name == operation,
            table.c.Account_Num > after,
            table.c.Status == DeliveryStatus.DELIVERED.value,
        )
        .distinct()
        .order_by(table.c.Account_Num)
        .limit(PAGE)
    )
    return list(found)


async def accounts(connection: AsyncConnection, operation: str, starting: str, limit: int) -> list[str]:
    """Return accounts that begin with the text, in ascending order of code points."""
    found = await connection.scalars(
        select(table.c.Account_Num)
        .where(
            table.c.Operation_name == operation,
            table.c.Account_Num >= starting,
            table.c.Account_Num <= starting + LAST_CHARACTER,
        )
        .distinct()
        .order_by(table.c.Account_Num)
        .limit(limit)
    )
    return list(found)


async def delivering_run(connection: AsyncConnection, operation: str, incident_id: int) -> str | None:
    """Return the run that wrote an incident which was delivered; None when it was not."""
    return await connection.scalar(
        select(table.c.Run_Id).where(
            table.c.Incident_Id == incident_id,
            table.c.Operation_name == operation,
            table.c.Status == DeliveryStatus.DELIVERED.value,
        )
    )


async def entries(
    connection: AsyncConnection, operation: str, wanted: Mapping[str, str | None], *, before: int | None, limit: int
) -> list[LedgerEntry]:
    """Return ledger entries whose columns are as wanted (None: any), newest Incident_Id first."""
    query = select(table).where(table.c.Operation_name == operation)
    for column, value in wanted.items():
        if value is not None:
            query = query.where(table.c[column] == str(value))
    if before is not None:
        query = query.where(table.c.Incident_Id < before)
    found = await connection.execute(query.order_by(table.c.Incident_Id.desc()).limit(limit))
    return [_entry(row) for row in found.mappings()]


async def counts(connection: AsyncConnection, operation: str) -> dict[DeliveryStatus, int]:
    """Return how many entries stand in each status; a status without entries is 0."""
    found = await connection.execute(
        select(table.c.Status, func.count()).where(table.c.Operation_name == operation).group_by(table.c.Status)
    )
    by_status = {DeliveryStatus(status): int(number) for status, number in found}
    return {status: by_status.get(status, 0) for status in DeliveryStatus}


def _entry(row: RowMapping) -> LedgerEntry:
    return LedgerEntry(
        incident_id=row["Incident_Id"],
        operation=row["Operation_name"],
        account=row["Account_Num"],
        digest=row["Digest"],
        key=row["Idempotency_Key"],
        status=DeliveryStatus(row["Status"]),
        attempts=row["Attempts"],
        runs=row["Runs"],
        http_status=row["Last_Http_Status"],
        error=row["Last_Error"],
        run_id=row["Run_Id"],
        created_at=row["Created_Dtm"],
        updated_at=row["Updated_Dtm"],
    )
