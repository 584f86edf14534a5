"""``Process_Operation_Condition`` in MongoDB: one document for each present condition (``state.alert_store``)."""

from typing import Any

from pymongo.errors import DuplicateKeyError

from incident_process.state.alert_store import AlertCondition, Stage
from incident_process.state.damage import intact
from incident_process.state.mongo.connection import Connection, Document, translated
from incident_process.state.mongo.dates import stored_date, to_bson


@translated
class MongoConditions:
    """``AlertStore`` in a MongoDB database; arguments as in ``MongoStateStore``."""

    def __init__(self, url: str, database: str, operation: str) -> None:
        self._connection = Connection(url, database)
        self.server = self._connection.server
        self._operation = operation

    async def __aenter__(self) -> "MongoConditions":
        """Connect; the first document creates the collection."""
        self._collection = (await self._connection.open())["Process_Operation_Condition"]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the connections."""
        await self._connection.close()

    async def all(self) -> dict[str, AlertCondition]:
        """Return the conditions by name."""
        found = self._collection.find({"_id.Operation_name": self._operation})
        return {
            document["_id"]["Condition_Name"]: AlertCondition(
                name=document["_id"]["Condition_Name"],
                stage=intact("Process_Operation_Condition.Stage", Stage, document["Stage"]),
                since=intact("Process_Operation_Condition.Since_Dtm", stored_date, document["Since_Dtm"]),
                claimed_at=intact("Process_Operation_Condition.Claimed_Dtm", stored_date, document["Claimed_Dtm"]),
                told=document["Told"],
            )
            async for document in found
        }

    async def change(self, before: AlertCondition | None, after: AlertCondition | None) -> bool:
        """Compare and set; see ``state.alert_store``."""
        if before is None:
            if after is None:
                return True
            try:
                await self._collection.insert_one({"_id": self._key(after), **_values(after)})
            except DuplicateKeyError:
                return False  # another process was faster
            return True
        same: Document = {
            "_id": self._key(before),
            "Stage": before.stage.value,
            "Claimed_Dtm": to_bson(before.claimed_at),
        }
        if after is None:
            return bool((await self._collection.delete_one(same)).deleted_count)
        return bool((await self._collection.update_one(same, {"$set": _values(after)})).matched_count)

    def _key(self, condition: AlertCondition) -> dict[str, str]:
        return {"Operation_name": self._operation, "Condition_Name": condition.name}


def _values(condition: AlertCondition) -> dict[str, Any]:
    return {
        "Stage": condition.stage.value,
        "Since_Dtm": to_bson(condition.since),
        "Claimed_Dtm": to_bson(condition.claimed_at),
        "Told": condition.told,
    }
