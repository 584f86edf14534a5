"""The writes that an incident needs, raw: ``mongo_writes.py URL DATABASE BODIES COUNT CHUNK``.

For each chunk one outbox document with its bodies, its ledger entries by insert_many, their outcomes by one bulk_write
of UpdateMany over lists of ids, and the outbox document deleted: the fewest writes that keep *pending before the first
attempt* and *outcome before the watermark*, in the form of ``state/mongo``, over its indexes, as durable as there. One
chunk after the other. It prints the seconds of the inserts into the ledger, of its updates, and of everything.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import zstandard
from bson import Binary
from pymongo import MongoClient, UpdateMany, WriteConcern

LIST = 100
"""Ids in one ``$in``, as in ``state/mongo/ledger.py``."""


class SecondsSpent(dict[str, float]):
    """Seconds by kind of write."""

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Add the time of the block."""
        began = time.perf_counter()
        yield
        self[name] = self.get(name, 0.0) + time.perf_counter() - began


def write(url: str, database: str, bodies: list[tuple[str, bytes]], count: int, chunk: int) -> SecondsSpent:
    """Write ``count`` incidents; return the seconds of each kind of write."""
    spent = SecondsSpent()
    packed = Binary(zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(bodies[:chunk])))
    with MongoClient[dict[str, Any]](url) as client:
        there = client.get_database(database, write_concern=WriteConcern(w="majority", j=True, wtimeout=20_000))
        outbox, ledger = there["Incident_Outbox"], there["Incident_Delivery"]
        with spent.on("all"):
            for start in range(0, count, chunk):
                ids = list(range(start + 1, min(start + chunk, count) + 1))
                name = f"raw-{start}"
                now = datetime.now(UTC)
                outbox.insert_one({"_id": name, "Operation_name": "raw", "Incident_Ids": ids, "Body": [packed]})
                with spent.on("insert"):
                    ledger.insert_many([_entry(one, name, now) for one in ids], ordered=False)
                with spent.on("update"):
                    ledger.bulk_write([_outcome(ids[at : at + LIST]) for at in range(0, len(ids), LIST)], ordered=False)
                outbox.delete_one({"_id": name})
    return spent


def _entry(number: int, chunk: str, now: datetime) -> dict[str, Any]:
    return {
        "_id": number,
        "Operation_name": "raw",
        "Account_Num": f"{number:010d}",
        "Digest": f"{number:064x}",
        "Rows_Digest": f"{number:032x}",
        "Idempotency_Key": f"{number:064x}",
        "Status": "pending",
        "Attempts": 0,
        "Runs": 0,
        "Last_Http_Status": None,
        "Last_Error": None,
        "Run_Id": "raw",
        "Chunk_Id": chunk,
        "Scope": None,
        "Token": 1,
        "Created_Dtm": now,
        "Updated_Dtm": now,
    }


def _outcome(ids: list[int]) -> UpdateMany:
    done = {"Status": "delivered", "Attempts": 1, "Runs": 1, "Last_Http_Status": 201, "Updated_Dtm": datetime.now(UTC)}
    return UpdateMany({"_id": {"$in": ids}, "Status": "pending", "Token": 1}, {"$set": done})


if __name__ == "__main__":
    _url, _database, _file, _count, _chunk = sys.argv[1:]
    _bodies = msgspec.msgpack.decode(Path(_file).read_bytes(), type=list[tuple[str, bytes]])
    sys.stdout.write(json.dumps(write(_url, _database, _bodies, int(_count), int(_chunk))))
