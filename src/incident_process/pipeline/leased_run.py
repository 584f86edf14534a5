"""What every kind of run has in common: the lease, the run's record, the outcome of faults, the report (SPEC 6, 7)."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import msgspec

from incident_process.core.clock import SourceClock
from incident_process.core.crash_points import CrashPoint
from incident_process.core.errors import IncidentProcessError, LeaseHeldError, LeaseLostError
from incident_process.core.logs import get_logger
from incident_process.core.models import (
    Counts,
    Operation,
    RunKind,
    RunReport,
    RunStatus,
    Tracking,
    Window,
)
from incident_process.core.window import Refusal
from incident_process.pipeline.context import Parts, Processor, RunContext
from incident_process.pipeline.counters import RunCounters
from incident_process.pipeline.lease import LeaseHeartbeat, hold_lease
from incident_process.pipeline.operation_check import OperationCheck, unknown_operation
from incident_process.pipeline.processor import ChunkProcessor
from incident_process.pipeline.run_record import RunRecorder
from incident_process.pipeline.state_check import tell_what_was_found

log = get_logger()


class LeasedRun(ABC):
    """One run under the operation's lease. Made for a single call of ``run``."""

    kind: RunKind
    sends_all = False
    """Whether it sends what it is given whatever the ledger knows."""
    held_level = logging.WARNING
    """Of the line that says that another runner holds the lease."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._settings = parts.settings
        self._tracking = Tracking(parts.settings.process.tracking)
        self._operation_check = OperationCheck(parts.store, parts.settings, sends_all=self.sends_all)
        self._began = time.monotonic()
        self._operation = Operation(name=parts.settings.process.operation_name)
        self._window: Window | None = None
        self._run_id: str | None = None
        self._counters = RunCounters()
        self._processor: Processor | None = None
        self._stop_reason: str | None = None
        self._finish_reason: str | None = None

    def request_stop(self, reason: str) -> None:
        """End the run in good order: nothing more is sent, what is under way is recorded, the rest stays pending."""
        self._stop_reason = reason
        if self._processor is not None:
            self._processor.stop(reason)

    def request_finish(self, reason: str) -> None:
        """End the run after the chunks that it has begun: they are sent and recorded, the rest is left to the next."""
        self._finish_reason = reason
        if self._processor is not None:
            self._processor.finish(reason)

    async def run(self) -> RunReport:
        """Do the run and report it.

        Raises DatabaseConnectionError, ConfigurationError or another IncidentProcessError, with ``report`` set, when
        a fault ended the run; nothing is lost then, the next run resumes.
        """
        try:
            now = await self._parts.source.now()
            unknown = await unknown_operation(self._parts.store, self._settings)
            if unknown is not None:  # before the lease, which would leave a trace of a name that was mistyped
                return self._refuse(unknown)
            async with hold_lease(self._parts.store, self._settings.process.lease_seconds) as heartbeat:
                self._parts.faults.reach(CrashPoint.LEASED)
                await self._operation_check.begin(heartbeat.lease)
                return await self._run_leased(heartbeat, now)
        except LeaseHeldError as exc:
            log.log(self.held_level, "%s", exc)
            # Nobody else's work: but where the operation stands may be told without the lease, and is asked for.
            self._operation = await self._parts.store.read_operation() or self._operation
            return self._report(RunStatus.LOCKED, str(exc))
        except LeaseLostError as exc:
            log.error("Another runner has taken over; this one stops: %s", exc)
            return self._report(RunStatus.LOCKED, str(exc))
        except IncidentProcessError as exc:
            exc.report = self._report(RunStatus.FAILED, str(exc))
            raise

    @abstractmethod
    async def _run_leased(self, heartbeat: LeaseHeartbeat, now: datetime) -> RunReport:
        """Do the work of this kind of run; ``now`` is the source's clock."""

    async def _journaled(self, heartbeat: LeaseHeartbeat, now: datetime) -> RunReport:
        """Do ``_work`` between the two writes of the run's record."""
        process = self._settings.process
        clock = SourceClock(now)
        await tell_what_was_found(self._parts.store, self._operation, now)
        recorder = RunRecorder(self._parts.store, process.operation_name, clock)
        run = await recorder.open(heartbeat.lease, self.kind, self._window, now)
        self._run_id = run.run_id
        self._parts.faults.reach(CrashPoint.OPENED)
        context = RunContext(
            parts=self._parts,
            lease=heartbeat.lease,
            clock=clock,
            run_id=run.run_id,
            started_at=now,
            key_name=self._operation_check.identity.key_name,
        )
        try:
            async with recorder.reporting(heartbeat.lease, self._counts_now):
                status, message = await self._work(context, heartbeat)
            # Let go of bodies that were kept for as long as the setting says; of all, once it is off (SPEC 6).
            await self._parts.store.purge_bodies(heartbeat.lease, clock.now() - timedelta(days=process.keep_bodies))
            await recorder.close(heartbeat.lease, status, self._counters.counts, message)
        except (Exception, asyncio.CancelledError) as exc:
            await recorder.fail(heartbeat.lease, self._counters.counts, exc)
            raise
        self._parts.faults.reach(CrashPoint.CLOSED)
        return self._report(status, message)

    def _counts_now(self) -> Counts:
        """Return the figures of a run that is under way."""
        sending = self._processor.sending if self._processor is not None else None
        return msgspec.structs.replace(self._counters.counts, sending=sending)

    @abstractmethod
    async def _work(self, context: RunContext, heartbeat: LeaseHeartbeat) -> tuple[RunStatus, str | None]:
        """Deliver, and return the run's status with the reason where there is one."""

    @asynccontextmanager
    async def _sending(self, context: RunContext, heartbeat: LeaseHeartbeat) -> AsyncIterator[Processor]:
        """Have a processor at work, with the outboxes drained first; a stop that was asked for before stops it too."""
        make = context.parts.processor or ChunkProcessor
        async with make(context, heartbeat, self._counters) as processor:
            self._processor = processor
            if self._stop_reason is not None:
                processor.stop(self._stop_reason)
            if self._finish_reason is not None:
                processor.finish(self._finish_reason)
            await processor.drain_outboxes()
            yield processor
            await processor.resolve_exhausted()

    def _refuse(self, refused: Refusal) -> RunReport:
        """Say why the operation may not run, and report it."""
        log.log(logging.INFO if refused.status is RunStatus.NOT_DUE else logging.ERROR, refused.message)
        return self._report(refused.status, refused.message)

    def _report(self, status: RunStatus, message: str | None) -> RunReport:
        return RunReport(
            status=status,
            run_id=self._run_id,
            sequence=self._operation.sequence,
            window=self._window,
            counts=self._counters.counts,
            last_execution=self._operation.last_execution,
            seconds=time.monotonic() - self._began,
            message=message,
        )
