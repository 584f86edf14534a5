"""The whole source against the ledger, or against what the receiver says it has (SPEC 7).

Both sides are gone through in account order and neither is held in memory. What is found can be named only, or sent
in the same pass.
"""

import sqlite3
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from incident_process.document.build import content_digest
from incident_process.errors import ConfigurationError, DataProcessingError
from incident_process.pipeline.accounts import AccountsRun
from incident_process.pipeline.content import Content, Resend, content_of
from incident_process.pipeline.context import Parts
from incident_process.pipeline.tally import Tally
from incident_process.records import DeliveryStatus, Known, Operation, Record, RunKind
from incident_process.source.contract import Span, Touched
from incident_process.source.temporal import EARLIEST
from incident_process.window import plan, system_date


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


class Finding(Record, frozen=True, kw_only=True):
    """One account that is not as it should be."""

    account: str
    difference: Difference


class Reconciliation:
    """One pass. ``totals`` counts what was found, and under None the accounts that are as they should be.

    Args:
        parts: Source and state.
        on_finding: Called for each account that differs, in account order.
        receiver_log: An export of the receiver's log; with it the comparison is with what the receiver accepted last.
    """

    def __init__(self, parts: Parts, on_finding: Callable[[Finding], None], receiver_log: Path | None = None) -> None:
        self.totals: Counter[Difference | None] = Counter()
        self._parts = parts
        self._on_finding = on_finding
        self._receiver_log = receiver_log

    async def compare(self) -> None:
        """Go through everything and name what differs; nothing is sent and nothing written."""
        process = self._parts.settings.process
        now = await self._parts.source.now()
        operation = await self._parts.store.read_operation() or Operation(name=process.operation_name)
        end = plan(operation, system_date(now, process.time_gap_seconds, process.tracking)).end
        async for _ in self._differing(end, Tally()):
            pass

    def repair(self) -> AccountsRun:
        """Return a run that goes through everything, names what differs, and sends what is missing or stale."""
        # What the ledger believes delivered and the receiver does not have is unchanged to the ledger: it is forced.
        resend = Resend.ALL if self._receiver_log is not None else Resend.REBUILT
        return AccountsRun(self._parts, RunKind.RECONCILE, self._differing, resend=resend)

    async def _differing(self, as_of: datetime, tally: Tally) -> AsyncIterator[list[Touched]]:
        """Yield the accounts that a repair sends, a list at a time."""
        source, process = self._parts.source, self._parts.settings.process
        survey = await source.survey(Span(watermark=EARLIEST, lookback_seconds=0, until=as_of))
        self._parts.progress.start(survey.accounts + survey.reread)
        with _received(self._receiver_log) as received:
            known_accounts = _Ascending(self._accounts_delivered(received))
            async for touched in source.touched(process.chunk_accounts):
                accounts = [item.account for item in touched]
                known = await self._parts.store.last_known(accounts)
                sendable = []
                for rows in await source.read(accounts, as_of):
                    async for surplus in known_accounts.below(rows.account):
                        self._note(surplus, Difference.SURPLUS)
                    content = content_of(rows, process.zone)
                    if content is None:
                        continue
                    entry = known.get(rows.account)
                    if received is None or await self._is_later(received, rows.account, entry):
                        difference = compare(content, entry)
                    else:
                        difference = received.compare(content, entry)
                    self._note(rows.account, difference)
                    if difference in SENDABLE:
                        sendable.append(Touched(account=rows.account, in_window=False))
                if sendable:
                    tally.selected(len(sendable))
                    yield sendable
            async for surplus in known_accounts.below(None):
                self._note(surplus, Difference.SURPLUS)

    async def _is_later(self, received: "_Received", account: str, known: Known | None) -> bool:
        """Tell whether the ledger knows of a later delivery to the account than the receiver's log can.

        So it does of what another run has sent since the export, and this very run from the outbox.
        """
        if known is None or known.delivered_digest in {None, received.digest(account)}:
            return False
        last = await self._parts.store.deliveries(account=account, status=DeliveryStatus.DELIVERED, limit=1)
        return any(entry.updated_at > received.exported_at for entry in last)

    def _accounts_delivered(self, received: "_Received | None") -> AsyncIterator[str]:
        return self._parts.store.delivered_accounts() if received is None else received.accounts()

    def _note(self, account: str, difference: Difference | None) -> None:
        self.totals[difference] += 1
        if difference is not None:
            self._on_finding(Finding(account=account, difference=difference))


def compare(content: Content, known: Known | None) -> Difference | None:
    """Return in what the account's content differs from what the ledger says of it, None when it was delivered."""
    if known is not None and known.newest_status is DeliveryStatus.PENDING:
        return Difference.PENDING
    if content.status is DeliveryStatus.SKIPPED:
        return Difference.SKIPPED
    if known is not None and content.draft is not None and known.delivered_digest == content.digest:
        return None
    if content.draft is None or (
        known is not None and known.newest_status is DeliveryStatus.DEAD and known.newest_digest == content.digest
    ):
        return Difference.DEAD
    return Difference.MISSING if known is None or known.delivered_digest is None else Difference.STALE


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


class _Received:
    """The content that the receiver accepted last of each account, in a file of its own that nobody else sees.

    ``exported_at``: when the export was last written to.
    """

    def __init__(self, connection: sqlite3.Connection, exported_at: datetime) -> None:
        self.exported_at = exported_at
        self._connection = connection

    def digest(self, account: str) -> str | None:
        """Return the digest of what the receiver accepted last of the account, None where it has nothing of it."""
        row = self._connection.execute("SELECT digest FROM last WHERE account = ?", (account,)).fetchone()
        return None if row is None else str(row[0])

    def compare(self, content: Content, known: Known | None) -> Difference | None:
        """Return in what the account's content differs from what the receiver has."""
        if content.draft is None:
            return compare(content, known)
        digest = self.digest(content.account)
        if digest is None:
            return Difference.MISSING
        return None if digest == content.digest else Difference.STALE

    async def accounts(self) -> AsyncIterator[str]:
        """Yield the receiver's accounts in ascending order."""
        for (account,) in self._connection.execute("SELECT account FROM last ORDER BY account"):
            yield account


class _Line(msgspec.Struct):
    """One line of ``receiver --export``."""

    Account_Num: str
    body: msgspec.Raw


@contextmanager
def _received(export: Path | None) -> Iterator[_Received | None]:
    if export is None:
        yield None
        return
    try:
        exported_at = datetime.fromtimestamp(export.stat().st_mtime, UTC)
    except OSError as exc:
        raise _unusable(export, "cannot be read") from exc
    with tempfile.NamedTemporaryFile(prefix="incident-process-", suffix=".db") as file:
        connection = sqlite3.connect(file.name, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("CREATE TABLE last (account TEXT PRIMARY KEY, digest TEXT) WITHOUT ROWID")
            connection.execute("BEGIN")
            connection.executemany("INSERT OR REPLACE INTO last VALUES (?, ?)", _read_export(export))
            connection.execute("COMMIT")
            yield _Received(connection, exported_at)
        finally:
            connection.close()


def _read_export(export: Path) -> Iterator[tuple[str, str]]:
    number = 0
    try:
        with export.open("rb") as lines:
            for number, line in enumerate(lines, start=1):  # noqa: B007  # named in the message below
                found: Any = msgspec.json.decode(line, type=_Line)
                yield found.Account_Num, content_digest(bytes(found.body))
    except (OSError, msgspec.DecodeError, DataProcessingError) as exc:
        what = "cannot be read" if isinstance(exc, OSError) else f"is no export of a receiver's log (line {number})"
        raise _unusable(export, what) from exc


def _unusable(export: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"--receiver-log {export} {what}. Make one with 'incident-process receiver --export', bodies included."
    )
