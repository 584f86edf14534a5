"""One run in its commit order: lease → window → run record → outboxes → accounts in chunks → watermark → record closed.

``Run._run`` takes the lease, ``_run_in_order`` tells the rest, and its steps stand below in the same order. Chunks are
sent in ``processor``; which accounts, and the watermark, are the plan's (``plans``).

This order is what the promise rests on (SPEC 6). Wherever a run is killed, the next one finds in the outbox what may
have been sent without an outcome, sends it again byte for byte, and goes over its window once more: the ledger's
digests leave out what was delivered.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import msgspec

from incident_process.core.aio import unless_set
from incident_process.core.clock import SourceClock
from incident_process.core.crash_points import CrashPoint
from incident_process.core.errors import IncidentProcessError, LeaseHeldError, LeaseLostError
from incident_process.core.logs import event, get_logger, run_fields
from incident_process.core.models import (
    Counts,
    DeliveryStatus,
    Lease,
    Operation,
    RunKind,
    RunReport,
    RunStatus,
    counted,
)
from incident_process.core.window import Refusal, id_floor, operation_refusal, system_date, window_until
from incident_process.pipeline.change_detection import ResendPolicy
from incident_process.pipeline.context import Parts, Processor, RunContext
from incident_process.pipeline.counters import RunCounters
from incident_process.pipeline.in_flight_guard import held_end
from incident_process.pipeline.lease import LeaseHeartbeat, hold_lease
from incident_process.pipeline.operation_check import OperationCheck, unknown_operation
from incident_process.pipeline.plans import RunPlan, Selection
from incident_process.pipeline.processor import ChunkProcessor
from incident_process.pipeline.run_record import RunRecorder, new_run_id
from incident_process.pipeline.state_check import tell_what_was_found

log = get_logger()


class Run:
    """One run under the operation's lease. Made for a single call of ``run``; ``plan`` says what kind it is."""

    def __init__(self, parts: Parts, plan: RunPlan) -> None:
        self.kind = plan.kind
        self._parts = parts
        self._plan = plan
        self._settings = parts.settings
        self._events = parts.events
        sends_all = plan.resend is ResendPolicy.ALL
        self._check = OperationCheck(parts.store, parts.settings, parts.events, sends_all=sends_all)
        self._began = time.monotonic()
        self._operation = Operation(name=parts.settings.process.operation_name)
        self._was_read = False
        self._run_id: str | None = None
        self._counters = RunCounters()
        self._processor: Processor | None = None
        self._stop_reason: str | None = None
        self._finish_reason: str | None = None
        self._ending = asyncio.Event()

    async def run(self) -> RunReport:
        """Do the run and report it.

        Raises DatabaseConnectionError, ConfigurationError or another IncidentProcessError, with ``report`` set, when
        a fault ended the run; nothing is lost then, the next run resumes.
        """
        try:
            now = await self._parts.source.now()
            run_id = new_run_id(now)
            with run_fields(operation=self._settings.process.operation_name, run_id=run_id):
                return await self._run(now, run_id)
        except IncidentProcessError as exc:
            exc.report = self._report(RunStatus.FAILED, str(exc))
            raise

    async def _run(self, now: datetime, run_id: str) -> RunReport:
        try:
            unknown = await unknown_operation(self._parts.store, self._settings)
            if unknown is not None:  # before the lease, which would leave a trace of a name that was mistyped
                return self._refuse(unknown)
            async with hold_lease(self._parts.store, self._settings.process.lease_seconds, self._events) as heartbeat:
                self._parts.faults.reach(CrashPoint.LEASED)
                return await self._run_in_order(heartbeat, now, run_id)
        except LeaseHeldError as exc:
            log.log(self._plan.held_level, "%s", exc, extra=event("lease_held"))
            # Another runner's work: but where the operation stands may be told without the lease, and is asked for.
            self._operation = await self._parts.store.read_operation() or self._operation
            return self._report(RunStatus.LOCKED, str(exc))
        except LeaseLostError as exc:
            log.error("Another runner has taken over; this one stops: %s", exc, extra=event("lease_lost"))
            return self._report(RunStatus.LOCKED, str(exc))

    async def _run_in_order(self, heartbeat: LeaseHeartbeat, now: datetime, run_id: str) -> RunReport:
        """Do the steps that the lease guards, in the commit order."""
        lease, plan = heartbeat.lease, self._plan
        await self._check.begin(lease)
        refused = await self._fix_window(now)
        if refused is not None:
            return self._refuse(refused)
        # Where the receiver is another one than before: that is noted at the end, once it has all.
        first_id = await self._first_id_for_new_receiver(lease, now)
        context, recorder = await self._open_record(heartbeat, now, run_id)
        try:
            async with recorder.reporting(lease, self._counts_now):
                async with self._processing(context, heartbeat) as processor:
                    if plan.resumes:
                        await processor.drain_outboxes()
                    else:  # what earlier runs left stays for the next window; their workers are fenced all the same
                        await processor.claim_outboxes()
                    was_selected = await self._go_over_accounts(processor, context)
                    await processor.resolve_exhausted()
                status, reason = RunStatus.INCOMPLETE, processor.report_unfinished()
                if reason is None and was_selected:
                    # The plan of a window moves the watermark: all that it covers has its outcome.
                    status, moved = await plan.conclude(context, self._counters)
                    self._operation = moved or self._operation
            await self._purge_bodies(context)
            await recorder.close(lease, status, self._counters.counts, reason)
        except (Exception, asyncio.CancelledError) as exc:
            await recorder.fail(lease, self._counters.counts, exc)
            raise
        self._parts.faults.reach(CrashPoint.CLOSED)
        if first_id is not None and status is RunStatus.COMPLETED:
            await self._check.end(lease, first_id, everything=self.kind is RunKind.RECONCILE)
        return self._report(status, reason)

    # -- the steps ------------------------------------------------------------------------------------------------

    async def _fix_window(self, now: datetime) -> Refusal | None:
        """Fix the end of what is looked at; return why the operation may not run, None when it may."""
        refused = await self._plan.refusal()
        operation = await self._parts.store.read_operation()
        self._operation, self._was_read = operation or self._operation, True
        if refused is not None:
            return refused
        process = self._settings.process
        date = system_date(now, process.time_gap_seconds, process.tracking)
        refused = operation_refusal(process.tracking, process.operation_name, operation, date)
        if refused is not None and refused.status is not RunStatus.NOT_DUE:
            return refused
        if refused is not None and self._plan.waits_until_due:
            return await self._with_waiting(refused)
        end = await held_end(self._parts.source, self._settings, date, now)
        self._plan.begin(self._operation, window_until(self._operation, end), date)
        return None

    async def _with_waiting(self, refused: Refusal) -> Refusal:
        """Add how many incidents wait for an outcome; they are counted only where there is one."""
        store, pending = self._parts.store, DeliveryStatus.PENDING
        if not await store.deliveries(status=pending, limit=1):
            return refused
        count = self._counters.by_status[pending] = (await store.delivery_counts())[pending]
        waiting = f"{refused.message} {counted(count, 'incident waits', 'incidents wait')} for an outcome."
        return msgspec.structs.replace(refused, message=waiting)

    async def _first_id_for_new_receiver(self, lease: Lease, now: datetime) -> int | None:
        """Return an Incident_Id above which all are sent to another receiver than before; None where it is the same."""
        if self._check.before is None:
            return None
        return await self._events.timed(self._parts.store.reserve_ids, lease, 1, id_floor(now))

    async def _open_record(
        self, heartbeat: LeaseHeartbeat, now: datetime, run_id: str
    ) -> tuple[RunContext, RunRecorder]:
        """Warn of what in the state does not fit, and write the run as running."""
        store, clock = self._parts.store, SourceClock(now)
        await tell_what_was_found(store, self._operation, now)
        recorder = RunRecorder(store, self._settings.process.operation_name, clock, self._events)
        await recorder.open(heartbeat.lease, run_id, self.kind, self._plan.window, now, self._plan.request)
        self._run_id = run_id
        self._parts.faults.reach(CrashPoint.OPENED)
        context = RunContext(
            parts=self._parts,
            lease=heartbeat.lease,
            clock=clock,
            run_id=run_id,
            started_at=now,
            may_send=heartbeat.is_valid,
            key_name=self._check.identity.key_name,
        )
        return context, recorder

    @asynccontextmanager
    async def _processing(self, context: RunContext, heartbeat: LeaseHeartbeat) -> AsyncIterator[Processor]:
        """Have what sends, told whether the run was asked to end meanwhile."""
        async with (self._parts.processor or ChunkProcessor)(context, heartbeat, self._counters) as processor:
            self._processor = processor
            if self._stop_reason is not None:
                processor.stop(self._stop_reason)
            if self._finish_reason is not None:
                processor.finish(self._finish_reason)
            yield processor

    async def _go_over_accounts(self, processor: Processor, context: RunContext) -> bool:
        """Send what the plan's accounts need; return False where the run was asked to end before it knew them."""

        async def select() -> tuple[Selection | None]:
            return (await self._plan.select(context, self._counters),)

        if processor.is_stopped:
            return False
        selected = await unless_set(self._ending, select())
        if selected is None:
            processor.stop(self._finish_reason or self._stop_reason or "asked to stop")
            return False
        (accounts,) = selected
        if accounts is not None:
            await processor.process(accounts.lists, accounts.as_of, self._plan.resend)
        return True

    async def _purge_bodies(self, context: RunContext) -> None:
        """Let go of bodies that were kept for as long as the setting says; of all, once it is off (SPEC 6)."""
        kept = timedelta(days=self._settings.process.keep_bodies)
        await self._events.timed(self._parts.store.purge_bodies, context.lease, context.clock.now() - kept)

    # -- from outside ---------------------------------------------------------------------------------------------

    def request_stop(self, reason: str) -> None:
        """End the run in good order: nothing more is sent, what is under way is recorded, the rest stays pending."""
        self._stop_reason = reason
        self._ending.set()
        if self._processor is not None:
            self._processor.stop(reason)

    def request_finish(self, reason: str) -> None:
        """End the run after the chunks that are being sent: they are recorded, the rest is left to the next."""
        self._finish_reason = reason
        self._ending.set()
        if self._processor is not None:
            self._processor.finish(reason)

    def _counts_now(self) -> Counts:
        """Return the figures of a run that is under way."""
        sending = self._processor.sending if self._processor is not None else None
        return msgspec.structs.replace(self._counters.counts, sending=sending)

    def _refuse(self, refused: Refusal) -> RunReport:
        """Say why the operation may not run, and report it."""
        log.log(
            logging.INFO if refused.status is RunStatus.NOT_DUE else logging.ERROR,
            refused.message,
            extra=event("run_refused", status=refused.status.value),
        )
        return self._report(refused.status, refused.message)

    def _report(self, status: RunStatus, message: str | None) -> RunReport:
        return RunReport(
            status=status,
            run_id=self._run_id,
            sequence=self._operation.sequence,
            window=self._plan.window,
            counts=self._counters.counts,
            last_execution=self._operation.last_execution,
            seconds=time.monotonic() - self._began,
            message=message,
            knows_operation=self._was_read or status is not RunStatus.FAILED,
        )
