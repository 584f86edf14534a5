"""``Process_Operation_Identity`` in MongoDB: what the state knows of its operations, its form, and new names.

A rename is many writes without a transaction. It first marks both names, and no run begins under a marked name; every
later step may be repeated, and the last one removes the marks.
"""

from typing import Any

import msgspec
from pymongo.asynchronous.database import AsyncDatabase

from incident_process.core.errors import ConfigurationError
from incident_process.core.models import Identity, RunKind
from incident_process.state import schema_version
from incident_process.state.mongo.connection import Checkpoint, Collection, Document
from incident_process.state.mongo.lease import LONG_AGO

_RENAMED = ("Process_Operation_Run", "Incident_Outbox")
PART = 20_000
"""Ledger entries that one write renames: few enough for a socket's time-out."""
_OTHER_FORMS = ("Process_Operation_Run", "Incident_Delivery")
_OF_A_RUN = {"Kind": {"$ne": RunKind.PRUNE.value}}
"""A prune takes no lease: its record may follow a rename, and makes no operation known. Entries have no such field."""


class Identities:
    """What the state knows of its operations."""

    def __init__(self, database: AsyncDatabase[Document], operation: str, server: str, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._database = database
        self._operation = operation
        self._server = server
        self._collection: Collection = database["Process_Operation_Identity"]
        self._versions: Collection = database["Incident_State_Version"]

    async def note_version(self) -> None:
        """Note the form of this version of the program; raise ConfigurationError for a state of a later one.

        A state of 0.1.0 needs nothing else: the first document creates its collection.
        """
        version = await self._version()
        schema_version.require(version, f"MongoDB at {self._server}")
        if version is None or version.number < schema_version.CURRENT:
            form = {"Version": schema_version.CURRENT, "Needs": schema_version.NEEDS}
            await self._versions.update_one({"_id": "state"}, {"$max": form}, upsert=True)

    async def _version(self) -> schema_version.Version | None:
        found = await self._versions.find_one({"_id": "state"})
        return None if found is None else schema_version.stored(found.get("Version"), found.get("Needs"))

    async def read(self) -> Identity | None:
        """Return what is known of the operation; only its name, if it last ran under 0.1.0."""
        found = await self._collection.find_one({"_id": self._operation})
        if found is not None:
            return _identity(found)
        named = {"Operation_name": self._operation, **_OF_A_RUN}
        for collection in _OTHER_FORMS:
            if await self._database[collection].find_one(named, {"_id": True}) is not None:
                return Identity(operation=self._operation, key_name=self._operation)
        return None

    async def write(self, identity: Identity) -> None:
        """Replace what is known of an operation."""
        await self._collection.replace_one({"_id": identity.operation}, _document(identity), upsert=True)

    async def add(self) -> bool:
        """Add the operation; return whether it was new."""
        if await self.read() is not None:
            return False
        fresh = _document(Identity(operation=self._operation, key_name=self._operation))
        added = await self._collection.update_one({"_id": self._operation}, {"$setOnInsert": fresh}, upsert=True)
        return added.upserted_id is not None

    async def known(self) -> list[Identity]:
        """Return what is known of every operation in the state."""
        found = {item["_id"]: _identity(item) async for item in self._collection.find()}
        runs = self._database["Process_Operation_Run"]
        for name in await runs.distinct("Operation_name"):
            if name not in found and await runs.find_one({"Operation_name": name, **_OF_A_RUN}, {"_id": True}):
                found[name] = Identity(operation=name, key_name=name)
        return list(found.values())

    async def tracked(self) -> list[str]:
        """Return the names in ``Process_Operation``."""
        names = await self._database["Process_Operation"].distinct("Operation_name")
        return [name for name in names if isinstance(name, str)]

    # -- another name -------------------------------------------------------------------------------------------------

    async def begin_rename(self, new: str) -> None:
        """Mark both names; raise ConfigurationError where an operation of the new name has run."""
        begun = await self._collection.find_one({"_id": new, "Renaming": self._operation})
        if begun is None:
            await self._make_way(new)
            known = await self.read() or Identity(operation=self._operation, key_name=self._operation)
            await self._mark(known, self._operation, other=new)
            await self._mark(known, new, other=self._operation)

    async def finish_rename(self, new: str) -> None:
        """Move everything to the new name and remove the marks; may be repeated."""
        old = self._operation
        named, renamed = {"Operation_name": old}, {"$set": {"Operation_name": new}}
        await self._checkpoint("rename: begun")
        await self._rename_ledger(old, renamed)
        await self._checkpoint("rename: ledger moved")
        for collection in _RENAMED:
            await self._database[collection].update_many(named, renamed)
        # The next run opens a chunk's lease again, and its key contains the name.
        await self._rekey("Process_Operation_Scope", named, lambda found: f"{new}:{found['Scope']}", renamed)
        conditions = {"_id.Operation_name": old}
        await self._rekey("Process_Operation_Condition", conditions, lambda found: {**found["_id"], **renamed["$set"]})
        await self._rekey("Process_Operation_Lease", {"_id": old}, lambda _: new)
        await self._checkpoint("rename: lease moved")
        free = {"$set": {"holder": "", "expires_at": LONG_AGO, "released": True}}
        await self._database["Process_Operation_Lease"].update_one({"_id": new}, free)
        await self._database["Process_Operation"].update_one(named, renamed)
        await self._checkpoint("rename: document moved")
        await self._collection.delete_one({"_id": old})
        await self._checkpoint("rename: old name forgotten")
        await self._collection.update_one({"_id": new}, {"$unset": {"Renaming": ""}})

    async def _make_way(self, new: str) -> None:
        """Remove what ``init`` has written under the new name."""
        named = {"Operation_name": new}
        for collection in (*_OTHER_FORMS, "Process_Operation"):
            if await self._database[collection].find_one({**named, **_OF_A_RUN}, {"_id": True}) is not None:
                raise ConfigurationError(
                    f"Operation '{new}' has runs or a watermark of its own in this state: give a name that is free."
                )
        await self._database["Process_Operation_Lease"].delete_one({"_id": new})
        await self._database["Process_Operation_Scope"].delete_many(named)

    async def _mark(self, known: Identity, operation: str, other: str) -> None:
        await self.write(msgspec.structs.replace(known, operation=operation, renaming=other, moved_to=None))

    async def _rename_ledger(self, old: str, renamed: Document) -> None:
        ledger = self._database["Incident_Delivery"]
        after = 0
        while True:
            wanted = {"_id": {"$gt": after}, "Operation_name": old}
            part = await ledger.find(wanted, {"_id": True}).sort("_id", 1).limit(PART).to_list()
            if not part:
                return
            last = part[-1]["_id"]
            await ledger.update_many({"_id": {"$gt": after, "$lte": last}, "Operation_name": old}, renamed)
            after = last

    async def _rekey(self, collection: str, wanted: Document, key: Any, change: Document | None = None) -> None:
        """Give documents another key. MongoDB cannot change one, so each is inserted anew, then deleted.

        A document that has its new key already is right: an earlier call wrote it.
        """
        documents = self._database[collection]
        async for found in documents.find(wanted):
            anew = {**found, "_id": key(found), **(change["$set"] if change else {})}
            await documents.update_one({"_id": anew["_id"]}, {"$setOnInsert": anew}, upsert=True)
            await documents.delete_one({"_id": found["_id"]})


def _document(identity: Identity) -> Document:
    document = {
        "_id": identity.operation,
        "Key_Name": identity.key_name,
        "Source": identity.source,
        "Receiver": identity.receiver,
        "Moved_To": identity.moved_to,
    }
    return document if identity.renaming is None else {**document, "Renaming": identity.renaming}


def _identity(found: Document) -> Identity:
    return Identity(
        operation=found["_id"],
        key_name=found["Key_Name"],
        source=found.get("Source"),
        receiver=found.get("Receiver"),
        renaming=found.get("Renaming"),
        moved_to=found.get("Moved_To"),
    )
