"""What the rows of an account come to, and whether that calls for an incident: pure functions (SPEC 3, 4)."""

import hashlib
from enum import Enum
from zoneinfo import ZoneInfo

import msgspec

from incident_process.core.errors import DataProcessingError
from incident_process.core.models import DeliveryStatus, LastDelivery, Record
from incident_process.document.assembly import DocumentContent, build_content, digest
from incident_process.source.base import AccountRows

NO_CUSTOMER_ROW = "the account has payments but no customer row yet"
NO_CUSTOMER_DIGEST = "no-customer-row"

ROWS_FORM = 2
"""Part of each digest of rows. Raise it when the same rows come to another content than before: the accounts that the
ledger knows are then built anew instead of being taken for unchanged."""

_encode = msgspec.msgpack.Encoder().encode


class AccountContent(Record, frozen=True, kw_only=True):
    """What the rows of one account come to: the content of a document, or the reason why there is none."""

    account: str
    digest: str
    document: DocumentContent | None = None
    status: DeliveryStatus = DeliveryStatus.PENDING
    error: str = ""
    rows_digest: str = ""


def account_content(rows: AccountRows, zone: ZoneInfo) -> AccountContent | None:
    """Return what the rows come to; None for an account without any row as of the window's end."""
    if not rows.customers:
        if not rows.payments:
            return None
        return AccountContent(
            account=rows.account, digest=NO_CUSTOMER_DIGEST, status=DeliveryStatus.SKIPPED, error=NO_CUSTOMER_ROW
        )
    try:
        content = build_content(rows.account, rows.customers, rows.payments, zone)
        return AccountContent(account=rows.account, digest=digest(content), document=content)
    except DataProcessingError as exc:
        return _unfit(rows, str(exc))


def rows_digest(rows: AccountRows, zone: ZoneInfo) -> str:
    """Return what identifies the rows of an account: 32 hexadecimal digits, "" for values that have no such form.

    The content is a function of rows and zone, so where this is the same, the content is, and need not be built to
    know it. The other way round nothing follows: the same content may be made of other rows, or of the same in
    another order.
    """
    try:
        image = _encode((ROWS_FORM, zone.key, rows.customers, rows.payments))
    except (TypeError, ValueError, OverflowError):
        return ""
    return hashlib.blake2b(image, digest_size=16).hexdigest()


class ResendPolicy(Enum):
    """What may be sent although the ledger knows it."""

    CHANGED = "changed"  # nothing: only content that differs from what the ledger last says is sent
    REBUILT = "rebuilt"  # nothing either, but contents are built even where the rows are the same: a repair
    DEAD = "dead"  # dead letters: a replay
    ALL = "all"  # everything, under keys of its own: a forced backfill


class Decision(Enum):
    """What one account's content calls for."""

    SKIP = "skip"  # the ledger has it: delivered, pending, or parked (a dead letter is not tried again by itself)
    SEND = "send"  # it gets a ledger entry, and is sent where it makes a document
    WAIT = "wait"  # it differs, but the account's earlier incident is still pending


def decide(
    content: AccountContent, known: LastDelivery | None, resend: ResendPolicy = ResendPolicy.CHANGED
) -> Decision:
    """Compare the content with what the ledger last says of the account (SPEC 3).

    An account whose earlier incident is pending waits behind it: of two contents on their way at once, the older one
    could arrive last.
    """
    if known is None:
        return Decision.SEND
    same_as_newest = known.newest_digest == content.digest
    if known.newest_status is DeliveryStatus.PENDING:
        return Decision.SKIP if same_as_newest else Decision.WAIT
    if resend is ResendPolicy.ALL and content.document is not None:
        return Decision.SEND
    if resend is ResendPolicy.DEAD and known.newest_status is DeliveryStatus.DEAD and content.document is not None:
        return Decision.SKIP if known.delivered_digest == content.digest else Decision.SEND
    if same_as_newest or (known.delivered_digest == content.digest and content.document is not None):
        return Decision.SKIP
    return Decision.SEND


def _unfit(rows: AccountRows, error: str) -> AccountContent:
    """Return a dead letter for rows that make no document; its digest is that of the rows, so it changes with them."""
    image = repr(sorted(repr(tuple(row)) for row in (*rows.customers, *rows.payments))).encode()
    return AccountContent(
        account=rows.account,
        digest=hashlib.blake2b(image, digest_size=32).hexdigest(),
        status=DeliveryStatus.DEAD,
        error=error,
    )
