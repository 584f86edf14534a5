"""What the pipeline asks of a state store. Three stores keep this contract: Mongo, MySQL/MariaDB, SQLite.

Order of calls in a run (SPEC 6), each step safe to be the last before a crash::

    acquire_lease → open_run → claim_outbox → ([send] → record_outcomes)*
    → (reserve_ids → enqueue → [send] → record_outcomes)* → advance → write_run → release_lease

Who may write: only the holder of the newest fencing token. Every method that takes a ``lease`` checks the token in
the same atomic step as its write, and raises ``LeaseLostError`` when a successor has taken over; then nothing of
that write is in the store, or (Mongo, where a step spans documents) what is there is recognised and discarded by the
successor before it could be sent. Every such write also extends the lease.

Chunks that run side by side, anywhere in a cluster, are *scopes* of the operation: each has a lease row, a fencing
token and an outbox of its own, while ledger, counter of ids, tracking and runs stay the operation's. The coordinator,
who holds the operation's lease, opens them; a worker sees one through ``scoped``::

    coordinator: acquire_lease → open_run → claim_outbox → … → open_scopes (→ [drain what it names]) → … → advance
    worker:      scoped(k, epoch).acquire_lease → claim_outbox → (load_chunk → [send] → record_outcomes)*
                 → (last_known → reserve_ids → enqueue → [send] → record_outcomes)* → release_lease

The *epoch* is the token of the coordinator's lease. Whoever still works under an earlier one can neither write nor
claim from ``open_scopes`` on.

Errors: ``DatabaseConnectionError`` when the store cannot be reached or gives up; ``LeaseLostError`` as above. Reads
never raise ``LeaseLostError``. All methods may be called again after a failure: none applies its effect twice.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from types import TracebackType
from typing import Protocol

from incident_process.core.models import (
    Advance,
    Chunk,
    DeliveryStatus,
    Identity,
    Incident,
    LastDelivery,
    Lease,
    LedgerEntry,
    Operation,
    Outcome,
    RunKind,
    RunRecord,
    RunStatus,
)


class LeaseState(Protocol):
    """Who holds the operation's lease now, by the store's clock."""

    @property
    def holder(self) -> str:
        """The holder's name, empty when the lease is free."""
        ...

    @property
    def token(self) -> int:
        """The newest fencing token."""
        ...

    @property
    def expires_at(self) -> datetime:
        """When the lease expires unless it is renewed."""
        ...

    @property
    def active(self) -> bool:
        """True while the holder's time has not run out."""
        ...


class StateStore(Protocol):
    """One operation's tracking, audit trail, ledger, outbox and lease. An asynchronous context manager."""

    async def __aenter__(self) -> "StateStore":
        """Connect; raise DatabaseConnectionError when the store cannot be reached."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close the connections."""
        ...

    # -- set-up ---------------------------------------------------------------------------------------------------

    async def require(self) -> None:
        """See that the state is of the form that this version works on; every command but ``init`` begins here.

        A state of which nothing is there yet is created as by ``prepare``. Raises ConfigurationError, saying what is
        missing, for one of an earlier form, which ``init`` alone brings up to date, and for one of a later form that
        this version would harm.
        """
        ...

    async def prepare(self) -> None:
        """Create the program's own tables or collections and indexes where they are missing; keep what is there.

        Brings a state of an earlier form up to date. Whether a table that is there has its indexes is not looked at in
        SQL. Raises ConfigurationError for a state of a later form that this version would harm.
        """
        ...

    async def missing_indexes(self) -> list[str]:
        """Return, after ``prepare``, the statements that create missing indexes: all works without them, slowly."""
        ...

    async def create_indexes(self) -> None:
        """Create them, after ``prepare``; where none is missing, no right to create is used."""
        ...

    async def create_operation(self, execution_minutes: int) -> bool:
        """Create ``Process_Operation`` and the operation's row (SQL; Mongo has none until the first success).

        The state knows the operation from then on. Returns True when it was new to the state (SQL: its row was), False
        when it was there and left as it is.
        """
        ...

    # -- operations -----------------------------------------------------------------------------------------------

    async def identity(self) -> Identity | None:
        """Return what the state knows of the operation, None when it holds nothing of it by this name."""
        ...

    async def write_identity(self, lease: Lease, identity: Identity) -> None:
        """Remember what is known of the operation, in place of what was."""
        ...

    async def operations(self) -> list[Identity]:
        """Return all operations that the state holds anything of, of whatever name."""
        ...

    async def tracked(self) -> list[str]:
        """Return the names that ``Process_Operation`` holds, those of other programs included."""
        ...

    async def rename(self, lease: Lease, new: str) -> None:
        """Give the operation another name, with all that the state holds of it; its lease is free then.

        An operation of the new name that has done nothing yet gives way. Raises ConfigurationError for one that has.
        What is interrupted in between (Mongo) is finished by the same call, and no run begins before.
        """
        ...

    async def try_writes(self) -> None:
        """Ask for every write that a run needs, of no row at all: nothing changes.

        Raises DatabaseConnectionError, saying what is wanting, where a run's writes would be refused: the user may
        only read, or the server or the file is read-only.
        """
        ...

    # -- copies ---------------------------------------------------------------------------------------------------

    async def ledger_after(self, incident_id: int, limit: int) -> list[LedgerEntry]:
        """Return ledger entries that have an outcome, above an id, in ascending order, with their ``rows_digest``."""
        ...

    async def restore_ledger(self, lease: Lease, entries: Sequence[LedgerEntry]) -> None:
        """Write entries of another state; those whose ids are there already are left as they are."""
        ...

    async def restore_operation(self, lease: Lease, operation: Operation, execution_minutes: int) -> None:
        """Let ``Process_Operation`` say of the operation what another state says, with the exact watermark."""
        ...

    # -- lease ----------------------------------------------------------------------------------------------------

    async def acquire_lease(self, holder: str, seconds: float, *, evict: int | None = None) -> Lease:
        """Take the lease, with a token higher than any before, if it is free or expired by the store's clock.

        ``evict``: take it even before it expires if its token is still this one (its holder is known to be dead).
        Raises LeaseHeldError, which carries holder, token and time of expiry.
        """
        ...

    async def renew_lease(self, lease: Lease) -> None:
        """Extend the lease by its ``seconds`` from now."""
        ...

    async def release_lease(self, lease: Lease) -> None:
        """Free the lease; a lease that was lost already is left alone, without an error."""
        ...

    async def lease_state(self) -> LeaseState | None:
        """Return who holds the lease, or None when it was never taken."""
        ...

    # -- scopes ---------------------------------------------------------------------------------------------------

    async def open_scopes(self, lease: Lease, count: int) -> list[int]:
        """Let the chunks 0 to ``count`` - 1 be claimed under this lease, and fence all who work on chunks until now.

        Every scope that there is gets ``lease.token`` as its epoch, a higher token and no holder; missing ones are
        created. To be called (with 0, as long as the count is not known) before anything is read from the ledger, by
        every run: what an earlier one has left in scopes holds its accounts up. May be called again under one lease;
        who holds a scope then has to acquire it anew.

        Returns the scopes, of whatever number, whose outbox still holds something, in ascending order: to be claimed
        and sent before new incidents of any account are (a claim may find that nothing of it may be sent). What a
        fenced worker writes later is discarded.
        """
        ...

    def scoped(self, scope: int, epoch: int) -> "StateStore":
        """Return this operation's state as the worker of one chunk sees it, over this store's connections.

        It is neither opened nor closed, and is of use as long as this store is open. On it

        - ``acquire_lease`` always takes over, whoever holds the scope: the later claim wins. Only if ``epoch`` is not
          (or no longer) the scope's, it raises LeaseLostError: a later run has begun. ``evict`` says nothing here.
        - all that takes a lease takes the scope's, and touches no outbox but the scope's. ``chunk_id``s are unique
          over the operation, so they hold the scope, and its token where a chunk may be gone over twice; those of a
          run begin with its id and a hyphen, and rise with their number within the scope.
        - what only reads the ledger or the operation reads the operation's.
        - what belongs to the coordinator (advance, raise_as_of, open_run, write_run, open_scopes) raises RuntimeError.
        """
        ...

    # -- tracking -------------------------------------------------------------------------------------------------

    async def read_operation(self) -> Operation | None:
        """Return the operation's row or document, or None when there is none.

        ``last_execution`` is the store's own exact copy as long as ``Process_Operation`` still says the same at its
        own precision; where somebody changed it by hand, what it says now.
        """
        ...

    async def advance(self, lease: Lease, step: Advance) -> Operation:
        """Apply the step by compare-and-set on sequence and Last_execution_dtm, and return the operation as it is then.

        Raises LeaseLostError when ``Process_Operation`` is no longer as ``step.before`` says. On any error the row is
        as it was.
        """
        ...

    async def raise_as_of(self, lease: Lease, instant: datetime) -> datetime:
        """Remember that documents are built as of ``instant``, and return the latest that was ever remembered.

        A later run must not build an account's document as of an earlier instant: that would be its older content.
        """
        ...

    # -- runs -----------------------------------------------------------------------------------------------------

    async def open_run(self, lease: Lease, run: RunRecord) -> None:
        """Write the run as running, and close as failed any earlier run of the operation that was left running."""
        ...

    async def write_run(self, lease: Lease, run: RunRecord) -> None:
        """Write the run as it stands now, over what is there of it: while it is at work, and at its end."""
        ...

    async def runs(
        self,
        *,
        run_id: str | None = None,
        kind: RunKind | None = None,
        status: RunStatus | None = None,
        skip: int = 0,
        limit: int = 20,
    ) -> list[RunRecord]:
        """Return the operation's runs, newest first: ``limit`` of them after the newest ``skip``."""
        ...

    # -- ledger and outbox ----------------------------------------------------------------------------------------

    async def last_known(self, accounts: Sequence[str]) -> dict[str, LastDelivery]:
        """Return what the ledger last says of these accounts; an account it does not know is absent.

        Accounts are compared exactly: case, accents and trailing spaces count.
        """
        ...

    async def delivered_before(self, contents: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those (account, digest) pairs that the ledger holds as delivered at any time."""
        ...

    async def reserve_ids(self, lease: Lease, count: int, floor: int) -> int:
        """Reserve ``count`` consecutive Incident_Ids, none below ``floor`` nor handed out before; return the first."""
        ...

    async def enqueue(self, lease: Lease, chunk: Chunk) -> None:
        """Write ledger entries (pending, or as parked) and the outbox entry of the chunk: before the first attempt."""
        ...

    async def claim_outbox(self, lease: Lease) -> list[str]:
        """Put this lease's token on everything the operation's outbox holds; return the chunk ids, oldest first.

        After this no earlier holder can change an entry; what an earlier holder wrote after its time is discarded.
        The outboxes of scopes are not part of the operation's: see ``open_scopes``.
        """
        ...

    async def load_chunk(self, chunk_id: str) -> Chunk | None:
        """Return the incidents of an outbox entry as they were written, or None when the entry is gone."""
        ...

    async def record_outcomes(self, lease: Lease, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes to the ledger; keep in the outbox what is still pending, with its attempts and runs.

        Outcomes cover all or some of ``chunk.incidents``; an incident without one stays in the outbox as it is.
        The entry goes when nothing is pending in it (with ``keep_bodies_days`` it is kept, marked as done).
        """
        ...

    async def replace_incident(self, lease: Lease, chunk: Chunk, old_id: int, new: Incident) -> Chunk:
        """Give a pending incident a new Incident_Id (the old one was somebody else's), in ledger and outbox.

        Returns the chunk as it is then.
        """
        ...

    def delivered_accounts(self) -> AsyncIterator[str]:
        """Yield every account with a delivered incident, in ascending order of code points, without holding them."""
        ...

    async def deliveries(
        self,
        *,
        account: str | None = None,
        status: DeliveryStatus | None = None,
        run_id: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[LedgerEntry]:
        """Return ledger entries of the operation, newest Incident_Id first; with ``before``, those below that id."""
        ...

    async def dead_letters(
        self, *, account: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[LedgerEntry]:
        """Return dead entries that no other entry of their account has followed, newest Incident_Id first.

        With ``before``, those below that id. Fewer than ``limit`` means that there are no more.
        """
        ...

    async def accounts(self, starting: str, limit: int) -> list[str]:
        """Return accounts of the ledger that begin with the text, in ascending order of code points."""
        ...

    async def kept_body(self, incident_id: int) -> bytes | None:
        """Return the body of a delivered incident where it is kept (``keep_bodies_days``), else None; personal data."""
        ...

    async def delivery_counts(self) -> dict[DeliveryStatus, int]:
        """Return how many ledger entries stand in each status; a status without entries is 0."""
        ...

    async def purge_bodies(self, lease: Lease, older_than: datetime) -> int:
        """Delete kept bodies whose chunk was done before ``older_than``; return how many entries went.

        Those of scopes too, unless this is a scoped store: then only those of its scope.
        """
        ...
