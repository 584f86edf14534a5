"""The receiver's SQLite file: accepted incidents, and every request.

All writes go through ``RequestLog.record``. Requests that wait at the same moment share one transaction, and each gets
its answer only after the commit. The file is in WAL mode with synchronous NORMAL: committed rows survive ``kill -9`` of
the receiver, though not a power cut. The event loop's own thread writes it: a commit costs less than a handover.
"""

import asyncio
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from incident_process.core.errors import ConfigurationError
from incident_process.core.safe_files import refuse_planted_database

APPLICATION_ID = 0x49505256  # "IPRV" in the file's header distinguishes a receiver's file from any other SQLite file

_TABLES = """
CREATE TABLE accepted (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    received_at TEXT NOT NULL,
    incident_id INTEGER NOT NULL UNIQUE,
    account_num TEXT NOT NULL,
    idempotency_key TEXT,
    body BLOB NOT NULL
);
CREATE TABLE request (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    received_at TEXT NOT NULL,
    incident_id INTEGER,
    account_num TEXT,
    idempotency_key TEXT,
    answer INTEGER NOT NULL, -- HTTP status, 0 = the client got none
    fault TEXT
);
"""
_KEY_INDEX = "CREATE INDEX IF NOT EXISTS accepted_key ON accepted (idempotency_key) WHERE idempotency_key IS NOT NULL"
_FIRST_OF_KEY = "SELECT incident_id FROM accepted WHERE idempotency_key = ? ORDER BY seq LIMIT 1"
_ACCEPT = """
INSERT INTO accepted (received_at, incident_id, account_num, idempotency_key, body) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (incident_id) DO NOTHING
"""
_REQUEST = """
INSERT INTO request (received_at, incident_id, account_num, idempotency_key, answer, fault) VALUES (?, ?, ?, ?, ?, ?)
"""
KNOWN_KEY = "honour_keys"  # fault of a request that was answered from its Idempotency-Key


class LoggedRequest(msgspec.Struct, kw_only=True):
    """One request as the file stores it.

    A request with a ``body`` is accepted under ``incident_id`` unless that (or, with ``honour_key``, its key) is known.
    Without a body, ``status`` is the answer. ``silent``: the client gets no answer, whatever it would be.
    """

    incident_id: int | None
    account: str | None
    key: str | None
    body: bytes | None = None
    status: int = 0
    fault: str | None = None
    silent: bool = False
    honour_key: bool = False


class RequestVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request: its status, and the Incident_Id that it names."""

    status: int
    incident_id: int | None


class RequestLog:
    """The open file. ``close`` it when done."""

    def __init__(self, path: Path) -> None:
        self._connection = _open(path)
        self._waiting: list[tuple[LoggedRequest, asyncio.Future[RequestVerdict]]] = []

    def close(self) -> None:
        """Close the file; SQLite folds its write-ahead log into it."""
        self._connection.close()

    def index_keys(self) -> None:
        """Index the Idempotency-Keys; only a receiver that honours them pays for the index."""
        self._connection.execute(_KEY_INDEX)

    async def record(self, entry: LoggedRequest) -> RequestVerdict:
        """Write the entry, and return the verdict once it is committed; raise sqlite3.Error when that fails."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[RequestVerdict] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._commit)  # after the requests that are ready by now: they share the commit
        self._waiting.append((entry, future))
        return await future

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            verdicts = [self._write(entry) for entry, _ in waiting]
            execute("COMMIT")
        except Exception as exc:  # whatever it is, it goes to the waiting requests: this callback has no other caller
            if self._connection.in_transaction:
                self._connection.rollback()
            for _, future in waiting:
                if not future.done():
                    future.set_exception(exc)
            return
        for (_, future), verdict in zip(waiting, verdicts, strict=True):
            if not future.done():  # done: its request was cancelled at shutdown
                future.set_result(verdict)

    def _write(self, entry: LoggedRequest) -> RequestVerdict:
        now = datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z"  # fixed width: text order is time order
        verdict, fault = self._judge(entry, now)
        answer = 0 if entry.silent else verdict.status
        row = (now, entry.incident_id, entry.account, entry.key, answer, entry.fault or fault)
        self._connection.execute(_REQUEST, row)
        return verdict

    def _judge(self, entry: LoggedRequest, now: str) -> tuple[RequestVerdict, str | None]:
        if entry.body is None:
            return RequestVerdict(status=entry.status, incident_id=entry.incident_id), None
        if entry.honour_key and entry.key:
            known = self._connection.execute(_FIRST_OF_KEY, (entry.key,)).fetchone()
            if known:
                return RequestVerdict(status=201, incident_id=known[0]), KNOWN_KEY
        values = (now, entry.incident_id, entry.account, entry.key, entry.body)
        stored = self._connection.execute(_ACCEPT, values).rowcount
        return RequestVerdict(status=201 if stored else 409, incident_id=entry.incident_id), None


def _open(path: Path) -> sqlite3.Connection:
    """Open or create the file; raise ConfigurationError when it is another program's or cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        refuse_planted_database(path)
        # bodies are personal data: only the owner may read them, and SQLite gives the files beside it the same mode
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as exc:
        raise ConfigurationError(f"receiver database {path}: cannot be written ({exc.strerror})") from exc
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        _prepare(connection, path)
    except sqlite3.Error as exc:
        connection.close()
        raise ConfigurationError(f"receiver database {path}: cannot be used ({exc}); name another file") from exc
    except ConfigurationError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")  # two receivers may start on one new file
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for statement in _TABLES.split(";"):
            connection.execute(statement)
    connection.execute("COMMIT")
    require_receiver_file(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    # A checkpoint stops the event loop while it syncs: fewer, larger ones (32 MB) keep the answers even.
    connection.execute("PRAGMA wal_autocheckpoint = 8000")


def require_receiver_file(connection: sqlite3.Connection, path: Path) -> None:
    """Raise ConfigurationError when the open SQLite file is not a receiver's."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise ConfigurationError(f"receiver database {path}: is the file of another program; name another file")
