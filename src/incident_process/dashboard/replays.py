"""The replay of dead letters: the same run as ``dead-letters replay``, one at a time, in a thread of its own."""

import asyncio
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

from incident_process.app.runner import run_leased
from incident_process.core.errors import IncidentProcessError
from incident_process.core.logs import event, get_logger
from incident_process.core.models import (
    LedgerEntry,
    Record,
    RunReport,
    RunStatus,
    iso,
)
from incident_process.operations.dead_letters import group_of, pages
from incident_process.pipeline.context import Parts
from incident_process.pipeline.plans import replay
from incident_process.pipeline.run import Run
from incident_process.settings import Settings

log = get_logger()


class Chosen(Record, frozen=True, kw_only=True):
    """Which dead letters to replay: those of these accounts, or all of one reason (``dead_letters.group_of``)."""

    accounts: frozenset[str] = frozenset()
    group: str | None = None

    def includes(self, entry: LedgerEntry) -> bool:
        """Return whether an open dead letter was chosen."""
        return entry.account in self.accounts or (self.group is not None and group_of(entry) == self.group)


class Replays:
    """At most one replay at a time, and the state of the last one.

    Args:
        settings: The configuration.
        on_end: Called after a replay: earlier readings are outdated now.
    """

    def __init__(self, settings: Settings, on_end: Callable[[], None]) -> None:
        self._settings = settings
        self._on_end = on_end
        self._task: asyncio.Task[None] | None = None
        self._stop: Callable[[], object] | None = None
        self._stopping = False
        self.state: dict[str, Any] = {"state": "none"}
        """For the page: ``none``, ``running`` or ``ended``, and the result."""

    def start(self, chosen: Chosen, user: str) -> bool:
        """Begin a replay; return False when one is under way."""
        if self._task is not None or self._stopping:
            return False
        self.state = {"state": "running", "user": user, "started": iso(datetime.now(UTC).replace(microsecond=0))}
        self._task = asyncio.create_task(self._run(chosen, self.state))
        return True

    async def close(self) -> None:
        """End a replay in order: it records what is under way, and leaves the rest pending for the next run."""
        self._stopping = True
        if self._stop is not None:
            self._stop()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self, chosen: Chosen, state: dict[str, Any]) -> None:
        try:
            report = await asyncio.to_thread(run_leased, self._settings, lambda parts: self._made(parts, chosen))
            state |= _told(report)
        except IncidentProcessError as exc:
            state |= {"outcome": "failed", "message": f"The replay failed: {exc}"}
        except Exception as exc:
            log.error("Unexpected fault in a replay: %s.", type(exc).__name__, extra=event("unexpected_fault"))
            state |= {"outcome": "failed", "message": "The replay failed unexpectedly; nothing is lost."}
        finally:
            state["state"] = "ended"
            self._task = self._stop = None
            self._on_end()

    async def _made(self, parts: Parts, chosen: Chosen) -> Run:
        accounts = [entry.account async for page in pages(parts.store) for entry in page if chosen.includes(entry)]
        run = Run(parts, replay(parts, accounts))
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(run.request_stop, "the dashboard was stopped")
        if self._stopping:
            run.request_stop("the dashboard was stopped")
        return run


def choose(accounts: Collection[str], group: str | None) -> Chosen | None:
    """Return the choice, None for neither or both of accounts and group."""
    if bool(accounts) == (group is not None):
        return None
    return Chosen(accounts=frozenset(accounts), group=group)


def _told(report: RunReport) -> dict[str, Any]:
    """Return the result of a replay as the page shows it."""
    counts = report.counts
    if report.status is RunStatus.LOCKED:
        sentence = (
            "Another run is at work just now, and only one may be: nothing was replayed. Try again when it has ended."
        )
    elif report.status in {RunStatus.INACTIVE, RunStatus.TERMINATED}:
        sentence = f"Nothing was replayed. {report.message}"
    elif report.status is RunStatus.NO_DATA:
        sentence = "Nothing had to be sent: no chosen dead letter stands any more, or its content was delivered before."
    else:
        sentence = (
            f"{counts.delivered} delivered, {counts.dead} turned away again, {counts.pending} without an outcome."
        )
    return {
        "outcome": report.status.value,
        "message": sentence,
        "run_id": report.run_id,
        "delivered": counts.delivered,
        "dead": counts.dead,
        "pending": counts.pending,
    }
