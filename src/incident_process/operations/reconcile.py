"""The whole source against the ledger, or against what the receiver says it has (SPEC 7).

Both sides are gone through in account order and neither is held in memory. What is found can be named only, or sent
in the same pass.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from enum import StrEnum

from incident_process.core.models import (
    DeliveryStatus,
    LastDelivery,
    Operation,
    Record,
    RunKind,
)
from incident_process.core.window import plan, system_date
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
    """In what an account differs."""

    MISSING = "missing"  # never delivered
    STALE = "stale"  # other content was delivered last
    DEAD = "dead"  # its present content is a dead letter
    PENDING = "pending"  # under way: the next run resumes
    SKIPPED = "skipped"  # payments without a customer row: no incident can be made yet
    SURPLUS = "surplus"  # delivered once, but the source has no row of it any more


SENDABLE = frozenset({Difference.MISSING, Difference.STALE})
"""What a repair sends. A dead letter is for ``dead-letters replay``, a pending incident for the next run."""


NEARLY_ALL = 0.9
"""Where so much of what can be compared differs from a receiver's log, it is more likely another receiver's."""
FEW = 3
"""Fewer accounts that differ are no sign of that, whatever their part of all is."""


class AccountFinding(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One account that is not as it should be. ``properties``: where its content differs from the receiver's."""

    account: str
    difference: Difference
    properties: tuple[str, ...] = ()


class Reconciliation:
    """One pass. ``totals`` counts what was found, and under None the accounts that are as they should be.

    Args:
        parts: Source and state.
        on_finding: Called for each account that differs, in account order.
        received: What the receiver says it has; with it the comparison is with what it accepted last.
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

    def doubt(self) -> str | None:
        """Return, after ``compare``, why this may be the log of another receiver; None where nothing says so.

        It is when nearly every account that can be compared differs from it, which ``repair`` would send again.
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
        """Go through everything and name what differs; nothing is sent and nothing written."""
        process = self._parts.settings.process
        if self._received is None:
            await require_receiver(self._parts.store, self._parts.settings, await self._parts.store.identity())
        now = await self._parts.source.now()
        operation = await self._parts.store.read_operation() or Operation(name=process.operation_name)
        end = plan(operation, system_date(now, process.time_gap_seconds, process.tracking)).end
        async for _ in self._differing(end, RunCounters()):
            pass

    def repair(self) -> Run:
        """Return a run that goes through everything, names what differs, and sends what is missing or stale."""
        # What the ledger believes delivered and the receiver does not have is unchanged to the ledger: it is forced.
        resend = ResendPolicy.ALL if self._received is not None else ResendPolicy.REBUILT
        return Run(self._parts, AccountsPlan(self._parts, RunKind.RECONCILE, self._differing, resend=resend))

    async def _differing(self, as_of: datetime, counters: RunCounters) -> AsyncIterator[list[SelectedAccount]]:
        """Yield the accounts that a repair sends, a list at a time."""
        source, process = self._parts.source, self._parts.settings.process
        survey = await source.survey(ReadRange(watermark=EARLIEST, lookback_seconds=0, until=as_of))
        self._parts.progress.start(survey.accounts + survey.reread)
        known_accounts = _Ascending(self._accounts_delivered())
        async for touched in source.selected_accounts(process.chunk_accounts):
            accounts = [item.account for item in touched]
            known = await self._parts.store.last_known(accounts)
            sendable = []
            for rows in await source.read(accounts, as_of):
                async for surplus in known_accounts.below(rows.account):
                    self._note(AccountFinding(account=surplus, difference=Difference.SURPLUS))
                content = account_content(rows, process.zone)
                if content is None:
                    continue
                found = await self._finding(content, known.get(rows.account))
                self._note(found)
                if found is not None and found.difference in SENDABLE:
                    sendable.append(SelectedAccount(account=rows.account, in_window=False))
            if sendable:
                counters.selected(len(sendable))
                yield sendable
        async for surplus in known_accounts.below(None):
            self._note(AccountFinding(account=surplus, difference=Difference.SURPLUS))

    async def _finding(self, content: AccountContent, known: LastDelivery | None) -> AccountFinding | None:
        account, received = content.account, self._received
        if received is None or content.document is None:
            return _found(account, compare(content, known))
        last = received.last(account)
        if await self._is_later(received, account, last, known):
            return _found(account, compare(content, known))
        difference, properties = compare_received(content, last)
        self._compared[difference] += 1
        self._properties.update(properties)
        return _found(account, difference, properties)

    async def _is_later(
        self, received: ReceiverLog, account: str, last: Last | None, known: LastDelivery | None
    ) -> bool:
        """Tell whether the ledger knows of a later delivery to the account than the receiver's log can.

        So it does of what another run has sent since the export, and this very run from the outbox.
        """
        if known is None or known.delivered_digest in {None, last.digest if last is not None else None}:
            return False
        newest = await self._parts.store.deliveries(account=account, status=DeliveryStatus.DELIVERED, limit=1)
        return any(entry.updated_at > received.exported_at for entry in newest)

    def _accounts_delivered(self) -> AsyncIterator[str]:
        return self._parts.store.delivered_accounts() if self._received is None else self._received.accounts()

    def _note(self, finding: AccountFinding | None) -> None:
        self.totals[None if finding is None else finding.difference] += 1
        if finding is not None:
            self._on_finding(finding)


def _found(account: str, difference: Difference | None, properties: tuple[str, ...] = ()) -> AccountFinding | None:
    return None if difference is None else AccountFinding(account=account, difference=difference, properties=properties)


def compare(content: AccountContent, known: LastDelivery | None) -> Difference | None:
    """Return in what the account's content differs from what the ledger says of it, None when it was delivered."""
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
    """Return in what an account's content differs from what the receiver has last, and in which properties.

    Contents are compared by value: ``last`` was restored to what was sent. An amount with more digits than a double
    holds is also as it should be where it is the same double.
    """
    if last is None or content.document is None:
        return Difference.MISSING, ()
    if last.digest == content.digest or (last.as_doubles and last.as_doubles == as_doubles(content.document)):
        return None, ()
    return Difference.STALE, tuple(differing(part_digests(content.document), last.parts))


class _Ascending:
    """Hands out what lies below each of a series of ascending accounts, and passes over those equal to them."""

    def __init__(self, accounts: AsyncIterator[str]) -> None:
        self._accounts = accounts
        self._next: str | None = None
        self._started = False

    async def below(self, limit: str | None) -> AsyncIterator[str]:
        """Yield the accounts below the limit (None: all that are left)."""
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
