"""``Process_Operation_Scope``: the leases of parallel chunks, one document a chunk.

It has the fields of an operation's lease that a chunk needs, and ``epoch``, the token of the operation's lease under
which workers may claim the chunk. To open the scopes is to claim all of them at once, as coordinator: see
``Scopes.reopen``.
"""

from collections.abc import Collection as Some

from pymongo import ReturnDocument

from incident_process.core.errors import LeaseLostError
from incident_process.core.models import Lease
from incident_process.state.mongo.connection import Checkpoint, Collection, Document
from incident_process.state.mongo.dates import to_micros
from incident_process.state.mongo.lease import LONG_AGO, LeaseDocument, set_for
from incident_process.state.mongo.ledger import Ledger, insert_missing
from incident_process.state.mongo.outbox import Outbox


class ScopeLease(LeaseDocument):
    """The lease of one chunk, claimed under one epoch."""

    def __init__(self, collection: Collection, operation: str, scope: int, epoch: int) -> None:
        super().__init__(collection, operation, _key(operation, scope), f"chunk {scope} of operation {operation!r}")
        self._epoch = epoch

    async def acquire(self, holder: str, seconds: float, _evict: int | None = None) -> Lease:
        """Take the lease from any holder, in one write that needs the right epoch.

        Raises:
            LeaseLostError: The chunk is not, or no longer, open under this epoch.
        """
        taken = {"token": {"$add": ["$token", 1]}, "released": False, "holder": {"$literal": holder}}
        found = await self._collection.find_one_and_update(
            {"_id": self._key, "epoch": self._epoch},
            [*set_for(seconds), {"$set": taken}],
            projection={"token": True},
            return_document=ReturnDocument.AFTER,
        )
        if found is None:
            raise LeaseLostError(
                f"The {self._name} cannot be claimed under the lease {self._epoch}: a later run has begun."
            )
        return Lease(operation=self._operation, holder=holder, token=found["token"], seconds=seconds)


class Scopes:
    """All scopes of one operation."""

    def __init__(self, collection: Collection, deliveries: Collection, outbox: Outbox, operation: str) -> None:
        self._collection = collection
        self._deliveries = deliveries
        self._outbox = outbox
        self._operation = operation

    async def prepare(self) -> None:
        """Create the index of an operation's scopes."""
        await self._collection.create_index([("Operation_name", 1), ("Scope", 1)])

    async def claimed_through(self, scopes: Some[int]) -> dict[int | None, int]:
        """Return the token of the last finished claim of each of these scopes, 0 before the first."""
        wanted = {"Operation_name": self._operation, "Scope": {"$in": sorted(scopes)}}
        found = self._collection.find(wanted, {"Scope": True, "claimed_through": True})
        return {one["Scope"]: int(one.get("claimed_through", 0)) async for one in found}

    async def reopen(self, whole: LeaseDocument, lease: Lease, count: int, checkpoint: Checkpoint) -> list[int]:
        """Open the scopes under the operation's lease; see ``base.StateStore.open_scopes``.

        Late writes of a fenced worker are handled as in a claim. If they reach the outbox before this reads it, their
        scope is returned and will be claimed. If they come later, their token is below the claim noted for an empty
        scope, and they do not count.

        A coordinator that has lost its lease changes no scope that its successor has opened, whose epoch is higher.
        """
        now = await whole.fence(lease)
        await checkpoint("open: fenced")
        if not await self._create(lease, count, to_micros(now) // 1000):
            return []
        await checkpoint("open: missing ones created")
        token = {"$max": [{"$add": ["$token", 1]}, to_micros(now) // 1000]}
        await self._collection.update_many(
            {"Operation_name": self._operation, "epoch": {"$lte": lease.token}},
            [{"$set": {"token": token, "epoch": lease.token, "holder": "", "released": True}}],
        )
        await checkpoint("open: all fenced")
        waiting = await self._outbox.waiting_scopes()
        await checkpoint("open: outboxes seen")
        await self._collection.update_many(
            {"Operation_name": self._operation, "epoch": lease.token, "Scope": {"$nin": waiting}},
            [{"$set": {"claimed_through": "$token"}}],
        )
        await checkpoint("open: idle ones claimed")
        # Delete what late workers have written to the ledger only.
        pending = await Ledger(self._deliveries, self._operation).pending_scopes()
        claimed = await self.claimed_through(pending) if pending else {}
        for scope, before in claimed.items():
            await Ledger(self._deliveries, self._operation, scope).sweep(before)
        await whole.fence(lease)
        return waiting

    async def _create(self, lease: Lease, count: int, token: int) -> bool:
        """Insert missing documents, also for leftovers whose document an operator has deleted.

        A token is never behind the clock, so that it is higher than those in the outbox.

        Returns:
            Whether there are any scopes now: an operation that never ran on a cluster has none.
        """
        mine = self._collection.find({"Operation_name": self._operation}, {"Scope": True})
        there = {one["Scope"] async for one in mine}
        waiting = await self._outbox.waiting_scopes()
        documents: list[Document] = [
            {
                "_id": _key(self._operation, scope),
                "Operation_name": self._operation,
                "Scope": scope,
                "epoch": lease.token,
                "token": token,
                "holder": "",
                "expires_at": LONG_AGO,
                "released": True,
            }
            for scope in sorted({*range(count), *waiting} - there)
        ]
        await insert_missing(self._collection, documents)
        return bool(there or documents)


def _key(operation: str, scope: int) -> str:
    return f"{operation}:{scope}"
