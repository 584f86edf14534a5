"""The store of standing conditions, sentence by sentence of ``state.alert_store``, over every store."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from incident_process.app.runner import in_loop
from incident_process.observability.local_alerts import LocalAlerts
from incident_process.state.alert_store import AlertCondition, AlertStore, Stage
from incident_process.state.mongo.conditions import MongoConditions
from incident_process.state.sql.conditions import SqlConditions
from tests.support.stores import OPERATION, SqlStores

T0 = datetime(2026, 3, 1, 8, 30, 15, 123000, tzinfo=UTC)
NEW = AlertCondition(name="run", stage=Stage.BEGINNING, since=T0, claimed_at=T0, told="run r1 is failed: ünreachable")
STANDING = msgspec.structs.replace(NEW, stage=Stage.STANDING)


class Place:
    """Makes stores over one fresh place."""

    def __init__(self, kind: str, request: pytest.FixtureRequest, folder: Path) -> None:
        self._kind = kind
        self._folder = folder
        self._stores = request.getfixturevalue(f"{kind}_stores") if kind != "file" else None

    def __call__(self, operation: str = OPERATION) -> AlertStore:
        if self._kind == "file":
            return LocalAlerts(operation, self._folder)
        if isinstance(self._stores, SqlStores):
            return SqlConditions(self._stores.url, operation)
        assert self._stores is not None
        return MongoConditions(self._stores.url, self._stores.database, operation)


@pytest.fixture(params=["sqlite", "mariadb", "mongo", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, request, tmp_path)


def test_a_condition_comes_back_as_it_was_written(place: Place) -> None:
    async def story() -> None:
        async with place() as store:
            assert await store.all() == {}
            assert await store.change(None, NEW)
            assert await store.change(NEW, STANDING)
        async with place() as store:
            assert await store.all() == {"run": STANDING}
            assert await store.change(STANDING, None)
            assert await store.all() == {}

    in_loop(story())


def test_what_is_not_as_it_was_seen_is_not_changed(place: Place) -> None:
    async def story() -> None:
        async with place() as store:
            assert await store.change(None, NEW)
            assert not await store.change(None, STANDING)
            assert not await store.change(STANDING, None)
            later = msgspec.structs.replace(NEW, claimed_at=T0 + timedelta(milliseconds=1))
            assert not await store.change(later, None)
            assert await store.all() == {"run": NEW}

    in_loop(story())


def test_conditions_and_operations_stand_apart(place: Place) -> None:
    async def story() -> None:
        async with place() as one, place(f"{OPERATION} ") as other:
            assert await one.change(None, NEW)
            assert await one.change(None, msgspec.structs.replace(NEW, name="lag"))
            assert await other.change(None, NEW)
            assert set(await one.all()) == {"run", "lag"}
            assert await one.change(NEW, None)
            assert set(await other.all()) == {"run"}

    in_loop(story())


def test_of_many_that_try_at_once_one_succeeds(place: Place) -> None:
    async def story() -> None:
        async with AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(place()) for _ in range(6)]
            assert sum(await asyncio.gather(*(store.change(None, NEW) for store in stores))) == 1
            assert sum(await asyncio.gather(*(store.change(NEW, STANDING) for store in stores))) == 1
            assert sum(await asyncio.gather(*(store.change(STANDING, None) for store in stores))) == 1

    in_loop(story())
