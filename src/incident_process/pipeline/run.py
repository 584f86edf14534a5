"""A window run: lease → gate → run record → outbox → window in chunks → watermark → run closed (SPEC 6).

Wherever it is killed, the next run finds in the outbox what may have been sent without an outcome, sends it again
byte for byte, and goes over its window once more: the ledger's digests leave out what was delivered.
"""

from datetime import datetime

from incident_process.core import logs
from incident_process.core.crash_points import CrashPoint
from incident_process.core.models import (
    Advance,
    RunKind,
    RunReport,
    RunStatus,
    Tracking,
    Window,
)
from incident_process.core.window import plan, refusal, system_date, watermark_after
from incident_process.delivery.response_rules import ResponseRules
from incident_process.pipeline.context import Parts, RunContext
from incident_process.pipeline.empty_payload import send_empty
from incident_process.pipeline.in_flight_guard import held_end
from incident_process.pipeline.lease import LeaseHeartbeat
from incident_process.pipeline.leased_run import LeasedRun
from incident_process.pipeline.state_check import future_rows
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE, ReadRange, Survey

log = logs.get_logger()


class WindowRun(LeasedRun):
    """One run over one window."""

    kind = RunKind.WINDOW

    def __init__(self, parts: Parts, *, now: bool = False) -> None:
        super().__init__(parts)
        self._before_due = now
        """Whether a run that is not due yet goes ahead."""

    async def _run_leased(self, heartbeat: LeaseHeartbeat, now: datetime) -> RunReport:
        process = self._settings.process
        date = self._date = system_date(now, process.time_gap_seconds, self._tracking)
        operation = await self._parts.store.read_operation()
        self._operation = operation or self._operation
        refused = refusal(self._tracking, process.operation_name, operation, date)
        if refused is not None and not (self._before_due and refused.status is RunStatus.NOT_DUE):
            return self._refuse(refused)
        end = await held_end(self._parts.source, self._settings, date, now)
        self._window = plan(self._operation, end)
        log.info(logs.window_message(self._window))
        return await self._journaled(heartbeat, now)

    async def _work(self, context: RunContext, heartbeat: LeaseHeartbeat) -> tuple[RunStatus, str | None]:
        window = self._window
        assert window is not None  # noqa: S101  # for the type checker: planned before the work begins
        survey: Survey | None = None
        async with self._sending(context, heartbeat) as processor:
            if not processor.is_stopped:
                survey = await self._survey(window)
                accounts = survey.accounts + survey.reread
                self._parts.progress.start(accounts)
                self._parts.builder.warm_up(accounts)
                if accounts:
                    touched = self._parts.source.selected_accounts(self._settings.process.chunk_accounts)
                    # A window may end earlier than documents were built before (a guard that holds it, a run that
                    # did not finish, a backfill): an account's older content must not follow its newer one.
                    # It is not remembered of a watermark that somebody has set too far ahead.
                    as_of = await self._parts.store.raise_as_of(context.lease, min(window.end, self._date))
                    await processor.process(touched, as_of)
        reason = processor.unfinished()
        if reason is not None or survey is None:
            return RunStatus.INCOMPLETE, reason
        new_data = self._counters.has_new_data
        if not new_data:
            log.info(logs.NO_DATA)
            if self._settings.api.send_empty:
                await send_empty(
                    self._parts.transport, self._settings.api.api_url, ResponseRules.of(self._settings.api)
                )
        await self._advance(context, window, survey.newest, new_data=new_data)
        return (RunStatus.COMPLETED if new_data else RunStatus.NO_DATA), None

    async def _survey(self, window: Window) -> Survey:
        source = self._parts.source
        excluded = await source.excluded()
        for table, rows in excluded.items():
            if rows.unprocessable:
                log.warning(
                    "%d row(s) of %s can never be processed: no LOAD_DATE or no usable account number.",
                    rows.unprocessable,
                    table,
                )
            if rows.latest is not None:
                log.warning("%s", future_rows(table, rows, self._settings.process.source_timezone))
        lookback = self._settings.process.lookback_seconds
        span = ReadRange(watermark=window.start, lookback_seconds=lookback, until=window.end)
        # What has to be started for many accounts starts while the database is still counting them.
        survey = await source.survey(span, self._parts.builder.warm_up)
        self._counters.surveyed(survey, sum(rows.unprocessable for rows in excluded.values()))
        for table in (CUSTOMER_TABLE, PAYMENT_TABLE):
            log.info(logs.fetched_message(survey.rows.get(table, 0), table))
        return survey

    async def _advance(self, context: RunContext, window: Window, newest: datetime | None, *, new_data: bool) -> None:
        step = Advance(
            before=self._operation,
            new_data=new_data,
            watermark=watermark_after(self._tracking, window, newest),
            system_date=self._date,
            ended_at=context.clock.now(),
        )
        self._operation = await self._parts.store.advance(context.lease, step)
        self._parts.faults.reach(CrashPoint.ADVANCED)
        if not new_data:
            if self._operation.next_execution is not None:
                log.info(logs.next_run_message(self._operation.next_execution))
        elif self._tracking is Tracking.SQL:
            log.info(logs.updated_sql_message(self._operation.last_execution))
        else:
            log.info(logs.updated_mongo_message(self._operation.last_execution))
