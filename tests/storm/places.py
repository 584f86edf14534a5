"""The places of a storm: source, state and receiver, each a real one that can be killed, each behind a proxy."""

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from tests.storm.plan import SOURCES, SitePlan
from tests.support.mariadb import MariaDBServer
from tests.support.mongo_server import make_mongo_server
from tests.support.mysql import MySQLServer
from tests.support.proxy import TcpProxy
from tests.support.receivers import ReceiverHandle, start_receiver
from tests.support.source_data import create_tables
from tests.support.sql_server import SqlServer

ALWAYS_DUE = "UPDATE Process_Operation SET execution_duration = 0, Next_execution_dtm = '1900-01-01 00:00:00'"
"""Cron calls all the time here: the operation's row must not say that the next run is due in an hour."""

BASE_FAULTS: Mapping[str, Any] = {
    "latency_ms": 15.0,
    "jitter_ms": 30.0,
    "refuse_share": 0.1,
    "refuse_accounts": {f"{number:010d}": status for number, status in enumerate((422, 403, 400, 502, 410), start=1)},
}
"""A receiver that answers at once would leave no time to do something to a run. Some accounts it always refuses."""

INDEXES = (
    "CREATE INDEX a ON debt_cust_detail (LOAD_DATE, ACCOUNT_NUM)",
    "CREATE INDEX b ON debt_cust_detail (ACCOUNT_NUM, ASSET_ID, LOAD_DATE)",
    "CREATE INDEX c ON debt_payment (LOAD_DATE, AP_ACCOUNT_NUMBER)",
    "CREATE INDEX d ON debt_payment (AP_ACCOUNT_NUMBER, ACCOUNT_PAYMENT_DAT, LOAD_DATE)",
)


class Place(ABC):
    """Something that a run talks to, through ``proxy`` where it is reached by TCP."""

    proxy: TcpProxy

    @abstractmethod
    def kill(self) -> None:
        """End the server as a crash would."""

    @abstractmethod
    def start(self) -> None:
        """Start it again over its data."""


class SourcePlace(Place):
    """A MariaDB or MySQL server with the two tables."""

    def __init__(self, stack: ExitStack, kind: str, site: SitePlan) -> None:
        self.server = sql_server(stack, kind)
        self.database = self.server.create_database()
        with self.server.connect(self.database) as connection, connection.cursor() as cursor:
            create_tables(connection, "mysql", site.customer_type, site.payment_type)
            for statement in INDEXES if site.indexes else ():
                cursor.execute(statement)
        self.proxy = stack.enter_context(TcpProxy(self.server.port))

    def section(self) -> dict[str, object]:
        """``[DATABASE]`` as the runs have it."""
        return {"URL": url_of(self.server, self.database, self.proxy)}

    def kill(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server.start()


class ReceiverPlace(Place):
    """The project's receiver."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.handle: ReceiverHandle = stack.enter_context(start_receiver(folder, **BASE_FAULTS))
        self.proxy = stack.enter_context(TcpProxy(self.handle.port))

    def section(self) -> dict[str, object]:
        """``[API]`` api_url as the runs have it."""
        return {"api_url": self.handle.url.replace(f":{self.handle.port}/", f":{self.proxy.port}/")}

    def kill(self) -> None:
        self.handle.kill()

    def start(self) -> None:
        self.handle.restart(**BASE_FAULTS)


class StatePlace(Place):
    """Where the state is kept."""

    tracking = "sql"

    @abstractmethod
    def sections(self) -> Mapping[str, dict[str, object]]:
        """The sections of the configuration that name it."""

    def make_always_due(self) -> None:
        """Let each call of cron be a run, where a gate decides."""


class SqliteState(StatePlace):
    """A file. It cannot be killed or cut off, but another program can hold it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "state.db"
        self._holder: sqlite3.Connection | None = None

    def sections(self) -> Mapping[str, dict[str, object]]:
        return {"state": {"url": f"sqlite:///{self._file}"}}

    def make_always_due(self) -> None:
        with closing(sqlite3.connect(self._file, timeout=30)) as connection, connection:
            connection.execute(ALWAYS_DUE)

    def kill(self) -> None:
        """Take the file's write lock, as another program would; where it cannot be had in time, leave it."""
        holder = sqlite3.connect(self._file, timeout=5, isolation_level=None)
        try:
            holder.execute("BEGIN IMMEDIATE")
            self._holder = holder
        except sqlite3.OperationalError:
            holder.close()

    def start(self) -> None:
        if self._holder is not None:
            self._holder.close()  # which rolls back
            self._holder = None


class ServerState(StatePlace):
    """A MariaDB or MySQL server of its own, beside that of the source."""

    def __init__(self, stack: ExitStack, kind: str) -> None:
        self._server = sql_server(stack, kind)
        self._database = self._server.create_database()
        self.proxy = stack.enter_context(TcpProxy(self._server.port))

    def sections(self) -> Mapping[str, dict[str, object]]:
        return {"state": {"url": url_of(self._server, self._database, self.proxy)}}

    def make_always_due(self) -> None:
        with self._server.connect(self._database) as connection, connection.cursor() as cursor:
            cursor.execute(ALWAYS_DUE)

    def kill(self) -> None:
        self._server.kill()

    def start(self) -> None:
        self._server.start()


class MongoState(StatePlace):
    """A server that speaks MongoDB's protocol; its tracking has no gate."""

    tracking = "mongo"

    def __init__(self, stack: ExitStack, kind: str | None) -> None:
        self._server = make_mongo_server(kind)
        stack.callback(self._server.stop)
        self._server.start()
        port = int(self._server.url.partition("://")[2].partition("/")[0].rpartition(":")[2])
        self.proxy = stack.enter_context(TcpProxy(port))
        # Direct: the server names its own port to its clients, and they would go there.
        self._url = self._server.url.replace(f":{port}/", f":{self.proxy.port}/") + "&directConnection=true"

    def sections(self) -> Mapping[str, dict[str, object]]:
        return {"mongodb": {"MONGO_URL": self._url, "DATABASE_NAME": "storm"}}

    def kill(self) -> None:
        self._server.kill()

    def start(self) -> None:
        self._server.start()


def make_state(kind: str, stack: ExitStack, folder: Path) -> StatePlace:
    """Set up a state of this kind; ``stack`` ends it."""
    if kind == "sqlite":
        return SqliteState(folder)
    if kind in SOURCES:
        return ServerState(stack, kind)
    return MongoState(stack, None if kind == "mongo" else kind)


def sql_server(stack: ExitStack, kind: str) -> SqlServer:
    """Start a server that belongs to this storm alone; ``stack`` ends it."""
    server = MySQLServer() if kind == "mysql" else MariaDBServer()
    stack.callback(server.stop)
    server.create()
    return server


def url_of(server: SqlServer, database: str, proxy: TcpProxy) -> str:
    """The address of a database behind its proxy."""
    return server.url(database).replace(f":{server.port}/", f":{proxy.port}/")


def ask_receiver(handle: ReceiverHandle, faults: Mapping[str, Any]) -> None:
    """Set the receiver's faults; one that is just going down has others soon."""
    with contextlib.suppress(OSError):
        handle.control(**faults)
