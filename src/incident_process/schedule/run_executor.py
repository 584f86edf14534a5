"""One run of the schedule, from its start to an orderly end."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from incident_process.app.observers import Observers
from incident_process.app.runner import conduct
from incident_process.core.errors import DatabaseConnectionError, IncidentProcessError
from incident_process.core.logs import connection_error_message, event, get_logger
from incident_process.core.models import NO_PRUNE, Record, RunReport, RunStatus, iso
from incident_process.core.window import Refusal
from incident_process.pipeline.context import Parts
from incident_process.pipeline.plans import WindowPlan
from incident_process.pipeline.run import Run
from incident_process.schedule.signal_requests import SignalRequests, first, give_up
from incident_process.schedule.state_poller import RUNS
from incident_process.schedule.timing import DueRules, Snapshot, due
from incident_process.settings import Settings

log = get_logger()

CANCEL_SECONDS = 10
"""Seconds that a stopped run has to end before the executor cancels it, and seconds that the cancelling may take."""


def scheduled_run(parts: Parts, rules: DueRules) -> Run:
    """Return a window run, unless another host did it between the poll and the lease."""

    async def refusal() -> Refusal | None:
        # The clock is read again: after a wait for the lease, a run that ended meanwhile must not seem to be ahead.
        operation, runs = await parts.store.read_operation(), await parts.store.runs(search=NO_PRUNE, limit=RUNS)
        view = Snapshot(operation=operation, runs=runs, now=await parts.source.now())
        next_due = due(rules, view)
        if next_due.refused is not None or next_due.at <= view.now:
            return None
        message = f"Another runner was faster: the next run is due at {iso(next_due.at)}."
        return Refusal(status=RunStatus.NOT_DUE, message=message)

    # Each run finds all schedules but one with the lease held.
    return Run(parts, WindowPlan(parts, refusal=refusal, held_level=logging.INFO))


class RunResult(Record, frozen=True, kw_only=True):
    """How a run ended: with a report, or with a fault in words; with neither, it did not begin."""

    report: RunReport | None = None
    fault: str | None = None


class RunExecutor:
    """Does one run, by a single call of ``work``."""

    def __init__(self, settings: Settings, rules: DueRules, requests: SignalRequests) -> None:
        self._settings = settings
        self._rules = rules
        self._requests = requests
        self._run: Run | None = None
        self._over = False

    async def work(self, make_observers: Callable[[], Observers]) -> RunResult:
        """Do the run and return how it ended. A fault is logged and never raised: the schedule outlives it."""

        async def run() -> RunReport:
            return await conduct(self._settings, self._make, make_observers(), signal_handling=self._holding)

        task = asyncio.ensure_future(run())
        try:
            report = await self._until_end(task)
        except asyncio.CancelledError:
            if not self._requests.end.is_set():
                raise
            return RunResult()
        except DatabaseConnectionError as exc:
            log.error("%s", connection_error_message(str(exc)), extra=event("connection_failed"))
            return RunResult(fault=str(exc))
        except IncidentProcessError as exc:
            log.error("%s", exc, extra=event("run_failed"))
            return RunResult(fault=str(exc))
        except Exception as exc:  # of any kind: the schedule has to stay up to start the run that resumes
            log.error(
                "Unexpected fault of a run: %s. Nothing is lost; it is tried again.",
                type(exc).__name__,
                extra=event("unexpected_fault"),
            )
            log.debug("Traceback:", exc_info=exc, extra=event("traceback"))
            return RunResult(fault=f"unexpected fault: {type(exc).__name__}")
        log.info(
            "Run %s: %s.",
            report.run_id or "without a record",
            report.status.value,
            extra=event("run_ended", status=report.status.value),
        )
        return RunResult(report=report)

    async def _make(self, parts: Parts) -> Run:
        return scheduled_run(parts, self._rules)

    @contextmanager
    def _holding(self, run: Run) -> Iterator[None]:
        """Keep the run at hand while it is at work."""
        self._run = run
        if self._requests.end.is_set():
            run.request_finish(self._requests.reason)
        try:
            yield
        finally:
            self._run, self._over = None, True

    async def _until_end(self, task: "asyncio.Future[RunReport]") -> RunReport:
        """Wait for the run's end; once the schedule is to end, ask the run to finish, then to stop, then cancel it."""
        requests = self._requests
        await first(task, requests.end, None)
        if not task.done() and self._run is None and not self._over:
            await give_up(task, CANCEL_SECONDS)  # it is still connecting: nothing has begun
        if not task.done() and self._run is not None:
            self._run.request_finish(requests.reason)
            await first(task, requests.hurry, self._settings.schedule.stop_seconds)
        if not task.done() and self._run is not None:
            self._run.request_stop(requests.reason)
            await asyncio.wait({task}, timeout=CANCEL_SECONDS)
        if not task.done() and self._run is not None:
            await give_up(task, CANCEL_SECONDS)  # a statement that takes for ever; the lease is freed on the way out
        return await task
