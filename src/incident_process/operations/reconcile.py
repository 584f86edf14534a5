"""Compares the whole source with the ledger, or with an export of the receiver (SPEC 7).

One pass reads both sides in account order without holding either in memory. It names the differences, and sends them
if asked to.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from enum import StrEnum

from incident_process.core.events import AccountsFound
from incident_process.core.models import DeliveryStatus, LastDelivery, Operation, Record, RunKind
from incident_process.core.window import system_date, window_until
from incident_process.document.returned import as_doubles, differing, part_digests
from incident_process.operations.receiver_export import Last, ReceiverLog
from incident_process.pipeline.change_detection import AccountContent, ResendPolicy, account_content
from incident_process.pipeline.context import Parts
from incident_process.pipeline.counters import RunCounters
from incident_process.pipeline.operation_check import require_receiver
from incident_process.pipeline.plans import AccountsPlan
from incident_process.pipeline.run import Run
from incident_process.source.base import ReadRange, SelectedAccount
from incident_process.source.load_date import EARLIEST


class Difference(StrEnum):
    """How an account differs."""

    MISSING = "missing"  # never delivered
    STALE = "stale"  # other content was delivered last
    DEAD = "dead"  # its present content is a dead letter
    PENDING = "pending"  # under way: the next run resumes it
    SKIPPED = "skipped"  # payments without a customer row: no incident is possible yet
    SURPLUS = "surplus"  # delivered once, but the source no longer has a row of it


SENDABLE = frozenset({Difference.MISSING, Difference.STALE})
"""Differences that a repair sends. Dead letters need ``dead-letters replay``; the next run sends pending incidents."""


NEARLY_ALL = 0.9
"""Share of the compared accounts from which on so many differences suggest the log of another receiver."""
FEW = 3
"""Fewer differing accounts suggest nothing, at any share."""


class AccountFinding(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One account that differs. ``properties``: the properties that differ from the receiver's document."""

    account: str
    difference: Difference
    properties: tuple[str, ...] = ()


class Reconciliation:
    """One pass. ``totals`` counts the accounts by difference, under None those without one.

    Args:
        parts: Source and state.
        on_finding: Called for each account that differs, in account order.
        received: An export of the receiver to compare with, in place of the ledger.
    """

    def __init__(
        self, parts: Parts, on_finding: Callable[[AccountFinding], None], received: ReceiverLog | None = None
    ) -> None:
        self.totals: Counter[Difference | None] = Counter()
        self._parts = parts
        self._on_finding = on_finding
        self._received = received
        self._compared: Counter[Difference | None] = Counter()
        self._properties: Counter[str] = Counter()

    @property
    def sendable(self) -> int:
        """How many accounts a repair sends."""
        return sum(self.totals[difference] for difference in SENDABLE)

    def doubt(self) -> str | None:
        """Return, after ``compare``, why this may be the log of another receiver; None where nothing suggests it.

        Nearly every compared account differs then, and ``repair`` would send all of them again.
        """
        if self._received is None:
            return None
        found = self._compared
        differ = found[Difference.MISSING] + found[Difference.STALE]
        if differ < NEARLY_ALL * found.total() or differ < (FEW if self._received.documents else 1):
            return None
        where = ", ".join(f"{name} ({number})" for name, number in self._properties.most_common())
        return (
            f"{differ} of {found.total()} account(s) differ from what {self._received.path} holds: "
            f"{found[Difference.MISSING]} missing, {found[Difference.STALE]} stale{where and f' in {where}'}. "
            "The log of another receiver, of another operation, or a part of one, looks like this."
        )

    async def compare(self) -> None:
        """Compare all accounts and name those that differ; send and write nothing."""
        process = self._parts.settings.process
        if self._received is None:
            await require_receiver(self._parts.store, self._parts.settings, await self._parts.store.identity())
        now = await self._parts.source.now()
        operation = await self._parts.store.read_operation() or Operation(name=process.operation_name)
        end = window_until(operation, system_date(now, process.time_gap_seconds, process.tracking)).end
        async for _ in self._differing(end, RunCounters()):
            pass

    def repair(self) -> Run:
        """Return a run that compares all accounts, names those that differ, and sends what is missing or stale."""
        # To the ledger, content that the receiver lacks is delivered and unchanged: only ALL sends it again.
        resend = ResendPolicy.ALL if self._received is not None else ResendPolicy.REBUILT
        return Run(self._parts, AccountsPlan(self._parts, RunKind.RECONCILE, self._differing, resend=resend))

    async def _differing(self, as_of: datetime, counters: RunCounters) -> AsyncIterator[list[SelectedAccount]]:
        """Yield lists of the accounts that a repair sends."""
        source, process = self._parts.source, self._parts.settings.process
        survey = await source.survey(ReadRange(watermark=EARLIEST, lookback_seconds=0, until=as_of))
        self._parts.events.emit(AccountsFound, survey.accounts + survey.reread)
        known_accounts = _Ascending(
            self._parts.store.delivered_accounts() if self._received is None else self._received.accounts()
        )
        async for touched in source.selected_accounts(process.chunk_accounts):
            accounts = [item.account for item in touched]
            known = await self._parts.store.last_known(accounts)
            sendable = []
            for rows in await source.read(accounts, as_of):
                async for surplus in known_accounts.below(rows.account):
                    self._note(surplus, Difference.SURPLUS)
                content = account_content(rows, process.zone)
                if content is None:
                    continue
                difference, properties = await self._difference(content, known.get(rows.account))
                self._note(rows.account, difference, properties)
                if difference in SENDABLE:
                    sendable.append(SelectedAccount(account=rows.account, in_window=False))
            if sendable:
                counters.selected(len(sendable))
                yield sendable
        async for surplus in known_accounts.below(None):
            self._note(surplus, Difference.SURPLUS)

    async def _difference(
        self, content: AccountContent, known: LastDelivery | None
    ) -> tuple[Difference | None, tuple[str, ...]]:
        received = self._received
        if received is None or content.document is None:
            return compare(content, known), ()
        last = received.last(content.account)
        if await self._is_later(received, content.account, last, known):
            return compare(content, known), ()
        difference, properties = compare_received(content, last)
        self._compared[difference] += 1
        self._properties.update(properties)
        return difference, properties

    async def _is_later(
        self, received: ReceiverLog, account: str, last: Last | None, known: LastDelivery | None
    ) -> bool:
        """Tell whether the ledger has a delivery of the account that is younger than the receiver's log.

        Another run has sent it since the export, or this run from the outbox.
        """
        if known is None or known.delivered_digest in {None, last.digest if last is not None else None}:
            return False
        newest = await self._parts.store.deliveries(account=account, status=DeliveryStatus.DELIVERED, limit=1)
        return any(entry.updated_at > received.exported_at for entry in newest)

    def _note(self, account: str, difference: Difference | None, properties: tuple[str, ...] = ()) -> None:
        self.totals[difference] += 1
        if difference is not None:
            self._on_finding(AccountFinding(account=account, difference=difference, properties=properties))


def compare(content: AccountContent, known: LastDelivery | None) -> Difference | None:
    """Return how the account's content differs from what the ledger says of it, None when it was delivered."""
    if known is not None and known.newest_status is DeliveryStatus.PENDING:
        return Difference.PENDING
    if content.status is DeliveryStatus.SKIPPED:
        return Difference.SKIPPED
    if known is not None and content.document is not None and known.delivered_digest == content.digest:
        return None
    if content.document is None or (
        known is not None and known.newest_status is DeliveryStatus.DEAD and known.newest_digest == content.digest
    ):
        return Difference.DEAD
    return Difference.MISSING if known is None or known.delivered_digest is None else Difference.STALE


def compare_received(content: AccountContent, last: Last | None) -> tuple[Difference | None, tuple[str, ...]]:
    """Return how an account's content differs from the receiver's last document, and in which properties.

    The comparison is by value: ``last`` was restored to what a run sent. Two amounts with more digits than a double
    holds count as equal when they are the same double.
    """
    if last is None or content.document is None:
        return Difference.MISSING, ()
    if last.digest == content.digest or (last.as_doubles and last.as_doubles == as_doubles(content.document)):
        return None, ()
    return Difference.STALE, tuple(differing(part_digests(content.document), last.parts))


class _Ascending:
    """Yields the accounts below each of a series of ascending limits, and skips those equal to a limit."""

    def __init__(self, accounts: AsyncIterator[str]) -> None:
        self._accounts = accounts
        self._next: str | None = None
        self._started = False

    async def below(self, limit: str | None) -> AsyncIterator[str]:
        """Yield the accounts below the limit (None: all others)."""
        if not self._started:
            self._started = True
            await self._advance()
        while self._next is not None and (limit is None or self._next < limit):
            yield self._next
            await self._advance()
        if self._next is not None and self._next == limit:
            await self._advance()

    async def _advance(self) -> None:
        self._next = await anext(self._accounts, None)
