"""What a run finds when it begins: whether the state it is given fits what should have been before (SPEC 10).

A state that was lost, or put back from an old copy, does not make a run wrong: ids are never behind the clock, keys
are the same, and what the ledger does not know is sent. It is said, because whoever is called at night should not have
to guess it, and because the next step, at a receiver that honours no key, may be to stop and put the right state back.
"""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from incident_process.core.logs import event, get_logger
from incident_process.core.models import (
    NEVER,
    NO_PRUNE,
    UNFINISHED,
    DeliveryStatus,
    Operation,
    RunKind,
    RunRecord,
    RunStatus,
    iso,
)
from incident_process.source.base import ExcludedRows
from incident_process.state.base import LedgerReader

log = get_logger()

TOLERANCE = timedelta(minutes=5)
"""By so much the clocks of a source and of its replacement may differ before it is worth a line."""

AHEAD_REMEDY = (
    "The clock was set back, or Last_execution_dtm is wrong or meant in another zone: set it to the newest LOAD_DATE "
    "that was processed."
)


def future_rows(table: str, rows: ExcludedRows, zone: str) -> tuple[str, str]:
    """Return what is said of rows whose LOAD_DATE is still to come, and the remedy.

    A server that writes its dates in another zone than ``source_timezone`` looks exactly like this (SPEC 2).
    """
    latest = "" if rows.latest is None else f", the last of them {iso(rows.latest)}"
    return (
        f"{rows.future} row(s) of {table} have a LOAD_DATE that is still to come{latest}: they wait until then.",
        f"If they are not meant to, [PROCESS] source_timezone = {zone} is not the zone in which they are written.",
    )


_SENT_AGAIN = (
    "What it no longer knows is sent again, under new ids and the same idempotency keys: a receiver that honours keys "
    "keeps what it has, any other gets it twice. If the state can be put back, stop this run and do so."
)


class StateFinding(NamedTuple):
    """A line of the log, and its level."""

    level: int
    message: str


async def tell_what_was_found(store: LedgerReader, operation: Operation, now: datetime) -> None:
    """Log how the last run ended and what does not fit; to be called before this run's record is written.

    Raises DatabaseConnectionError when the state cannot be read.
    """
    last = await last_run(store)
    has_deliveries = await _has_deliveries(store)
    for found in findings(operation, last, has_deliveries=has_deliveries, now=now):
        log.log(found.level, found.message, extra=event("state_found"))


async def last_run(store: LedgerReader) -> RunRecord | None:
    """Return the newest run, which no record of a prune is."""
    return next(iter(await store.runs(search=NO_PRUNE, limit=1)), None)


async def _has_deliveries(store: LedgerReader) -> bool:
    """Return whether the ledger holds anything; asked by status, which is one step in an index each."""
    for status in DeliveryStatus:
        if await store.deliveries(status=status, limit=1):
            return True
    return False


def findings(
    operation: Operation, last: RunRecord | None, *, has_deliveries: bool, now: datetime
) -> Iterator[StateFinding]:
    """Yield what is worth a line; ``now`` is the source's clock.

    ``operation`` is one that was never run where ``Process_Operation`` says nothing, ``last`` the newest run that the
    audit trail knows.
    """
    begun = operation if operation.sequence or operation.last_execution > NEVER else None
    ahead = watermark_ahead(operation, now)
    if ahead is not None:
        yield _warning(f"{ahead} {AHEAD_REMEDY}")
    if last is not None:
        yield from _about(last, has_deliveries, now)
        if last.kind is RunKind.WINDOW and last.status is RunStatus.COMPLETED and begun is None:
            yield _warning(
                "The last run was completed, but Process_Operation knows of none: it was lost or begun anew. Every "
                "account is looked at; what the ledger knows as delivered is not sent again."
            )
    elif has_deliveries:
        yield _warning(
            "The audit trail of runs is empty, though the ledger is not: part of the state was lost or put back. The "
            "ledger decides what is sent."
        )
    elif begun is not None:
        yield _warning(
            f"Process_Operation says that {begun.sequence} run(s) were before this one, up to "
            f"{iso(begun.last_execution)}, but the state knows none of them and no delivery: a new installation, or "
            f"the state was lost. {_SENT_AGAIN}"
        )
    else:
        yield _info("The state knows no earlier run of this operation: every account in the source is new.")


def watermark_ahead(operation: Operation, now: datetime) -> str | None:
    """Return the sentence about a watermark that the source's clock ``now`` has yet to reach, None where it has.

    Until then every window is empty, and nothing else would show it.
    """
    if operation.last_execution <= now + TOLERANCE:
        return None
    return (
        f"Process_Operation has processed through {iso(operation.last_execution)}, which is still to come by the "
        f"source's clock ({iso(now)}): until then no window holds a row."
    )


def _about(last: RunRecord, has_deliveries: bool, now: datetime) -> Iterator[StateFinding]:
    if last.counts.delivered and not has_deliveries:
        yield _warning(
            f"The ledger is empty, though run {last.run_id} delivered {last.counts.delivered} incident(s): part of the "
            f"state was lost. {_SENT_AGAIN}"
        )
    if last.started_at > now + TOLERANCE:
        yield _warning(
            f"Run {last.run_id} of the state began at {iso(last.started_at)}, which is still to come by the source's "
            f"clock ({iso(now)}): the clock was set back, or this state belongs to another source."
        )
    if last.status is RunStatus.RUNNING:
        yield _warning(
            f"Run {last.run_id} on {last.host}, begun at {iso(last.started_at)}, has no end: it was killed, or this "
            "state is a copy that was made while it was at work. What it may have sent without an answer is sent again "
            "as it was, under the same ids and keys."
        )
    elif last.status in UNFINISHED:
        yield _info(f"The run before this one, {last.run_id}, ended as {last.status.value}: {last.error}")


def _warning(message: str) -> StateFinding:
    return StateFinding(logging.WARNING, message)


def _info(message: str) -> StateFinding:
    return StateFinding(logging.INFO, message)
