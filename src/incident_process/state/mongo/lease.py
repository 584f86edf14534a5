"""``Process_Operation_Lease``: one document an operation, which puts all writers in order.

The document has holder, token and expiry, and three fields that must change together with a check of the token:
``claimed_through`` (see ``delivery_steps``), ``pending`` and ``watermark`` (see ``tracking``). Time is the server's
``$$NOW`` in the same write: neither this host's clock nor a pause before the write can stretch a lease.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from incident_process.core.errors import LeaseHeldError, LeaseLostError
from incident_process.core.models import Lease, LeaseState
from incident_process.state.damage import intact, text, whole
from incident_process.state.mongo.connection import Collection, Document
from incident_process.state.mongo.dates import from_micros, stored_date, to_micros

_RACES = 5
"""Times that another runner may take the lease between read and write before it counts as held."""

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class LeaseDocument:
    """The lease of one operation.

    ``key`` and ``name`` (for messages) differ for the lease of a part of it, see ``scopes``.
    """

    def __init__(self, collection: Collection, operation: str, key: str | None = None, name: str | None = None) -> None:
        self._collection = collection
        self._operation = operation
        self._key = key or operation
        self._name = name or f"operation {operation!r}"
        self._unanswered: str | None = None

    async def acquire(self, holder: str, seconds: float, evict: int | None) -> Lease:
        """Take the lease by compare-and-set on token and expiry; the caller confirms with ``answered``.

        It lasts ``seconds`` from the server's now. ``evict``: the token of a holder that is known to be gone, whose
        lease need not have expired. Raises LeaseHeldError where another runner holds it, or was faster.
        """
        races = 0
        while True:
            seen = await self._look()
            if seen is None:
                await self._create()
                continue
            status = _status(seen)
            # An attempt of our own whose answer was lost blocks nobody: take it over at once.
            unanswered = self._unanswered is not None and seen.get("attempt") == self._unanswered
            if races == _RACES or (status.active and status.token != evict and not unanswered):
                raise LeaseHeldError(status.holder, status.token, status.expires_at)
            races += 1
            # Never behind the clock: when an operator deletes this document to free a lease, the next holder's token
            # must not be lower than those in the outbox.
            token = max(status.token + 1, to_micros(seen["now"]) // 1000)
            self._unanswered = uuid4().hex
            taken = await self._collection.update_one(
                {"_id": self._key, "token": seen["token"], "expires_at": seen["expires_at"]},
                set_for(seconds, holder=holder, token=token, released=False, attempt=self._unanswered),
            )
            if taken.matched_count:
                return Lease(operation=self._operation, holder=holder, token=token, seconds=seconds)

    def answered(self) -> None:
        """Note that the caller knows of its lease, which then counts as any other."""
        self._unanswered = None

    async def fence(self, lease: Lease, **changes: Any) -> datetime:
        """Extend the lease and apply changes to its document, in one write that needs the newest token.

        Returns:
            The server's time of that write, in whole milliseconds.

        Raises:
            LeaseLostError: Another runner has taken over, or the lease was released.
        """
        found = await self._collection.find_one_and_update(
            {"_id": self._key, "token": lease.token, "released": False},
            set_for(lease.seconds, **changes),
            projection={"expires_at": True},
            return_document=ReturnDocument.AFTER,
        )
        if found is None:
            raise LeaseLostError(f"Another runner has taken over {self._name}.")
        expires_at: datetime = found["expires_at"]
        return expires_at - timedelta(milliseconds=_milliseconds(lease.seconds))

    async def raise_as_of(self, lease: Lease, instant: datetime) -> datetime:
        """Note the instant if it is the latest, and return the latest.

        A read before the write suffices: only the holder writes it, and the write checks the token.
        """
        known = (await self.read()).get("as_of")
        latest = to_micros(instant) if known is None else max(_whole(known, "as_of"), to_micros(instant))
        await self.fence(lease, as_of=latest)
        return from_micros(latest)

    async def release(self, lease: Lease) -> None:
        """Let the lease expire now. ``released`` keeps a late heartbeat from reviving it."""
        await self._collection.update_one(
            {"_id": self._key, "token": lease.token, "released": False}, set_for(0, released=True, holder="")
        )

    async def status(self) -> LeaseState | None:
        """Return who holds the lease, or None when it was never taken."""
        seen = await self._look()
        return _status(seen) if seen is not None and seen.get("token") != 0 else None

    async def read(self) -> Document:
        """Return the whole document, empty when there is none."""
        return await self._collection.find_one({"_id": self._key}) or {}

    async def claimed_through(self) -> int:
        """Return the token of the last finished claim, 0 before the first."""
        found = await self._collection.find_one({"_id": self._key}, {"claimed_through": True})
        return _whole((found or {}).get("claimed_through", 0), "claimed_through")

    async def drop_intent(self, intent_id: str, watermark: Document | None) -> None:
        """Clear a pending advance, unless another runner has done so, and note its exact watermark."""
        update: Document = {"$unset": {"pending": ""}}
        if watermark is not None:
            update["$set"] = {"watermark": watermark}
        await self._collection.update_one({"_id": self._key, "pending.id": intent_id}, update)

    async def _look(self) -> Document | None:
        """Read the document together with the server's time."""
        cursor = await self._collection.aggregate(
            [
                {"$match": {"_id": self._key}},
                {"$project": {"holder": 1, "token": 1, "expires_at": 1, "attempt": 1, "now": "$$NOW"}},
            ]
        )
        found = await cursor.to_list()
        return found[0] if found else None

    async def _create(self) -> None:
        """Insert the document of a free lease; of two racers one inserts, and both then compare and set."""
        try:
            await self._collection.insert_one(
                {"_id": self._key, "holder": "", "token": 0, "expires_at": LONG_AGO, "released": True}
            )
        except DuplicateKeyError:
            return


def _status(seen: Document) -> LeaseState:
    expires_at = intact("Process_Operation_Lease.expires_at", stored_date, seen.get("expires_at"))
    return LeaseState(
        holder=intact("Process_Operation_Lease.holder", text, seen.get("holder")),
        token=intact("Process_Operation_Lease.token", whole, seen.get("token")),
        expires_at=expires_at,
        active=expires_at > seen["now"],
    )


def _whole(stored: Any, field: str) -> int:
    return intact(f"Process_Operation_Lease.{field}", whole, stored)


def set_for(seconds: float, **changes: Any) -> list[Document]:
    """Return the update that lets the lease expire in ``seconds`` and sets the changes."""
    literal = {name: {"$literal": value} for name, value in changes.items()}
    return [{"$set": {"expires_at": {"$add": ["$$NOW", _milliseconds(seconds)]}, **literal}}]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
