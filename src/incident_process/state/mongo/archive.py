"""Reads and restores the ledger and ``Process_Operation`` for a copy of the state (``state_copy``)."""

from collections.abc import Sequence

import msgspec

from incident_process.core.models import Lease, LedgerEntry, Operation
from incident_process.state.mongo.connection import Collection
from incident_process.state.mongo.dates import to_bson, to_micros
from incident_process.state.mongo.lease import LeaseDocument
from incident_process.state.mongo.ledger import PENDING, document_of, entry_of, insert_missing

COPIED = "copied"
"""The chunk id of copied entries: their own chunk is in another state."""


async def ledger_after(collection: Collection, operation: str, incident_id: int, limit: int) -> list[LedgerEntry]:
    """Return entries that have an outcome, above an id, in ascending order."""
    wanted = {"_id": {"$gt": incident_id}, "Operation_name": operation, "Status": {"$ne": PENDING}}
    found = await collection.find(wanted).sort("_id", 1).limit(limit).to_list()
    return [
        msgspec.structs.replace(
            entry_of(one), rows_digest=one.get("Rows_Digest", ""), earlier=tuple(one.get("Earlier_Digests") or ())
        )
        for one in found
    ]


async def restore_ledger(collection: Collection, operation: str, lease: Lease, entries: Sequence[LedgerEntry]) -> None:
    """Write the missing entries."""
    here = [msgspec.structs.replace(entry, operation=operation) for entry in entries]
    await insert_missing(collection, [document_of(entry, COPIED, None, lease.token) for entry in here])


async def restore_operation(collection: Collection, lease: LeaseDocument, held: Lease, given: Operation) -> None:
    """Write the given operation to ``Process_Operation``, and note its exact watermark."""
    mark = {"sequence": given.sequence, "micros": to_micros(given.last_execution), "token": held.token}
    now = await lease.fence(held, watermark=mark)
    document = {
        "Process_Operation_Sequence": given.sequence,
        "Last_execution_dtm": to_bson(given.last_execution),
        "end_dtm": now,
    }
    await collection.update_one(
        {"Operation_name": given.name}, {"$set": document, "$setOnInsert": {"created_dtm": now}}, upsert=True
    )
