"""Copies an operation's state to another database, and compares the two (SPEC 7).

The command holds both leases, so no runner works on either state. Ledger entries keep their ids, keys and times, the
outbox its bodies, runs their records. The next copy finishes one that was cut off, and leaves what is there.
"""

import msgspec

from incident_process.core.errors import ConfigurationError, DataProcessingError
from incident_process.core.models import (
    NEVER,
    Chunk,
    DeliveryStatus,
    Identity,
    Incident,
    Lease,
    LedgerEntry,
    Operation,
    Outcome,
    Record,
)
from incident_process.state.base import LedgerReader, RunState, StateStore

PAGE = 1000
_MARK = "a copy"
"""The value of ``Identity.renaming`` in an unfinished copy."""


class Copied(Record, frozen=True, kw_only=True):
    """How many ledger entries, pending incidents and runs were copied and compared."""

    deliveries: int
    pending: int
    runs: int


class Copy:
    """One copy.

    Args:
        source: The state to copy, and the lease on it.
        target: The state to copy to, and the lease on it; the operation has done nothing there.
        identity: The operation's identity in the source.
        minutes: ``execution_duration`` for a source without one.
    """

    def __init__(
        self,
        source: tuple[StateStore, Lease],
        target: tuple[StateStore, Lease],
        identity: Identity,
        minutes: int,
    ) -> None:
        self._source, self._source_lease = source
        self._target, self._target_lease = target
        self._identity = identity
        self._minutes = minutes

    async def make(self) -> Copied:
        """Copy everything, compare it, and put the target into use.

        Raises DataProcessingError where the two differ afterwards; the target is then useless.
        """
        begun = msgspec.structs.replace(self._identity, renaming=_MARK)
        await self._target.write_identity(self._target_lease, begun)
        operation = await self._source.read_operation()
        await self._ledger()
        pending = await self._outbox()
        runs = await self._runs()
        latest = await self._source.raise_as_of(self._source_lease, NEVER)
        await self._target.raise_as_of(self._target_lease, latest)
        floor = await self._source.reserve_ids(self._source_lease, 1, 1)
        await self._target.reserve_ids(self._target_lease, 1, floor + 1)
        copied = await self._compare(pending, runs)
        if operation is not None:
            await self._target.restore_operation(self._target_lease, operation, self._minutes)
            await self._compare_operation(operation)
        await self._target.write_identity(self._target_lease, self._identity)
        return copied

    async def _ledger(self) -> None:
        after = 0
        while entries := await self._source.ledger_after(after, PAGE):
            await self._target.restore_ledger(self._target_lease, entries)
            after = entries[-1].incident_id

    async def _outbox(self) -> int:
        """Copy the outboxes of the operation and of its cluster chunks; return how many incidents are in them."""
        pending = 0
        held: list[tuple[RunState, Lease]] = [(self._source, self._source_lease)]
        for scope in await self._source.open_scopes(self._source_lease, 0):
            store = self._source.scoped(scope, self._source_lease.token)
            held.append((store, await store.acquire_lease(self._source_lease.holder, self._source_lease.seconds)))
        waiting = set(await self._target.claim_outbox(self._target_lease))
        for store, lease in held:
            for chunk_id in await store.claim_outbox(lease):
                chunk = await store.load_chunk(chunk_id)
                if chunk is None:
                    continue
                pending += len(chunk.incidents)
                if chunk_id not in waiting:
                    await self._target.enqueue(self._target_lease, chunk)
                outcomes = await self._so_far(chunk)
                await self._target.record_outcomes(self._target_lease, chunk, outcomes)
        return pending

    async def _so_far(self, chunk: Chunk) -> list[Outcome]:
        """Return what the ledger says of a chunk's pending incidents: the answers that they got so far."""
        waiting = {incident.incident_id: incident for incident in chunk.incidents}
        found: list[Outcome] = []
        before = max(waiting, default=0) + 1
        while before > min(waiting, default=before):
            page = await self._source.deliveries(status=DeliveryStatus.PENDING, before=before, limit=PAGE)
            for entry in page:
                incident = waiting.get(entry.incident_id)
                if incident is not None:
                    found.append(_pending(incident, entry))
            if not page:
                break
            before = page[-1].incident_id
        return found

    async def _runs(self) -> int:
        count = 0
        while runs := await self._source.runs(skip=count, limit=PAGE):
            for run in runs:
                if not await self._target.runs(run_id=run.run_id, limit=1):
                    await self._target.write_run(self._target_lease, run)
            count += len(runs)
        return count

    async def _compare(self, pending: int, runs: int) -> Copied:
        """Compare both states; raise DataProcessingError for the first difference."""
        after = count = 0
        while True:
            ours = await self._source.ledger_after(after, PAGE)
            theirs = await self._target.ledger_after(after, PAGE)
            if list(map(_comparable, ours)) != list(map(_comparable, theirs)):
                raise _differs(f"their ledgers, after Incident_Id {after}")
            if not ours:
                break
            count += len(ours)
            after = ours[-1].incident_id
        chunk_ids = await self._target.claim_outbox(self._target_lease)
        chunks = [await self._target.load_chunk(chunk_id) for chunk_id in chunk_ids]
        if sum(len(chunk.incidents) for chunk in chunks if chunk is not None) != pending:
            raise _differs("what waits in their outboxes")
        if await _count(self._target) != runs:
            raise _differs("their runs")
        return Copied(deliveries=count, pending=pending, runs=runs)

    async def _compare_operation(self, before: Operation) -> None:
        after = await self._target.read_operation()
        if after is None or (after.sequence, after.last_execution) != (before.sequence, before.last_execution):
            raise _differs("their watermarks: the target's Process_Operation is not what it was given")


def require_empty(known: Identity | None, runs: bool, operation: Operation | None) -> None:
    """Raise ConfigurationError where the target has anything of the operation but an unfinished copy."""
    if known is not None and known.renaming == _MARK:
        return
    if known is not None and known.moved_to is not None:
        raise ConfigurationError("The target is a state that was itself copied elsewhere: name an empty one.")
    if runs or (operation is not None and operation.sequence):
        raise ConfigurationError("The target holds runs or deliveries of this operation already: name an empty one.")


def _pending(incident: Incident, entry: LedgerEntry) -> Outcome:
    return Outcome(
        incident_id=incident.incident_id,
        account=incident.account,
        status=DeliveryStatus.PENDING,
        attempts=incident.attempts,
        runs=incident.runs,
        http_status=entry.http_status,
        error=entry.error,
        in_doubt=incident.in_doubt,
        unsent_attempts=incident.unsent_attempts,
        at=entry.updated_at,
    )


def _comparable(entry: LedgerEntry) -> LedgerEntry:
    """Return the entry with times in milliseconds: MongoDB keeps no finer ones."""
    return msgspec.structs.replace(
        entry,
        created_at=entry.created_at.replace(microsecond=entry.created_at.microsecond // 1000 * 1000),
        updated_at=entry.updated_at.replace(microsecond=entry.updated_at.microsecond // 1000 * 1000),
    )


async def _count(store: LedgerReader) -> int:
    count = 0
    while page := len(await store.runs(skip=count, limit=PAGE)):
        count += page
    return count


def _differs(what: str) -> DataProcessingError:
    return DataProcessingError(
        f"The copy differs from the state in {what}. The state that was copied is as it was, and goes on; give the "
        "copy an empty database and begin again."
    )
