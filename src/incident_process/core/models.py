"""The data that flows through the system: frozen, keyword-only records, and enums whose comments explain each value.

All instants are timezone-aware UTC. Records that hold personal data leave it out of their ``repr``.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

NEVER = datetime(1900, 1, 1, tzinfo=UTC)
"""The watermark of an operation that has not run yet, and the document's date for NULL (SPEC 3, 4)."""


class Tracking(StrEnum):
    """Where ``Process_Operation`` is kept; it also decides what moves the watermark (SPEC 6)."""

    MONGO = "mongo"  # the watermark is the newest LOAD_DATE processed
    SQL = "sql"  # the watermark is the window's end, and a gate decides whether a run is due


class RunKind(StrEnum):
    """Why a run was started."""

    WINDOW = "window"  # the scheduled work: everything since the watermark
    BACKFILL = "backfill"  # a past range, the watermark untouched
    REPLAY = "replay"  # dead letters once more
    RECONCILE = "reconcile"  # the whole source against the ledger
    PRUNE = "prune"  # no run: what was deleted, ``rows`` of each table; the window ends at the age limit


class RunStatus(StrEnum):
    """The state or the end of a run; the value of ``status`` in ``run --json`` (SPEC 7)."""

    RUNNING = "running"  # written before any work; after a crash the next run closes it
    COMPLETED = "completed"  # new data, every selected account has its outcome, the watermark moved
    NO_DATA = "no_data"  # no row in the window and nothing changed in the lookback
    NOT_DUE = "not_due"  # Next_execution_dtm is still ahead
    INACTIVE = "inactive"  # the operation has no row
    TERMINATED = "terminated"  # the operation's end date has passed
    INCOMPLETE = "incomplete"  # something is still pending; the watermark stayed, the next run resumes
    LOCKED = "locked"  # another runner holds the lease, or took it over
    FAILED = "failed"  # a fault; nothing is lost, the next run resumes


DONE = frozenset({RunStatus.COMPLETED, RunStatus.NO_DATA})
"""Statuses of a run that has processed everything it selected."""
UNFINISHED = frozenset({RunStatus.FAILED, RunStatus.INCOMPLETE})
"""Statuses of a run whose work the next run has to resume."""
INTERRUPTED = "interrupted by "
"""Begins the message of a run that an operator stopped by a signal, before the signal's name: that is no fault."""
LEFT_RUNNING = "ended without a word (killed or cut off); found by run "
"""Begins the error of a record that was left running, before the id of the run that closed it as failed."""


class DeliveryStatus(StrEnum):
    """The outcome of one incident in the ledger (SPEC 6)."""

    PENDING = "pending"  # written before the first attempt: it may or may not have reached the receiver
    DELIVERED = "delivered"  # the receiver said that it has it
    DEAD = "dead"  # rejected for good: a dead letter
    SKIPPED = "skipped"  # cannot make an incident yet (payments without a customer row)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all records: immutable, built by keyword."""


class Window(Record, frozen=True, kw_only=True):
    """``start < LOAD_DATE <= end``."""

    start: datetime
    end: datetime


class Operation(Record, frozen=True, kw_only=True):
    """The row of one operation in ``Process_Operation``.

    ``last_execution`` is exact to the microsecond even where the store's column is coarser. The last three fields
    exist in SQL tracking only; in Mongo tracking they are None (there ``end_dtm`` is the end of the last run, no gate).
    """

    name: str
    sequence: int = 0
    last_execution: datetime = NEVER
    next_execution: datetime | None = None
    execution_minutes: int | None = None
    end: datetime | None = None


class Identity(Record, frozen=True, kw_only=True):
    """What the state knows of an operation beside its row in ``Process_Operation`` (SPEC 6).

    Its idempotency keys are made with ``key_name``, which a rename keeps. ``source`` and ``receiver`` are those of its
    runs; None until a run has noted them. ``renaming``: a rename from or to this other name has begun and not ended.
    ``moved_to``: the state to which all of it was copied, and where runs go on.
    """

    operation: str
    key_name: str
    source: str | None = None
    receiver: str | None = None
    renaming: str | None = None
    moved_to: str | None = None


class Advance(Record, frozen=True, kw_only=True):
    """The step of ``Process_Operation`` that closes a run, applied by compare-and-set on ``before``.

    With ``new_data`` False only ``Next_execution_dtm`` moves (SQL), or nothing (Mongo). ``watermark`` is never older
    than ``before.last_execution``.
    """

    before: Operation
    new_data: bool
    watermark: datetime
    system_date: datetime
    ended_at: datetime


class Lease(Record, frozen=True, kw_only=True):
    """The permission to work on an operation until ``seconds`` after the last renewal. ``token`` fences every write."""

    operation: str
    holder: str
    token: int
    seconds: float


class LeaseState(Record, frozen=True, kw_only=True):
    """Who holds a lease now, by the state's clock. ``holder`` is empty when it is free, ``token`` the newest token.

    ``active`` until it expires, at ``expires_at`` unless its holder renews it.
    """

    holder: str
    token: int
    expires_at: datetime
    active: bool


class Incident(Record, frozen=True, kw_only=True):
    """One incident as the outbox stores it and the run sends it: the body is final, byte for byte.

    ``attempts`` and ``runs`` count earlier runs only. ``unsent_attempts`` are those attempts that cannot have brought
    it to the receiver under this id: made under earlier ids, which were another incident's, or never sent for want of
    a connection. ``in_doubt``: it may have reached the receiver without an answer; True from the first write until a
    run has recorded that it surely did not. ``rows_digest`` identifies the rows that it was made of, "" where unknown.
    ``refused_as``: the receiver's words, as ``failure_text.common_form`` has them, when a run saw that the receiver
    rejects this incident while it takes others; else "".
    """

    incident_id: int
    account: str
    digest: str
    key: str
    body: bytes
    attempts: int = 0
    runs: int = 0
    in_doubt: bool = True
    rows_digest: str = ""
    unsent_attempts: int = msgspec.field(default=0, name="elsewhere")  # its name in outboxes, those of 0.1.0 too
    refused_as: str = ""

    @property
    def tried(self) -> bool:
        """True when an earlier run has recorded attempts that it sent under this id."""
        return self.attempts > self.unsent_attempts

    @property
    def may_have_arrived(self) -> bool:
        """True when an earlier run may have sent it under this id."""
        return self.in_doubt or self.tried

    def __repr__(self) -> str:
        """Leave the body out: it is personal data."""
        return f"Incident({self.incident_id}, digest={self.digest[:8]}, {len(self.body)} bytes)"


class UnsendableAccount(Record, frozen=True, kw_only=True):
    """An account that gets a ledger entry without a request: skipped, or dead because no body fits."""

    incident_id: int
    account: str
    digest: str
    status: DeliveryStatus
    error: str
    rows_digest: str = ""


class Chunk(Record, frozen=True, kw_only=True):
    """Incidents that are written to ledger and outbox in one fenced step, and leave the outbox together."""

    chunk_id: str
    run_id: str
    incidents: tuple[Incident, ...]
    parked: tuple[UnsendableAccount, ...] = ()


class Outcome(Record, frozen=True, kw_only=True):
    """What became of one incident in this run.

    ``attempts`` (with ``unsent_attempts`` among them) and ``runs`` are totals over all runs. The ``status`` PENDING
    means that there is no outcome yet; ``in_doubt`` then says whether an attempt had no answer. ``refused_as`` is as
    in ``Incident``.
    """

    incident_id: int
    account: str
    status: DeliveryStatus
    attempts: int
    runs: int
    http_status: int | None = None
    error: str | None = None
    in_doubt: bool = False
    unsent_attempts: int = 0
    refused_as: str = ""
    at: datetime

    @property
    def is_tried(self) -> bool:
        """False where this run has not tried it: the ledger then keeps why an earlier run's attempt failed."""
        return self.error is not None or self.status is not DeliveryStatus.PENDING


class LastDelivery(Record, frozen=True, kw_only=True):
    """The ledger's last word on one account.

    ``delivered_digest`` is the content last delivered, if any, under ``delivered_id``. ``newest_digest``,
    ``newest_status`` and ``newest_rows`` (the digest of its rows) belong to the entry with the highest Incident_Id,
    whatever its status.
    """

    delivered_digest: str | None
    delivered_id: int = 0
    newest_digest: str
    newest_status: DeliveryStatus
    newest_rows: str = ""


class LedgerEntry(Record, frozen=True, kw_only=True):
    """One line of ``Incident_Delivery``. ``earlier``: what it keeps of pruned deliveries (``state.remembered``)."""

    incident_id: int
    operation: str
    account: str
    digest: str
    key: str
    status: DeliveryStatus
    attempts: int
    runs: int
    http_status: int | None
    error: str | None
    run_id: str
    created_at: datetime
    updated_at: datetime
    rows_digest: str = ""
    earlier: tuple[str, ...] = ()


def first_entries(chunk: Chunk, operation: str, now: datetime) -> Iterator[LedgerEntry]:
    """Yield a chunk's lines of the ledger as they are first written: pending for incidents, else as was decided."""
    shared: dict[str, Any] = {"operation": operation, "run_id": chunk.run_id, "created_at": now, "updated_at": now}
    for one in chunk.incidents:
        yield LedgerEntry(
            incident_id=one.incident_id,
            account=one.account,
            digest=one.digest,
            rows_digest=one.rows_digest,
            key=one.key,
            status=DeliveryStatus.PENDING,
            attempts=one.attempts,
            runs=one.runs,
            http_status=None,
            error=None,
            **shared,
        )
    for parked in chunk.parked:
        yield LedgerEntry(
            incident_id=parked.incident_id,
            account=parked.account,
            digest=parked.digest,
            rows_digest=parked.rows_digest,
            key="",  # nothing is sent for it
            status=parked.status,
            attempts=0,
            runs=0,
            http_status=None,
            error=parked.error,
            **shared,
        )


SOURCE_TABLES = ("debt_cust_detail", "debt_payment")
"""The tables of customer rows and of payments (SPEC 2)."""


def no_rows() -> dict[str, int]:
    """Return the row counts by table of a run that found no rows or read none."""
    return dict.fromkeys(SOURCE_TABLES, 0)


class Sending(Record, frozen=True, kw_only=True):
    """How a run sends at this moment: ``in_flight`` requests wait for an answer, ``limit`` may.

    ``per_second``: requests a second that the run allows itself; None until the receiver has rejected one for its rate.
    """

    in_flight: int
    limit: int
    per_second: float | None = None


class Counts(Record, frozen=True, kw_only=True):
    """The figures of a run.

    ``rows`` per table and ``accounts`` are those of the window. ``reread`` accounts come from the lookback alone,
    ``resumed`` incidents from an earlier run's outbox. In a run that processed all of them accounts + reread + resumed
    = delivered + unchanged + skipped + dead + pending, except for accounts that waited behind their own pending
    incident: none of the figures on the right counts these. ``sending``: only while the run is under way.
    """

    rows: Mapping[str, int] = msgspec.field(default_factory=no_rows)
    accounts: int = 0
    reread: int = 0
    resumed: int = 0
    delivered: int = 0
    unchanged: int = 0
    skipped: int = 0
    dead: int = 0
    pending: int = 0
    unprocessable: int = 0
    sending: Sending | None = None


class RunRequest(Record, frozen=True, kw_only=True):
    """Who asked for a run, and why, for auditors; None where nobody said."""

    requested_by: str | None = None
    why: str | None = None


class RunRecord(Record, frozen=True, kw_only=True):
    """One line of ``Process_Operation_Run``, the audit trail."""

    run_id: str
    operation: str
    kind: RunKind
    status: RunStatus
    host: str
    started_at: datetime
    window: Window | None = None
    ended_at: datetime | None = None
    counts: Counts = Counts()
    error: str | None = None
    request: RunRequest = RunRequest()


class RunSearch(Record, frozen=True, kw_only=True):
    """Runs that began at ``since`` or later, ahead of ``before``; id, host or error contain ``text``, in any case.

    ``without_prunes``: not the records of prunes, which are no runs.
    """

    since: datetime | None = None
    before: datetime | None = None
    text: str = ""
    without_prunes: bool = False


ANY_RUN = RunSearch()
NO_PRUNE = RunSearch(without_prunes=True)


class RunReport(Record, frozen=True, kw_only=True):
    """A run's report to its caller; ``to_dict`` is the object that ``run --json`` prints (SPEC 7)."""

    status: RunStatus
    run_id: str | None
    sequence: int
    window: Window | None
    counts: Counts
    last_execution: datetime
    seconds: float
    message: str | None = None
    knows_operation: bool = True
    """False where a fault ended the run before it read the operation: the report then has null for its figures."""

    @property
    def rows(self) -> Mapping[str, int]:
        """Rows of each table whose LOAD_DATE lies in the window."""
        return self.counts.rows

    @property
    def accounts(self) -> int:
        """Accounts that the run selected."""
        return self.counts.accounts

    @property
    def delivered(self) -> int:
        """Incidents that the receiver took."""
        return self.counts.delivered

    @property
    def unchanged(self) -> int:
        """Accounts whose content equals their last delivery."""
        return self.counts.unchanged

    @property
    def skipped(self) -> int:
        """Accounts that make no incident because they have no customer row."""
        return self.counts.skipped

    @property
    def dead(self) -> int:
        """Incidents that became dead letters."""
        return self.counts.dead

    @property
    def pending(self) -> int:
        """Incidents without an outcome: the next run sends them."""
        return self.counts.pending

    @property
    def last_execution_dtm(self) -> datetime:
        """The instant up to which this run or earlier ones have processed rows."""
        return self.last_execution

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain types, dates in ISO form; the window's dates are None where there was none."""
        from incident_process.core.version import __version__

        counts = self.counts
        return {
            "status": self.status.value,
            "run_id": self.run_id,
            "sequence": self.sequence if self.knows_operation else None,
            "window": {
                "start": iso(self.window.start) if self.window else None,
                "end": iso(self.window.end) if self.window else None,
            },
            "rows": dict(counts.rows),
            "accounts": self.accounts,
            "delivered": self.delivered,
            "unchanged": self.unchanged,
            "skipped": self.skipped,
            "dead": self.dead,
            "pending": self.pending,
            "reread": counts.reread,
            "resumed": counts.resumed,
            "unprocessable": counts.unprocessable,
            "last_execution_dtm": iso(self.last_execution) if self.knows_operation else None,
            "seconds": round(self.seconds, 3),
            "message": self.message,
            "version": __version__,
        }


def failed_report(message: str) -> RunReport:
    """Return the report of a run that a fault ended before it could report."""
    return RunReport(
        status=RunStatus.FAILED,
        run_id=None,
        sequence=0,
        window=None,
        counts=Counts(),
        last_execution=NEVER,
        seconds=0.0,
        message=message,
        knows_operation=False,
    )


def counted(count: int, one: str, several: str) -> str:
    """Return a number with its noun: ``1 incident``, ``2 incidents``."""
    return f"{count} {one if count == 1 else several}"


def iso(instant: datetime) -> str:
    """Return an aware instant as ``YYYY-MM-DDTHH:MM:SS[.ffffff]Z``: exact, and no longer than needed."""
    text = instant.astimezone(UTC).replace(tzinfo=None).isoformat()
    return f"{text}Z"
