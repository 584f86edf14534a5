"""What the page reads where the browser does not look: percentiles, rate, groups, and databases that are away."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from incident_process.app.factory import make_store
from incident_process.core.models import DeliveryStatus, LastDelivery, LedgerEntry, RunKind, RunRecord, RunStatus
from incident_process.core.process_identity import Runner
from incident_process.dashboard.read_model import Rate, ReadModel, comparison
from incident_process.operations.dead_letters import reason_id, reason_of
from incident_process.operations.insights import percentiles
from incident_process.operations.preview import Previewed
from incident_process.operations.prune import Prune
from incident_process.settings import Settings
from tests.support.source_data import create_tables


def entry(error: str | None, http_status: int | None = 422) -> LedgerEntry:
    now = datetime.now(UTC)
    return LedgerEntry(
        incident_id=1,
        operation="x",
        account="1",
        digest="d",
        key="k",
        status=DeliveryStatus.DEAD,
        attempts=1,
        runs=1,
        http_status=http_status,
        error=error,
        run_id="r",
        created_at=now,
        updated_at=now,
    )


def settings_without_source(folder: Path) -> Settings:
    """Return settings with a state in the folder and a source that is not there."""
    return Settings.model_validate(
        {
            "api": {"api_url": "http://127.0.0.1:9/x"},
            "database": {"url": f"sqlite:///{folder / 'none.db'}"},
            "state": {"url": f"sqlite:///{folder / 'state.db'}"},
            "process": {"tracking": "sql"},
        }
    )


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentiles([float(value) for value in range(1, 101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert percentiles([7.0]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0}
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None}


def test_reasons_that_differ_in_a_record_s_number_are_one() -> None:
    one, other = entry("HTTP 422: asset 12345678 is closed"), entry("HTTP 422: asset 99999999 is closed")
    assert reason_of(one) == "HTTP 422: asset … is closed"
    assert reason_id(one) == reason_id(other)
    assert reason_id(one) != reason_id(entry("HTTP 422: asset 12345678 is closed", 400))
    assert reason_id(entry(None)) != reason_id(one)
    assert reason_id(entry("HTTP 422 Unprocessable Content: x")) == reason_id(entry("HTTP 422 Unprocessable Entity: x"))


def test_the_rate_is_that_of_the_last_seconds() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0])

    def seen(at: float, done: int, run_id: str = "r1") -> None:
        now[0] = at
        rate.observe({"run_id": run_id, "delivered": done, "unchanged": 0, "skipped": 0, "dead": 0, "pending": 0})

    seen(0, 0)
    assert rate.now("r1") is None, "one look is no rate"
    seen(2, 100)
    assert rate.now("r1") == 50
    for at in range(4, 30, 2):
        seen(at, 100 + 10 * at)
    assert rate.now("r1") == 10
    seen(30, 5, "r2")
    assert rate.now("r1") is rate.now("r2") is None
    rate.observe(None)


def test_what_cannot_be_read_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    settings = settings_without_source(tmp_path)

    async def scene() -> None:
        readings = ReadModel(settings)
        try:
            found = await readings.overview()
        finally:
            await readings.close()
        assert found["health"].level == "trouble"
        assert "there is no file" in found["health"].sentence
        assert found["status"] is None
        assert (found["runs"], found["dead_letters"]) == ([], {"count": 0, "more": False})
        assert found["latency"]["sample"] == 0

    asyncio.run(scene())


def test_a_prune_beside_a_run_does_not_take_its_place(tmp_path: Path) -> None:
    settings = settings_without_source(tmp_path)
    name, now = settings.process.operation_name, datetime.now(UTC)
    run = RunRecord(
        run_id="r1", operation=name, kind=RunKind.WINDOW, status=RunStatus.RUNNING, host="h", started_at=now
    )

    async def scene() -> None:
        readings = ReadModel(settings)
        try:
            async with make_store(settings) as store:
                await store.prepare()
                await store.create_operation(60)
                await store.open_run(await store.acquire_lease("h:1", 60), run)
                await Prune(store, name, now + timedelta(seconds=1), timedelta(days=90), dry_run=False).make()
                newest, _ = await store.runs()
            assert newest.kind is RunKind.PRUNE
            assert await readings.under_way("r1") == "h:1", "it can be stopped"
            assert [one["run_id"] for one in (await readings.overview())["runs"]] == ["r1"]
        finally:
            await readings.close()

    asyncio.run(scene())


def test_a_run_that_began_since_the_lease_was_read_is_not_taken_for_cut_off(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'both.db'}"
    settings = Settings.model_validate(
        {"api": {"api_url": "http://127.0.0.1:9/x"}, "database": {"url": url}, "process": {"tracking": "sql"}}
    )
    with closing(sqlite3.connect(tmp_path / "both.db")) as connection:
        create_tables(connection, "sqlite")
    now = datetime.now(UTC)
    run = RunRecord(
        run_id="r1",
        operation=settings.process.operation_name,
        kind=RunKind.WINDOW,
        status=RunStatus.RUNNING,
        host="h",
        started_at=now,
    )

    async def scene() -> None:
        readings = ReadModel(settings)
        try:
            async with make_store(settings) as store:
                await store.prepare()
                await store.create_operation(60)
                assert (await readings.overview())["status"]["lease"] is None
                lease = await store.acquire_lease("h:1", 60)
                await store.open_run(lease, run)
                readings._keep.forget("newest runs")  # as their time has come, and the lease's has not
                assert "cut off" not in (await readings.overview())["health"].sentence
                await store.release_lease(lease)
                readings.forget()
                assert "cut off" in (await readings.overview())["health"].sentence
                await store.acquire_lease(str(msgspec.structs.replace(Runner.this(), started="1")), 60)
                readings.forget()
                killed = await readings.overview()
                assert "cut off" in killed["health"].sentence, "its process is gone, long before its lease ends"
                assert (killed["under_way"], killed["status"]["lease"]) == (None, None)
                assert killed["status"]["expired_lease"]["holder"].endswith("/1")
                assert await readings.under_way("r1") is None, "there is nothing to stop"
        finally:
            await readings.close()

    asyncio.run(scene())


DEAD, PENDING, DELIVERED = DeliveryStatus.DEAD, DeliveryStatus.PENDING, DeliveryStatus.DELIVERED


@pytest.mark.parametrize(
    ("now", "delivered", "newest", "status", "said"),
    [
        ("b", "b", "b", DELIVERED, "same"),
        ("b", "a", "a", DELIVERED, "changed"),
        ("b", "a", "b", DEAD, "dead"),
        ("b", None, "b", DEAD, "dead"),
        ("c", "a", "b", DEAD, "changed"),
        ("c", None, "b", DEAD, "never_delivered"),
        ("a", "a", "b", DEAD, "same"),  # its rows are again as they were
        ("b", "b", "b", DEAD, "same"),  # a forced one was turned away; the receiver has this content
        ("b", "a", "b", PENDING, "pending"),
        ("b", None, "b", PENDING, "pending"),
        (None, "a", "b", PENDING, "pending"),
        ("c", "a", "b", PENDING, "waiting"),
        (None, "a", "a", DELIVERED, "absent"),
        (None, None, "b", DEAD, "absent"),
    ],
)
def test_an_account_s_content_beside_the_ledger(
    now: str | None, delivered: str | None, newest: str, status: DeliveryStatus, said: str
) -> None:
    found = Previewed(account="1", outcome="pending", document=b"{}", digest=now) if now else None
    known = LastDelivery(delivered_digest=delivered, newest_digest=newest, newest_status=status)
    assert comparison(found, known) == said
    assert comparison(found, None) == "never_delivered"


@pytest.mark.parametrize(("delivered", "said"), [(None, "never_delivered"), ("a", "unfit")])
def test_rows_that_make_no_document_are_never_sent(delivered: str | None, said: str) -> None:
    found = Previewed(account="1", outcome="dead", document=None, digest="b", error="x")
    known = LastDelivery(delivered_digest=delivered, newest_digest="b", newest_status=DEAD)
    assert comparison(found, known) == said, "and a replay would not send them either"


@pytest.mark.parametrize("kept", ["off", "30"])
def test_the_document_of_an_account_that_nobody_knows(tmp_path: Path, kept: str) -> None:
    from incident_process.sandbox.demo.tables import create_sqlite

    create_sqlite(tmp_path / "source.db")
    settings = Settings.model_validate(
        {
            "api": {"api_url": "http://127.0.0.1:9/x"},
            "database": {"url": f"sqlite:///{tmp_path / 'source.db'}"},
            "state": {"url": f"sqlite:///{tmp_path / 'state.db'}"},
            "process": {"tracking": "sql", "keep_bodies": kept},
        }
    )

    async def scene() -> None:
        readings = ReadModel(settings)
        try:
            found = await readings.document("0000000001", masked=True)
        finally:
            await readings.close()
        assert (found["outcome"], found["comparison"], found["lines"]) == ("absent", "never_delivered", [])

    asyncio.run(scene())
