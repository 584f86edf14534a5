"""Window arithmetic (SPEC 3, 6): which instants a run covers, whether it is due, and where the watermark goes.

Pure functions over instants in aware UTC; nothing here reads a clock.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from incident_process.core.models import Operation, Record, RunStatus, Tracking, Window, iso

ID_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
"""Instant at which Incident_Ids begin."""
IDS_PER_MILLISECOND = 4096
MAX_INCIDENT_ID = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (SPEC 5)."""


class Refusal(Record, frozen=True, kw_only=True):
    """Why a run may not go ahead, and the sentence for the log."""

    status: RunStatus
    message: str


def system_date(now: datetime, gap_seconds: float, tracking: Tracking) -> datetime:
    """Return ``SYSTEM_DATE``: the source's clock less the time gap.

    In SQL tracking it becomes Last_execution_dtm, a DATETIME without fraction, so it is cut to whole seconds: otherwise
    the stored end would lie before rows that the window has processed.
    """
    date = now - timedelta(seconds=gap_seconds)
    return date.replace(microsecond=0) if tracking is Tracking.SQL else date


class GuardedEnd(Record, frozen=True, kw_only=True):
    """The window's end that the in-flight guard allows, and how many transactions were open too long to wait for."""

    end: datetime
    given_up: int


def guarded_end(end: datetime, now: datetime, writers: Sequence[datetime], limit_seconds: float) -> GuardedEnd:
    """Hold the window's end below the start of the oldest open transaction that has changed rows (SPEC 3).

    Its rows may be stamped from its start on and appear when it commits. The guard does not wait for a transaction that
    has been open for longer than the limit; the lookback finds its late rows. Starts are known to the second, so the
    end goes one second below.
    """
    to_wait_for = [started for started in writers if (now - started).total_seconds() <= limit_seconds]
    oldest = min(to_wait_for, default=None)
    guarded = end if oldest is None else min(end, oldest - timedelta(seconds=1))
    return GuardedEnd(end=guarded, given_up=len(writers) - len(to_wait_for))


def window_until(operation: Operation, end: datetime) -> Window:
    """Return the window of a run: from the watermark to ``end``, which is never before the watermark.

    A clock that was set back gives an empty window, not a watermark that moves backwards.
    """
    return Window(start=operation.last_execution, end=max(end, operation.last_execution))


def operation_refusal(tracking: Tracking, name: str, operation: Operation | None, date: datetime) -> Refusal | None:
    """Return why a run of the operation may not go ahead at SYSTEM_DATE ``date``; None when it may (SPEC 6).

    Mongo tracking has no gate: an operation without a document has not run yet.
    """
    if tracking is Tracking.MONGO:
        return None
    if operation is None:
        return Refusal(
            status=RunStatus.INACTIVE,
            message=f"Operation '{name}' is inactive: Process_Operation has no row of that name. "
            "Create it with 'incident-process init', or correct [PROCESS] operation_name.",
        )
    if operation.end is not None and operation.end <= date:
        return Refusal(
            status=RunStatus.TERMINATED,
            message=f"Operation '{name}' is terminated because of its end date {iso(operation.end)}. "
            "Set end_dtm to NULL or to a later date to let it run again.",
        )
    if operation.next_execution is not None and operation.next_execution >= date:
        return Refusal(
            status=RunStatus.NOT_DUE,
            message=f"Operation '{name}' is not due: the next run is due at {iso(operation.next_execution)}. "
            "'incident-process run --now' does not wait for it.",
        )
    return None


def watermark_after(tracking: Tracking, window: Window, newest: datetime | None) -> datetime:
    """Return the watermark once every row of the window has its outcome; never before the window's start.

    Mongo tracking keeps the newest LOAD_DATE processed, SQL tracking the window's end (SPEC 6). ``newest`` is the
    newest LOAD_DATE that the run has read, None when it read no row.
    """
    if tracking is Tracking.SQL:
        return window.end
    return max(window.start, newest or window.start)


def id_floor(now: datetime) -> int:
    """Return the lowest Incident_Id that a run may take at ``now`` (SPEC 5).

    It derives from the clock: a counter that was lost, or restored from an old copy, then never repeats an id. No run
    can send 4096 incidents a millisecond.
    """
    milliseconds = (now - ID_EPOCH) // timedelta(milliseconds=1)
    return max(1, milliseconds * IDS_PER_MILLISECOND)
