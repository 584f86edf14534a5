"""What was turned away, and once more (SPEC 7)."""

import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

from incident_process.insights import delivery_row
from incident_process.records import DeliveryStatus, LedgerEntry
from incident_process.state.contract import StateStore

PAGE = 1000
MOST = 1_000_000
"""Beyond so many dead letters the newest are looked at: that is no list to go through, but a receiver to mend."""
_NUMBER = re.compile(r"\d{4,}")


async def pages(store: StateStore, *, account: str | None = None) -> AsyncIterator[list[LedgerEntry]]:
    """Yield the dead letters that still stand, newest first: those that nothing else of their account has followed."""
    seen: set[str] = set()
    before: int | None = None
    looked_at = 0
    while looked_at < MOST:
        page = await store.deliveries(account=account, status=DeliveryStatus.DEAD, before=before, limit=PAGE)
        if not page:
            return
        before = page[-1].incident_id
        looked_at += len(page)
        newest: dict[str, LedgerEntry] = {}
        for entry in page:
            if entry.account not in seen:
                newest.setdefault(entry.account, entry)
        seen.update(newest)
        known = await store.last_known(list(newest))
        yield [
            entry
            for entry in newest.values()
            if (last := known.get(entry.account)) is not None
            and last.newest_status is DeliveryStatus.DEAD
            and last.newest_digest == entry.digest
        ]


async def standing(store: StateStore, *, account: str | None = None, reason: str | None = None) -> list[LedgerEntry]:
    """Return the dead letters that still stand, newest first; ``reason``: whose error holds it, in any case."""
    return [
        entry
        async for page in pages(store, account=account)
        for entry in page
        if reason is None or reason.casefold() in (entry.error or "").casefold()
    ]


def group_of(entry: LedgerEntry) -> str:
    """Return a name for the reason of a dead letter: the same for those that were turned away for the same."""
    return hashlib.sha256(f"{entry.http_status}\n{reason_of(entry)}".encode()).hexdigest()[:12]


def reason_of(entry: LedgerEntry) -> str:
    """Return why it was turned away, with long numbers left out: they tell one record from another, not reasons."""
    return _NUMBER.sub("…", entry.error or "no reason was given")


async def listed(store: StateStore, *, account: str | None = None, reason: str | None = None) -> list[dict[str, Any]]:
    """Return the standing dead letters as plain types."""
    return [delivery_row(entry) for entry in await standing(store, account=account, reason=reason)]
