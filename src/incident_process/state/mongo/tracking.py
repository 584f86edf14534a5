"""``Process_Operation`` as the team's other programs read it, moved by an intent that any successor can finish.

The document has five fields and no room for a token (SPEC 6), so an advance has three steps:

1. write the *intent* (from where, to where) to the lease document, in one write that checks the token: this decides the
   advance;
2. move ``Process_Operation`` by compare-and-set on the intent's start;
3. clear the intent, and note the exact watermark (BSON dates end at milliseconds) in the same write.

The next runner that takes the lease or reads the operation finishes a leftover intent. A late holder between the steps
finds nothing more to match. A document that is neither at the intent's start nor at its end was edited by hand: that
value applies, and the intent is dropped.
"""

from datetime import datetime
from typing import Any
from uuid import uuid4

from bson import ObjectId
from pymongo.errors import DuplicateKeyError, OperationFailure

from incident_process.core import logs
from incident_process.core.errors import ConfigurationError, DatabaseConnectionError, LeaseLostError
from incident_process.core.models import Advance, Lease, Operation, Record
from incident_process.state.mongo.connection import Checkpoint, Collection, Document
from incident_process.state.mongo.dates import from_micros, read_date, to_bson, to_micros
from incident_process.state.mongo.lease import LeaseDocument

log = logs.get_logger()

SEQUENCE = "Process_Operation_Sequence"
LAST = "Last_execution_dtm"
NAME = "Operation_name"

_FORMER_INDEX = "Operation_name_1"
"""An index of earlier versions over all names, also those of other programs."""

_RACES = 5
"""Times that other programs may change the document during a move before the runner gives up."""


class _Seen(Record, frozen=True, kw_only=True):
    """The document as it was read: what it means, and the raw values for a compare-and-set."""

    key: Any
    sequence: int
    last: datetime
    raw: dict[str, Any]


class MongoTracking:
    """The tracking document of one operation."""

    def __init__(self, collection: Collection, lease: LeaseDocument, operation: str, checkpoint: Checkpoint) -> None:
        self._collection = collection
        self._lease = lease
        self._operation = operation
        self._checkpoint = checkpoint

    async def prepare(self) -> None:
        """Raise ConfigurationError where the operation has several documents.

        No index enforces a single one: the first has its key from the intent, and all later steps are updates. It
        leaves other programs' indexes and documents alone.
        """
        await self._drop_former_index()
        if len(await self._collection.find({NAME: self._operation}, {"_id": True}).limit(2).to_list()) > 1:
            raise ConfigurationError(
                f"Process_Operation holds several documents with the Operation_name {self._operation!r}: "
                "keep the right one, delete the others, then start again."
            )

    async def _drop_former_index(self) -> None:
        found = (await self._collection.index_information()).get(_FORMER_INDEX, {})
        # An index of this name that the team has made has no such condition.
        if not found.get("unique") or found.get("partialFilterExpression") != {NAME: {"$gt": ""}}:
            return
        try:
            await self._collection.drop_index(_FORMER_INDEX)
        except OperationFailure as exc:  # another runner was faster, or the user may not: the index does no harm
            log.debug(
                "The index %s of Process_Operation was not dropped (code %s).",
                _FORMER_INDEX,
                exc.code,
                extra=logs.event("index_not_dropped"),
            )

    async def read(self) -> Operation | None:
        """Return the operation, or None when it has no document; finish a crashed holder's intent."""
        document = await self._settle()
        seen = await self._see()
        return self._operation_of(seen, document.get("watermark")) if seen else None

    async def advance(self, lease: Lease, step: Advance) -> Operation:
        """Move the document by ``step``; see ``base.StateStore.advance``."""
        await self._lease.fence(lease)
        mark = (await self._settle()).get("watermark")
        seen = await self._see()
        current = self._operation_of(seen, mark) if seen else Operation(name=self._operation)
        if _is_applied(mark, lease, step):
            return current
        if (current.sequence, current.last_execution) != (step.before.sequence, step.before.last_execution):
            raise LeaseLostError(f"Process_Operation of {self._operation!r} was changed during the run.")
        if not step.new_data:
            return current
        intent = {
            "id": uuid4().hex,
            "token": lease.token,
            "key": ObjectId(),
            "from": {"sequence": seen.sequence, "micros": to_micros(seen.last)} if seen else None,
            "to": {"sequence": current.sequence + 1, "micros": to_micros(step.watermark)},
            "ended": to_bson(step.ended_at),
        }
        await self._checkpoint("advance: before the intent")
        await self._lease.fence(lease, pending=intent)
        await self._checkpoint("advance: intent written")
        if not await self._finish(intent):
            raise LeaseLostError(f"Process_Operation of {self._operation!r} was changed during the run.")
        return Operation(name=self._operation, sequence=current.sequence + 1, last_execution=step.watermark)

    async def _settle(self) -> Document:
        """Finish a pending intent; return the lease document after that."""
        document = await self._lease.read()
        if document.get("pending"):
            await self._finish(document["pending"])
            document = await self._lease.read()
        return document

    async def _finish(self, intent: Document) -> bool:
        """Take steps 2 and 3; return False when the document is elsewhere, so that its value applies."""
        applied = await self._project(intent)
        await self._checkpoint("advance: document moved")
        mark = {**intent["to"], "token": intent["token"]} if applied else None
        await self._lease.drop_intent(intent["id"], mark)
        return applied

    async def _project(self, intent: Document) -> bool:
        target = {
            SEQUENCE: intent["to"]["sequence"],
            LAST: to_bson(from_micros(intent["to"]["micros"])),
            "end_dtm": intent["ended"],
        }
        for _ in range(_RACES):
            seen = await self._see()
            if seen is not None and (seen.sequence, seen.last) == (target[SEQUENCE], target[LAST]):
                return True
            if intent["from"] is None and seen is None:
                # The key is part of the intent, so that two runners who finish it at once insert one document.
                await self._checkpoint("advance: about to insert")
                first = {"_id": intent["key"], NAME: self._operation, "created_dtm": intent["ended"], **target}
                try:
                    await self._collection.insert_one(first)
                except DuplicateKeyError:
                    continue
                return True
            if seen is None or intent["from"] != {"sequence": seen.sequence, "micros": to_micros(seen.last)}:
                return False
            moved = await self._collection.update_one({"_id": seen.key, **seen.raw}, {"$set": target})
            if moved.matched_count:
                return True
        raise DatabaseConnectionError("Process_Operation keeps changing while it is being moved; try again.")

    async def _see(self) -> _Seen | None:
        """Read the document; of several, the one with the highest sequence counts."""
        found = await self._collection.find_one({NAME: self._operation}, sort=[(SEQUENCE, -1), ("_id", 1)])
        if found is None:
            return None
        raw = {name: {"$eq": found[name]} if name in found else {"$exists": False} for name in (SEQUENCE, LAST)}
        return _Seen(
            key=found["_id"],
            sequence=_read_sequence(found.get(SEQUENCE)),
            last=read_date(found.get(LAST), LAST),
            raw=raw,
        )

    def _operation_of(self, seen: _Seen, mark: Document | None) -> Operation:
        """Return the document's operation, with the exact watermark if both are of the same step."""
        last = seen.last
        if mark and mark["sequence"] == seen.sequence and to_bson(from_micros(mark["micros"])) == last:
            last = from_micros(mark["micros"])
        return Operation(name=self._operation, sequence=seen.sequence, last_execution=last)


def _is_applied(mark: Document | None, lease: Lease, step: Advance) -> bool:
    """Tell whether an earlier call under this lease, whose answer was lost, took this step."""
    return step.new_data and mark == {
        "sequence": step.before.sequence + 1,
        "micros": to_micros(step.watermark),
        "token": lease.token,
    }


def _read_sequence(value: Any) -> int:
    """Return the sequence as a number; other programs may omit it, or write it as 3.0 or as text."""
    try:
        return int(value) if value is not None else 0
    except (TypeError, ValueError, OverflowError) as exc:
        raise ConfigurationError(f"Process_Operation holds a {SEQUENCE} that is no number: write it as one.") from exc
