"""``Incident_Delivery``: one document an incident, ``_id`` = Incident_Id.

``Token`` is the fencing token of the holder that may still change a pending entry, and ``Scope`` names its sequence of
tokens: a chunk's, or (null, or no such field) the operation's own. A holder that had lost its lease wrote every pending
entry whose token is older than the last finished claim of its scope: it was never posted, and it does not count
(``history``).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import DeleteMany, DeleteOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError

from incident_process.core.models import Chunk, DeliveryStatus, LedgerEntry, Outcome, first_entries
from incident_process.state.batches import batches, equal_outcomes, id_ranges
from incident_process.state.codec import LAST_CHARACTER
from incident_process.state.damage import intact, ledger_entry
from incident_process.state.mongo.connection import DUPLICATE_KEY, Checkpoint, Collection, Document
from incident_process.state.mongo.dates import stored_date, to_bson
from incident_process.state.remembered import mark

PENDING = DeliveryStatus.PENDING.value

LIST = 100
"""Values in one ``$in``. Some servers compare a list value by value with every candidate, so that the work grows with
its square; writes go as one batch of such lists, and reads at ten lists a chunk are cheap enough."""

_BATCH = 1000
"""Entries that one command writes: a chunk, and few enough for the socket's time-out."""


class Ledger:
    """The ledger of one operation; it writes in one scope, a chunk's or (None) the operation's."""

    def __init__(self, collection: Collection, operation: str, scope: int | None = None) -> None:
        self._collection = collection
        self._operation = operation
        self._scope = scope

    async def prepare(self) -> None:
        """Create the indexes by account, by status and by run."""
        # The first one answers the first query of ``History.last_known`` without reading a document.
        await self._collection.create_index(
            [("Operation_name", 1), ("Account_Num", 1), ("Status", 1), ("_id", 1), ("Token", 1)]
        )
        await self._collection.create_index([("Operation_name", 1), ("Status", 1), ("_id", 1)])
        await self._collection.create_index([("Run_Id", 1), ("_id", 1)])

    # -- writes, all of them conditional on the token --------------------------------------------------------------

    async def insert(self, chunk: Chunk, token: int, now: datetime) -> list[int]:
        """Write the missing entries of a chunk.

        Returns:
            The ids that the ledger has under another chunk.
        """
        entries = first_entries(chunk, self._operation, now)
        documents = [document_of(entry, chunk.chunk_id, self._scope, token) for entry in entries]
        if not await insert_missing(self._collection, documents):
            return []
        taken: list[int] = []
        for some in batches([document["_id"] for document in documents], LIST):
            others = {"_id": {"$in": some}, "Chunk_Id": {"$ne": chunk.chunk_id}}
            taken += [found["_id"] async for found in self._collection.find(others, {"_id": True})]
        return taken

    async def withdraw(self, chunk: Chunk, token: int) -> None:
        """Delete what ``insert`` wrote under this token."""
        ids = [one.incident_id for one in chunk.incidents] + [one.incident_id for one in chunk.parked]
        mine = {"Chunk_Id": chunk.chunk_id, "Token": token}
        await self._write([DeleteMany({"_id": {"$in": some}, **mine}) for some in batches(ids, LIST)])

    async def discard(self, incident_id: int, token: int) -> None:
        """Delete an entry if it is pending and this token, or an older one, may change it."""
        await self._collection.delete_one({"_id": incident_id, "Status": PENDING, "Token": {"$lte": token}})

    async def discard_chunk(self, run_id: str, chunk_id: str, token: int) -> None:
        """Delete the pending entries of a chunk that was never sent as a whole."""
        await self._collection.delete_many(
            {"Run_Id": run_id, "Chunk_Id": chunk_id, "Status": PENDING, "Token": {"$lte": token}}
        )

    async def sweep(self, claimed_through: int) -> None:
        """Delete the scope's pending entries that a late holder wrote after a successor's claim."""
        mine = {"Operation_name": self._operation, "Status": PENDING, "Scope": self._scope}
        await self._collection.delete_many({**mine, "Token": {"$lt": claimed_through}})

    async def pending_scopes(self) -> list[int]:
        """Return the scopes with pending entries."""
        of_scopes = {"Operation_name": self._operation, "Status": PENDING, "Scope": {"$gte": 0}}
        return sorted(await self._collection.distinct("Scope", of_scopes))

    async def take(self, ids: Sequence[int], token: int) -> dict[int, DeliveryStatus]:
        """Put the token on the pending ones of these entries; return the status of all that are ours or final.

        A missing entry has yet to be written, or an earlier holder wrote it only just now: ask again.
        """
        older = {"Status": PENDING, "Token": {"$lt": token}}
        await self._write(
            [UpdateMany({"_id": {"$in": some}, **older}, {"$set": {"Token": token}}) for some in batches(ids, LIST)]
        )
        found: dict[int, DeliveryStatus] = {}
        for some in batches(ids, LIST):
            async for entry in self._collection.find({"_id": {"$in": some}}, {"Status": True, "Token": True}):
                if entry["Status"] != PENDING or entry["Token"] == token:
                    found[entry["_id"]] = status_of(entry["Status"])
        return found

    async def record(self, token: int, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes to the entries that are still pending under this token, one statement per kind of outcome."""
        statements: list[UpdateMany] = []
        for one, ids in equal_outcomes(outcomes):
            told: Document = {
                "Status": one.status.value,
                "Attempts": one.attempts,
                "Runs": one.runs,
                "Updated_Dtm": to_bson(one.at),
            }
            if one.is_tried:
                told |= {"Last_Http_Status": one.http_status, "Last_Error": one.error}
            mine = {"Status": PENDING, "Token": token}
            statements += [UpdateMany({"_id": some, **mine}, {"$set": told}) for some in _selected(ids)]
        await self._write(statements, at_once=_BATCH // LIST if len(outcomes) <= _BATCH else 1)

    async def delete_superseded(self, superseded: Mapping[int, int], checkpoint: Checkpoint) -> int:
        """Delete entries, and mark the contents of delivered ones in the delivered entries that their ids lead to.

        It marks before it deletes, and deletes an entry only with the marks that it has read: so a mark that another
        prune adds meanwhile is not lost. Returns how many entries it deleted.
        """
        found: dict[int, Document] = {}
        fields = {"Status": True, "Digest": True, "Earlier_Digests": True}
        for some in batches(list(superseded), LIST):
            mine = {"_id": {"$in": some}, "Operation_name": self._operation, "Status": {"$ne": PENDING}}
            found |= {one["_id"]: one async for one in self._collection.find(mine, fields)}
        kept: dict[int, list[str]] = defaultdict(list)
        delivered_ids = {number for number, one in found.items() if one["Status"] == DeliveryStatus.DELIVERED.value}
        for number, entry in found.items():
            if not superseded[number]:
                continue
            kept[superseded[number]] += [*(entry.get("Earlier_Digests") or ()), mark(entry["Digest"])]
        delivered = {"Operation_name": self._operation, "Status": DeliveryStatus.DELIVERED.value}
        await self._write(
            [
                UpdateOne({"_id": number, **delivered}, {"$addToSet": {"Earlier_Digests": {"$each": earlier}}})
                for number, earlier in kept.items()
            ]
        )
        await checkpoint("prune: marked")
        there: set[int] = set()
        for some in batches(list({superseded[number] for number in found}), LIST):
            there |= {
                one["_id"] async for one in self._collection.find({"_id": {"$in": some}, **delivered}, {"_id": 1})
            }
        deleted = 0
        gone = [
            DeleteOne({"_id": number, "Earlier_Digests": entry.get("Earlier_Digests")})
            for number, entry in found.items()
            if superseded[number] in there or (not superseded[number] and number not in delivered_ids)
        ]
        for statements in batches(gone, LIST):
            deleted += (await self._collection.bulk_write(statements, ordered=False)).deleted_count
        return deleted

    async def _write(
        self, statements: Sequence[UpdateMany | UpdateOne | DeleteMany], at_once: int = _BATCH // LIST
    ) -> None:
        for some in batches(statements, at_once):
            await self._collection.bulk_write(some, ordered=False)

    # -- reads -----------------------------------------------------------------------------------------------------

    async def delivered_accounts(self, after: str) -> Sequence[str]:
        """Return the next page of accounts with a delivered incident, ascending; none when there are no more.

        Pages instead of one cursor: the caller may take longer over a page than a cursor lives.
        """
        delivered = {"Operation_name": self._operation, "Status": DeliveryStatus.DELIVERED.value}
        cursor = self._collection.find(
            {**delivered, "Account_Num": {"$gt": after}},
            {"_id": False, "Account_Num": True},
            sort=[("Account_Num", 1)],
            limit=_BATCH,
        )
        # A page may end within an account's entries; the next one starts after the account, not after the entry.
        return tuple(dict.fromkeys([found["Account_Num"] async for found in cursor]))

    async def accounts(self, starting: str, limit: int) -> Sequence[str]:
        """Return accounts that begin with the text, in ascending order of code points."""
        among = {"$gte": starting, "$lte": starting + LAST_CHARACTER}
        wanted = {"Operation_name": self._operation, "Account_Num": among}
        cursor = await self._collection.aggregate(
            [{"$match": wanted}, {"$group": {"_id": "$Account_Num"}}, {"$sort": {"_id": 1}}, {"$limit": limit}]
        )
        return [found["_id"] async for found in cursor]

    async def delivering_chunk(self, incident_id: int) -> str | None:
        """Return the chunk of a delivered incident; None when it was not delivered."""
        wanted = {"_id": incident_id, "Operation_name": self._operation, "Status": DeliveryStatus.DELIVERED.value}
        found = await self._collection.find_one(wanted, {"Chunk_Id": True})
        return None if found is None else str(found["Chunk_Id"])

    async def list(self, wanted: Document, limit: int) -> list[LedgerEntry]:
        """Return the entries whose fields are as wanted, newest Incident_Id first."""
        cursor = self._collection.find({"Operation_name": self._operation, **wanted}, sort=[("_id", -1)], limit=limit)
        return [entry_of(found) async for found in cursor]

    async def counts(self) -> dict[DeliveryStatus, int]:
        """Return how many entries have each status; a status without entries is 0."""
        cursor = await self._collection.aggregate(
            [
                {"$match": {"Operation_name": self._operation}},
                {"$group": {"_id": "$Status", "count": {"$sum": 1}}},
            ]
        )
        by_status = {status_of(group["_id"]): int(group["count"]) async for group in cursor}
        return {status: by_status.get(status, 0) for status in DeliveryStatus}


def document_of(entry: LedgerEntry, chunk_id: str, scope: int | None, token: int) -> Document:
    """Return an entry as a document of a chunk, which the token may change."""
    earlier = {"Earlier_Digests": list(entry.earlier)} if entry.earlier else {}
    return {
        **earlier,
        "_id": entry.incident_id,
        "Operation_name": entry.operation,
        "Account_Num": entry.account,
        "Digest": entry.digest,
        "Rows_Digest": entry.rows_digest,
        "Idempotency_Key": entry.key,
        "Status": entry.status.value,
        "Attempts": entry.attempts,
        "Runs": entry.runs,
        "Last_Http_Status": entry.http_status,
        "Last_Error": entry.error,
        "Run_Id": entry.run_id,
        "Chunk_Id": chunk_id,
        "Scope": scope,
        "Token": token,
        "Created_Dtm": to_bson(entry.created_at),
        "Updated_Dtm": to_bson(entry.updated_at),
    }


async def insert_missing(collection: Collection, documents: Sequence[Document]) -> bool:
    """Insert the documents whose keys are missing, in batches; return True when some keys were there."""
    duplicates = False
    for some in batches(documents, _BATCH):
        try:
            await collection.insert_many(some, ordered=False)
        except BulkWriteError as exc:
            errors = exc.details.get("writeErrors", ())
            if exc.details.get("writeConcernErrors") or any(error.get("code") != DUPLICATE_KEY for error in errors):
                raise
            duplicates = True
    return duplicates


def _selected(ids: Sequence[int]) -> Iterable[Document]:
    """Yield conditions that together select exactly these ids."""
    for some in batches(sorted(ids), _BATCH):
        ranges, single = id_ranges(some)
        for first, last in ranges:
            yield {"$gte": first, "$lte": last}
        for few in batches(single, LIST):
            yield {"$in": list(few)}


def status_of(stored: Any) -> DeliveryStatus:
    """Return a stored status as the program has it."""
    return intact("Incident_Delivery.Status", DeliveryStatus, stored)


def entry_of(found: Document) -> LedgerEntry:
    """Return a document as a record."""
    return ledger_entry(found, "_id", stored_date)
