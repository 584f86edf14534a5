"""``StateStore`` in SQL: puts lease, tracking, runs, ledger and outbox together, one transaction a call."""

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from incident_process.core.errors import LeaseHeldError
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
from incident_process.database.errors import LockedError
from incident_process.settings.database_urls import Target
from incident_process.state import codec
from incident_process.state.base import StateStore
from incident_process.state.sql import archive, ledger, outbox, retention, runs, schema, scopes, stopped, tracking
from incident_process.state.sql import identity as identities
from incident_process.state.sql import lease as leases
from incident_process.state.sql.connection import Connection
from incident_process.state.sql.database import LEASE_SECONDS, SqlDatabase
from incident_process.state.sql.lease import Scope

T = TypeVar("T")
P = ParamSpec("P")

_BLOCKED_SECONDS = 90.0
"""Seconds that a runner waits for the lease's locked row: longer than the session of a silent runner lives."""


class _BlockedError(Exception):
    """Another session has locked the lease's row, or the file."""


class SqlStateStore(StateStore):
    """``StateStore`` (see ``state.base``) on MySQL 8, MariaDB 10.6+ or SQLite.

    Args:
        target: the database, or ``mysql://user:password@host:port/database`` or ``sqlite:///file``.
        operation: the name of the operation, compared exactly.
        zone: in which the times of ``Process_Operation`` are (``source_timezone``).
        keep_bodies_days: above 0, bodies stay after their outcome until ``purge_bodies``.
        lease_seconds: of the lease that runs take; what a runner that fell silent has locked is free after about that.

    Raises:
        ConfigurationError: the address cannot be one of a state.
    """

    def __init__(
        self,
        target: Target | str,
        operation: str,
        zone: ZoneInfo,
        *,
        keep_bodies_days: int = 0,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._database = SqlDatabase(target, lease_seconds)
        self._operation = operation
        self._scope = Scope(operation)
        self._epoch: int | None = None
        """The token of the operation's lease under which to claim the scope; None: the operation's own store."""
        self._zone = zone
        self._keeps_bodies = keep_bodies_days > 0
        # Leases whose commit may have succeeded without an answer: a second call may take them over.
        self._tried_leases: set[tuple[str, int]] = set()

    def __repr__(self) -> str:
        """Name the database without user and password."""
        return f"SqlStateStore({self._database.place}, {self._operation!r})"

    async def __aenter__(self) -> "SqlStateStore":
        """Connect; raise DatabaseConnectionError when the database cannot be reached."""
        self._only_the_operation()
        await self._database.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the connections."""
        await self._database.close()

    async def _ask(
        self, read: Callable[Concatenate[Connection, str, P], Awaitable[T]], *args: P.args, **named: P.kwargs
    ) -> T:
        """Return what a reading of this operation returns, in a transaction of its own."""
        return await self._database.read(lambda connection: read(connection, self._operation, *args, **named))

    async def _fenced(self, lease: Lease, work: Callable[[Connection, datetime], Awaitable[T]]) -> T:
        """Run writes in one transaction with the check of the lease; ``work`` also gets the store's clock."""

        async def transaction(connection: Connection) -> T:
            now = await leases.fence(connection, lease, self._scope)
            return await work(connection, now)

        return await self._database.write(transaction)

    def _only_the_operation(self) -> None:
        """Raise RuntimeError for a chunk's worker: the method is the coordinator's."""
        if self._epoch is not None:
            raise RuntimeError(f"The store of {self._scope} does not do that: ask the operation's own.")

    # -- set-up ---------------------------------------------------------------------------------------------------

    async def require(self) -> None:
        await schema.require(self._database)

    async def prepare(self) -> None:
        await schema.bring_up_to_date(self._database)

    async def missing_indexes(self) -> list[str]:
        return await self._database.read(schema.missing_indexes)

    async def create_indexes(self) -> None:
        await schema.create_indexes(self._database)

    async def create_operation(self, execution_minutes: int) -> bool:
        async def create(connection: Connection) -> bool:
            created = await tracking.create(connection, self._operation, self._zone, execution_minutes)
            await identities.add(connection, Identity(operation=self._operation, key_name=self._operation))
            return created

        async with schema.undone_where_it_fails(self._database, [schema.PROCESS_OPERATION]):
            return await self._database.write(create)

    # -- operations -----------------------------------------------------------------------------------------------

    async def identity(self) -> Identity | None:
        return await self._ask(identities.read)

    async def write_identity(self, lease: Lease, identity: Identity) -> None:
        self._only_the_operation()
        await self._fenced(lease, lambda connection, _now: identities.write(connection, identity))

    async def operations(self) -> list[Identity]:
        return await self._database.read(identities.known)

    async def tracked(self) -> list[str]:
        return await self._database.read(identities.tracked)

    async def rename(self, lease: Lease, new: str) -> None:
        self._only_the_operation()
        await self._fenced(lease, lambda connection, now: identities.rename(connection, lease, new, self._zone, now))

    async def try_writes(self) -> None:
        await self._database.write(schema.try_writes)

    # -- copies -------------------------------------------------------------------------------------------------------

    async def ledger_after(self, incident_id: int, limit: int) -> list[LedgerEntry]:
        return await self._ask(archive.ledger_after, incident_id, limit)

    async def restore_ledger(self, lease: Lease, entries: Sequence[LedgerEntry]) -> None:
        await self._fenced(lease, lambda connection, _now: archive.restore_ledger(connection, self._operation, entries))

    async def restore_operation(self, lease: Lease, operation: Operation, execution_minutes: int) -> None:
        await self._fenced(
            lease,
            lambda connection, _now: archive.restore_operation(connection, operation, self._zone, execution_minutes),
        )

    # -- retention ------------------------------------------------------------------------------------------------

    async def prune(
        self, superseded: Mapping[int, int], run_ids: Sequence[str], record: Callable[[int, int], RunRecord]
    ) -> tuple[int, int]:
        self._only_the_operation()

        async def delete(connection: Connection) -> tuple[int, int]:
            deleted = (
                await retention.delete_superseded(connection, self._operation, superseded),
                await retention.delete_runs(connection, self._operation, run_ids),
            )
            await runs.write(connection, record(*deleted))
            return deleted

        return await self._database.write(delete)

    async def reclaim(self) -> str | None:
        file = self._database.file
        if file is None:
            return "the server uses the free space for new entries"
        if await self._database.read(retention.is_at_work):
            return "a run is at work; new entries use the free space"
        from incident_process.state.sql.sqlite import compact

        return await asyncio.to_thread(compact, file)

    # -- lease ----------------------------------------------------------------------------------------------------

    async def acquire_lease(self, holder: str, seconds: float, *, evict: int | None = None) -> Lease:
        epoch = self._epoch
        if epoch is not None:
            return await self._database.write(
                lambda connection: scopes.acquire(connection, self._scope, epoch, holder, seconds)
            )
        lease = await self._acquire(holder, seconds, evict)
        self._tried_leases.clear()
        return lease

    async def _acquire(self, holder: str, seconds: float, evict: int | None) -> Lease:
        """Take the lease, also while a runner that stopped or vanished in a write keeps its row locked.

        A database server ends such a runner's session after about its lease. Until the lease expires, the answer is
        LeaseHeldError; a locked row can still be read.
        """

        async def attempt(connection: Connection) -> Lease:
            try:
                return await leases.acquire(
                    connection, self._operation, holder, seconds, evict=evict, mine=self._tried_leases
                )
            except LockedError as exc:
                raise _BlockedError from exc

        began = time.monotonic()
        while True:
            try:
                return await self._database.write(attempt)
            except _BlockedError as blocked:
                state = await self.lease_state()
                if state is not None and self._holds(state, evict):
                    raise LeaseHeldError(state.holder, state.token, state.expires_at) from blocked
                waited = time.monotonic() - began
                holder = state.holder if state is not None else ""
                if not self._end_stopped(holder, waited, seconds) and waited > _BLOCKED_SECONDS:
                    raise blocked.__cause__ or blocked from None

    def _holds(self, state: LeaseState, evict: int | None) -> bool:
        """Tell whether another runner's lease has not expired."""
        return state.active and state.token != evict and (state.holder, state.token) not in self._tried_leases

    def _end_stopped(self, holder: str, waited: float, seconds: float) -> bool:
        """End a stopped runner that keeps a SQLite file locked, once its lease has run out; see ``stopped``."""
        # With no holder known, it was stopped while it took the lease: one of its length has to pass.
        has_run_out = bool(holder) or waited > min(seconds, _BLOCKED_SECONDS / 2)
        file = self._database.file
        return file is not None and has_run_out and stopped.end_stopped_writer(file, holder)

    async def renew_lease(self, lease: Lease) -> None:
        await self._database.write(lambda connection: leases.fence(connection, lease, self._scope))

    async def release_lease(self, lease: Lease) -> None:
        await self._database.write(lambda connection: leases.release(connection, lease, self._scope))

    async def lease_state(self) -> LeaseState | None:
        return await self._database.read(lambda connection: leases.read_state(connection, self._scope))

    # -- scopes ---------------------------------------------------------------------------------------------------

    async def open_scopes(self, lease: Lease, count: int) -> list[int]:
        self._only_the_operation()
        return await self._fenced(lease, lambda connection, now: scopes.reopen(connection, lease, count, now))

    def scoped(self, scope: int, epoch: int) -> "SqlStateStore":
        seen = copy.copy(self)
        seen._scope, seen._epoch = Scope(self._operation, scope), epoch
        return seen

    # -- tracking -------------------------------------------------------------------------------------------------

    async def read_operation(self) -> Operation | None:
        return await self._ask(tracking.read, self._zone)

    async def advance(self, lease: Lease, step: Advance) -> Operation:
        self._only_the_operation()
        return await self._fenced(lease, lambda connection, _now: tracking.advance(connection, lease, step, self._zone))

    async def raise_as_of(self, lease: Lease, instant: datetime) -> datetime:
        self._only_the_operation()
        return await self._fenced(
            lease, lambda connection, _now: leases.raise_as_of(connection, self._operation, instant)
        )

    # -- runs -----------------------------------------------------------------------------------------------------

    async def open_run(self, lease: Lease, run: RunRecord) -> None:
        self._only_the_operation()
        await self._fenced(lease, lambda connection, now: runs.open_run(connection, run, now))

    async def write_run(self, lease: Lease, run: RunRecord) -> None:
        self._only_the_operation()
        await self._fenced(lease, lambda connection, _now: runs.write(connection, run))

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
        wanted = {"Run_Id": run_id, "Kind": kind, "Status": status}
        return await self._ask(runs.newest, wanted, search, skip=skip, limit=limit)

    # -- ledger and outbox ----------------------------------------------------------------------------------------

    async def last_known(self, accounts: Sequence[str]) -> dict[str, LastDelivery]:
        return await self._ask(ledger.last_known, accounts)

    async def delivered_before(self, contents: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        return await self._ask(ledger.delivered_before, contents)

    async def reserve_ids(self, lease: Lease, count: int, floor: int) -> int:
        return await self._fenced(lease, lambda connection, _now: leases.reserve_ids(connection, count, floor))

    async def enqueue(self, lease: Lease, chunk: Chunk) -> None:
        if not chunk.incidents and not chunk.parked:
            return
        entry = codec.OutboxEntry(incidents=chunk.incidents)
        parts = await asyncio.to_thread(codec.encode, entry) if chunk.incidents else []

        async def write(connection: Connection, now: datetime) -> None:
            if await ledger.is_written(connection, self._operation, chunk):
                return
            await ledger.add(connection, self._scope, chunk, now)
            if parts:
                first = min(incident.incident_id for incident in chunk.incidents)
                stored = outbox.StoredChunk(run_id=chunk.run_id, first_id=first, created_at=now, entry=entry)
                await outbox.put(connection, lease, self._scope, chunk.chunk_id, stored, parts)

        await self._fenced(lease, write)

    async def claim_outbox(self, lease: Lease) -> list[str]:
        async def claim(connection: Connection, _now: datetime) -> list[str]:
            chunk_ids = await outbox.claim(connection, lease, self._scope)
            # For a scope without leftovers ``open_scopes`` has done that, so this need not read other chunks' entries.
            if chunk_ids or self._epoch is None:
                waiting = await outbox.pending_ids(connection, self._scope, chunk_ids)
                await ledger.withdraw_orphans(connection, self._scope, waiting)
            return chunk_ids

        return await self._fenced(lease, claim)

    async def load_chunk(self, chunk_id: str) -> Chunk | None:
        stored = await self._database.read(lambda connection: outbox.load(connection, self._scope, chunk_id))
        if stored is None:
            return None
        return Chunk(chunk_id=chunk_id, run_id=stored.run_id, incidents=stored.entry.pending)

    async def record_outcomes(self, lease: Lease, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        async def write(connection: Connection, now: datetime) -> None:
            await ledger.write_outcomes(connection, outcomes)
            await outbox.settle(connection, lease, self._scope, chunk, outcomes, now if self._keeps_bodies else None)

        if outcomes:
            await self._fenced(lease, write)

    async def replace_incident(self, lease: Lease, chunk: Chunk, old_id: int, new: Incident) -> Chunk:
        async def write(connection: Connection, now: datetime) -> None:
            await ledger.replace(connection, self._operation, old_id, new, now)
            await outbox.replace(connection, lease, self._scope, chunk.chunk_id, old_id, new)

        await self._fenced(lease, write)
        return msgspec.structs.replace(chunk, incidents=codec.substitute(chunk.incidents, old_id, new))

    async def delivered_accounts(self) -> AsyncIterator[str]:
        after = ""
        while page := await self._database.read(
            lambda connection, after=after: ledger.delivered_accounts(connection, self._operation, after)  # type: ignore[misc]
        ):
            for account in page:
                yield account
            after = page[-1]

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
        wanted: dict[str, str | int | None] = {
            "Account_Num = ?": account,
            "Status = ?": status and status.value,
            "Run_Id = ?": run_id,
            "Attempts > ?": 0 if attempted else None,
            "Attempts <= ?": 0 if attempted is False else None,
            "Incident_Id < ?": before,
        }
        return await self._ask(ledger.entries, wanted, limit)

    async def dead_letters(
        self, *, account: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[LedgerEntry]:
        dead = {"Account_Num = ?": account, "Status = ?": DeliveryStatus.DEAD.value, "Incident_Id < ?": before}
        return await self._ask(ledger.entries, dead, limit, is_open=True)

    async def accounts(self, starting: str, limit: int) -> list[str]:
        return await self._ask(ledger.accounts, starting, limit)

    async def kept_body(self, incident_id: int) -> bytes | None:
        found = await self._ask(ledger.delivering_run, incident_id)
        if found is None:
            return None
        run_id, scope = found
        return await self._database.read(lambda connection: outbox.kept_body(connection, scope, run_id, incident_id))

    async def delivery_counts(self) -> dict[DeliveryStatus, int]:
        return await self._ask(ledger.counts)

    async def stored_bytes(self) -> int | None:
        """Return about how many bytes the state takes on the disk."""
        return await self._database.read(schema.stored_bytes)

    async def purge_bodies(self, lease: Lease, older_than: datetime) -> int:
        return await self._fenced(lease, lambda connection, _now: outbox.purge(connection, self._scope, older_than))
