"""Open dead letters: list them, and group them by reason (SPEC 7)."""

import hashlib
from collections.abc import AsyncIterator

from incident_process.core.models import LedgerEntry
from incident_process.delivery.failure_text import common_form
from incident_process.delivery.status_texts import with_fixed_texts
from incident_process.state.base import LedgerReader

PAGE = 1000
MOST = 1_000_000
"""Dead letters that are read at most, the newest: nobody works through more, they point to a broken receiver."""


async def pages(store: LedgerReader, *, account: str | None = None) -> AsyncIterator[list[LedgerEntry]]:
    """Yield pages of the open dead letters, newest first: those that no later incident of their account follows."""
    before: int | None = None
    for _ in range(MOST // PAGE):
        page = await store.dead_letters(account=account, before=before, limit=PAGE)
        if page:
            yield page
        if len(page) < PAGE:
            return
        before = page[-1].incident_id


async def count_open(store: LedgerReader) -> int:
    """Return how many dead letters are open."""
    return sum([len(page) async for page in pages(store)])


async def open_dead_letters(
    store: LedgerReader, *, account: str | None = None, reason: str | None = None
) -> list[LedgerEntry]:
    """Return the open dead letters, newest first; with ``reason``, those whose error contains it in any case."""
    return [
        entry
        async for page in pages(store, account=account)
        for entry in page
        if reason is None or any(reason.casefold() in text.casefold() for text in _texts(entry))
    ]


def reason_id(entry: LedgerEntry) -> str:
    """Return a name for the reason of a dead letter: dead letters of one reason get one name."""
    return hashlib.sha256(f"{entry.http_status}\n{reason_of(entry)}".encode()).hexdigest()[:12]


def reason_of(entry: LedgerEntry) -> str:
    """Return why the receiver rejected it, without what differs from record to record."""
    return common_form(with_fixed_texts(entry.error or "no reason was given"))


def _texts(entry: LedgerEntry) -> tuple[str, str]:
    """Return the reason as the ledger has it and as a run would write it now: a search finds both."""
    error = entry.error or ""
    return error, with_fixed_texts(error)
