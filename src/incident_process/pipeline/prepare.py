"""From a list of accounts to a chunk that lies in ledger and outbox, ready to be sent (SPEC 4, 6)."""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from zoneinfo import ZoneInfo

from incident_process.delivery.identity import idempotency_key
from incident_process.document.build import Draft, digest, draft, seal
from incident_process.errors import DataProcessingError
from incident_process.faults import Step
from incident_process.pipeline.context import RunContext
from incident_process.records import Chunk, DeliveryStatus, Incident, Known, Parked, Record
from incident_process.source.contract import AccountRows, Touched
from incident_process.window import id_floor

TURN_ACCOUNTS = 64
"""Accounts that are worked on in one turn of the event loop."""
NO_CUSTOMER_ROW = "the account has payments but no customer row yet"
NO_CUSTOMER_DIGEST = "no-customer-row"


class Content(Record, frozen=True, kw_only=True):
    """What the rows of one account come to: a draft, or the reason why there is none."""

    account: str
    digest: str
    draft: Draft | None = None
    status: DeliveryStatus = DeliveryStatus.PENDING
    error: str = ""


class Prepared(Record, frozen=True, kw_only=True):
    """A chunk that was enqueued (None when the accounts needed none), and how the other accounts stand.

    ``unchanged`` accounts need nothing. ``held`` ones have new content, but wait behind an incident that has no
    outcome yet: the watermark must not pass them. ``vanished`` ones had rows when they were surveyed and have none now.
    """

    chunk: Chunk | None
    unchanged: int
    held: int
    vanished: int


def content_of(rows: AccountRows, zone: ZoneInfo) -> Content | None:
    """Return what the rows come to; None for an account without any row as of the window's end."""
    if not rows.customers:
        if not rows.payments:
            return None
        return Content(
            account=rows.account, digest=NO_CUSTOMER_DIGEST, status=DeliveryStatus.SKIPPED, error=NO_CUSTOMER_ROW
        )
    try:
        content = draft(rows.account, rows.customers, rows.payments, zone)
        return Content(account=rows.account, digest=digest(content), draft=content)
    except DataProcessingError as exc:
        return _unfit(rows, str(exc))


class Resend(Enum):
    """What may be sent although the ledger knows it."""

    CHANGED = "changed"  # nothing: only what differs from what the ledger last says
    DEAD = "dead"  # dead letters too: a replay
    ALL = "all"  # everything, under keys of its own: a forced backfill


class Need(Enum):
    """What one account's content calls for."""

    NOTHING = "nothing"  # delivered last, or parked last: a dead letter is not tried again by itself
    ENTRY = "entry"  # it differs from what the ledger last says of the account
    WAIT = "wait"  # so it does, but the account's earlier incident is still pending


def need(content: Content, known: Known | None, resend: Resend = Resend.CHANGED) -> Need:
    """Compare the content with what the ledger last says of the account (SPEC 3).

    An account whose earlier incident is pending waits behind it: of two contents on their way at once, the older one
    could arrive last.
    """
    if known is None:
        return Need.ENTRY
    same_as_newest = known.newest_digest == content.digest
    if known.newest_status is DeliveryStatus.PENDING:
        return Need.NOTHING if same_as_newest else Need.WAIT
    if resend is Resend.ALL and content.draft is not None:
        return Need.ENTRY
    if resend is Resend.DEAD and known.newest_status is DeliveryStatus.DEAD and content.draft is not None:
        return Need.NOTHING if known.delivered_digest == content.digest else Need.ENTRY
    if same_as_newest or (known.delivered_digest == content.digest and content.draft is not None):
        return Need.NOTHING
    return Need.ENTRY


class Preparer:
    """Reads, builds, compares and enqueues one list of accounts at a time."""

    def __init__(self, context: RunContext, resend: Resend) -> None:
        self._resend = resend
        self._context = context
        self._source = context.parts.source
        self._store = context.parts.store
        self._process = context.parts.settings.process
        self._zone = self._process.zone
        self._chunks = 0

    async def prepare(self, touched: Sequence[Touched], as_of: datetime) -> Prepared:
        """Enqueue what has changed among these accounts, as of the instant."""
        accounts = [item.account for item in touched]
        rows, known = await asyncio.gather(self._source.read(accounts, as_of), self._store.last_known(accounts))
        due, held, vanished = [], 0, 0
        for number, account_rows in enumerate(rows):
            if number % TURN_ACCOUNTS == 0:
                await asyncio.sleep(0)  # a chunk takes tens of milliseconds: let others send meanwhile
            content = content_of(account_rows, self._zone)
            wanted = Need.NOTHING if content is None else need(content, known.get(content.account), self._resend)
            if content is not None and wanted is Need.ENTRY:
                due.append(content)
            held += wanted is Need.WAIT
            vanished += content is None
        unchanged = len(rows) - len(due) - held - vanished
        if not due:
            return Prepared(chunk=None, unchanged=unchanged, held=held, vanished=vanished)
        chunk = await self._chunk(due, known)
        await self._store.enqueue(self._context.lease, chunk)
        self._context.parts.faults.reach(Step.ENQUEUED)
        return Prepared(chunk=chunk, unchanged=unchanged, held=held, vanished=vanished)

    async def _chunk(self, due: Sequence[Content], known: dict[str, Known]) -> Chunk:
        changed = [(c.account, c.digest) for c in due if (k := known.get(c.account)) and k.delivered_digest]
        returning = await self._store.delivered_before(changed) if changed else set()
        first = await self._store.reserve_ids(self._context.lease, len(due), id_floor(self._context.clock.now()))
        incidents: list[Incident] = []
        parked: list[Parked] = []
        for number, content in enumerate(due):
            if number % TURN_ACCOUNTS == 0:
                await asyncio.sleep(0)
            incident_id = first + number
            entry = known.get(content.account)
            nonce = f"forced by {self._context.run_id}" if self._resend is Resend.ALL else ""
            if not nonce and entry is not None and (content.account, content.digest) in returning:
                # This very content was delivered, then another one, and now it is back: not a repetition.
                # Set apart by what came between, which an old copy of the state knows as well.
                nonce = f"after {entry.delivered_digest} of {entry.delivered_id}"
            made = self._entry(content, incident_id, nonce)
            if isinstance(made, Incident):
                incidents.append(made)
            else:
                parked.append(made)
        self._chunks += 1
        return Chunk(
            chunk_id=f"{self._context.run_id}-{self._chunks:06d}",
            run_id=self._context.run_id,
            incidents=tuple(incidents),
            parked=tuple(parked),
        )

    def _entry(self, content: Content, incident_id: int, nonce: str) -> Incident | Parked:
        error, status = content.error, content.status
        if content.draft is not None:
            try:
                return Incident(
                    incident_id=incident_id,
                    account=content.account,
                    digest=content.digest,
                    key=idempotency_key(self._context.lease.operation, content.account, content.digest, nonce),
                    body=seal(content.draft, incident_id, self._context.started_at, self._process.created_by),
                )
            except DataProcessingError as exc:
                error, status = str(exc), DeliveryStatus.DEAD
        return Parked(
            incident_id=incident_id, account=content.account, digest=content.digest, status=status, error=error
        )


def _unfit(rows: AccountRows, error: str) -> Content:
    """Return a dead letter for rows that make no document; its digest is that of the rows, so it changes with them."""
    image = repr(sorted(repr(tuple(row)) for row in (*rows.customers, *rows.payments))).encode()
    return Content(
        account=rows.account,
        digest=hashlib.blake2b(image, digest_size=32).hexdigest(),
        status=DeliveryStatus.DEAD,
        error=error,
    )
