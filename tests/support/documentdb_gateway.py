"""A gateway for the tests: MongoDB's wire protocol before a PostgreSQL with the extension DocumentDB.

Debian packages the extension, which has MongoDB's semantics, and no gateway for it. This one knows the commands that
the driver and this project's suites send, without authentication, TLS or sessions: a server that stands alone. It is a
program of its own: ``documentdb_gateway.py LISTEN_PORT POSTGRES_PORT``.
"""

import itertools
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple

import bson
import psycopg
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument

Document = dict[str, Any]

HOST = "127.0.0.1"
OPTIONS: CodecOptions[Document] = CodecOptions(
    document_class=dict,
    uuid_representation=bson.binary.UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_MS,  # dates pass through whatever their year is
)

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
MORE_TO_COME = 2
CHECKSUM_PRESENT = 1

NOT_FOR_THE_EXTENSION = frozenset(
    (
        "lsid",
        "$clusterTime",
        "$db",
        "$readPreference",
        "txnNumber",
        "writeConcern",
        "readConcern",
        "apiVersion",
        "comment",
    )
)
"""What the driver adds to its commands, and the extension refuses or has no use for."""

CODES = {
    1: 1,  # InternalError
    2: 2,  # BadValue
    4: 9,  # FailedToParse
    5: 14,  # TypeMismatch
    9: 26,  # NamespaceNotFound
    10: 27,  # IndexNotFound
    14: 40,  # ConflictingUpdateOperators
    15: 43,  # CursorNotFound
    16: 48,  # NamespaceExists
    24: 67,  # CannotCreateIndex
    28: 85,  # IndexOptionsConflict
    29: 86,  # IndexKeySpecsConflict
    49: 11000,  # DuplicateKey
    539: 59,  # CommandNotFound
    542: 112,  # WriteConflict
}
"""MongoDB's codes by the extension's own numbers, which it shows as the SQLSTATEs M0000, M0001, …, to the base 36."""
UNKNOWN_ERROR, CURSOR_NOT_FOUND, COMMAND_NOT_FOUND, DUPLICATE_KEY, WRITE_CONFLICT = 8, 43, 59, 11000, 112
NAMESPACE_NOT_FOUND, NAMESPACE_EXISTS = 26, 48


class CommandError(Exception):
    """The answer to a command that failed: MongoDB's code, and a text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Cursor(NamedTuple):
    """A result that is not read to its end: its database, its position and its owner."""

    database: str
    continuation: bytes
    session: "Session"


class Cursors:
    """The open cursors of all connections; the driver may read on, or end, one on another connection."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, Cursor] = {}
        self._numbers = itertools.count(1)

    def new_id(self) -> int:
        return next(self._numbers)

    def keep(self, number: int, cursor: Cursor) -> None:
        with self._lock:
            self._open[number] = cursor

    def find(self, number: int) -> Cursor:
        with self._lock:
            if number not in self._open:
                raise CommandError(CURSOR_NOT_FOUND, f"cursor id {number} not found")
            return self._open[number]

    def drop(self, number: int) -> bool:
        with self._lock:
            return self._open.pop(number, None) is not None

    def drop_all_of(self, session: "Session") -> None:
        with self._lock:
            self._open = {number: one for number, one in self._open.items() if one.session is not session}


CURSORS = Cursors()
TOPOLOGY_VERSION: Document = {"processId": bson.ObjectId(), "counter": bson.Int64(0)}


class Session:
    """One client's connection, with one to PostgreSQL."""

    PASSED_ON: ClassVar[Mapping[str, str]] = {
        "insert": "SELECT p_result::bytea FROM documentdb_api.insert(%s, %s::bytea::documentdb_core.bson)",
        "update": "SELECT p_result::bytea FROM documentdb_api.update(%s, %s::bytea::documentdb_core.bson)",
        "delete": "SELECT p_result::bytea FROM documentdb_api.delete(%s, %s::bytea::documentdb_core.bson)",
        "count": "SELECT document::bytea FROM documentdb_api.count_query(%s, %s::bytea::documentdb_core.bson)",
        "distinct": "SELECT document::bytea FROM documentdb_api.distinct_query(%s, %s::bytea::documentdb_core.bson)",
        "findAndModify": "SELECT p_result::bytea FROM documentdb_api.find_and_modify"
        "(%s, %s::bytea::documentdb_core.bson)",
        "dropIndexes": "SELECT documentdb_api_internal.drop_indexes_non_concurrently"
        "(%s, %s::bytea::documentdb_core.bson)::bytea",
    }
    """Commands that the extension answers as a server does."""
    READING: ClassVar[Mapping[str, str]] = {
        "find": "find",
        "aggregate": "aggregate",
        "listCollections": "list_collections",
        "listIndexes": "list_indexes",
    }
    """Commands that answer with a cursor, by the name of the extension's function."""

    def __init__(self, address: str) -> None:
        self._postgres = psycopg.connect(address, autocommit=True)
        self._lock = threading.RLock()  # another connection may read on a cursor of this one
        self._own: Mapping[str, Callable[[str, Document], Document]] = {
            "hello": self._hello,
            "isMaster": self._hello,
            "ismaster": self._hello,
            "ping": self._ping,
            "endSessions": self._ping,
            "buildInfo": self._build_info,
            "buildinfo": self._build_info,
            "getMore": self._get_more,
            "killCursors": self._kill_cursors,
            "createIndexes": self._create_indexes,
            "create": self._create,
            "drop": self._drop,
            "dropDatabase": self._drop_database,
            "listDatabases": self._list_databases,
        }

    def close(self) -> None:
        CURSORS.drop_all_of(self)
        self._postgres.close()

    def answer(self, command: Document) -> Document:
        """Return the answer to a command, whether or not it failed.

        Raises:
            psycopg.OperationalError: PostgreSQL is gone.
        """
        try:
            return self._answer(command)
        except CommandError as exc:
            return {"ok": 0.0, "errmsg": str(exc), "code": exc.code, "codeName": ""}

    def _answer(self, command: Document) -> Document:
        name, database = next(iter(command)), str(command.get("$db", "admin"))
        spec = {key: value for key, value in command.items() if key not in NOT_FOR_THE_EXTENSION}
        if name in self._own:
            return self._own[name](database, spec)
        if name in self.READING:
            return self._first_page(self.READING[name], database, spec)
        if name not in self.PASSED_ON:
            raise CommandError(COMMAND_NOT_FOUND, f"no such command: '{name}'")
        answer = decoded(self._row(self.PASSED_ON[name], database, encoded(spec))[0])
        for failed in answer.get("writeErrors", ()):
            failed["code"] = code_of_packed(failed["code"])
        return answer

    def _row(self, statement: str, *values: Any) -> tuple[Any, ...]:
        with self._lock:
            try:
                # A statement that is not a literal: it is put together from this module's own texts only.
                row = self._postgres.execute(statement.encode(), values, binary=True).fetchone()
            except psycopg.Error as exc:
                if exc.sqlstate is None or self._postgres.broken:
                    raise  # PostgreSQL is gone: the client has to see the same of this server
                raise CommandError(code_of(exc.sqlstate), exc.diag.message_primary or str(exc)) from exc
        assert row is not None
        return tuple(row)

    def _first_page(self, function: str, database: str, spec: Document) -> Document:
        page, continuation = self._row(
            f"SELECT cursorpage::bytea, continuation::bytea FROM documentdb_api.{function}_cursor_first_page"
            "(%s, %s::bytea::documentdb_core.bson, %s::int8)",
            database,
            encoded(spec),
            CURSORS.new_id(),
        )
        return self._page(database, page, continuation, self)

    def _get_more(self, database: str, spec: Document) -> Document:
        found = CURSORS.find(spec["getMore"])
        page, continuation = found.session._row(
            "SELECT cursorpage::bytea, continuation::bytea FROM documentdb_api.cursor_get_more"
            "(%s, %s::bytea::documentdb_core.bson, %s::bytea::documentdb_core.bson)",
            database,
            encoded(spec),
            bytes(found.continuation),
        )
        return self._page(database, page, continuation, found.session)

    def _page(self, database: str, page: bytes, continuation: bytes | None, session: "Session") -> Document:
        """Return a page of a cursor, and keep the cursor if there is more of it."""
        answer = decoded(page)
        number = int(answer["cursor"]["id"])
        if number and continuation is not None:
            CURSORS.keep(number, Cursor(database, continuation, session))
        else:
            CURSORS.drop(number)
            number = 0
        answer["cursor"]["id"] = bson.Int64(number)
        return answer

    def _kill_cursors(self, database: str, spec: Document) -> Document:
        del database
        killed = [number for number in spec["cursors"] if CURSORS.drop(number)]
        unknown = [number for number in spec["cursors"] if number not in killed]
        return {
            "cursorsKilled": killed,
            "cursorsNotFound": unknown,
            "cursorsAlive": [],
            "cursorsUnknown": [],
            "ok": 1.0,
        }

    def _create_indexes(self, database: str, spec: Document) -> Document:
        """Build them at once, as they are few here; the extension's own command leaves it to a background worker."""
        statement = (
            "SELECT documentdb_api_internal.create_indexes_non_concurrently"
            "(%s, %s::bytea::documentdb_core.bson, true)::bytea"
        )
        answer = decoded(self._row(statement, database, encoded(spec))[0])
        (of_shard,) = answer["raw"].values()
        return dict(of_shard)

    def _create(self, database: str, spec: Document) -> Document:
        if not self._row("SELECT documentdb_api.create_collection(%s, %s)", database, spec["create"])[0]:
            raise CommandError(NAMESPACE_EXISTS, "Collection already exists")
        return {"ok": 1.0}

    def _drop(self, database: str, spec: Document) -> Document:
        if not self._row("SELECT documentdb_api.drop_collection(%s, %s)", database, spec["drop"])[0]:
            raise CommandError(NAMESPACE_NOT_FOUND, "ns not found")
        return {"ns": f"{database}.{spec['drop']}", "ok": 1.0}

    def _drop_database(self, database: str, spec: Document) -> Document:
        del spec
        self._row("SELECT documentdb_api.drop_database(%s)", database)
        return {"dropped": database, "ok": 1.0}

    def _list_databases(self, database: str, spec: Document) -> Document:
        del database
        statement = "SELECT documentdb_api.list_databases(%s::bytea::documentdb_core.bson)::bytea"
        return decoded(self._row(statement, encoded(spec))[0])

    def _hello(self, database: str, spec: Document) -> Document:
        """Describe this server; a driver that waits for changes gets none, and learns at once when this server ends."""
        del database
        if spec.get("topologyVersion") == TOPOLOGY_VERSION:
            time.sleep(spec.get("maxAwaitTimeMS", 0) / 1000)
        return {
            "topologyVersion": TOPOLOGY_VERSION,
            "ismaster": True,
            "isWritablePrimary": True,
            "helloOk": True,
            "maxBsonObjectSize": 16 * 1024 * 1024,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "localTime": datetime.now(UTC),
            "connectionId": 1,
            "minWireVersion": 0,
            "maxWireVersion": 21,
            "readOnly": False,
            "ok": 1.0,
        }

    def _ping(self, database: str, spec: Document) -> Document:
        del database, spec
        return {"ok": 1.0}

    def _build_info(self, database: str, spec: Document) -> Document:
        del database, spec
        return {"version": "7.0.0", "versionArray": [7, 0, 0, 0], "bits": 64, "ok": 1.0}


class Connection(socketserver.BaseRequestHandler):
    """Reads the messages of a client and answers them one by one."""

    server: "Gateway"

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            session = Session(self.server.postgres)
        except psycopg.OperationalError:
            return
        try:
            while True:
                self._one_message(session)
        except (OSError, psycopg.OperationalError):
            return  # the client has gone, or PostgreSQL has: to the client this server is away then
        finally:
            session.close()

    def _one_message(self, session: Session) -> None:
        length, request_id, _, operation = struct.unpack("<iiii", self._exactly(16))
        body = self._exactly(length - 16)
        if operation == OP_QUERY:  # the first greeting of a driver
            query_at = body.index(b"\0", 4) + 9
            greeting = encoded(session.answer(decoded(body[query_at:])))
            self._send(OP_REPLY, request_id, struct.pack("<iqii", 8, 0, 0, 1) + greeting)
            return
        if operation != OP_MSG:
            raise ConnectionError
        (flags,) = struct.unpack_from("<I", body)
        answer = encoded(session.answer(command_of(body[4 : -4 if flags & CHECKSUM_PRESENT else None])))
        if not flags & MORE_TO_COME:
            self._send(OP_MSG, request_id, struct.pack("<I", 0) + b"\0" + answer)

    def _send(self, operation: int, request_id: int, body: bytes) -> None:
        self.request.sendall(struct.pack("<iiii", 16 + len(body), 0, request_id, operation) + body)

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = self.request.recv(min(size, 1 << 20))
            if not part:
                raise ConnectionError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class Gateway(socketserver.ThreadingTCPServer):
    """Has a thread for each client."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, postgres: str) -> None:
        self.postgres = postgres
        super().__init__((HOST, port), Connection)


def command_of(sections: bytes) -> Document:
    """Return the command of an OP_MSG: its document, with the sequences of documents that follow it as its fields."""
    command: Document = {}
    at = 0
    while at < len(sections):
        kind = sections[at]
        at += 1
        (size,) = struct.unpack_from("<i", sections, at)
        section = sections[at : at + size]
        if kind == 0:
            command = decoded(section) | command
        else:
            named_to = section.index(b"\0", 4)
            command[section[4:named_to].decode()] = list(_documents(section[named_to + 1 :]))
        at += size
    return command


def _documents(data: bytes) -> Iterator[RawBSONDocument]:
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<i", data, at)
        yield RawBSONDocument(data[at : at + size])
        at += size


def encoded(document: Document) -> bytes:
    return bson.encode(document, codec_options=OPTIONS)


def decoded(data: bytes) -> Document:
    return bson.decode(bytes(data), codec_options=OPTIONS)


def code_of(state: str) -> int:
    """Return MongoDB's code for a SQLSTATE."""
    if state == psycopg.errors.UniqueViolation.sqlstate:
        return DUPLICATE_KEY
    if state in (psycopg.errors.DeadlockDetected.sqlstate, psycopg.errors.SerializationFailure.sqlstate):
        return WRITE_CONFLICT
    return CODES.get(int(state[1:], 36) + 1, UNKNOWN_ERROR) if state.startswith("M") else UNKNOWN_ERROR


def code_of_packed(code: int) -> int:
    """Return MongoDB's code for that of a write error: a SQLSTATE as PostgreSQL packs it, five times six bits."""
    if code < 1 << 24:
        return code
    return code_of("".join(chr((code >> 6 * place & 0x3F) + ord("0")) for place in range(5)))


if __name__ == "__main__":
    listen, postgres = map(int, sys.argv[1:])
    with Gateway(listen, f"host={HOST} port={postgres} user=postgres dbname=postgres") as gateway:
        gateway.serve_forever()
