"""The run's line in the audit trail (SPEC 6): written as running before any work, closed after all of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import uuid4

import msgspec

from incident_process.core.clock import SourceClock
from incident_process.core.errors import IncidentProcessError, LeaseLostError
from incident_process.core.events import Events, RunRecorded
from incident_process.core.logs import event, get_logger
from incident_process.core.models import Counts, Lease, RunKind, RunRecord, RunRequest, RunStatus, Window
from incident_process.core.process_identity import Runner
from incident_process.state.base import RunState

log = get_logger()

REPORT_SECONDS = 2.0
"""So often a run that is under way writes how far it has come: often enough to watch, too seldom to cost anything."""


def new_run_id(started_at: datetime) -> str:
    """Return the id of a run that begins at an instant of the source's clock."""
    return f"{started_at:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"


class RunRecorder:
    """Opens and closes one run's record. ``run`` is the record as it was opened, None before that."""

    def __init__(self, store: RunState, operation: str, clock: SourceClock, events: Events) -> None:
        self.run: RunRecord | None = None
        self._store = store
        self._operation = operation
        self._clock = clock
        self._events = events

    async def open(
        self,
        lease: Lease,
        run_id: str,
        kind: RunKind,
        window: Window | None,
        started_at: datetime,
        request: RunRequest,
    ) -> None:
        """Write the run as running."""
        self.run = RunRecord(
            run_id=run_id,
            operation=self._operation,
            kind=kind,
            status=RunStatus.RUNNING,
            host=Runner.this().host,
            started_at=started_at,
            window=window,
            request=request,
        )
        await self._events.timed(self._store.open_run, lease, self.run)

    @asynccontextmanager
    async def reporting(self, lease: Lease, counts: Callable[[], Counts]) -> AsyncIterator[None]:
        """Write into the record now and then how far the run has come, while the block runs.

        For those who watch: a report that cannot be written is none, and ends nothing.
        """
        over = asyncio.Event()
        task = asyncio.create_task(self._report(lease, counts, over))
        try:
            yield
        finally:
            over.set()
            await task  # not cancelled: a write that was given up half way could arrive after the last one

    async def _report(self, lease: Lease, counts: Callable[[], Counts], over: asyncio.Event) -> None:
        while self.run is not None:
            try:
                async with asyncio.timeout(REPORT_SECONDS):
                    await over.wait()
                    return
            except TimeoutError:
                pass
            try:
                await self._write(lease, msgspec.structs.replace(self.run, counts=counts()))
            except IncidentProcessError as exc:
                log.debug(
                    "How far the run has come could not be written: %s", exc, extra=event("progress_not_recorded")
                )

    async def close(self, lease: Lease, status: RunStatus, counts: Counts, error: str | None) -> None:
        """Write the run's final state, if it was opened."""
        if self.run is None:
            return
        closed = msgspec.structs.replace(
            self.run, status=status, ended_at=self._clock.now(), counts=counts, error=error
        )
        await self._write(lease, closed)

    async def _write(self, lease: Lease, run: RunRecord) -> None:
        await self._events.timed(self._store.write_run, lease, run)
        self._events.emit(RunRecorded, run)

    async def fail(self, lease: Lease, counts: Counts, exc: BaseException) -> None:
        """Write the failure into the run's record if the state can still be written; the fault itself goes on up."""
        reason = str(exc) if isinstance(exc, IncidentProcessError) else type(exc).__name__
        try:
            await self.close(lease, RunStatus.FAILED, counts, reason)
        except LeaseLostError:
            return  # the record belongs to the successor now, who closes it
        except IncidentProcessError as second:
            log.warning(
                "The run's failure could not be recorded; the next run will close it: %s",
                second,
                extra=event("failure_not_recorded"),
            )
