"""What the dashboard reads of a state, over every store that there is."""

from datetime import timedelta

import pytest

from incident_process.core.models import DeliveryStatus, RunStatus
from incident_process.dashboard.read_model import next_run
from incident_process.operations import insights
from incident_process.operations.dead_letters import open_dead_letters, pages, reason_id
from incident_process.settings import Settings
from tests.integration.test_state import T0, begin, chunk, incident, outcome, run_record, story
from tests.support.stores import StoreFactory


@story
async def test_dead_letters_that_still_stand_are_found_page_by_page(
    stores: StoreFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incident_process.operations.dead_letters.PAGE", 5)
    async with stores() as store:
        lease = await begin(store)
        count = 13
        dead = [incident(number) for number in range(1, count + 1)]
        again = [incident(count + 1, dead[0].account), incident(count + 2, dead[1].account)]
        await store.enqueue(lease, chunk(*dead))
        await store.record_outcomes(
            lease,
            chunk(*dead),
            [outcome(one, DeliveryStatus.DEAD, error=f"HTTP 422: reason {one.incident_id % 2}") for one in dead],
        )
        await store.enqueue(lease, chunk(*again, name="c2"))
        later = [outcome(again[0]), outcome(again[1], DeliveryStatus.DEAD, error="HTTP 413 Content Too Large")]
        await store.record_outcomes(lease, chunk(*again, name="c2"), later)

        found = [entry async for page in pages(store) for entry in page]
        assert [entry.incident_id for entry in found] == [count + 2, *range(count, 2, -1)]
        assert len({reason_id(entry) for entry in found}) == 3
        assert await open_dead_letters(store) == found
        assert [entry.incident_id for entry in await open_dead_letters(store, reason="http 413")] == [count + 2]
        for text in ("413 Content Too Large", "413 request entity too large"):  # as noted, and as it is noted now
            assert [entry.incident_id for entry in await open_dead_letters(store, reason=text)] == [count + 2]
        assert await open_dead_letters(store, account=dead[0].account) == []


@story
async def test_the_next_run_with_tracking_in_mongodb_is_reckoned_from_the_schedule(stores: StoreFactory) -> None:
    by_interval, by_cron = (
        Settings.model_validate(
            {
                "api": {"api_url": "http://127.0.0.1:9/x"},
                "database": {"url": "sqlite:///none.db"},
                "mongodb": {"mongo_url": "mongodb://127.0.0.1:9/", "database_name": "x"},
                "process": {"tracking": "mongo"},
                "schedule": keys,
            }
        )
        for keys in ({"interval_seconds": 600}, {"cron": "0 6 * * *"})
    )
    async with stores() as store:
        lease = await begin(store)
        status = {"source_now": "2026-03-01T08:35:00Z", "next_execution_dtm": None}
        assert await next_run(by_interval, status, store) == status["source_now"], "none has run yet"
        ended = run_record(status=RunStatus.COMPLETED, ended_at=T0 + timedelta(seconds=2))
        await store.open_run(lease, ended)
        assert await next_run(by_interval, status, store) == "2026-03-01T08:40:15Z"
        assert await next_run(by_cron, status, store) == "2026-03-02T06:00:00Z"


@story
async def test_latency_is_that_of_what_was_delivered(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store)
        assert (await insights.latency(store))["sample"] == 0
        each = [incident(number) for number in range(1, 4)]
        await store.enqueue(lease, chunk(*each))
        begun = (await store.deliveries(limit=1))[0].created_at
        outcomes = [
            outcome(each[0], at=begun + timedelta(seconds=2)),
            outcome(each[1], at=begun - timedelta(seconds=9), attempts=2),  # another clock
            outcome(each[2], DeliveryStatus.DEAD, at=begun + timedelta(hours=1)),
        ]
        await store.record_outcomes(lease, chunk(*each), outcomes)
        found = await insights.latency(store)
        assert (found["sample"], found["p50"]) == (2, 0.0)
        assert 1.9 < found["p99"] < 2.1
        assert sum(band["count"] for band in found["bands"]) == 2
        assert [band["upto"] for band in found["bands"] if band["count"]] == [0.05, 2.5]


@story
async def test_accounts_are_found_with_their_last_outcome(stores: StoreFactory) -> None:
    async with stores() as store:
        lease = await begin(store)
        first, second = incident(1, "0010"), incident(2, "0010")
        await store.enqueue(lease, chunk(first, second))
        await store.record_outcomes(lease, chunk(first, second), [outcome(first), outcome(second, DeliveryStatus.DEAD)])
        assert await insights.accounts(store, "001", 5) == [{"account": "0010", "status": "dead"}]
        assert await insights.run(store, "none") is None
