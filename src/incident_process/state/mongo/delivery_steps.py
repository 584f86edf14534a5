"""The steps that write ledger and outbox together, without a transaction.

Their order lets the next claim recognise what a crash or a pause leaves at any point.

A step begins and ends with a fenced write to the lease document. Between the two, a holder that has lost its lease may
still write. That does no harm, because:

* The pipeline posts nothing of a chunk before ``enqueue`` has returned, so what a late holder wrote was never posted.
  It carries the late holder's token. A successor's ``claim`` ends by noting its own token as ``claimed_through``;
  from then on what is pending under a lower token is an orphan. The late holder itself takes it back when its second
  fenced write fails; if it dies before that, the next claim deletes it, and until then reads ignore it.
* A claim puts its token on what it takes over, and every change is conditional on the token: a late ``record``
  changes either entries that no successor has claimed yet (its outcomes are true, the claim finds them), or nothing.
* In a scope, whose lease a later claim takes at any time, the same applies with the scope's own document, tokens and
  ``claimed_through``; opening the scopes of an operation is a claim of all of them (``scopes``).
* A step writes the outbox before the ledger and empties it after it. A claim therefore adds missing ledger entries,
  and removes incidents with an outcome from the outbox.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from incident_process.core.errors import DatabaseConnectionError, IncidentCreationError, LeaseLostError
from incident_process.core.models import Chunk, DeliveryStatus, Incident, Lease, Outcome
from incident_process.state import codec
from incident_process.state.mongo.connection import Checkpoint
from incident_process.state.mongo.lease import LeaseDocument
from incident_process.state.mongo.ledger import Ledger
from incident_process.state.mongo.outbox import HeldChunk, Outbox

PENDING = DeliveryStatus.PENDING

_RACES = 5
"""Times that a late holder may write between the read and the write of a claim."""


class DeliverySteps:
    """Ledger and outbox of one operation, or of one scope of it, behind their lease.

    ``sweeps_rarely``: a claim with an empty outbox does not search the ledger for orphans, where entries of many other
    chunks may be pending; opening the scopes has done so.
    """

    def __init__(
        self,
        lease: LeaseDocument,
        ledger: Ledger,
        outbox: Outbox,
        checkpoint: Checkpoint,
        *,
        sweeps_rarely: bool = False,
    ) -> None:
        self._sweeps_rarely = sweeps_rarely
        self._lease = lease
        self._ledger = ledger
        self._outbox = outbox
        self._checkpoint = checkpoint

    async def enqueue(self, lease: Lease, chunk: Chunk) -> None:
        """Write a chunk to outbox and ledger; see ``base.StateStore.enqueue``."""
        now = await self._lease.fence(lease)
        await self._checkpoint("enqueue: fenced")
        await self._outbox.insert(chunk, lease.token, now)
        await self._checkpoint("enqueue: outbox written")
        taken = await self._ledger.insert(chunk, lease.token, now)
        await self._checkpoint("enqueue: ledger written")
        if taken:
            await self._withdraw(lease, chunk)
            raise IncidentCreationError(f"Incident_Id {taken[0]} is in the ledger already, for another chunk.")
        try:
            await self._lease.fence(lease)
        except LeaseLostError:
            await self._withdraw(lease, chunk)
            raise

    async def claim(self, lease: Lease) -> list[str]:
        """Take over the outbox; see ``base.StateStore.claim_outbox``."""
        now = await self._lease.fence(lease)
        if self._sweeps_rarely and await self._outbox.is_empty():
            await self._checkpoint("claim: nothing found")
            await self._lease.fence(lease, claimed_through=lease.token)
            return []
        before = await self._lease.claimed_through()
        await self._ledger.sweep(before)
        await self._outbox.sweep(before)
        await self._checkpoint("claim: swept")
        held = await self._outbox.claim(before, lease.token)
        await self._checkpoint("claim: outbox taken")
        chunks: list[str] = []
        for chunk in held:
            if not chunk.complete:
                await self._ledger.discard_chunk(chunk.run_id, chunk.chunk_id, lease.token)
                await self._outbox.withdraw(chunk.chunk_id, lease.token)
                continue
            statuses = await self._take(lease, chunk)
            done = [_as_recorded(key, status, now) for key, status in statuses.items() if status is not PENDING]
            if done or not chunk.ids:
                await self._outbox.settle(chunk.chunk_id, lease.token, done, now)
            if len(done) < len(chunk.ids):
                chunks.append(chunk.chunk_id)
        await self._checkpoint("claim: ledger taken")
        await self._lease.fence(lease, claimed_through=lease.token)
        return chunks

    async def record(self, lease: Lease, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes to the ledger, then to the outbox; see ``base.StateStore.record_outcomes``."""
        now = await self._lease.fence(lease)
        await self._checkpoint("record: fenced")
        await self._ledger.record(lease.token, outcomes)
        await self._checkpoint("record: ledger written")
        await self._outbox.settle(chunk.chunk_id, lease.token, outcomes, now)
        await self._checkpoint("record: outbox written")
        await self._lease.fence(lease)

    async def replace(self, lease: Lease, chunk: Chunk, old_id: int, new: Incident) -> Chunk:
        """Give a pending incident a new id; see ``base.StateStore.replace_incident``.

        The outbox decides: if this is cut short, a later claim deletes the ledger entry that is not in the outbox, the
        new one before the outbox changed, the old one after.
        """
        now = await self._lease.fence(lease)
        alone = Chunk(chunk_id=chunk.chunk_id, run_id=chunk.run_id, incidents=(new,))
        if await self._ledger.insert(alone, lease.token, now):
            raise IncidentCreationError(f"Incident_Id {new.incident_id} is in the ledger already, for another chunk.")
        await self._checkpoint("replace: ledger written")
        await self._outbox.replace(chunk.chunk_id, lease.token, old_id, new)
        await self._checkpoint("replace: outbox written")
        await self._ledger.discard(old_id, lease.token)
        await self._lease.fence(lease)
        return msgspec.structs.replace(chunk, incidents=codec.substitute(chunk.incidents, old_id, new))

    async def _withdraw(self, lease: Lease, chunk: Chunk) -> None:
        """Take back an unclaimed chunk; the ledger first, since a claim goes by the outbox."""
        await self._ledger.withdraw(chunk, lease.token)
        await self._outbox.withdraw(chunk.chunk_id, lease.token)

    async def _take(self, lease: Lease, held: HeldChunk) -> dict[int, DeliveryStatus]:
        """Take over every pending incident of a claimed chunk in the ledger; return all statuses."""
        for _ in range(_RACES):
            statuses = await self._ledger.take(held.ids, lease.token)
            missing = set(held.ids) - statuses.keys()
            if not missing:
                return statuses
            chunk = await self._outbox.load(held.chunk_id)
            if chunk is None:
                break
            lost = tuple(one for one in chunk.incidents if one.incident_id in missing)
            now = await self._lease.fence(lease)
            await self._ledger.insert(msgspec.structs.replace(chunk, incidents=lost), lease.token, now)
        raise DatabaseConnectionError("The outbox keeps changing while it is being claimed; try again.")


def _as_recorded(incident_id: int, status: DeliveryStatus, now: datetime) -> Outcome:
    """Return an outcome that the ledger has already, for the outbox, which uses only id and status."""
    return Outcome(incident_id=incident_id, account="", status=status, attempts=0, runs=0, at=now)
