"""The runs that users start here: those of ``run --now`` and ``dead-letters replay``, one at a time, in own threads."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from incident_process.app.runner import run_leased
from incident_process.core.errors import IncidentProcessError
from incident_process.core.logs import event, get_logger
from incident_process.core.models import INTERRUPTED, RunKind, RunReport, RunRequest, RunStatus, iso
from incident_process.operations.dead_letters import pages, reason_id
from incident_process.pipeline.context import Parts
from incident_process.pipeline.plans import RunPlan, WindowPlan, replay
from incident_process.pipeline.run import Run
from incident_process.settings import Settings

log = get_logger()

MakePlan = Callable[[Parts], Awaitable[RunPlan]]
_NOTHING_SENT = frozenset({RunStatus.INACTIVE, RunStatus.TERMINATED})


class OwnRuns:
    """At most one run at a time, and the state of the last one. Whether it may go ahead, the lease decides.

    Args:
        settings: The configuration.
        on_end: Called after a run: earlier readings are outdated now.
    """

    def __init__(self, settings: Settings, on_end: Callable[[], None]) -> None:
        self._settings = settings
        self._on_end = on_end
        self._task: asyncio.Task[None] | None = None
        self._stop: Callable[[str], None] | None = None
        self._stop_reason: str | None = None
        self._closing = False
        self.state: dict[str, Any] = {"state": "none"}
        """For the page: ``none``, ``running`` or ``ended``, and the result."""

    def start(self, kind: RunKind, plan: MakePlan, user: str) -> bool:
        """Begin a run; return False when one of this dashboard is under way."""
        if self._task is not None or self._closing:
            return False
        started = iso(datetime.now(UTC).replace(microsecond=0))
        self.state = {"state": "running", "kind": kind.value, "user": user, "started": started}
        self._stop_reason = None
        self._task = asyncio.create_task(self._run(kind, plan, self.state))
        return True

    def stop(self, reason: str) -> bool:
        """Let the run end in good order: what is under way is recorded, the rest stays pending. False: none is."""
        if self._task is None:
            return False
        self._stop_reason = reason
        if self._stop is not None:
            self._stop(reason)
        return True

    async def close(self) -> None:
        """End a run in order, as ``stop`` does, and wait for its end."""
        self._closing = True
        self.stop(f"{INTERRUPTED}the end of the dashboard")
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self, kind: RunKind, plan: MakePlan, state: dict[str, Any]) -> None:
        try:
            report = await asyncio.to_thread(run_leased, self._settings, lambda parts: self._made(parts, plan))
            state |= _shown(kind, report)
        except IncidentProcessError as exc:
            state |= {"outcome": "failed", "message": f"The run failed: {exc}"}
        except Exception as exc:
            log.error("Unexpected fault in a run: %s.", type(exc).__name__, extra=event("unexpected_fault"))
            state |= {"outcome": "failed", "message": "The run failed unexpectedly; nothing is lost."}
        finally:
            state["state"] = "ended"
            self._task = self._stop = None
            self._on_end()

    async def _made(self, parts: Parts, plan: MakePlan) -> Run:
        run = Run(parts, await plan(parts))
        loop = asyncio.get_running_loop()

        def stop(reason: str) -> None:
            with suppress(RuntimeError):  # the run has ended just now, and its loop is closed
                loop.call_soon_threadsafe(run.request_stop, reason)

        self._stop = stop
        if self._stop_reason is not None:
            run.request_stop(self._stop_reason)
        return run


def window_now(request: RunRequest) -> MakePlan:
    """Return what makes the plan of a window run, due or not."""

    async def plan(parts: Parts) -> RunPlan:
        made = WindowPlan(parts, now=True)
        made.request = request
        return made

    return plan


def replay_of(chosen: Collection[str], group: str | None, request: RunRequest, *, only: bool) -> MakePlan:
    """Return what makes the plan of a replay of dead letters: of these accounts, and of the reason ``group``, if any.

    ``only`` leaves pending what earlier runs have left. A group is named by ``dead_letters.reason_id``.
    """

    async def plan(parts: Parts) -> RunPlan:
        accounts = [
            one.account
            async for page in pages(parts.store)
            for one in page
            if one.account in chosen or (group is not None and reason_id(one) == group)
        ]
        return replay(parts, accounts, request=request, only=only)

    return plan


def _shown(kind: RunKind, report: RunReport) -> dict[str, Any]:
    """Return the result of a run as the page shows it."""
    counts = report.counts
    is_replay = kind is RunKind.REPLAY
    if report.status is RunStatus.LOCKED:
        sentence = (
            "Another run is at work just now, and only one may be: nothing was "
            f"{'replayed' if is_replay else 'sent'}. Try again when it has ended."
        )
    elif report.status in _NOTHING_SENT:
        sentence = f"Nothing was {'replayed' if is_replay else 'sent'}. {report.message}"
    elif report.status is RunStatus.NO_DATA:
        sentence = "Nothing had to be sent: " + (
            "no chosen dead letter is open any more, or its content was delivered before."
            if is_replay
            else "there is no new data."
        )
    else:
        sentence = (
            f"{counts.delivered} delivered, {counts.dead} rejected{' again' if is_replay else ''}, "
            f"{counts.pending} without an outcome."
        )
        if (report.message or "").startswith(INTERRUPTED):
            sentence += f" It was {report.message}."
        elif report.message:
            sentence += f" Why: {report.message}."
    return {
        "outcome": report.status.value,
        "message": sentence,
        "run_id": report.run_id,
        "delivered": counts.delivered,
        "dead": counts.dead,
        "pending": counts.pending,
    }
