"""The read service of command line and dashboard; ``health`` judges what it returns.

Every answer is a plain dictionary (or a list of them) ready for JSON: dates in ISO form, statuses as words. It writes
nothing.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec

from incident_process.core.arguments import other_spellings
from incident_process.core.models import (
    ANY_RUN,
    DeliveryStatus,
    LedgerEntry,
    Operation,
    RunKind,
    RunRecord,
    RunSearch,
    RunStatus,
    iso,
)
from incident_process.core.process_identity import is_held
from incident_process.core.window import Refusal, operation_refusal, system_date
from incident_process.pipeline.operation_check import unknown_operation
from incident_process.pipeline.state_check import last_run
from incident_process.settings import Settings
from incident_process.source.base import Source
from incident_process.state.base import LedgerReader

LATENCY_SAMPLE = 1000
"""Newest delivered incidents that ``latency`` measures: enough for a 99th percentile."""
MOST_COUNTED = 10_000
"""Incidents that no run has tried yet and that ``pending`` returns: beyond, their exact number says nothing more."""
LATENCY_BANDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper ends, in seconds, of the bands in which ``latency`` counts deliveries; one more band has no end."""


async def status(settings: Settings, source: Source, store: LedgerReader) -> dict[str, Any]:
    """Return where the operation stands: watermark and lag, what is due, the last run, the ledger, the lease."""
    process = settings.process
    now = await source.now()
    operation = await store.read_operation()
    refused = await refusal(settings, store, operation, now)
    lease = await store.lease_state()
    held = is_held(lease)
    last = await last_run(store)
    counts = await store.delivery_counts()
    known = operation or Operation(name=process.operation_name)
    has_run = known.last_execution.year > 1900  # before its first run the watermark is in 1900 (SPEC 3)
    return {
        "operation": process.operation_name,
        "tracking": process.tracking.value,
        "sequence": known.sequence,
        "last_execution_dtm": iso(known.last_execution),
        "next_execution_dtm": iso(known.next_execution) if known.next_execution else None,
        "lag_seconds": round((now - known.last_execution).total_seconds(), 3) if has_run else None,
        "source_now": iso(now),
        "may_run": refused is None,
        "reason": refused.message if refused else None,
        "gate": refused.status.value if refused else "open",
        "execution_minutes": known.execution_minutes,
        "lease": {"holder": lease.holder, "expires": iso(lease.expires_at)} if lease and held else None,
        # A killed, stopped or cut-off runner left it: the next run takes it over.
        "expired_lease": {"holder": lease.holder, "expired": iso(lease.expires_at)}
        if lease and lease.holder and not held
        else None,
        "deliveries": {state.value: counts[state] for state in DeliveryStatus},
        "last_run": run_row(last) if last else None,
    }


async def refusal(
    settings: Settings, store: LedgerReader, operation: Operation | None, source_now: datetime
) -> Refusal | None:
    """Return why a run would not go ahead at this time of the source's clock, None where it would."""
    process = settings.process
    date = system_date(source_now, process.time_gap_seconds, process.tracking)
    return await unknown_operation(store, settings) or operation_refusal(
        process.tracking, process.operation_name, operation, date
    )


async def history(
    store: LedgerReader,
    *,
    kind: RunKind | None = None,
    status: RunStatus | None = None,
    search: RunSearch = ANY_RUN,
    skip: int = 0,
    limit: int,
) -> list[dict[str, Any]]:
    """Return at most ``limit`` runs, newest first, without the newest ``skip``."""
    found = await store.runs(kind=kind, status=status, search=search, skip=skip, limit=limit)
    return [run_row(run) for run in found]


async def run(store: LedgerReader, run_id: str) -> dict[str, Any] | None:
    """Return the run of this id, None when there is none."""
    found = await store.runs(run_id=run_id, limit=1)
    return run_row(found[0]) if found else None


async def deliveries(
    store: LedgerReader,
    *,
    account: str | None = None,
    status: DeliveryStatus | None = None,
    run_id: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return ledger entries, newest first; with ``before``, only those below that Incident_Id."""
    found = await store.deliveries(account=account, status=status, run_id=run_id, before=before, limit=limit)
    return [delivery_row(entry) for entry in found]


async def pending(
    store: LedgerReader, *, run_id: str | None = None, limit: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the pending incidents that were attempted, newest first, and those that no run has tried yet.

    At most ``limit`` of the first and ``MOST_COUNTED`` of the second.
    """
    tried, rest = [
        await store.deliveries(status=DeliveryStatus.PENDING, run_id=run_id, attempted=attempted, limit=most)
        for attempted, most in ((True, limit), (False, MOST_COUNTED))
    ]
    return [delivery_row(entry) for entry in tried], [delivery_row(entry) for entry in rest]


async def known_spelling(store: LedgerReader, account: str) -> str | None:
    """Return an account of the ledger that has this number with other leading zeros, None where there is none."""
    return next(iter(await store.last_known(other_spellings(account))), None)


async def accounts(store: LedgerReader, starting: str, limit: int) -> list[dict[str, Any]]:
    """Return the ledger's accounts that begin with the text, each with the status of its newest incident."""
    found = await store.accounts(starting, limit)
    known = await store.last_known(found)
    return [
        {"account": account, "status": known[account].newest_status.value if account in known else None}
        for account in found
    ]


async def latency(store: LedgerReader) -> dict[str, Any]:
    """Return how long the newest delivered incidents took, in seconds, from the ledger's own times.

    The time runs from the first write, before any attempt, to the outcome: it includes the wait for a connection, every
    attempt and every pause. A run writes the outcomes of many incidents at once, with the time of the last one, so a
    figure may be slightly too high and is never too low. An incident that an earlier run left pending counts with the
    time between the runs.
    """
    found = await store.deliveries(status=DeliveryStatus.DELIVERED, limit=LATENCY_SAMPLE)
    # Source and state may have two clocks: an incident that ended before it began counts as 0 s.
    took = sorted(max(0.0, (entry.updated_at - entry.created_at).total_seconds()) for entry in found)
    return {
        "sample": len(took),
        **percentiles(took),
        "bands": [
            {"upto": upto, "count": bisect_left(took, upto) - bisect_left(took, above)}
            for above, upto in pairwise((0.0, *LATENCY_BANDS, math.inf))
        ],
    }


def percentiles(ordered: Sequence[float]) -> dict[str, float | None]:
    """Return the 50th, 95th and 99th percentile of ascending values, by nearest rank; None where there are none."""
    return {
        f"p{share}": round(ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)], 3) if ordered else None
        for share in (50, 95, 99)
    }


def run_row(run: RunRecord) -> dict[str, Any]:
    """Return a run as plain types."""
    counts = run.counts
    return {
        "run_id": run.run_id,
        "kind": RunKind(run.kind).value,
        "status": RunStatus(run.status).value,
        "window": {"start": iso(run.window.start), "end": iso(run.window.end)} if run.window else None,
        "rows": dict(counts.rows),
        "accounts": counts.accounts,
        "reread": counts.reread,
        "resumed": counts.resumed,
        "unprocessable": counts.unprocessable,
        "delivered": counts.delivered,
        "unchanged": counts.unchanged,
        "skipped": counts.skipped,
        "dead": counts.dead,
        "pending": counts.pending,
        "sending": None if counts.sending is None else msgspec.to_builtins(counts.sending),
        "started": iso(run.started_at),
        "ended": iso(run.ended_at) if run.ended_at else None,
        "seconds": round((run.ended_at - run.started_at).total_seconds(), 3) if run.ended_at else None,
        "host": run.host,
        "requested_by": run.request.requested_by,
        "why": run.request.why,
        "error": run.error,
    }


def delivery_row(entry: LedgerEntry) -> dict[str, Any]:
    """Return a ledger entry as plain types."""
    return {
        "incident_id": entry.incident_id,
        "account": entry.account,
        "status": DeliveryStatus(entry.status).value,
        "attempts": entry.attempts,
        "http_status": entry.http_status,
        "error": entry.error,
        "run_id": entry.run_id,
        "digest": entry.digest,
        "idempotency_key": entry.key,
        "created": iso(entry.created_at),
        "updated": iso(entry.updated_at),
    }
