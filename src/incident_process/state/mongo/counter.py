"""``Incident_Counter``: one document for the whole store, so that an Incident_Id is used once over all operations."""

from pymongo.errors import DuplicateKeyError

from incident_process.core.errors import DatabaseConnectionError
from incident_process.state.damage import intact, whole
from incident_process.state.mongo.connection import Collection

_KEY = "Incident_Id"

_RACES = 100
"""Races lost in a row at most. Other operations count here too, and each race has a winner: so many are a fault."""


async def reserve(collection: Collection, count: int, floor: int) -> int:
    """Reserve ``count`` consecutive ids, none below ``floor``, and return the first (SPEC 5).

    By compare-and-set rather than ``$inc``: repeating a write whose answer was lost wastes ids but never reserves the
    same ones twice, and the floor is part of the same write.

    Raises:
        DatabaseConnectionError: Other callers kept changing the counter.
    """
    for _ in range(_RACES):
        found = await collection.find_one({"_id": _KEY})
        first = max(intact("Incident_Counter.next", whole, found.get("next")) if found else 0, floor)
        if found is None:
            try:
                await collection.insert_one({"_id": _KEY, "next": first + count})
            except DuplicateKeyError:
                continue
            return first
        taken = await collection.update_one({"_id": _KEY, "next": found["next"]}, {"$set": {"next": first + count}})
        if taken.matched_count:
            return first
    raise DatabaseConnectionError("Incident_Counter keeps changing while ids are being reserved; try again.")
