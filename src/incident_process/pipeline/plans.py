"""What differs between the kinds of runs: which accounts a run goes over, and what it does once all have an outcome.

A window run goes over the accounts of its window and then moves the watermark. Backfill, replay and the repair that
reconcile asks for (SPEC 7) go over given accounts and leave the watermark alone. They build documents as of now less
the time gap, never as of the past: an account's old content must not arrive after its new one.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from incident_process.core import logs
from incident_process.core.crash_points import CrashPoint
from incident_process.core.events import AccountsFound, Advanced
from incident_process.core.models import Advance, Operation, RunKind, RunRequest, RunStatus, Tracking, Window, iso
from incident_process.core.window import Refusal, watermark_after
from incident_process.delivery.response_rules import ResponseRules
from incident_process.pipeline.change_detection import ResendPolicy
from incident_process.pipeline.context import Parts, RunContext
from incident_process.pipeline.counters import RunCounters
from incident_process.pipeline.empty_payload import send_empty
from incident_process.pipeline.state_check import future_rows
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE, ReadRange, SelectedAccount, Survey

log = logs.get_logger()

UNSAID = RunRequest()
"""Nobody said who asked for the run."""

Lists = Callable[[datetime, RunCounters], AsyncIterator[list[SelectedAccount]]]
"""Yields the accounts to go over, given the instant as of which their documents are built; counts how many were
selected."""


class Selection(NamedTuple):
    """Accounts in lists, and the instant as of which their documents are built."""

    lists: AsyncIterator[list[SelectedAccount]]
    as_of: datetime


class RunPlan(Protocol):
    """What a run asks of its kind, in this order. Made for one run.

    ``waits_until_due``: the run goes ahead only once its operation is due (SQL tracking). ``resend``: what it may send
    although the ledger knows it. ``held_level``: of the log line that says that another runner holds the lease.
    ``window`` and ``request``: what stands in the run's record; None where there is no window. ``resumes``: the run
    first sends what earlier runs have left in the outbox.
    """

    kind: RunKind
    resend: ResendPolicy
    waits_until_due: bool
    held_level: int
    window: Window | None
    request: RunRequest
    resumes: bool

    async def refusal(self) -> Refusal | None:
        """Return why the run may not go ahead, asked under the lease before anything else; None when it may."""

    def begin(self, operation: Operation, window: Window, date: datetime) -> None:
        """Take the operation as it stands, the window from its watermark to now, and SYSTEM_DATE."""

    async def select(self, context: RunContext, counters: RunCounters) -> Selection | None:
        """Return the accounts to go over, None when there is none."""

    async def conclude(self, context: RunContext, counters: RunCounters) -> tuple[RunStatus, Operation | None]:
        """Return the run's status once every account has its outcome, and the operation where the run moved it on."""


async def _raise_as_of(context: RunContext, instant: datetime) -> datetime:
    return await context.parts.events.timed(context.parts.store.raise_as_of, context.lease, instant)


class WindowPlan:
    """All accounts with a row in the window, and those of the lookback that have changed.

    ``now``: the run goes ahead before it is due. ``refusal``: asked under the lease, before anything else.
    """

    kind = RunKind.WINDOW
    resend = ResendPolicy.CHANGED
    window: Window | None = None
    request = UNSAID
    resumes = True

    def __init__(
        self,
        parts: Parts,
        *,
        now: bool = False,
        refusal: Callable[[], Awaitable[Refusal | None]] | None = None,
        held_level: int = logging.WARNING,
    ) -> None:
        self.waits_until_due = not now
        self.held_level = held_level
        self._parts = parts
        self._settings = parts.settings
        self._tracking = parts.settings.process.tracking
        self._refusal = refusal
        self._survey: Survey | None = None

    async def refusal(self) -> Refusal | None:
        """Return why the run may not go ahead."""
        return None if self._refusal is None else await self._refusal()

    def begin(self, operation: Operation, window: Window, date: datetime) -> None:
        """Take the window."""
        self._operation, self._date = operation, date
        self.window = self._window = window
        log.info(
            logs.window_message(window),
            extra=logs.event("window_planned", window_start=iso(window.start), window_end=iso(window.end)),
        )

    async def select(self, context: RunContext, counters: RunCounters) -> Selection | None:
        """Survey the window; the accounts are read and built while others are sent."""
        survey = self._survey = await self._look_over(counters)
        accounts = survey.accounts + survey.reread
        self._parts.events.emit(AccountsFound, accounts)
        self._parts.builder.warm_up(accounts)
        if not accounts:
            return None
        # A window may end earlier than documents were built before (a guard that holds it, a run that did not finish,
        # a backfill): an account's older content must not follow its newer one. A watermark that somebody has set too
        # far ahead is not remembered.
        as_of = await _raise_as_of(context, min(self._window.end, self._date))
        return Selection(self._parts.source.selected_accounts(self._settings.process.chunk_accounts), as_of)

    async def conclude(self, context: RunContext, counters: RunCounters) -> tuple[RunStatus, Operation | None]:
        """Post the empty payload where there was no new data, and move the watermark."""
        assert self._survey is not None  # noqa: S101  # for the type checker: a run that has not selected is incomplete
        new_data = counters.has_new_data
        if not new_data:
            log.info(logs.NO_DATA, extra=logs.event("no_data"))
            if self._settings.api.send_empty:
                api = self._settings.api
                rules, events = ResponseRules.of(api), self._parts.events
                await send_empty(self._parts.transport, api.api_url, rules, events, context.may_send)
        operation = await self._advance(context, self._survey.newest, new_data=new_data)
        return (RunStatus.COMPLETED if new_data else RunStatus.NO_DATA), operation

    async def _look_over(self, counters: RunCounters) -> Survey:
        source = self._parts.source
        excluded = await source.excluded()
        for table, rows in excluded.items():
            if rows.unprocessable:
                log.warning(
                    "%d row(s) of %s can never be processed: no LOAD_DATE or no usable account number.",
                    rows.unprocessable,
                    table,
                    extra=logs.event("rows_unprocessable", table=table, rows=rows.unprocessable),
                )
            if rows.latest is not None:
                log.warning(
                    "%s",
                    " ".join(future_rows(table, rows, self._settings.process.source_timezone)),
                    extra=logs.event("rows_in_future", table=table, rows=rows.future),
                )
        lookback = self._settings.process.lookback_seconds
        span = ReadRange(watermark=self._window.start, lookback_seconds=lookback, until=self._window.end)
        # What has to be started for many accounts starts while the database is still counting them.
        survey = await source.survey(span, self._parts.builder.warm_up)
        counters.surveyed(survey, sum(rows.unprocessable for rows in excluded.values()))
        for table in (CUSTOMER_TABLE, PAYMENT_TABLE):
            log.info(
                logs.fetched_message(survey.rows.get(table, 0), table),
                extra=logs.event("rows_fetched", table=table, rows=survey.rows.get(table, 0)),
            )
        return survey

    async def _advance(self, context: RunContext, newest: datetime | None, *, new_data: bool) -> Operation:
        step = Advance(
            before=self._operation,
            new_data=new_data,
            watermark=watermark_after(self._tracking, self._window, newest),
            system_date=self._date,
            ended_at=context.clock.now(),
        )
        events = self._parts.events
        operation = await events.timed(self._parts.store.advance, context.lease, step)
        self._parts.faults.reach(CrashPoint.ADVANCED)
        events.emit(Advanced, operation)
        if not new_data:
            if operation.next_execution is not None:
                log.info(
                    logs.next_run_message(operation.next_execution),
                    extra=logs.event("next_run_planned", next_execution=iso(operation.next_execution)),
                )
        else:
            message = logs.updated_sql_message if self._tracking is Tracking.SQL else logs.updated_mongo_message
            log.info(
                message(operation.last_execution),
                extra=logs.event("watermark_moved", watermark=iso(operation.last_execution)),
            )
        return operation


class AccountsPlan:
    """Given accounts: the run asks for the ``lists`` once it holds the lease and the outboxes are empty.

    ``window``: the range that is written into the run's record, if there is one.
    """

    waits_until_due = False  # when an operation is due concerns its windows alone
    held_level = logging.WARNING
    request = UNSAID
    resumes = True

    def __init__(
        self,
        parts: Parts,
        kind: RunKind,
        lists: Lists,
        *,
        resend: ResendPolicy = ResendPolicy.CHANGED,
        window: Window | None = None,
    ) -> None:
        self.kind = kind
        self.resend = resend
        self.window = window
        self._parts = parts
        self._lists = lists

    async def refusal(self) -> Refusal | None:
        """Nothing but the operation itself refuses."""
        return None

    def begin(self, operation: Operation, window: Window, date: datetime) -> None:
        """Take the instant as of which documents are built.

        Not before the watermark, unless that lies ahead: what a window run has delivered may hold rows up to there.
        """
        self._as_of = min(window.end, date)

    async def select(self, context: RunContext, counters: RunCounters) -> Selection | None:
        """Return the given accounts."""
        as_of = await _raise_as_of(context, self._as_of)
        return Selection(self._lists(as_of, counters), as_of)

    async def conclude(self, context: RunContext, counters: RunCounters) -> tuple[RunStatus, Operation | None]:
        """Leave the watermark where it is."""
        return (RunStatus.COMPLETED if any(counters.by_status.values()) else RunStatus.NO_DATA), None


def backfill(parts: Parts, first: datetime, last: datetime, *, force: bool) -> AccountsPlan:
    """Return the plan for all accounts with a row in ``first <= LOAD_DATE <= last``.

    ``force`` sends unchanged ones too, under idempotency keys of their own.
    """
    # A window does not include its start; a backfill does: so it starts below by the least that instants differ.
    below = first - timedelta(microseconds=1)

    async def lists(as_of: datetime, counters: RunCounters) -> AsyncIterator[list[SelectedAccount]]:
        until = min(last, as_of)
        if until < first:
            log.warning(
                "The range begins at %s, after the newest row that may be sent now.",
                iso(first),
                extra=logs.event("range_in_future"),
            )
            return
        survey = await parts.source.survey(ReadRange(watermark=below, lookback_seconds=0, until=until))
        counters.surveyed(survey, 0)
        parts.events.emit(AccountsFound, survey.accounts)
        parts.builder.warm_up(survey.accounts)
        async for selected in parts.source.selected_accounts(parts.settings.process.chunk_accounts):
            inside = [item for item in selected if item.in_window]
            if inside:
                yield inside

    window = Window(start=first, end=last)
    resend = ResendPolicy.ALL if force else ResendPolicy.CHANGED
    return AccountsPlan(parts, RunKind.BACKFILL, lists, resend=resend, window=window)


def replay(parts: Parts, accounts: Sequence[str], *, request: RunRequest = UNSAID, only: bool = False) -> AccountsPlan:
    """Return the plan that sends these accounts' dead letters once more, as the rows are now.

    ``only``: the run leaves in the outbox what earlier runs have left there, for the next window run. No account can be
    overtaken by this: one with a pending incident has no open dead letter.
    """
    size = parts.settings.process.chunk_accounts

    async def lists(_: datetime, counters: RunCounters) -> AsyncIterator[list[SelectedAccount]]:
        counters.selected(len(accounts))
        parts.events.emit(AccountsFound, len(accounts))
        for start in range(0, len(accounts), size):
            yield [SelectedAccount(account=account, in_window=True) for account in accounts[start : start + size]]

    plan = AccountsPlan(parts, RunKind.REPLAY, lists, resend=ResendPolicy.DEAD)
    plan.request = request
    plan.resumes = not only
    return plan
