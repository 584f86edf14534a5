"""``Process_Operation_Run``: the audit trail (SPEC 6)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from incident_process.core.models import (
    LEFT_RUNNING,
    Counts,
    RunKind,
    RunRecord,
    RunRequest,
    RunSearch,
    RunStatus,
    Window,
)
from incident_process.state.damage import intact, or_none, text
from incident_process.state.sql.connection import Connection, Row
from incident_process.state.sql.dialect import instant_of, marks, stamp, stamp_or_none
from incident_process.state.sql.schema import shortened

V = TypeVar("V")

_COUNTS = msgspec.json.Decoder(Counts)
_REQUEST = msgspec.json.Decoder(RunRequest)
"""It stands in the column of the figures, whose readers ignore what they do not know: the form stays as it is."""

_COLUMNS = (
    "Operation_name", "Kind", "Status", "Window_Start_Dtm", "Window_End_Dtm", "Accounts", "Delivered", "Unchanged",
    "Skipped", "Dead", "Pending", "Counts", "Last_Error", "Host", "Started_Dtm", "Ended_Dtm", "Run_Id",
)  # fmt: skip
"""In the order of ``_values``; the key is the last one."""

_CLOSE_OTHERS = """
    UPDATE Process_Operation_Run SET Status = ?, Ended_Dtm = ?, Last_Error = ?
    WHERE Operation_name = ? AND Status = ? AND Run_Id <> ?"""
"""Closes runs that a crash has left running."""

_UPDATE = f"UPDATE Process_Operation_Run SET {', '.join(f'{name} = ?' for name in _COLUMNS[:-1])} WHERE Run_Id = ?"

_INSERT = f"INSERT INTO Process_Operation_Run ({', '.join(_COLUMNS)}) VALUES ({marks(len(_COLUMNS))})"

_CONTAINS = f"({' OR '.join(f'INSTR(LOWER({name}), ?) > 0' for name in ('Run_Id', 'Host', 'Last_Error'))})"

_NEWEST = f"""
    SELECT {", ".join(_COLUMNS)} FROM Process_Operation_Run WHERE {{}}
    ORDER BY Started_Dtm DESC, Run_Id DESC LIMIT ? OFFSET ?"""
"""The operation's runs, of some kind or status."""


async def open_run(connection: Connection, run: RunRecord, now: datetime) -> None:
    """Write the run, and close runs that a crash has left running."""
    closed = (RunStatus.FAILED.value, stamp(now), f"{LEFT_RUNNING}{run.run_id}")
    await connection.execute(_CLOSE_OTHERS, (*closed, run.operation, RunStatus.RUNNING.value, run.run_id))
    await write(connection, run)


async def write(connection: Connection, run: RunRecord) -> None:
    """Write the run's present record over the earlier one."""
    values = _values(run)
    if not await connection.execute(_UPDATE, values):
        await connection.execute(_INSERT, values)


async def newest(
    connection: Connection,
    operation: str,
    wanted: Mapping[str, str | None],
    search: RunSearch,
    *,
    skip: int,
    limit: int,
) -> list[RunRecord]:
    """Return the operation's runs whose columns are as wanted (None: any), newest first."""
    conditions: dict[str, str | None] = {
        "Operation_name = ?": operation,
        **{f"{name} = ?": value and str(value) for name, value in wanted.items()},
        "Started_Dtm >= ?": stamp_or_none(search.since),
        "Started_Dtm < ?": stamp_or_none(search.before),
        "Kind <> ?": RunKind.PRUNE.value if search.without_prunes else None,
    }
    of = {condition: value for condition, value in conditions.items() if value is not None}
    searched = [search.text.lower()] * _CONTAINS.count("?") if search.text else []
    query = _NEWEST.format(" AND ".join([*of, _CONTAINS] if search.text else of))
    return [_record(row) for row in await connection.rows(query, (*of.values(), *searched, limit, skip))]


def _values(run: RunRecord) -> tuple[Any, ...]:
    counts = run.counts
    return (
        run.operation,
        run.kind.value,
        run.status.value,
        stamp(run.window.start) if run.window else None,
        stamp(run.window.end) if run.window else None,
        counts.accounts,
        counts.delivered,
        counts.unchanged,
        counts.skipped,
        counts.dead,
        counts.pending,
        msgspec.json.encode(msgspec.to_builtins(counts) | msgspec.to_builtins(run.request)).decode(),
        shortened(run.error),
        run.host,
        stamp(run.started_at),
        stamp_or_none(run.ended_at),
        run.run_id,
    )


def _record(row: Row) -> RunRecord:
    of = dict(zip(_COLUMNS, row, strict=True))

    def read(column: str, reader: Callable[[Any], V]) -> V:
        return intact(f"Process_Operation_Run.{column}", reader, of[column])

    start, end = read("Window_Start_Dtm", or_none(instant_of)), read("Window_End_Dtm", or_none(instant_of))
    return RunRecord(
        run_id=read("Run_Id", text),
        operation=read("Operation_name", text),
        kind=read("Kind", RunKind),
        status=read("Status", RunStatus),
        host=read("Host", text),
        started_at=read("Started_Dtm", instant_of),
        window=Window(start=start, end=end) if start is not None and end is not None else None,
        ended_at=read("Ended_Dtm", or_none(instant_of)),
        counts=read("Counts", _COUNTS.decode),
        error=read("Last_Error", or_none(text)),
        request=read("Counts", _REQUEST.decode),
    )
