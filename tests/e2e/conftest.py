"""One site for a test: source, state, receiver and the command that stands between them, all of them real."""

import itertools
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
from pymongo import MongoClient

from incident_process.app.factory import make_store
from incident_process.app.runner import in_loop
from incident_process.operations import insights
from incident_process.settings import Settings
from tests.support.command import Command, Finished
from tests.support.ports import HeldPort
from tests.support.receivers import ReceiverHandle, start_receiver
from tests.support.sessions import ordinary_user
from tests.support.source_data import Row, create_tables, insert_customers, insert_payments
from tests.support.sql_server import SqlServer

OPERATION = "Incident extraction from data lake"
TRACKINGS = ("sqlite", "mariadb", "mongo")
SERVERS = ("mariadb", "mysql")
"""The SQL servers, for the tests of what only a server does or says."""


def pytest_configure(config: pytest.Config) -> None:
    """Have the Mongo-wire server's fixtures at hand, once, whether or not the root has them."""
    if not config.pluginmanager.has_plugin("tests.support.mongo_server"):
        config.pluginmanager.import_plugin("tests.support.mongo_server")


@lru_cache(maxsize=1)
def _today(_test: str) -> datetime:
    return datetime.now(UTC)


def day(back: int) -> str:
    """A DATE some days before the one on which this test began: all of it means the same days, also over midnight."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]  # after the blank is its phase
    return f"{_today(test) - timedelta(days=back):%Y-%m-%d}"


def moment(back_seconds: float = 0, digits: int = 0) -> str:
    """A DATETIME some seconds ago, cut to so many digits of a second."""
    text = f"{datetime.now(UTC) - timedelta(seconds=back_seconds):%Y-%m-%d %H:%M:%S.%f}"
    return text[: 19 + (digits and digits + 1)]


class Database(Protocol):
    """A place for source or SQL state that can also be looked into."""

    url: str
    dialect: str

    def connect(self) -> Any:
        """Return an open connection of ``sqlite3`` or ``pymysql``."""
        ...

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement, commit, and return its rows; values stand at ``?``."""
        ...


class SqliteDatabase:
    dialect = "sqlite"

    def __init__(self, file: Path) -> None:
        self.file = file
        self.url = f"sqlite:///{file}"

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.file, timeout=30)

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(self.connect()) as connection, connection:
            return connection.execute(statement, values).fetchall()


class ServerDatabase:
    """On MariaDB or MySQL."""

    dialect = "mysql"

    def __init__(self, server: SqlServer) -> None:
        self.server = server
        self.name = server.create_database()
        self.url = server.url(self.name)

    def connect(self) -> Any:
        return self.server.connect(self.name)

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement.replace("?", "%s"), values or None)
            return list(cursor.fetchall())


class Site:
    """What one test works with. Source tables and state are fresh; the receiver may be shared with other tests."""

    def __init__(self, command: Command, source: Database, receiver: ReceiverHandle) -> None:
        self.command = command
        self.source = source
        self.receiver = receiver
        self.state: Database | None = None
        """Where Process_Operation is with tracking = sql."""
        self.mongo: tuple[str, str] | None = None
        """Server and database with tracking = mongo."""
        self._seen = (len(receiver.accepted()), len(receiver.requests()))

    def prepare(self) -> None:
        """Do what ``init`` does to the state, without a process of its own."""

        async def create() -> None:
            async with make_store(Settings.load(self.command.config, {})) as store:
                await store.prepare()
                await store.create_operation(execution_minutes=60)

        in_loop(create())

    def run(self, expect: int = 0, **env: str) -> dict[str, Any]:
        """Run one window and return its report; the exit status must be as expected."""
        finished = self.command.run(env)
        assert finished.status == expect, finished.stderr
        report: dict[str, Any] = finished.json
        return report

    def finish(self, expect: int | None = 0, **env: str) -> Finished:
        """As ``run``, but return how the command ended; with None, in whatever way."""
        finished = self.command.run(env)
        assert expect is None or finished.status == expect, finished.stderr
        return finished

    def customers(self, *rows: Row) -> None:
        with closing(self.source.connect()) as connection:
            insert_customers(connection, rows)

    def payments(self, *rows: Row) -> None:
        with closing(self.source.connect()) as connection:
            insert_payments(connection, rows)

    def accepted(self) -> list[dict[str, Any]]:
        """What the receiver accepted since this site began."""
        return self.receiver.accepted()[self._seen[0] :]

    def requests(self) -> list[dict[str, Any]]:
        """What the receiver was asked since this site began."""
        return self.receiver.requests()[self._seen[1] :]

    def deliveries(self, *options: str) -> list[dict[str, Any]]:
        """The ledger, as ``deliveries --json`` shows it."""
        finished = self.command("deliveries", "--json", *options)
        assert finished.status == 0, finished.stderr
        found: list[dict[str, Any]] = finished.json
        return found

    def history(self) -> list[dict[str, Any]]:
        """The runs, newest first, as ``history --json`` shows them; without a process of its own."""

        async def read() -> list[dict[str, Any]]:
            async with make_store(Settings.load(self.command.config, self.command.environment)) as store:
                await store.prepare()
                return await insights.history(store, limit=20)

        found: list[dict[str, Any]] = json.loads(msgspec.json.encode(in_loop(read())), parse_float=Decimal)
        return found

    def operation(self) -> dict[str, Any]:
        """``Process_Operation`` as another program sees it: the SQL row or the document, whole."""
        if self.mongo is not None:
            client: MongoClient[dict[str, Any]]
            with MongoClient(self.mongo[0], tz_aware=True) as client:
                documents: list[dict[str, Any]] = list(client[self.mongo[1]]["Process_Operation"].find())
            assert len(documents) == 1
            return documents[0]
        assert self.state is not None
        names = (
            "Process_Operation_Sequence",
            "created_dtm",
            "Operation_name",
            "execution_duration",
            "Next_execution_dtm",
            "Last_execution_dtm",
            "end_dtm",
        )
        (row,) = self.state.sql(f"SELECT {', '.join(names)} FROM Process_Operation")
        return dict(zip(names, map(_as_datetime, row), strict=True))

    def make_due(self) -> None:
        """Let the next run be due at once, as an operator would; with tracking = mongo it always is."""
        if self.state is not None:
            self.state.sql("UPDATE Process_Operation SET Next_execution_dtm = '1900-01-01 00:00:00'")


def _as_datetime(value: Any) -> Any:
    """SQLite gives its DATETIMEs as text."""
    return datetime.fromisoformat(value) if isinstance(value, str) and value[4:5] == "-" else value


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverHandle]:
    """One receiver for the tests of a module: a site counts only what came since it began."""
    with start_receiver(tmp_path_factory.mktemp("receiver")) as handle:
        yield handle


@pytest.fixture
def command(tmp_path: Path, request: pytest.FixtureRequest) -> Command:
    """The command in a fresh folder, without a configuration.

    A module that sets ``FRESH`` has a fresh interpreter for each of its starts: see ``Command``.
    """
    return Command(tmp_path, fresh=getattr(request.module, "FRESH", False))


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine at which nobody listens, nor can while the test runs."""
    with closing(HeldPort()) as port:
        yield port.number


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(
    request: pytest.FixtureRequest, tmp_path: Path, command: Command, receiver: ReceiverHandle
) -> Iterator[MakeSite]:
    """Build sites: ``make_site(source, tracking)``, each "sqlite", "mariadb" or "mysql", tracking also "mongo".

    Further keywords are the types of the LOAD_DATE columns, as ``create_tables`` takes them.
    """
    databases: list[ServerDatabase] = []
    mongos: list[tuple[str, str]] = []
    numbers = itertools.count(1)

    def database(kind: str, purpose: str) -> Database:
        if kind == "sqlite":
            return SqliteDatabase(tmp_path / f"{purpose}{next(numbers)}.db")
        made = ServerDatabase(request.getfixturevalue(kind))
        databases.append(made)
        return made

    def make(source: str = "sqlite", tracking: str = "sqlite", **types: Any) -> Site:
        receiver.calm()
        site = Site(command, database(source, "source"), receiver)
        with closing(site.source.connect()) as connection:
            create_tables(connection, site.source.dialect, **types)
        command.configure(
            database={"URL": site.source.url},
            api={"api_url": receiver.url},
            process={"operation_name": OPERATION, "tracking": "mongo" if tracking == "mongo" else "sql"},
        )
        if tracking == "mongo":
            site.mongo = (request.getfixturevalue("mongo_url"), request.getfixturevalue("mongo_database"))
            mongos.append(site.mongo)
            command.configure(mongodb={"MONGO_URL": site.mongo[0], "DATABASE_NAME": site.mongo[1]})
        elif tracking != source:
            site.state = database(tracking, "state")
            command.configure(state={"url": site.state.url})
        else:
            site.state = site.source
        return site

    yield make
    receiver.calm()
    for made in databases:
        made.server.drop_database(made.name)


@contextmanager
def own_server(server: SqlServer) -> Iterator[SqlServer]:
    """Start a server whose options a test may change, and stop it with the block."""
    try:
        server.create()
        yield server
    finally:
        server.stop()


@contextmanager
def site_of_a_user(
    server: SqlServer, command: Command, receiver: ReceiverHandle, *, payment_type: str = "datetime", **process: Any
) -> Iterator[Site]:
    """Make a site whose source and state are one database of the server, under an ordinary user."""
    receiver.calm()
    database = ServerDatabase(server)
    database.url = ordinary_user(server, database.name)
    made = Site(command, database, receiver)
    made.state = database
    with closing(database.connect()) as connection:
        create_tables(connection, "mysql", payment_type=payment_type)
    command.configure(
        database={"URL": database.url},
        api={"api_url": receiver.url},
        process={"operation_name": OPERATION, "tracking": "sql", **process},
    )
    yield made
    server.drop_database(database.name)
