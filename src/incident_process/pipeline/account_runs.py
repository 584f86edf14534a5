"""Runs over accounts that somebody named: backfill, replay, and the repair that reconcile asks for (SPEC 7).

They send what a window run would send for these accounts now, through the same ledger, outbox and lease, and leave
the watermark alone. Documents are built as of now less the time gap, never as of the past: an account's old content
must not arrive after its new one.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta

from incident_process.core.logs import get_logger
from incident_process.core.models import (
    Operation,
    RunKind,
    RunReport,
    RunStatus,
    Window,
    iso,
)
from incident_process.core.window import id_floor, plan, refusal, system_date
from incident_process.pipeline.change_detection import ResendPolicy
from incident_process.pipeline.context import Parts, RunContext
from incident_process.pipeline.counters import RunCounters
from incident_process.pipeline.in_flight_guard import held_end
from incident_process.pipeline.lease import LeaseHeartbeat
from incident_process.pipeline.leased_run import LeasedRun
from incident_process.source.base import ReadRange, SelectedAccount

log = get_logger()

Lists = Callable[[datetime, RunCounters], AsyncIterator[list[SelectedAccount]]]
"""Yields the accounts to go over, given the instant as of which their documents are built; counts how many were
selected."""


class AccountsRun(LeasedRun):
    """One run over given accounts.

    Args:
        parts: What the run works with.
        kind: What asked for it.
        lists: The accounts. They are asked for once the lease is held and the outbox is empty.
        resend: What may be sent although the ledger knows it.
        window: The range that is written into the run's record, if there is one.
    """

    def __init__(
        self,
        parts: Parts,
        kind: RunKind,
        lists: Lists,
        *,
        resend: ResendPolicy = ResendPolicy.CHANGED,
        window: Window | None = None,
    ) -> None:
        self.sends_all = resend is ResendPolicy.ALL
        super().__init__(parts)
        self.kind = kind
        self._lists = lists
        self._resend = resend
        self._window = window

    async def _run_leased(self, heartbeat: LeaseHeartbeat, now: datetime) -> RunReport:
        process = self._settings.process
        operation = await self._parts.store.read_operation()
        self._operation = operation or Operation(name=process.operation_name)
        date = system_date(now, process.time_gap_seconds, self._tracking)
        refused = refusal(self._tracking, process.operation_name, operation, date)
        if refused is not None and refused.status is not RunStatus.NOT_DUE:  # when it is due is for windows to say
            return self._refuse(refused)
        end = await held_end(self._parts.source, self._settings, date, now)
        # Not before the watermark, unless that lies ahead: what a window run has delivered may hold rows up to there.
        self._as_of = min(plan(self._operation, end).end, date)
        if self._operation_check.before is None:
            return await self._journaled(heartbeat, now)
        since = await self._parts.store.reserve_ids(heartbeat.lease, 1, id_floor(now))
        report = await self._journaled(heartbeat, now)
        if report.status is RunStatus.COMPLETED:
            await self._operation_check.end(heartbeat.lease, since, everything=self.kind is RunKind.RECONCILE)
        return report

    async def _work(self, context: RunContext, heartbeat: LeaseHeartbeat) -> tuple[RunStatus, str | None]:
        async with self._sending(context, heartbeat) as processor:
            if not processor.is_stopped:
                as_of = await self._parts.store.raise_as_of(context.lease, self._as_of)
                await processor.process(self._lists(as_of, self._counters), as_of, self._resend)
        reason = processor.unfinished()
        if reason is not None:
            return RunStatus.INCOMPLETE, reason
        return (RunStatus.COMPLETED if any(self._counters.by_status.values()) else RunStatus.NO_DATA), None


def backfill(parts: Parts, first: datetime, last: datetime, *, force: bool) -> AccountsRun:
    """Return a run over all accounts with a row in ``first <= LOAD_DATE <= last``; the watermark is not touched.

    ``force`` sends unchanged ones too, under idempotency keys of their own.
    """
    # A window does not include its start; a backfill does: so it starts below by the least that instants differ.
    below = first - timedelta(microseconds=1)
    process = parts.settings.process

    async def lists(as_of: datetime, counters: RunCounters) -> AsyncIterator[list[SelectedAccount]]:
        until = min(last, as_of)
        if until < first:
            log.warning("The range begins at %s, after the newest row that may be sent now.", iso(first))
            return
        survey = await parts.source.survey(ReadRange(watermark=below, lookback_seconds=0, until=until))
        counters.surveyed(survey, 0)
        parts.progress.start(survey.accounts)
        parts.builder.warm_up(survey.accounts)
        async for touched in parts.source.selected_accounts(process.chunk_accounts):
            inside = [item for item in touched if item.in_window]
            if inside:
                yield inside

    window = Window(start=first, end=last)
    resend = ResendPolicy.ALL if force else ResendPolicy.CHANGED
    return AccountsRun(parts, RunKind.BACKFILL, lists, resend=resend, window=window)


def replay(parts: Parts, accounts: Sequence[str]) -> AccountsRun:
    """Return a run that sends these accounts' dead letters once more, as the rows are now."""
    size = parts.settings.process.chunk_accounts

    async def lists(_: datetime, counters: RunCounters) -> AsyncIterator[list[SelectedAccount]]:
        counters.selected(len(accounts))
        parts.progress.start(len(accounts))
        for start in range(0, len(accounts), size):
            yield [SelectedAccount(account=account, in_window=True) for account in accounts[start : start + size]]

    return AccountsRun(parts, RunKind.REPLAY, lists, resend=ResendPolicy.DEAD)
