"""The Mongo store in the behaviour suite of ``tests/integration/test_state.py``; see ``tests.support.stores``."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from incident_process.state.mongo import MongoStateStore
from tests.support.stores import OPERATION, StoreFactory

if TYPE_CHECKING:
    from tests.support.mongo_server import MongoServer

# Its classes are imported for typing alone: pytest has to import a plugin itself, to rewrite its assertions.
pytest_plugins = ["tests.support.mongo_server"]


class MongoStores(StoreFactory):
    """Opens stores over one fresh database."""

    def __init__(self, url: str, database: str, server: "MongoServer | None") -> None:
        self.url = url
        self.database = database
        self.server = server

    def __call__(self, operation: str = OPERATION, *, keep_bodies_days: int = 0) -> MongoStateStore:
        return MongoStateStore(self.url, self.database, operation, keep_bodies_days)

    def set_last_execution(self, operation: str, instant: datetime) -> None:
        client: MongoClient[dict[str, Any]]
        with MongoClient(self.url) as client:
            client[self.database]["Process_Operation"].update_one(
                {"Operation_name": operation}, {"$set": {"Last_execution_dtm": instant}}
            )

    def forget_scopes(self) -> None:
        client: MongoClient[dict[str, Any]]
        with MongoClient(self.url) as client:
            client[self.database]["Process_Operation_Scope"].delete_many({})

    def restart(self) -> None:
        if self.server is None:
            pytest.skip("a server that somebody else runs is not killed")
        self.server.restart()


@pytest.fixture
def mongo_stores(mongo_url: str, mongo_server: "MongoServer | None", mongo_database: str) -> MongoStores:
    return MongoStores(mongo_url, mongo_database, mongo_server)
