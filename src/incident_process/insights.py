"""The read service: what command line and dashboard show, from one place.

Every answer is a plain dictionary (or a list of them) that can be printed as JSON: dates in ISO form, statuses as
words. Nothing here writes.
"""

from typing import Any

from incident_process.records import (
    DeliveryStatus,
    LedgerEntry,
    Operation,
    RunKind,
    RunRecord,
    RunStatus,
    Tracking,
    iso,
)
from incident_process.settings import Settings
from incident_process.source.contract import Source
from incident_process.state.contract import StateStore
from incident_process.window import refusal, system_date


async def status(settings: Settings, source: Source, store: StateStore) -> dict[str, Any]:
    """Say where the operation stands: watermark and lag, what is due, the last run, the ledger, the lease."""
    process = settings.process
    now = await source.now()
    tracking = Tracking(process.tracking)
    operation = await store.read_operation()
    refused = refusal(tracking, process.operation_name, operation, system_date(now, process.time_gap_seconds, tracking))
    lease = await store.lease_state()
    last = await store.runs(limit=1)
    counts = await store.delivery_counts()
    known = operation or Operation(name=process.operation_name)
    has_run = known.last_execution.year > 1900  # the watermark of one that has not (SPEC 3)
    return {
        "operation": process.operation_name,
        "tracking": tracking.value,
        "sequence": known.sequence,
        "last_execution_dtm": iso(known.last_execution),
        "next_execution_dtm": iso(known.next_execution) if known.next_execution else None,
        "lag_seconds": round((now - known.last_execution).total_seconds(), 3) if has_run else None,
        "source_now": iso(now),
        "may_run": refused is None,
        "reason": refused.message if refused else None,
        "lease": {"holder": lease.holder, "expires": iso(lease.expires_at)} if lease and lease.active else None,
        "deliveries": {state.value: counts.get(state, 0) for state in DeliveryStatus},
        "last_run": run_row(last[0]) if last else None,
    }


async def history(store: StateStore, *, limit: int) -> list[dict[str, Any]]:
    """Return the newest runs, newest first."""
    return [run_row(run) for run in await store.runs(limit=limit)]


async def deliveries(
    store: StateStore, *, account: str | None, status: DeliveryStatus | None, run_id: str | None, limit: int
) -> list[dict[str, Any]]:
    """Return ledger entries, newest first."""
    found = await store.deliveries(account=account, status=status, run_id=run_id, limit=limit)
    return [delivery_row(entry) for entry in found]


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
        "delivered": counts.delivered,
        "unchanged": counts.unchanged,
        "skipped": counts.skipped,
        "dead": counts.dead,
        "pending": counts.pending,
        "started": iso(run.started_at),
        "ended": iso(run.ended_at) if run.ended_at else None,
        "seconds": round((run.ended_at - run.started_at).total_seconds(), 3) if run.ended_at else None,
        "host": run.host,
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
