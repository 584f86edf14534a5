"""The in-flight guard: a window waits for open transactions of the source (SPEC 3)."""

from datetime import datetime

from incident_process.core.logs import event, get_logger
from incident_process.core.models import iso
from incident_process.core.window import guarded_end
from incident_process.settings import Settings
from incident_process.source.base import Source

log = get_logger()


async def held_end(source: Source, settings: Settings, end: datetime, now: datetime) -> datetime:
    """Return where a window may end: below what open transactions of the source may still bring.

    Asked before any rows are read. ``end``: where the window would end without them; ``now``: the source's clock.
    """
    limit = settings.process.guard_limit_seconds
    writers = await source.writers() if limit else []
    if writers is None:
        log.warning(
            "Open transactions of the source cannot be seen, so rows that are committed late are left to the "
            "lookback. Remedy: GRANT PROCESS ON *.* to the source's user.",
            extra=event("guard_blind"),
        )
        return end
    held = guarded_end(end, now, writers, limit)
    if held.given_up:
        log.warning(
            "%d transaction(s) of the source have been open for more than %g s: the window no longer waits for "
            "them. What they commit later than the lookback reaches is found by 'reconcile'.",
            held.given_up,
            limit,
            extra=event("guard_let_go", transactions=held.given_up, limit_seconds=limit),
        )
    if held.end < end:
        log.info(
            "The window waits for an open transaction of the source: it ends at %s.",
            iso(held.end),
            extra=event("guard_holds", window_end=iso(held.end)),
        )
    return held.end
