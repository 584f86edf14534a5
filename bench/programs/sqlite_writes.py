"""The writes that an incident needs, raw, in a SQLite file that ``init`` has made.

For each chunk one outbox row with its bodies and its ledger entries in one transaction, their outcomes and the end of
the outbox row in another: the fewest that keep *pending before the first attempt* and *outcome before the watermark*,
in the form of ``state/sql``, over its indexes, each commit flushed to the disk. One chunk after the other.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

import msgspec
import zstandard

OPERATION = "Incident extraction from data lake"

_ENTRY = """
    INSERT INTO Incident_Delivery (Incident_Id, Operation_name, Account_Num, Digest, Idempotency_Key, Status, Attempts,
        Runs, Run_Id, Created_Dtm, Updated_Dtm, Rows_Digest)
    VALUES (?, ?, ?, ?, ?, 'pending', 0, 0, 'raw', ?, ?, ?)"""

_BODIES = """
    INSERT INTO Incident_Outbox (Operation_name, Chunk_Id, Part_Number, First_Incident_Id, Incidents, Token, Run_Id,
        Created_Dtm, Body)
    VALUES (?, ?, 0, ?, ?, 1, 'raw', ?, ?)"""

_OUTCOME = """
    UPDATE Incident_Delivery SET Status = 'delivered', Attempts = 1, Runs = 1, Last_Http_Status = 201, Updated_Dtm = ?
    WHERE Incident_Id BETWEEN ? AND ?"""


def write(state: Path, bodies: Sequence[tuple[str, bytes]], count: int, chunk: int) -> None:
    """Write ``count`` incidents, which have these bodies in turn."""
    waiting = cycle(bodies)
    with closing(sqlite3.connect(state, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        for first in range(1, count + 1, chunk):
            last = min(first + chunk - 1, count)
            of_chunk = list(islice(waiting, last - first + 1))
            packed = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(msgspec.msgpack.encode(of_chunk))
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_BODIES, (OPERATION, f"raw-{first}", first, len(of_chunk), _now(), packed))
            connection.executemany(_ENTRY, _entries(first, last))
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_OUTCOME, (_now(), first, last))
            connection.execute("DELETE FROM Incident_Outbox WHERE Chunk_Id = ?", (f"raw-{first}",))
            connection.execute("COMMIT")


def _entries(first: int, last: int) -> Iterator[tuple[object, ...]]:
    now = _now()
    for number in range(first, last + 1):
        key = f"{number:064x}"
        yield number, OPERATION, f"{number:010d}", key, key, now, now, f"{number:032x}"


def _now() -> str:
    return datetime.now(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
