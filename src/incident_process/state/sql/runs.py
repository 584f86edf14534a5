"""``Process_Operation_Run``: the audit trail (SPEC 6)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from incident_process.records import Counts, RunKind, RunRecord, RunStatus, Window
from incident_process.state.sql.schema import run as table
from incident_process.state.sql.schema import shortened


async def open_run(connection: AsyncConnection, run: RunRecord, now: datetime) -> None:
    """Write the run, and close what a crash has left running."""
    await connection.execute(
        update(table)
        .where(
            table.c.Operation_name == run.operation,
            table.c.Status == RunStatus.RUNNING.value,
            table.c.Run_Id != run.run_id,
        )
        .values(
            Status=RunStatus.FAILED.value,
            Ended_Dtm=now,
            Last_Error=f"ended without a word (killed or cut off); found by run {run.run_id}",
        )
    )
    await write(connection, run)


async def write(connection: AsyncConnection, run: RunRecord) -> None:
    """Write the run as it is now, over what is there of it."""
    values = _values(run)
    changed = await connection.execute(update(table).where(table.c.Run_Id == run.run_id).values(values))
    if not changed.rowcount:
        await connection.execute(insert(table).values(Run_Id=run.run_id, **values))


async def newest(
    connection: AsyncConnection, operation: str, wanted: Mapping[str, str | None], *, skip: int, limit: int
) -> list[RunRecord]:
    """Return the operation's runs whose columns are as wanted (None: any), newest first."""
    query = select(table).where(table.c.Operation_name == operation)
    for column, value in wanted.items():
        if value is not None:
            query = query.where(table.c[column] == str(value))
    query = query.order_by(table.c.Started_Dtm.desc(), table.c.Run_Id.desc())
    found = await connection.execute(query.offset(skip).limit(limit))
    return [_record(row) for row in found.mappings()]


def _values(run: RunRecord) -> dict[str, Any]:
    counts = run.counts
    return {
        "Operation_name": run.operation,
        "Kind": run.kind.value,
        "Status": run.status.value,
        "Window_Start_Dtm": run.window.start if run.window else None,
        "Window_End_Dtm": run.window.end if run.window else None,
        "Accounts": counts.accounts,
        "Delivered": counts.delivered,
        "Unchanged": counts.unchanged,
        "Skipped": counts.skipped,
        "Dead": counts.dead,
        "Pending": counts.pending,
        "Counts": msgspec.json.encode(counts).decode(),
        "Last_Error": shortened(run.error),
        "Host": run.host,
        "Started_Dtm": run.started_at,
        "Ended_Dtm": run.ended_at,
    }


def _record(row: RowMapping) -> RunRecord:
    start, end = row["Window_Start_Dtm"], row["Window_End_Dtm"]
    return RunRecord(
        run_id=row["Run_Id"],
        operation=row["Operation_name"],
        kind=RunKind(row["Kind"]),
        status=RunStatus(row["Status"]),
        host=row["Host"],
        started_at=row["Started_Dtm"],
        window=Window(start=start, end=end) if start is not None and end is not None else None,
        ended_at=row["Ended_Dtm"],
        counts=msgspec.json.decode(row["Counts"], type=Counts),
        error=row["Last_Error"],
    )
