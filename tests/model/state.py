"""A state store in memory, by ``state.base``: each method is one atomic step, as the SQL store's are."""

import copy
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import msgspec

from incident_process.core.errors import IncidentProcessError, LeaseHeldError, LeaseLostError
from incident_process.core.models import (
    NEVER,
    Advance,
    Chunk,
    DeliveryStatus,
    Identity,
    Incident,
    LastDelivery,
    Lease,
    Operation,
    Outcome,
    Record,
    RunRecord,
    RunSearch,
    RunStatus,
    Tracking,
    UnsendableAccount,
)
from incident_process.core.process_identity import Runner
from incident_process.settings.database_urls import parse_target
from incident_process.state import codec
from tests.model.invariant_checker import InvariantChecker
from tests.model.process import Port, Process
from tests.model.world import START, World

T = TypeVar("T")
OPERATION = "Incident extraction from data lake"
NO_SUCH_PROCESS = 2**31 - 1


class Entry(Record, frozen=True, kw_only=True):
    """One line of the ledger."""

    account: str
    digest: str
    status: DeliveryStatus
    attempts: int = 0


class Waiting(Record, frozen=True, kw_only=True):
    """One outbox entry with its pending incidents; ``scope`` None: the operation's own."""

    scope: int | None
    token: int
    chunk: Chunk


@dataclass(slots=True)
class Seat:
    """A lease: the operation's, or a scope's, which may be taken under one epoch."""

    holder: str | None = None
    token: int = 0
    expires: float = 0.0
    epoch: int = 0


@dataclass(slots=True)
class Data:
    """The store's content; a copy of it is a backup."""

    operation: Operation | None
    lease: Seat = field(default_factory=Seat)
    scopes: dict[int, Seat] = field(default_factory=dict)
    counter: int = 0
    as_of: datetime = NEVER
    ledger: dict[int, Entry] = field(default_factory=dict)
    outbox: dict[str, Waiting] = field(default_factory=dict)  # by chunk id
    runs: dict[str, RunRecord] = field(default_factory=dict)

    def newest(self, account: str) -> tuple[int, Entry] | None:
        """Return the account's entry with the highest id, and that id."""
        ids = [number for number, entry in self.ledger.items() if entry.account == account]
        return (max(ids), self.ledger[max(ids)]) if ids else None


class Database:
    """The state that all runners share."""

    def __init__(self, world: World) -> None:
        sql = world.setup.tracking is Tracking.SQL
        begun = Operation(name=OPERATION, next_execution=NEVER, execution_minutes=0) if sql else None
        self.data = Data(operation=begun)
        self._old = copy.deepcopy(self.data)

    def back_up(self) -> None:
        """Keep a copy of the state."""
        self._old = copy.deepcopy(self.data)

    def restore(self) -> None:
        """Replace the state by the last copy; before the first copy, by the empty state."""
        self.data = copy.deepcopy(self._old)


class Store(Port):
    """One process's ``StateStore``, without the methods that no run calls."""

    def __init__(
        self,
        process: Process,
        world: World,
        database: Database,
        checker: InvariantChecker,
        scope: int | None = None,
        epoch: int = 0,
    ) -> None:
        super().__init__(process, world.state_faults)
        self._world = world
        self._database = database
        self._checker = checker
        self._scope = scope
        self._epoch = epoch

    @property
    def _data(self) -> Data:
        return self._database.data

    @property
    def _seat(self) -> Seat:
        return self._data.lease if self._scope is None else self._data.scopes.get(self._scope, Seat())

    def _waiting(self) -> dict[str, Waiting]:
        """The entries of the outbox in this scope."""
        return {name: found for name, found in self._data.outbox.items() if found.scope == self._scope}

    async def _write(self, lease: Lease, effect: Callable[[], T]) -> T:
        """Write if the lease is held, and extend it in the same step."""

        def fenced() -> T:
            seat = self._seat
            if (seat.holder, seat.token) != (self.process.name, lease.token):
                if not self._world.flaws.fencing:
                    raise LeaseLostError(f"token {lease.token} is not {seat.token}, or was given back")
                self._world.violate("fenced", f"{self.process.name} wrote with token {lease.token}, not {seat.token}")
            else:
                seat.expires = self._world.state_now() + lease.seconds
            return effect()

        return await self.call(fenced)

    # -- lease ----------------------------------------------------------------------------------------------------

    async def acquire_lease(self, _holder: str, seconds: float, *, evict: int | None = None) -> Lease:
        def acquire() -> Lease:
            seat = self._seat
            if self._scope is not None:
                if seat.epoch != self._epoch:
                    raise LeaseLostError(f"chunk {self._scope} is open under {seat.epoch}, not {self._epoch}")
            elif seat.holder is not None and seat.expires > self._world.state_now() and seat.token != evict:
                is_gone = self.process.local and seat.holder in self._world.gone_here
                raise LeaseHeldError(_gone_name() if is_gone else seat.holder, seat.token, START)
            seat.holder, seat.token = self.process.name, seat.token + 1
            seat.expires = self._world.state_now() + seconds
            return Lease(operation=OPERATION, holder=self.process.name, token=seat.token, seconds=seconds)

        return await self.call(acquire)

    async def renew_lease(self, lease: Lease) -> None:
        await self._write(lease, lambda: None)

    async def release_lease(self, lease: Lease) -> None:
        def release() -> None:
            seat = self._seat
            if (seat.holder, seat.token) == (self.process.name, lease.token):
                seat.holder = None

        await self.call(release)

    # -- scopes ---------------------------------------------------------------------------------------------------

    async def open_scopes(self, lease: Lease, count: int) -> list[int]:
        def reopen() -> list[int]:
            waiting = {found.scope for found in self._data.outbox.values() if found.scope is not None}
            for scope in {*range(count), *waiting, *self._data.scopes}:
                before = self._data.scopes.get(scope, Seat())
                self._data.scopes[scope] = Seat(token=before.token + 1, epoch=lease.token)
            return sorted(waiting)

        return await self._write(lease, reopen)

    def scoped(self, scope: int, epoch: int) -> "Store":
        return Store(self.process, self._world, self._database, self._checker, scope, epoch)

    # -- tracking and runs ----------------------------------------------------------------------------------------

    async def identity(self) -> Identity | None:
        """Return a fixed identity: no history depends on it."""
        return Identity(
            operation=OPERATION,
            key_name=OPERATION,
            source=parse_target("sqlite:///none.db").place,
            receiver="http://receiver.test:80/",
        )

    async def write_identity(self, lease: Lease, _identity: Identity) -> None:
        await self._write(lease, lambda: None)

    async def operations(self) -> list[Identity]:
        return []

    async def tracked(self) -> list[str]:
        return []

    async def read_operation(self) -> Operation | None:
        return await self.call(lambda: self._data.operation)

    async def advance(self, lease: Lease, step: Advance) -> Operation:
        def move() -> Operation:
            current = self._data.operation or Operation(name=OPERATION)
            if (current.sequence, current.last_execution) != (step.before.sequence, step.before.last_execution):
                raise LeaseLostError("Process_Operation was changed")
            moved = current
            if current.next_execution is not None:  # SQL tracking, and a duration of no minutes
                moved = msgspec.structs.replace(moved, next_execution=step.system_date)
            if step.new_data:
                moved = msgspec.structs.replace(moved, sequence=current.sequence + 1, last_execution=step.watermark)
                self._checker.check_advance(self.process, current.last_execution, step.watermark, self._data.newest)
            if step.new_data or self._data.operation is not None:
                self._data.operation = moved
            return moved

        return await self._write(lease, move)

    async def raise_as_of(self, lease: Lease, instant: datetime) -> datetime:
        def raise_() -> datetime:
            self._data.as_of = max(self._data.as_of, instant)
            return self._data.as_of

        return await self._write(lease, raise_)

    async def open_run(self, lease: Lease, run: RunRecord) -> None:
        def write() -> None:
            for run_id, other in self._data.runs.items():
                if other.status is RunStatus.RUNNING:
                    self._data.runs[run_id] = msgspec.structs.replace(other, status=RunStatus.FAILED)
            self._data.runs[run.run_id] = run

        await self._write(lease, write)

    async def write_run(self, lease: Lease, run: RunRecord) -> None:
        await self._write(lease, lambda: self._data.runs.update({run.run_id: run}))

    async def runs(self, *, search: RunSearch, limit: int) -> list[RunRecord]:
        del search  # there are no prunes
        return await self.call(lambda: list(self._data.runs.values())[: -limit - 1 : -1])

    # -- ledger and outbox ----------------------------------------------------------------------------------------

    async def last_known(self, accounts: Sequence[str]) -> dict[str, LastDelivery]:
        def read() -> dict[str, LastDelivery]:
            found: dict[str, LastDelivery] = {}
            for number in sorted(self._data.ledger):
                entry = self._data.ledger[number]
                if entry.account in accounts:
                    before = found.get(entry.account)
                    last = (None, 0) if before is None else (before.delivered_digest, before.delivered_id)
                    if entry.status is DeliveryStatus.DELIVERED:
                        last = (entry.digest, number)
                    found[entry.account] = LastDelivery(
                        delivered_digest=last[0],
                        delivered_id=last[1],
                        newest_digest=entry.digest,
                        newest_status=entry.status,
                    )
            return found

        return await self.call(read)

    async def delivered_before(self, contents: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        def read() -> set[tuple[str, str]]:
            ledger = self._data.ledger
            delivered = {n: e for n, e in ledger.items() if e.status is DeliveryStatus.DELIVERED}
            found = {(e.account, e.digest) for e in delivered.values()}
            for number, entry in ledger.items():
                if entry.status is DeliveryStatus.DEAD and entry.attempts:
                    followed = any(n > number and e.account == entry.account for n, e in delivered.items())
                    found |= {(entry.account, entry.digest)} if followed else set()
            return found & set(contents)

        return await self.call(read)

    async def reserve_ids(self, lease: Lease, count: int, floor: int) -> int:
        def reserve() -> int:
            first = max(self._data.counter + 1, floor)
            self._data.counter = first + count - 1
            return first

        return await self._write(lease, reserve)

    async def enqueue(self, lease: Lease, chunk: Chunk) -> None:
        def write() -> None:
            items: list[Incident | UnsendableAccount] = [*chunk.incidents, *chunk.parked]
            for item in items:
                status = item.status if isinstance(item, UnsendableAccount) else DeliveryStatus.PENDING
                self._data.ledger[item.incident_id] = Entry(account=item.account, digest=item.digest, status=status)
            if chunk.incidents:
                whole = msgspec.structs.replace(chunk, parked=())
                self._data.outbox[chunk.chunk_id] = Waiting(scope=self._scope, token=lease.token, chunk=whole)
                self._checker.note_owned(self.process, chunk.incidents, born=True)

        await self._write(lease, write)

    async def claim_outbox(self, lease: Lease) -> list[str]:
        def claim() -> list[str]:
            found = self._waiting()
            for chunk_id, waiting in found.items():
                self._data.outbox[chunk_id] = msgspec.structs.replace(waiting, token=lease.token)
                self._checker.note_owned(self.process, waiting.chunk.incidents)
            return sorted(found, key=lambda name: found[name].chunk.incidents[0].incident_id)

        if self._world.flaws.claim:
            return await self.call(claim)
        return await self._write(lease, claim)

    async def load_chunk(self, chunk_id: str) -> Chunk | None:
        def read() -> Chunk | None:
            found = self._waiting().get(chunk_id)
            return None if found is None else found.chunk

        return await self.call(read)

    async def record_outcomes(self, lease: Lease, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        def write() -> None:
            for outcome in outcomes:
                if outcome.status is DeliveryStatus.DEAD:
                    self._checker.note_given_up(outcome.incident_id)
                entry = self._data.ledger.get(outcome.incident_id)
                if entry is not None:
                    self._data.ledger[outcome.incident_id] = msgspec.structs.replace(
                        entry, status=outcome.status, attempts=outcome.attempts
                    )
            found = self._waiting().get(chunk.chunk_id)
            if found is not None:
                left = codec.settle(codec.OutboxEntry(incidents=found.chunk.incidents), outcomes, keep=False).pending
                if left:
                    self._rewrite(found, left)
                else:
                    del self._data.outbox[chunk.chunk_id]

        if outcomes:
            await self._write(lease, write)

    async def replace_incident(self, lease: Lease, chunk: Chunk, old_id: int, new: Incident) -> Chunk:
        def write() -> None:
            entry = self._data.ledger.pop(old_id, None)
            found = self._waiting().get(chunk.chunk_id)
            if entry is None or entry.status is not DeliveryStatus.PENDING or found is None:
                raise IncidentProcessError(f"Incident_Id {old_id} is not pending")
            self._data.ledger[new.incident_id] = msgspec.structs.replace(entry, digest=new.digest)
            self._rewrite(found, codec.substitute(found.chunk.incidents, old_id, new))
            self._checker.note_owned(self.process, [new], born=True)

        await self._write(lease, write)
        return msgspec.structs.replace(chunk, incidents=codec.substitute(chunk.incidents, old_id, new))

    def _rewrite(self, found: Waiting, incidents: tuple[Incident, ...]) -> None:
        chunk = msgspec.structs.replace(found.chunk, incidents=incidents)
        self._data.outbox[chunk.chunk_id] = msgspec.structs.replace(found, chunk=chunk)

    async def deliveries(self, *, status: DeliveryStatus, limit: int) -> list[Entry]:
        return await self.call(lambda: [one for one in self._data.ledger.values() if one.status is status][:limit])

    async def delivery_counts(self) -> Counter[DeliveryStatus]:
        return await self.call(lambda: Counter(one.status for one in self._data.ledger.values()))

    async def purge_bodies(self, lease: Lease, older_than: datetime) -> int:
        return await self._write(lease, lambda: 0)


def _gone_name() -> str:
    """Return the lease holder's name of a process of this machine that is gone."""
    this = Runner.this()
    return str(Runner(host=this.host, pid=NO_SUCH_PROCESS, machine=this.machine, started="1"))
