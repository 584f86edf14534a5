"""A window run: lease → gate → run record → outbox → window in chunks → watermark → run closed (SPEC 6).

Wherever it is killed, the next run finds in the outbox what may have been sent without an outcome, sends it again
byte for byte, and goes over its window once more: the ledger's digests leave out what was delivered.
"""

import asyncio
import logging
import time
from datetime import datetime, timedelta

from incident_process import logs
from incident_process.delivery.policy import Verdict
from incident_process.delivery.sender import Limits, Sender
from incident_process.delivery.transport import Answer
from incident_process.errors import IncidentProcessError, LeaseHeldError, LeaseLostError
from incident_process.faults import Step
from incident_process.pipeline.clock import SourceClock
from incident_process.pipeline.context import Parts, RunContext
from incident_process.pipeline.dispatch import Dispatcher
from incident_process.pipeline.journal import Journal
from incident_process.pipeline.keeper import LeaseKeeper, leased
from incident_process.pipeline.nothing import send_empty, takes_requests
from incident_process.pipeline.prepare import Preparer
from incident_process.pipeline.tally import Tally
from incident_process.pipeline.together import together
from incident_process.records import (
    Advance,
    Chunk,
    DeliveryStatus,
    Incident,
    Lease,
    Operation,
    RunKind,
    RunReport,
    RunStatus,
    Tracking,
    Window,
    iso,
)
from incident_process.source.contract import CUSTOMER_TABLE, PAYMENT_TABLE, Span, Survey
from incident_process.window import Refusal, hold, plan, refusal, system_date, watermark_after

log = logs.get_logger()

CHUNKS_UNDER_WAY = 2
"""While the tail of one chunk is being answered and recorded, the next one keeps the connections busy."""
CHUNKS_AHEAD = 1
"""How many chunks lie ready beyond those; memory is bounded by these two figures and the size of a chunk."""


class WindowRun:
    """One run over one window. Made for a single call of ``run``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._settings = parts.settings
        self._tracking = Tracking(parts.settings.process.tracking)
        self._store = parts.store
        self._began = time.monotonic()
        self._operation = Operation(name=parts.settings.process.operation_name)
        self._window: Window | None = None
        self._journal: Journal | None = None
        self._tally = Tally()
        self._sender: Sender | None = None
        self._stop_reason: str | None = None

    def request_stop(self, reason: str) -> None:
        """End the run in good order: nothing more is sent, what is under way is recorded, the rest stays pending."""
        self._stop_reason = reason
        if self._sender is not None:
            self._sender.stop(reason)

    async def run(self) -> RunReport:
        """Do the run and report it.

        Raises DatabaseConnectionError, ConfigurationError or another IncidentProcessError, with ``report`` set, when
        a fault ended the run; nothing is lost then, the next run resumes.
        """
        try:
            now = await self._parts.source.now()
            async with leased(self._store, self._settings.process.lease_seconds) as keeper:
                self._parts.faults.reach(Step.LEASED)
                return await self._run_leased(keeper, now)
        except LeaseHeldError as exc:
            log.warning("%s", exc)
            return self._report(RunStatus.LOCKED, str(exc))
        except LeaseLostError as exc:
            log.error("Another runner has taken over; this one stops: %s", exc)
            return self._report(RunStatus.LOCKED, str(exc))
        except IncidentProcessError as exc:
            exc.report = self._report(RunStatus.FAILED, str(exc))
            raise

    # -- the order of the steps -----------------------------------------------------------------------------------

    async def _run_leased(self, keeper: LeaseKeeper, now: datetime) -> RunReport:
        process = self._settings.process
        clock = SourceClock(now)
        date = system_date(now, process.time_gap_seconds, self._tracking)
        operation = await self._store.read_operation()
        self._operation = operation or self._operation
        refused = refusal(self._tracking, process.operation_name, operation, date)
        if refused is not None:
            return self._refuse(refused)
        window = self._window = plan(self._operation, await self._held(date, now))
        log.info(logs.window_message(window))
        journal = self._journal = Journal(self._store, process.operation_name, clock)
        run = await journal.open(keeper.lease, RunKind.WINDOW, window, now)
        self._parts.faults.reach(Step.OPENED)
        context = RunContext(parts=self._parts, lease=keeper.lease, clock=clock, run_id=run.run_id, started_at=now)
        try:
            status, message, newest = await self._work(context, keeper, window)
            if status is not RunStatus.INCOMPLETE:
                step = Advance(
                    before=self._operation,
                    new_data=status is RunStatus.COMPLETED,
                    watermark=watermark_after(self._tracking, window, newest),
                    system_date=date,
                    ended_at=clock.now(),
                )
                await self._advance(keeper.lease, step)
            await self._purge_bodies(context)
            await journal.close(keeper.lease, status, self._tally.counts, message)
        except (Exception, asyncio.CancelledError) as exc:
            await journal.fail(keeper.lease, self._tally.counts, exc)
            raise
        self._parts.faults.reach(Step.CLOSED)
        return self._report(status, message)

    async def _held(self, end: datetime, now: datetime) -> datetime:
        """Return where the window may end: below what open transactions of the source may still bring (SPEC 3)."""
        limit = self._settings.process.guard_limit_seconds
        writers = await self._parts.source.writers() if limit else []
        if writers is None:
            log.warning(
                "Open transactions of the source cannot be seen, so rows that are committed late are left to the "
                "lookback. Remedy: GRANT PROCESS ON *.* to the source's user."
            )
            return end
        held = hold(end, now, writers, limit)
        if held.given_up:
            log.warning(
                "%d transaction(s) of the source have been open for more than %g s: the window no longer waits for "
                "them. What they commit later than the lookback reaches is found by 'reconcile'.",
                held.given_up,
                limit,
            )
        if held.end < end:
            log.info("The window waits for an open transaction of the source: it ends at %s.", iso(held.end))
        return held.end

    async def _work(
        self, context: RunContext, keeper: LeaseKeeper, window: Window
    ) -> tuple[RunStatus, str | None, datetime | None]:
        """Empty the outbox, then go over the window. Returns status, reason and the newest LOAD_DATE looked at."""
        survey = None
        async with Sender(self._parts.transport, self._limits(), keeper.holds, _log_answer) as sender:
            self._sender = sender
            if self._stop_reason is not None:
                sender.stop(self._stop_reason)
            dispatcher = Dispatcher(context, sender, self._tally)
            await self._resume(keeper.lease, dispatcher)
            if sender.stopped is None:
                survey = await self._survey(window)
                await self._go_over(window, survey, Preparer(context), dispatcher)
            if dispatcher.has_unsettled and sender.stopped is None:
                await self._settle(dispatcher, sender)
        return await self._conclude(keeper, sender, survey)

    async def _resume(self, lease: Lease, dispatcher: Dispatcher) -> None:
        """Send what earlier runs left in the outbox: claimed by a fenced write before anything is posted."""
        chunk_ids = await self._store.claim_outbox(lease)
        self._parts.faults.reach(Step.CLAIMED)
        if chunk_ids:
            log.info("Resuming: the outbox holds %d chunk(s) without an outcome.", len(chunk_ids))
            log.info(logs.sending_message(self._settings.api.api_url))
        for chunk_id in chunk_ids:
            chunk = await self._store.load_chunk(chunk_id)
            if chunk is not None:
                self._tally.resumed += len(chunk.incidents)
                await dispatcher.dispatch(chunk, resumed=True)

    async def _survey(self, window: Window) -> Survey:
        source = self._parts.source
        unprocessable = await source.unprocessable()
        for table, rows in unprocessable.items():
            if rows:
                log.warning("%d rows of %s can never be processed: no LOAD_DATE or no account number.", rows, table)
        lookback = self._settings.process.lookback_seconds
        survey = await source.survey(Span(watermark=window.start, lookback_seconds=lookback, until=window.end))
        self._tally.surveyed(survey, unprocessable)
        for table in (CUSTOMER_TABLE, PAYMENT_TABLE):
            log.info(logs.fetched_message(survey.rows.get(table, 0), table))
        return survey

    async def _go_over(self, window: Window, survey: Survey, preparer: Preparer, dispatcher: Dispatcher) -> None:
        """Prepare chunk after chunk and send them, one being read and built while others are on their way."""
        progress = self._parts.progress
        ready: asyncio.Queue[tuple[Chunk | None, int] | None] = asyncio.Queue(maxsize=CHUNKS_AHEAD)

        async def prepare_all() -> None:
            announced = False
            async for touched in self._parts.source.touched(self._settings.process.chunk_accounts):
                if dispatcher.stopped:
                    break
                prepared = await preparer.prepare(touched, window.end)
                self._tally.unchanged += prepared.unchanged
                self._tally.held += prepared.held
                if prepared.chunk is not None and not announced:
                    log.info(logs.sending_message(self._settings.api.api_url))
                    announced = True
                await ready.put((prepared.chunk, len(touched)))
            await ready.put(None)

        async def send_all() -> None:
            while (item := await ready.get()) is not None:
                chunk, accounts = item
                if chunk is not None:
                    await dispatcher.dispatch(chunk, resumed=False)
                progress.advance(accounts)
            await ready.put(None)  # for the next of the senders

        accounts = survey.accounts + survey.reread
        progress.start(accounts)
        if accounts:
            await together(prepare_all, *[send_all] * CHUNKS_UNDER_WAY)

    async def _conclude(
        self, keeper: LeaseKeeper, sender: Sender, survey: Survey | None
    ) -> tuple[RunStatus, str | None, datetime | None]:
        """Say what the run came to, once everything is recorded."""
        if keeper.lost:
            msg = "the lease was taken by another runner"
            raise LeaseLostError(msg)
        if sender.stopped is not None:
            log.error("Delivery is incomplete: %s. The next run resumes.", sender.stopped)
            return RunStatus.INCOMPLETE, sender.stopped, None
        dead = self._tally.by_status[DeliveryStatus.DEAD]
        if dead:
            log.warning("%d incident(s) became dead letters: see 'incident-process deliveries --status dead'.", dead)
        if self._tally.unfinished is not None:
            log.error("Delivery is incomplete: %s.", self._tally.unfinished)
            return RunStatus.INCOMPLETE, self._tally.unfinished, None
        if self._tally.has_new_data:
            if self._tally.by_status[DeliveryStatus.DELIVERED]:
                log.info(logs.SENT)
            return RunStatus.COMPLETED, None, survey.newest if survey else None
        log.info(logs.NO_DATA)
        if self._settings.api.send_empty:
            await send_empty(self._parts.transport, self._settings.api.api_url)
        return RunStatus.NO_DATA, None, None

    async def _advance(self, lease: Lease, step: Advance) -> None:
        self._operation = await self._store.advance(lease, step)
        self._parts.faults.reach(Step.ADVANCED)
        if not step.new_data:
            if self._operation.next_execution is not None:
                log.info(logs.next_run_message(self._operation.next_execution))
        elif self._tracking is Tracking.SQL:
            log.info(logs.updated_sql_message(self._operation.last_execution))
        else:
            log.info(logs.updated_mongo_message(self._operation.last_execution))

    async def _purge_bodies(self, context: RunContext) -> None:
        """Let go of bodies that were kept for as long as the setting says (SPEC 6, ``keep_bodies``)."""
        days = self._settings.process.keep_bodies
        if days:
            await self._store.purge_bodies(context.lease, context.clock.now() - timedelta(days=days))

    # -- small parts ------------------------------------------------------------------------------------------------

    def _refuse(self, refused: Refusal) -> RunReport:
        log.log(logging.INFO if refused.status is RunStatus.NOT_DUE else logging.ERROR, refused.message)
        return self._report(refused.status, refused.message)

    def _limits(self) -> Limits:
        api = self._settings.api
        return Limits(
            max_connections=api.max_connections,
            requests_per_second=api.requests_per_second,
            max_attempts=api.max_attempts,
            retry_seconds=api.retry_seconds,
            retry_after_cap_seconds=api.retry_after_cap_seconds,
            breaker_failures=api.breaker_failures,
        )

    async def _settle(self, dispatcher: Dispatcher, sender: Sender) -> None:
        """Find out whether the service takes anything at all, before it is held against a record that it does not."""
        unsure = dispatcher.has_suspects or not sender.delivered
        well = unsure and self._settings.api.send_empty and await takes_requests(self._parts.transport)
        await dispatcher.settle(others_succeeded=sender.delivered > 0 or well, takes_requests=well)

    def _report(self, status: RunStatus, message: str | None) -> RunReport:
        run = self._journal.run if self._journal else None
        return RunReport(
            status=status,
            run_id=run.run_id if run else None,
            sequence=self._operation.sequence,
            window=self._window,
            counts=self._tally.counts,
            last_execution=self._operation.last_execution,
            seconds=time.monotonic() - self._began,
            message=message,
        )


def _log_answer(incident: Incident, answer: Answer, verdict: Verdict) -> None:
    """Leave two DEBUG lines an attempt; the body is decoded and masked only where somebody reads it."""
    if not log.isEnabledFor(logging.DEBUG):
        return
    log.debug(logs.payload_message(logs.mask_body(incident.body)))
    log.debug(
        "Incident %d: %s after %.3f s (%s).",
        incident.incident_id,
        verdict.value,
        answer.seconds,
        answer.error or f"HTTP {answer.status}",
    )
