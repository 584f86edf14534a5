"""The state stores that the behaviour suite runs over, one fixture each, behind one small interface.

A further store is a module of its own with a fixture that yields a ``StoreFactory``, and a line in ``STORES``.
"""

import sqlite3
from abc import ABC, abstractmethod
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from incident_process.state.base import StateStore
from incident_process.state.sql import SqlStateStore
from tests.support.sql_server import SqlServer

OPERATION = "Incident extraction from data lake"

STORES = {"sqlite": "sqlite_stores", "mariadb": "mariadb_stores", "mysql": "mysql_stores"}
"""Name of the store to the fixture that yields its StoreFactory."""

pytest_plugins: list[str] = []
if find_spec("tests.support.mongo_store") is not None:
    STORES["mongo"] = "mongo_stores"
    pytest_plugins.append("tests.support.mongo_store")


class StoreFactory(ABC):
    """Opens stores, as several runners would, over one fresh and empty database."""

    large_chunk = 2_000
    """How many incidents a chunk of 20 MB has here; few where a server is slow by the document."""

    @abstractmethod
    def __call__(self, operation: str = OPERATION, *, keep_bodies_days: int = 0) -> StateStore:
        """Return a store, not connected yet; the zone of its times is UTC."""

    @abstractmethod
    def set_last_execution(self, operation: str, instant: datetime) -> None:
        """Change Last_execution_dtm by hand, as an operator would, to an instant of whole seconds."""

    @abstractmethod
    def forget_scopes(self) -> None:
        """Delete the leases of all chunks by hand."""

    def restart(self) -> None:
        """Kill the server without a word and start it again over its data."""
        pytest.skip("an embedded store has no server")


class SqlStores(StoreFactory):
    """What the SQL stores have in common: they can be looked into with plain SQL."""

    url: str
    large_chunk = 20_000

    def __call__(self, operation: str = OPERATION, *, keep_bodies_days: int = 0, zone: str = "UTC") -> SqlStateStore:
        return SqlStateStore(self.url, operation, ZoneInfo(zone), keep_bodies_days=keep_bodies_days)

    @abstractmethod
    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement on a connection of its own, commit, and return its rows. Values stand at ``?``."""

    def set_last_execution(self, operation: str, instant: datetime) -> None:
        text = instant.strftime("%Y-%m-%d %H:%M:%S")
        self.sql("UPDATE Process_Operation SET Last_execution_dtm = ? WHERE Operation_name = ?", text, operation)

    def forget_scopes(self) -> None:
        self.sql("DELETE FROM Process_Operation_Scope")


class SqliteStores(SqlStores):
    def __init__(self, file: Path) -> None:
        self.file = file
        self.url = f"sqlite:///{file}"

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.file, timeout=30)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()


class ServerStores(SqlStores):
    """On MariaDB or MySQL."""

    def __init__(self, server: SqlServer, database: str) -> None:
        self.server = server
        self.database = database
        self.url = server.url(database)

    def restart(self) -> None:
        self.server.kill()
        self.server.start()

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.server.connect(self.database) as connection, connection.cursor() as cursor:
            cursor.execute(statement.replace("?", "%s"), values or None)
            return list(cursor.fetchall())


@pytest.fixture
def sqlite_stores(tmp_path: Path) -> SqliteStores:
    return SqliteStores(tmp_path / "state.db")


@pytest.fixture
def mariadb_stores(mariadb: SqlServer, mariadb_database: str) -> ServerStores:
    return ServerStores(mariadb, mariadb_database)


@pytest.fixture
def mysql_stores(mysql: SqlServer, mysql_database: str) -> ServerStores:
    return ServerStores(mysql, mysql_database)


@pytest.fixture(params=["mariadb", "mysql"])
def server_stores(request: pytest.FixtureRequest) -> ServerStores:
    """Each SQL server in turn."""
    factory = request.getfixturevalue(f"{request.param}_stores")
    assert isinstance(factory, ServerStores)
    return factory


@pytest.fixture(params=sorted(STORES))
def stores(request: pytest.FixtureRequest) -> StoreFactory:
    """Each store in turn."""
    factory = request.getfixturevalue(STORES[request.param])
    assert isinstance(factory, StoreFactory)
    return factory


@pytest.fixture(params=["sqlite", "mariadb", "mysql"])
def sql_stores(request: pytest.FixtureRequest) -> SqlStores:
    """Each SQL store in turn."""
    factory = request.getfixturevalue(STORES[request.param])
    assert isinstance(factory, SqlStores)
    return factory
