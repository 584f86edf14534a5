"""The metrics that are read from the state, over every store that there is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from incident_process.core.errors import DatabaseConnectionError
from incident_process.core.models import DeliveryStatus
from incident_process.observability import state_figures
from incident_process.observability.metrics import Instruments
from incident_process.observability.state_figures import StateFigures
from incident_process.state.base import StateStore
from tests.integration.test_state import begin, chunk, incident, outcome, story
from tests.support.stores import OPERATION, StoreFactory

P = "incident_process_"


def samples(text: bytes) -> dict[str, float]:
    """Values by name and, where there is one, the label beside the operation."""
    return {
        sample.name.removeprefix(P)
        + "".join(f"[{v}]" for k, v in sample.labels.items() if k != "operation"): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


@story
async def test_they_are_those_of_the_state_and_read_once_for_many_scrapes(stores: StoreFactory) -> None:
    opened = 0

    @asynccontextmanager
    async def reachable() -> AsyncIterator[StateStore]:
        nonlocal opened
        opened += 1
        async with stores() as store:
            yield store

    async with stores() as store:
        lease = await begin(store)
        one = chunk(*(incident(number) for number in range(1, 8)))
        await store.enqueue(lease, one)
        dead = [outcome(each, DeliveryStatus.DEAD) for each in one.incidents[:3]]
        await store.record_outcomes(lease, one, [*dead, outcome(one.incidents[3], DeliveryStatus.DELIVERED)])
        await store.enqueue(lease, chunk(incident(8, one.incidents[0].account), name="c2"))  # follows a dead letter
        figures = StateFigures(Instruments(OPERATION))
        found = samples(await figures.scraped(reachable))
        assert {name: found[f"ledger_deliveries[{name}]"] for name in ("delivered", "pending", "dead", "skipped")} == {
            "delivered": 1,
            "pending": 4,
            "dead": 3,
            "skipped": 0,
        }
        assert (found["dead_letters_open"], found["pending_incidents"]) == (2, 4)
        size = await store.stored_bytes()
        assert found.get("state_bytes") == size
        assert size is None or size > 4096
        assert found["process_resident_memory_bytes"] > 1e6
        await figures.scraped(reachable)
        assert opened == 1


@story
async def test_where_the_state_is_away_they_are_absent_and_the_others_are_there(
    sqlite_stores: StoreFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def away() -> AsyncIterator[StateStore]:
        raise DatabaseConnectionError("the state is away")
        yield

    monkeypatch.setattr(state_figures, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(state_figures, "SHARE", 1e9)
    async with sqlite_stores() as store:
        await store.prepare()
    figures = StateFigures(Instruments(OPERATION))
    assert samples(await figures.scraped(sqlite_stores))["ledger_deliveries[dead]"] == 0
    found = samples(await figures.scraped(away))
    assert not {"ledger_deliveries[dead]", "dead_letters_open", "pending_incidents", "state_bytes"} & found.keys()
    assert found["breaker_state"] == 0
