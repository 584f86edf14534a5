"""``Incident_Outbox``: the packed bodies without an outcome, in one document or a few for each chunk.

A document, called a *part*, has whole incidents, so each part changes by one atomic write. A run writes all parts of a
chunk before the first post, and each part has their number: a chunk with a missing part was never posted, or has all
its outcomes and was being deleted. A part whose incidents all have outcomes therefore stays, empty, until the whole
chunk is deleted. ``Done_Dtm`` marks bodies that are kept for auditors (``keep_bodies``).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from bson import Binary
from pymongo import ASCENDING

from incident_process.core.models import Chunk, DeliveryStatus, Incident, Outcome, Record
from incident_process.state import codec
from incident_process.state.damage import intact, text, whole
from incident_process.state.mongo.connection import Collection, Document
from incident_process.state.mongo.ledger import insert_missing

PART_BYTES = 8 * 1024 * 1024
"""Bytes of bodies in one part, before packing: half of a MongoDB document's limit (16 MiB)."""


class HeldChunk(Record, frozen=True, kw_only=True):
    """A chunk in the outbox, without its bodies."""

    chunk_id: str
    run_id: str
    ids: tuple[int, ...]
    complete: bool


class Outbox:
    """The outbox of one operation in one scope: a chunk's, or (None) the operation's."""

    def __init__(self, collection: Collection, operation: str, scope: int | None = None, *, keep_bodies: bool) -> None:
        self._collection = collection
        self._operation = operation
        self._scope = scope
        self._mine = {"Operation_name": operation, "Scope": scope}
        self._keep_bodies = keep_bodies

    async def prepare(self) -> None:
        """Create the indexes of pending parts, and of a chunk's parts."""
        await self._collection.create_index([("Operation_name", 1), ("Done_Dtm", 1), ("Scope", 1), ("Token", 1)])
        await self._collection.create_index([("Chunk_Id", 1), ("Part", 1)])

    async def insert(self, chunk: Chunk, token: int, now: datetime) -> None:
        """Write the missing parts of a chunk."""
        parts = list(_split(chunk.incidents))
        await insert_missing(
            self._collection,
            [
                {
                    "_id": f"{chunk.chunk_id}:{number}",
                    **self._mine,
                    "Chunk_Id": chunk.chunk_id,
                    "Run_Id": chunk.run_id,
                    "Part": number,
                    "Parts": len(parts),
                    "First_Id": chunk.incidents[0].incident_id,
                    "Token": token,
                    "Created_Dtm": now,
                    "Done_Dtm": None,
                    **_packed(codec.OutboxEntry(incidents=tuple(part))),
                }
                for number, part in enumerate(parts)
            ],
        )

    async def withdraw(self, chunk_id: str, token: int) -> None:
        """Delete a chunk's pending parts under this token."""
        await self._collection.delete_many(self._waiting(chunk_id, token))

    async def sweep(self, claimed_through: int) -> None:
        """Delete what a late holder wrote after a successor's claim and never posted."""
        await self._collection.delete_many({**self._mine, "Done_Dtm": None, "Token": {"$lt": claimed_through}})

    async def is_empty(self) -> bool:
        """Return whether nothing is pending, under any token."""
        return await self._collection.find_one({**self._mine, "Done_Dtm": None}, {"_id": True}) is None

    async def waiting_scopes(self) -> list[int]:
        """Return the operation's scopes with something pending."""
        of_scopes = {"Operation_name": self._operation, "Done_Dtm": None, "Scope": {"$gte": 0}}
        return sorted(await self._collection.distinct("Scope", of_scopes))

    async def claim(self, claimed_through: int, token: int) -> list[HeldChunk]:
        """Put the token on pending chunks and return them, oldest first.

        It leaves parts with a token from before the last claim to ``sweep``: they may have arrived after this claim's
        sweep, with contents older than what runs have sent since.
        """
        await self._collection.update_many(
            {**self._mine, "Done_Dtm": None, "Token": {"$gte": claimed_through, "$lt": token}},
            {"$set": {"Token": token}},
        )
        parts: dict[str, list[Document]] = defaultdict(list)
        async for part in self._collection.find(
            {**self._mine, "Done_Dtm": None, "Token": token},
            {"Chunk_Id": True, "Run_Id": True, "Parts": True, "Incident_Ids": True},
            sort=[("First_Id", ASCENDING), ("_id", ASCENDING)],
        ):
            parts[part["Chunk_Id"]].append(part)
        return [
            HeldChunk(
                chunk_id=chunk_id,
                run_id=intact("Incident_Outbox.Run_Id", text, found[0].get("Run_Id")),
                ids=tuple(one for part in found for one in intact("Incident_Outbox.Incident_Ids", _ids, part)),
                complete=len(found) == found[0]["Parts"],
            )
            for chunk_id, found in parts.items()
        ]

    async def load(self, chunk_id: str) -> Chunk | None:
        """Return a chunk's pending incidents, or None when there are none, or a part is missing."""
        cursor = self._collection.find(
            {**self._mine, "Chunk_Id": chunk_id, "Done_Dtm": None}, sort=[("Part", ASCENDING)]
        )
        parts = await cursor.to_list()
        if not parts or len(parts) != parts[0]["Parts"]:
            return None
        incidents = tuple(incident for part in parts for incident in _entry(part).pending)
        return Chunk(chunk_id=chunk_id, run_id=parts[0]["Run_Id"], incidents=incidents) if incidents else None

    async def kept_body(self, chunk_id: str, incident_id: int) -> bytes | None:
        """Return a body that is kept for auditors, None where it is not kept."""
        async for part in self._collection.find({"Operation_name": self._operation, "Chunk_Id": chunk_id}):
            body = codec.body_of(_entry(part).incidents, incident_id)
            if body is not None:
                return body
        return None

    async def settle(self, chunk_id: str, token: int, outcomes: Sequence[Outcome], now: datetime) -> None:
        """Remove incidents with an outcome from a chunk, and note the attempts of pending ones.

        Only in parts under this token; it ignores outcomes of others. ``now``: when the chunk is done, if it is.
        """
        waiting = self._waiting(chunk_id, token)
        held = [
            (part["_id"], set(part["Incident_Ids"]))
            async for part in self._collection.find(waiting, {"Incident_Ids": True})
        ]
        finished = {one.incident_id for one in outcomes if one.status is not DeliveryStatus.PENDING}
        if not all(ids <= finished for _, ids in held):
            touched = {one.incident_id for one in outcomes}
            changed = [key for key, ids in held if ids & touched]
            async for part in self._collection.find({**waiting, "_id": {"$in": changed}}):
                entry = codec.settle(_entry(part), outcomes, keep=self._keep_bodies)
                await self._rewrite(part, token, entry)
        elif self._keep_bodies:
            await self._collection.update_many(waiting, {"$set": {"Done_Dtm": now}})
        elif held:
            await self._collection.delete_many(waiting)

    async def replace(self, chunk_id: str, token: int, old_id: int, new: Incident) -> None:
        """Put ``new`` in place of a pending incident; do nothing when the old one is gone."""
        async for part in self._collection.find({**self._waiting(chunk_id, token), "Incident_Ids": old_id}):
            entry = _entry(part)
            incidents = codec.substitute(entry.incidents, old_id, new)
            await self._rewrite(part, token, msgspec.structs.replace(entry, incidents=incidents))

    async def purge(self, older_than: datetime) -> int:
        """Delete kept bodies that were done before ``older_than``; return how many chunks they belonged to.

        The operation's own outbox deletes those of all scopes: no worker needs what is done.
        """
        mine = {"Operation_name": self._operation} if self._scope is None else self._mine
        old = {**mine, "Done_Dtm": {"$lt": older_than}}
        chunks = {part["Chunk_Id"] async for part in self._collection.find(old, {"Chunk_Id": True})}
        await self._collection.delete_many(old)
        return len(chunks)

    def _waiting(self, chunk_id: str, token: int) -> Document:
        return {**self._mine, "Chunk_Id": chunk_id, "Done_Dtm": None, "Token": token}

    async def _rewrite(self, part: Document, token: int, entry: codec.OutboxEntry) -> None:
        await self._collection.update_one({"_id": part["_id"], "Token": token}, {"$set": _packed(entry)})


def _split(incidents: Sequence[Incident]) -> Iterator[list[Incident]]:
    """Yield lists of incidents whose bodies fit one part; at least one incident each."""
    part: list[Incident] = []
    size = 0
    for incident in incidents:
        if part and size + len(incident.body) > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(incident)
        size += len(incident.body)
    if part:
        yield part


def _packed(entry: codec.OutboxEntry) -> Document:
    """Return the fields of a part that depend on its incidents."""
    return {
        "Incident_Ids": [one.incident_id for one in entry.pending],
        "Body": [Binary(piece) for piece in codec.encode(entry)],
    }


def _ids(part: Document) -> list[int]:
    return [whole(one) for one in part.get("Incident_Ids") or ()]


def _entry(part: Document) -> codec.OutboxEntry:
    return codec.decode(part.get("Body", ()))
