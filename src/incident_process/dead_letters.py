"""What was turned away, and once more (SPEC 7)."""

from typing import Any

from incident_process.insights import delivery_row
from incident_process.records import DeliveryStatus, LedgerEntry
from incident_process.state.contract import StateStore

PAGE = 1000
MOST = 1_000_000
"""Beyond so many dead letters the newest are looked at: that is no list to go through, but a receiver to mend."""


async def current(store: StateStore, *, account: str | None = None, reason: str | None = None) -> list[LedgerEntry]:
    """Return the dead letters that still stand, newest first: those that nothing else of their account has followed.

    ``reason`` keeps those whose error holds it, in any case.
    """
    found: list[LedgerEntry] = []
    seen: set[str] = set()
    for entry in await store.deliveries(account=account, status=DeliveryStatus.DEAD, limit=MOST):
        if entry.account not in seen:
            seen.add(entry.account)
            found.append(entry)
    standing = []
    for start in range(0, len(found), PAGE):
        page = found[start : start + PAGE]
        known = await store.last_known([entry.account for entry in page])
        standing += [
            entry
            for entry in page
            if (last := known.get(entry.account)) is not None
            and last.newest_status is DeliveryStatus.DEAD
            and last.newest_digest == entry.digest
            and (reason is None or reason.casefold() in (entry.error or "").casefold())
        ]
    return standing


async def listed(store: StateStore, *, account: str | None = None, reason: str | None = None) -> list[dict[str, Any]]:
    """Return the standing dead letters as plain types."""
    return [delivery_row(entry) for entry in await current(store, account=account, reason=reason)]
