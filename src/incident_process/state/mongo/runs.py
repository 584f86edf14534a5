"""``Process_Operation_Run``: the audit trail, one document a run, with BSON dates, which other programs can query.

A BSON date ends at milliseconds and a window does not: ``Microseconds`` has the rest.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from pymongo.errors import DuplicateKeyError

from incident_process.core.errors import LeaseLostError
from incident_process.core.models import LEFT_RUNNING, Counts, Lease, RunKind, RunRecord, RunRequest, RunStatus, Window
from incident_process.state.batches import batches
from incident_process.state.damage import intact, or_none, text
from incident_process.state.mongo.connection import Collection, Document
from incident_process.state.mongo.dates import stored_date, to_bson
from incident_process.state.mongo.ledger import LIST

V = TypeVar("V")


class Runs:
    """The runs of one operation."""

    def __init__(self, collection: Collection, operation: str) -> None:
        self._collection = collection
        self._operation = operation

    async def prepare(self) -> None:
        """Create the index by which runs are listed."""
        await self._collection.create_index([("Operation_name", 1), ("Started_Dtm", -1), ("_id", -1)])

    async def close_dangling(self, lease: Lease, run_id: str, now: datetime) -> None:
        """Close earlier runs that are still running as failed, and put the new token on them.

        A late holder matches neither its successor's run (the token is higher) nor, afterwards, its own.
        """
        running = {"Operation_name": self._operation, "Status": RunStatus.RUNNING.value}
        closed = {"Status": RunStatus.FAILED.value, "Ended_Dtm": now, "Error": f"{LEFT_RUNNING}{run_id}"}
        await self._collection.update_many(
            {**running, "Token": {"$lte": lease.token}, "_id": {"$ne": run_id}},
            {"$set": {**closed, "Token": lease.token}},
        )

    async def write(self, lease: Lease, run: RunRecord) -> None:
        """Write a run's present record; a repetition changes nothing.

        Raises:
            LeaseLostError: A successor has closed the run.
        """
        document = {**_to_document(run), "Token": lease.token}
        try:
            await self._collection.update_one(
                {"_id": run.run_id, "Token": lease.token}, {"$set": document}, upsert=True
            )
        except DuplicateKeyError as exc:
            raise LeaseLostError(f"Another runner has closed run {run.run_id}.") from exc

    async def note(self, run: RunRecord) -> None:
        """Write the record of what was done without a lease; no run's. A rename meanwhile has changed its name."""
        document = {**_to_document(run), "Token": 0}
        named = {"Operation_name": document.pop("Operation_name")}
        await self._collection.update_one({"_id": run.run_id}, {"$set": document, "$setOnInsert": named}, upsert=True)

    async def delete(self, run_ids: Sequence[str]) -> int:
        """Delete runs that have ended; return how many."""
        ended = {"Operation_name": self._operation, "Status": {"$ne": RunStatus.RUNNING.value}}
        found = [await self._collection.delete_many({"_id": {"$in": some}, **ended}) for some in batches(run_ids, LIST)]
        return sum(one.deleted_count for one in found)

    async def list(self, wanted: Document, skip: int, limit: int) -> list[RunRecord]:
        """Return the runs whose fields are as wanted, newest first."""
        order = [("Started_Dtm", -1), ("_id", -1)]
        wanted = {"Operation_name": self._operation, **wanted}
        cursor = self._collection.find(wanted, sort=order, skip=skip, limit=limit)
        return [_from_document(found) async for found in cursor]


def _to_document(run: RunRecord) -> Document:
    instants = {
        "Window_Start": run.window.start if run.window else None,
        "Window_End": run.window.end if run.window else None,
        "Started_Dtm": run.started_at,
        "Ended_Dtm": run.ended_at,
    }
    return {
        "Operation_name": run.operation,
        "Kind": run.kind.value,
        "Status": run.status.value,
        "Host": run.host,
        "Counts": msgspec.to_builtins(run.counts),
        "Error": run.error,
        "Requested_By": run.request.requested_by,
        "Why": run.request.why,
        **{name: None if at is None else to_bson(at) for name, at in instants.items()},
        "Microseconds": {name: at.microsecond % 1000 for name, at in instants.items() if at and at.microsecond % 1000},
    }


def _from_document(found: Document) -> RunRecord:
    rest: dict[str, Any] = found.get("Microseconds") or {}

    def read(field: str, reader: Callable[[Any], V]) -> V:
        return intact(f"Process_Operation_Run.{field}", reader, found.get(field))

    def instant(name: str) -> datetime | None:
        at = read(name, or_none(stored_date))
        return None if at is None else at + timedelta(microseconds=rest.get(name, 0))

    start, end, started = instant("Window_Start"), instant("Window_End"), instant("Started_Dtm")
    return RunRecord(
        run_id=read("_id", text),
        operation=read("Operation_name", text),
        kind=read("Kind", RunKind),
        status=read("Status", RunStatus),
        host=read("Host", text),
        started_at=started or read("Started_Dtm", stored_date),
        window=Window(start=start, end=end) if start and end else None,
        ended_at=instant("Ended_Dtm"),
        counts=read("Counts", lambda stored: msgspec.convert(stored, Counts)),
        error=read("Error", or_none(text)),
        request=RunRequest(requested_by=read("Requested_By", or_none(text)), why=read("Why", or_none(text))),
    )
