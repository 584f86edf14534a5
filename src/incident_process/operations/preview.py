"""Builds the documents of a window or of one account without sending them (SPEC 7)."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec

from incident_process.core.arguments import other_spellings
from incident_process.core.errors import ConfigurationError
from incident_process.core.logs import event, get_logger
from incident_process.core.models import DeliveryStatus, Operation, Record
from incident_process.core.window import id_floor, system_date, window_until
from incident_process.document.assembly import render_body
from incident_process.pipeline.change_detection import AccountContent, Decision, account_content, decide
from incident_process.pipeline.in_flight_guard import held_end
from incident_process.pipeline.operation_check import require_receiver
from incident_process.settings import Settings
from incident_process.source.base import ReadRange, Source
from incident_process.state.base import LedgerReader

log = get_logger()


class Previewed(Record, frozen=True, kw_only=True):
    """What a run would write for one account; ``document`` None: it would send nothing."""

    account: str
    outcome: str
    document: Any | None
    digest: str = ""
    error: str | None = None

    def __repr__(self) -> str:
        """Leave the document out: it is personal data."""
        return f"Previewed({self.outcome})"


async def preview_account(settings: Settings, source: Source, account: str) -> Previewed | None:
    """Return the document of one account as of now less the time gap; None when it has no rows by then."""
    process = settings.process
    now = await source.now()
    rows = (await source.read([account], system_date(now, process.time_gap_seconds, process.tracking)))[0]
    content = account_content(rows, process.zone)
    return _previewed(content, now, process.created_by) if content is not None else None


async def known_spelling(source: Source, account: str) -> str | None:
    """Return an account of the source that has this number with other leading zeros, None where there is none."""
    others = other_spellings(account)
    found = await source.read(others, await source.now()) if others else []
    return next((rows.account for rows in found if rows.customers or rows.payments), None)


async def preview_window(settings: Settings, source: Source, store: LedgerReader) -> AsyncIterator[Previewed]:
    """Yield what a run would write and send now, account by account, whether or not it is due.

    A run first sends what earlier runs left in the outbox: the preview logs that and does not yield it. The window
    waits for open transactions of the source as a run's does.
    """
    process = settings.process
    now = await source.now()
    try:
        await require_receiver(store, settings, await store.identity())
    except ConfigurationError as exc:
        log.warning("A run would stop: %s", exc, extra=event("run_would_stop"))
    waiting = (await store.delivery_counts())[DeliveryStatus.PENDING]
    if waiting:
        log.info(
            "%d incident(s) wait in the outbox: a run sends them first, as they were written.",
            waiting,
            extra=event("outbox_waiting", incidents=waiting),
        )
    operation = await store.read_operation() or Operation(name=process.operation_name)
    date = system_date(now, process.time_gap_seconds, process.tracking)
    window = window_until(operation, await held_end(source, settings, date, now))
    await source.survey(ReadRange(watermark=window.start, lookback_seconds=process.lookback_seconds, until=window.end))
    async for touched in source.selected_accounts(process.chunk_accounts):
        accounts = [item.account for item in touched]
        known = await store.last_known(accounts)
        for rows in await source.read(accounts, window.end):
            content = account_content(rows, process.zone)
            if content is not None and decide(content, known.get(content.account)) is Decision.SEND:
                yield _previewed(content, now, process.created_by)


def _previewed(content: AccountContent, now: datetime, created_by: str) -> Previewed:
    body = None
    if content.document is not None:
        # No run will take this id: ids begin at the clock, which has moved on by the next run.
        body = msgspec.Raw(render_body(content.document, id_floor(now), now, created_by))
    return Previewed(
        account=content.account,
        outcome=content.status.value,
        document=body,
        digest=content.digest,
        error=content.error or None,
    )
