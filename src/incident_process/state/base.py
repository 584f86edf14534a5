"""The contract of a state store. Three stores keep it: Mongo, MySQL/MariaDB, SQLite.

It has three roles, and code asks for the narrowest: ``LedgerReader`` for who looks, ``RunState`` for a run,
``StateAdmin`` for set-up, rename, copy and prune. ``StateStore`` is all of them.

Order of calls in a run (SPEC 6), each step safe to be the last before a crash::

    acquire_lease → open_run → open_scopes → claim_outbox → ([send] → record_outcomes)* → raise_as_of
    → (reserve_ids → enqueue → [send] → record_outcomes)* → advance → purge_bodies → write_run → release_lease

Only the holder of the newest fencing token may write. Every method that takes a ``lease`` checks the token in the same
atomic step as its write, and raises ``LeaseLostError`` when a successor has taken over; then nothing of that write is
in the store, or (Mongo, where a step spans documents) the successor recognises and discards it before any post. Every
such write also extends the lease.

Chunks that run side by side, anywhere in a cluster, are *scopes* of the operation: each has a lease row, a fencing
token and an outbox of its own, while ledger, counter of ids, tracking and runs stay the operation's. The coordinator,
who holds the operation's lease, opens them; a worker sees one through ``scoped``::

    coordinator: acquire_lease → open_run → claim_outbox → … → open_scopes (→ [drain what it names]) → … → advance
    worker:      scoped(k, epoch).acquire_lease → claim_outbox → (load_chunk → [send] → record_outcomes)*
                 → (last_known → reserve_ids → enqueue → [send] → record_outcomes)* → release_lease

The *epoch* is the token of the coordinator's lease. From ``open_scopes`` on, a worker of an earlier epoch can neither
write nor claim.

Errors: ``DatabaseConnectionError`` when the store cannot be reached or gives up; ``LeaseLostError`` as above. Reads
never raise ``LeaseLostError``. A caller may repeat any method after a failure: none applies its effect twice.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Protocol

from incident_process.core.models import (
    ANY_RUN,
    Advance,
    Chunk,
    DeliveryStatus,
    Identity,
    Incident,
    LastDelivery,
    Lease,
    LeaseState,
    LedgerEntry,
    Operation,
    Outcome,
    RunKind,
    RunRecord,
    RunSearch,
    RunStatus,
)

RENAMED = (
    "Operation '{}' was given another name meanwhile, so the prune has stopped: correct [PROCESS] operation_name; the "
    "same command then deletes the rest."
)


class LedgerReader(Protocol):
    """What anybody may read of an operation at any time: ledger, runs, tracking and who holds the lease."""

    async def lease_state(self) -> LeaseState | None:
        """Return who holds the lease, or None when it was never taken."""

    async def identity(self) -> Identity | None:
        """Return what the state knows of the operation, None when it has nothing under this name."""

    async def operations(self) -> list[Identity]:
        """Return all operations that the state has anything of, of any name."""

    async def tracked(self) -> list[str]:
        """Return the names in ``Process_Operation``, those of other programs included."""

    async def read_operation(self) -> Operation | None:
        """Return the operation's row or document, or None when there is none.

        ``last_execution`` is the store's own exact copy as long as ``Process_Operation`` says the same at its
        precision; after a change by hand, it is the changed value.
        """

    async def runs(
        self,
        *,
        run_id: str | None = None,
        kind: RunKind | None = None,
        status: RunStatus | None = None,
        search: RunSearch = ANY_RUN,
        skip: int = 0,
        limit: int = 20,
    ) -> list[RunRecord]:
        """Return at most ``limit`` runs of the operation, newest first, without the newest ``skip``."""

    async def last_known(self, accounts: Sequence[str]) -> dict[str, LastDelivery]:
        """Return the last delivery of these accounts; an account that the ledger does not know is absent.

        The comparison is exact: case, accents and trailing spaces count.
        """

    async def delivered_before(self, contents: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those (account, digest) pairs that the receiver may have had before what it has now.

        They were delivered at any time, or became dead letters after an attempt, and then other content was delivered.
        """

    def delivered_accounts(self) -> AsyncIterator[str]:
        """Yield every account with a delivered incident, in ascending order of code points, without holding them."""

    async def deliveries(
        self,
        *,
        account: str | None = None,
        status: DeliveryStatus | None = None,
        run_id: str | None = None,
        attempted: bool | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[LedgerEntry]:
        """Return ledger entries of the operation, newest Incident_Id first; with ``before``, those below that id.

        ``attempted``: only those that a run has tried to send, or only the others.
        """

    async def dead_letters(
        self, *, account: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[LedgerEntry]:
        """Return the open dead letters: dead entries that no later one of their account follows, newest id first.

        With ``before``, only those below that id. Fewer than ``limit`` means that there are no more.
        """

    async def accounts(self, starting: str, limit: int) -> list[str]:
        """Return accounts of the ledger that begin with the text, in ascending order of code points."""

    async def kept_body(self, incident_id: int) -> bytes | None:
        """Return the kept body of a delivered incident (``[PROCESS] keep_bodies``); else None. Personal data."""

    async def delivery_counts(self) -> dict[DeliveryStatus, int]:
        """Return how many ledger entries have each status; a status without entries is 0."""

    async def stored_bytes(self) -> int | None:
        """Return about how many bytes the state takes on the disk, None where the server does not say.

        Those of all operations. SQLite: of the file; MongoDB: of the database, each with what others keep in it.
        """


class RunState(LedgerReader, Protocol):
    """What a run writes: lease, scopes, tracking, its record, ledger and outbox."""

    async def acquire_lease(self, holder: str, seconds: float, *, evict: int | None = None) -> Lease:
        """Take the lease, with a token higher than any before, if it is free or expired by the store's clock.

        ``evict``: take it even before it expires if its token is still this one (its holder is known to be dead).
        Raises LeaseHeldError, which carries holder, token and time of expiry.
        """

    async def renew_lease(self, lease: Lease) -> None:
        """Extend the lease by its ``seconds`` from now."""

    async def release_lease(self, lease: Lease) -> None:
        """Free the lease; for a lease that was lost already, do nothing."""

    async def open_scopes(self, lease: Lease, count: int) -> list[int]:
        """Let workers claim the chunks 0 to ``count`` - 1 under this lease, and fence all earlier workers.

        Every scope gets ``lease.token`` as its epoch, a higher token and no holder; missing scopes are created. Every
        run calls it (with 0, until it knows the count) before it reads the ledger, because pending incidents in scopes
        block their accounts. A run may call it again under one lease; workers then have to acquire their scopes again.

        Returns the scopes, of any number, whose outbox is not empty, in ascending order: the run claims and sends them
        before new incidents of any account (a claim may find that none of it may be sent). The state discards what a
        fenced worker writes later.
        """

    def scoped(self, scope: int, epoch: int) -> "RunState":
        """Return this operation's state as the worker of one chunk sees it, over this store's connections.

        The caller neither opens nor closes it; it works as long as this store is open. On it

        - ``acquire_lease`` always takes over from any holder: the later claim wins. It raises LeaseLostError only if
          ``epoch`` is not (or no longer) the scope's: a later run has begun. It ignores ``evict``.
        - methods that take a lease take the scope's, and touch only the scope's outbox. ``chunk_id``s are unique over
          the operation, so they contain the scope, and its token where a run may process a chunk twice; those of a run
          begin with its id and a hyphen, and rise with their number within the scope.
        - methods that only read the ledger or the operation read the operation's.
        - the coordinator's methods (advance, raise_as_of, open_run, write_run, open_scopes) raise RuntimeError.
        """

    async def write_identity(self, lease: Lease, identity: Identity) -> None:
        """Replace what the state knows of the operation."""

    async def advance(self, lease: Lease, step: Advance) -> Operation:
        """Apply the step by compare-and-set on sequence and Last_execution_dtm; return the new operation.

        Raises LeaseLostError when ``Process_Operation`` is no longer as ``step.before`` says. On any error the row is
        unchanged.
        """

    async def raise_as_of(self, lease: Lease, instant: datetime) -> datetime:
        """Note that the run builds documents as of ``instant``; return the latest instant ever noted.

        A later run must not build an account's document as of an earlier instant: that would be older content.
        """

    async def open_run(self, lease: Lease, run: RunRecord) -> None:
        """Write the run as running, and close earlier runs of the operation that are still running as failed."""

    async def write_run(self, lease: Lease, run: RunRecord) -> None:
        """Write the run's present record over the earlier one: while it is at work, and at its end."""

    async def reserve_ids(self, lease: Lease, count: int, floor: int) -> int:
        """Reserve ``count`` consecutive Incident_Ids, none below ``floor`` nor handed out before; return the first."""

    async def enqueue(self, lease: Lease, chunk: Chunk) -> None:
        """Write the chunk's ledger entries (pending, or as parked) and its outbox entry, before the first attempt."""

    async def claim_outbox(self, lease: Lease) -> list[str]:
        """Put this lease's token on the operation's outbox entries; return the chunk ids, oldest first.

        After this no earlier holder can change an entry, and what it wrote after its time is discarded. The outboxes of
        scopes are not part of the operation's: see ``open_scopes``.
        """

    async def load_chunk(self, chunk_id: str) -> Chunk | None:
        """Return the pending incidents of an outbox entry as they were written, or None when the entry is gone."""

    async def record_outcomes(self, lease: Lease, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes to the ledger; keep pending incidents in the outbox, with their attempts and runs.

        Outcomes cover all or some of ``chunk.incidents``; an incident without one stays in the outbox unchanged. An
        entry without pending incidents is deleted (with ``[PROCESS] keep_bodies``: kept, marked as done).
        """

    async def replace_incident(self, lease: Lease, chunk: Chunk, old_id: int, new: Incident) -> Chunk:
        """Give a pending incident a new Incident_Id, in ledger and outbox, after another program has used the old one.

        Returns the new chunk.
        """

    async def purge_bodies(self, lease: Lease, older_than: datetime) -> int:
        """Delete kept bodies whose chunk was done before ``older_than``; return how many entries it deleted.

        It includes those of scopes; a scoped store deletes only its scope's.
        """


class StateAdmin(LedgerReader, Protocol):
    """What sets a state up, checks, renames and copies it, beside all runs."""

    async def require(self) -> None:
        """Check that this version works on the state's form; every command but ``init`` begins here.

        It creates an empty state as ``prepare`` does. Raises ConfigurationError, saying what is missing, for an earlier
        form, which only ``init`` brings up to date, and for a later form that this version would harm.
        """

    async def prepare(self) -> None:
        """Create the program's own tables or collections and indexes where they are missing; keep what is there.

        Brings a state of an earlier form up to date. In SQL it does not check the indexes of existing tables. Raises
        ConfigurationError for a state of a later form that this version would harm.
        """

    async def missing_indexes(self) -> list[str]:
        """Return, after ``prepare``, the statements that create missing indexes: all works without them, slowly."""

    async def create_indexes(self) -> None:
        """Create missing indexes, after ``prepare``; where none is missing, the user needs no privilege to create."""

    async def create_operation(self, execution_minutes: int) -> bool:
        """Create ``Process_Operation`` and the operation's row (SQL; Mongo has none until the first success).

        The state knows the operation from then on. Returns True when the operation (SQL: its row) was new, False when
        it was there; it is then unchanged.
        """

    async def rename(self, lease: Lease, new: str) -> None:
        """Give the operation another name in all of its records; its lease is free then.

        It replaces an operation of the new name that has done nothing yet, and raises ConfigurationError for one that
        has. After an interruption (Mongo) the same call finishes the rename, and no run begins before.
        """

    async def try_writes(self) -> None:
        """Try every write that a run needs, on no row: nothing changes.

        Raises DatabaseConnectionError, saying what is missing, where the database would refuse a run's writes: the user
        may only read, or the server or the file is read-only.
        """

    async def ledger_after(self, incident_id: int, limit: int) -> list[LedgerEntry]:
        """Return ledger entries that have an outcome, above an id, in ascending order, with their ``rows_digest``."""

    async def restore_ledger(self, lease: Lease, entries: Sequence[LedgerEntry]) -> None:
        """Write entries of another state; keep those whose ids are there already."""

    async def restore_operation(self, lease: Lease, operation: Operation, execution_minutes: int) -> None:
        """Write what another state says of the operation to ``Process_Operation``, with the exact watermark."""

    async def prune(
        self, superseded: Mapping[int, int], run_ids: Sequence[str], record: Callable[[int, int], RunRecord]
    ) -> tuple[int, int]:
        """Delete ledger entries that have an outcome, and runs that have ended; return how many of each.

        ``superseded``: the id of each entry, and that of a later delivered entry of its account, which keeps a mark of
        the content of one that was attempted, for ``delivered_before``; 0 for one that was not. An
        entry whose later one is gone stays. ``record`` makes, of the two numbers, the record that is written with it.
        It takes no lease: runs go on beside it.
        """

    async def reclaim(self) -> str | None:
        """Give free space of the file back where that is much; return why it did not, None where there is no reason.

        Nobody may be at work meanwhile; a run that begins waits, and loses a lease that runs out before the end.
        """


class StateStore(RunState, StateAdmin, Protocol):
    """One operation's whole state. An asynchronous context manager."""

    async def __aenter__(self) -> "StateStore":
        """Connect; raise DatabaseConnectionError when the store cannot be reached."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close the connections."""
