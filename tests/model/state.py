"""A state store in memory, by ``state.contract``: each method is one atomic step, as the SQL store's are."""

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import msgspec

from incident_process.errors import IncidentProcessError, LeaseHeldError, LeaseLostError
from incident_process.records import (
    NEVER,
    Advance,
    Chunk,
    DeliveryStatus,
    Incident,
    Known,
    Lease,
    Operation,
    Outcome,
    Parked,
    Record,
    RunRecord,
    RunStatus,
    Tracking,
)
from incident_process.runner import Runner
from incident_process.state import codec
from tests.model.process import Port, Process
from tests.model.witness import Witness
from tests.model.world import START, World

T = TypeVar("T")
OPERATION = "Incident extraction from data lake"
NO_SUCH_PROCESS = 2**31 - 1


class Entry(Record, frozen=True, kw_only=True):
    """One line of the ledger."""

    account: str
    digest: str
    status: DeliveryStatus


@dataclass(slots=True)
class Data:
    """What lies in the store; a copy of it is a backup."""

    operation: Operation | None
    holder: str | None = None
    token: int = 0
    expires: float = 0.0
    counter: int = 0
    as_of: datetime = NEVER
    ledger: dict[int, Entry] = field(default_factory=dict)
    outbox: dict[str, tuple[int, Chunk]] = field(default_factory=dict)  # by chunk id: token and what is pending
    runs: dict[str, RunRecord] = field(default_factory=dict)

    def newest(self, account: str) -> tuple[int, Entry] | None:
        """Return the account's entry with the highest id, and that id."""
        ids = [number for number, entry in self.ledger.items() if entry.account == account]
        return (max(ids), self.ledger[max(ids)]) if ids else None


class Database:
    """The one state that all runners share."""

    def __init__(self, world: World) -> None:
        sql = world.setup.tracking is Tracking.SQL
        begun = Operation(name=OPERATION, next_execution=NEVER, execution_minutes=0) if sql else None
        self.data = Data(operation=begun)
        self._old = copy.deepcopy(self.data)

    def back_up(self) -> None:
        """Keep a copy of the state."""
        self._old = copy.deepcopy(self.data)

    def restore(self) -> None:
        """Put the last copy in the place of the state; before the first one it is the empty state."""
        self.data = copy.deepcopy(self._old)


class Store(Port):
    """One process's ``StateStore``; methods that no run calls are left out."""

    def __init__(self, process: Process, world: World, database: Database, witness: Witness) -> None:
        super().__init__(process, world.state_faults)
        self._world = world
        self._database = database
        self._witness = witness

    @property
    def _data(self) -> Data:
        return self._database.data

    async def _write(self, lease: Lease, effect: Callable[[], T]) -> T:
        """Write if the lease is held, and extend it in the same step."""

        def fenced() -> T:
            data = self._data
            if (data.holder, data.token) != (self.process.name, lease.token):
                if not self._world.flaws.fencing:
                    raise LeaseLostError(f"token {lease.token} is not {data.token}, or was given back")
                self._world.violate("fenced", f"{self.process.name} wrote with token {lease.token}, not {data.token}")
            else:
                data.expires = self._world.state_now() + lease.seconds
            return effect()

        return await self.call(fenced)

    # -- lease ----------------------------------------------------------------------------------------------------

    async def acquire_lease(self, _holder: str, seconds: float, *, evict: int | None = None) -> Lease:
        def acquire() -> Lease:
            data = self._data
            if data.holder is not None and data.expires > self._world.state_now() and data.token != evict:
                is_gone = self.process.local and data.holder in self._world.gone_here
                raise LeaseHeldError(_gone_name() if is_gone else data.holder, data.token, START)
            data.holder, data.token = self.process.name, data.token + 1
            data.expires = self._world.state_now() + seconds
            return Lease(operation=OPERATION, holder=self.process.name, token=data.token, seconds=seconds)

        return await self.call(acquire)

    async def renew_lease(self, lease: Lease) -> None:
        await self._write(lease, lambda: None)

    async def release_lease(self, lease: Lease) -> None:
        def release() -> None:
            if (self._data.holder, self._data.token) == (self.process.name, lease.token):
                self._data.holder = None

        await self.call(release)

    # -- tracking and runs ----------------------------------------------------------------------------------------

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
                self._witness.advanced(self.process, current.last_execution, step.watermark, self._data.newest)
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

    async def runs(self, *, limit: int) -> list[RunRecord]:
        return await self.call(lambda: list(self._data.runs.values())[: -limit - 1 : -1])

    # -- ledger and outbox ----------------------------------------------------------------------------------------

    async def last_known(self, accounts: Sequence[str]) -> dict[str, Known]:
        def read() -> dict[str, Known]:
            found: dict[str, Known] = {}
            for number in sorted(self._data.ledger):
                entry = self._data.ledger[number]
                if entry.account in accounts:
                    before = found.get(entry.account)
                    last = (None, 0) if before is None else (before.delivered_digest, before.delivered_id)
                    if entry.status is DeliveryStatus.DELIVERED:
                        last = (entry.digest, number)
                    found[entry.account] = Known(
                        delivered_digest=last[0],
                        delivered_id=last[1],
                        newest_digest=entry.digest,
                        newest_status=entry.status,
                    )
            return found

        return await self.call(read)

    async def delivered_before(self, contents: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        def read() -> set[tuple[str, str]]:
            entries = self._data.ledger.values()
            return {(e.account, e.digest) for e in entries if e.status is DeliveryStatus.DELIVERED} & set(contents)

        return await self.call(read)

    async def reserve_ids(self, lease: Lease, count: int, floor: int) -> int:
        def reserve() -> int:
            first = max(self._data.counter + 1, floor)
            self._data.counter = first + count - 1
            return first

        return await self._write(lease, reserve)

    async def enqueue(self, lease: Lease, chunk: Chunk) -> None:
        def write() -> None:
            items: list[Incident | Parked] = [*chunk.incidents, *chunk.parked]
            for item in items:
                status = item.status if isinstance(item, Parked) else DeliveryStatus.PENDING
                self._data.ledger[item.incident_id] = Entry(account=item.account, digest=item.digest, status=status)
            if chunk.incidents:
                self._data.outbox[chunk.chunk_id] = (lease.token, msgspec.structs.replace(chunk, parked=()))
                self._witness.owns(self.process, chunk.incidents, born=True)

        await self._write(lease, write)

    async def claim_outbox(self, lease: Lease) -> list[str]:
        def claim() -> list[str]:
            for chunk_id, (_, chunk) in self._data.outbox.items():
                self._data.outbox[chunk_id] = (lease.token, chunk)
                self._witness.owns(self.process, chunk.incidents)
            return sorted(self._data.outbox, key=lambda name: self._data.outbox[name][1].incidents[0].incident_id)

        if self._world.flaws.claim:
            return await self.call(claim)
        return await self._write(lease, claim)

    async def load_chunk(self, chunk_id: str) -> Chunk | None:
        return await self.call(lambda: self._data.outbox.get(chunk_id, (0, None))[1])

    async def record_outcomes(self, lease: Lease, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        def write() -> None:
            for outcome in outcomes:
                entry = self._data.ledger.get(outcome.incident_id)
                if entry is not None:
                    self._data.ledger[outcome.incident_id] = msgspec.structs.replace(entry, status=outcome.status)
            if chunk.chunk_id in self._data.outbox:
                token, stored = self._data.outbox[chunk.chunk_id]
                left = codec.settle(codec.Entry(incidents=stored.incidents), outcomes, keep=False).pending
                if left:
                    self._data.outbox[chunk.chunk_id] = (token, msgspec.structs.replace(stored, incidents=left))
                else:
                    del self._data.outbox[chunk.chunk_id]

        if outcomes:
            await self._write(lease, write)

    async def replace_incident(self, lease: Lease, chunk: Chunk, old_id: int, new: Incident) -> Chunk:
        def write() -> None:
            entry = self._data.ledger.pop(old_id, None)
            if entry is None or entry.status is not DeliveryStatus.PENDING or chunk.chunk_id not in self._data.outbox:
                raise IncidentProcessError(f"Incident_Id {old_id} is not pending")
            self._data.ledger[new.incident_id] = msgspec.structs.replace(entry, digest=new.digest)
            token, stored = self._data.outbox[chunk.chunk_id]
            incidents = codec.substitute(stored.incidents, old_id, new)
            self._data.outbox[chunk.chunk_id] = (token, msgspec.structs.replace(stored, incidents=incidents))
            self._witness.owns(self.process, [new], born=True)

        await self._write(lease, write)
        return msgspec.structs.replace(chunk, incidents=codec.substitute(chunk.incidents, old_id, new))

    async def deliveries(self, *, status: DeliveryStatus, limit: int) -> list[Entry]:
        return await self.call(lambda: [one for one in self._data.ledger.values() if one.status is status][:limit])

    async def purge_bodies(self, lease: Lease, older_than: datetime) -> int:
        return await self._write(lease, lambda: 0)


def _gone_name() -> str:
    """The name of a process of this machine that is no more, as the program would have written it."""
    this = Runner.this()
    return str(Runner(host=this.host, pid=NO_SUCH_PROCESS, machine=this.machine, started="1"))
