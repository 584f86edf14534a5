"""SQLite keeps dates as text, in several forms, under any declared type: they are compared as the times they mean."""

# ruff: noqa: DTZ001 - local times without a zone are what the tables hold

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from incident_process.core.models import NEVER
from incident_process.source.base import AccountRows, ReadRange, Survey
from incident_process.source.columns import CUSTOMER_COLUMNS
from incident_process.source.sqlite import SqliteSource
from tests.support.source_data import create_tables, insert_customers

FORMS = {  # one row each, a minute or less apart, in an order that is not the order of the texts
    "2026-03-01": datetime(2026, 3, 1),
    "2026-03-01T00:00:00.000001": datetime(2026, 3, 1, 0, 0, 0, 1),
    "2026-03-01 00:00:01Z": datetime(2026, 3, 1, 0, 0, 1),
    "2026-03-01 00:00:01.5": datetime(2026, 3, 1, 0, 0, 1, 500_000),
    "2026-03-01T00:00:02": datetime(2026, 3, 1, 0, 0, 2),
    "2026-03-01 00:00:03+00:00": datetime(2026, 3, 1, 0, 0, 3),
    "2026-03-01T00:00:04.25Z": datetime(2026, 3, 1, 0, 0, 4, 250_000),
    "2026-03-01 00:01": datetime(2026, 3, 1, 0, 1),
}


def filled(path: Path, kind: str, rows: list[dict[str, Any]]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        create_tables(connection, "sqlite", kind, kind)
        insert_customers(connection, rows)


def look(path: Path, start: datetime, until: datetime, zone: str = "UTC") -> tuple[Survey, set[str], list[AccountRows]]:
    async def main() -> tuple[Survey, set[str], list[AccountRows]]:
        async with SqliteSource(path, ZoneInfo(zone)) as source:
            survey = await source.survey(ReadRange(watermark=start, lookback_seconds=0, until=until))
            touched = [one async for batch in source.selected_accounts(10) for one in batch if one.in_window]
            rows = await source.read([*(one.account for one in touched), "same"], until)
            return survey, {one.account for one in touched}, rows

    return asyncio.run(main())


@pytest.mark.parametrize("kind", ["date", "datetime", "text", ""])
def test_every_form_is_compared_as_a_time(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s.db"
    rows = [{"ACCOUNT_NUM": form, "LOAD_DATE": form} for form in FORMS]
    filled(path, kind, rows + [{"ACCOUNT_NUM": "same", "LOAD_DATE": form} for form in FORMS])
    moments = [moment.replace(tzinfo=UTC) for moment in FORMS.values()]
    names = list(FORMS)
    for at, until in enumerate(moments):
        survey, accounts, found = look(path, NEVER, until)
        assert accounts == {*names[: at + 1], "same"}
        assert survey.newest == until
        # The newest of one account's rows, whatever their forms.
        assert [row[CUSTOMER_COLUMNS.index("LOAD_DATE")] for row in found[-1].customers] == [until]
        assert look(path, until, moments[-1])[1] - {"same"} == set(names[at + 1 :])


def test_text_that_is_no_date(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    bad = ["soon", "", "0000-00-00", "01/03/2026", 20260301, 2461100.5, b"2026-03-01", "2026-03-0", "2026-03-01x", None]
    filled(path, "text", [{"ACCOUNT_NUM": str(at), "LOAD_DATE": value} for at, value in enumerate(bad)])

    async def main() -> int:
        async with SqliteSource(path) as source:
            return (await source.excluded())["debt_cust_detail"].unprocessable

    assert asyncio.run(main()) == len(bad)
    assert look(path, NEVER, datetime(2027, 1, 1, tzinfo=UTC))[1] == set()


def test_a_value_with_a_zone_keeps_it(tmp_path: Path) -> None:
    """04:30Z is 10:00 in Colombo: beside 10:00 without a zone it is the same moment."""
    path = tmp_path / "s.db"
    filled(
        path,
        "datetime",
        [
            {"ACCOUNT_NUM": "z", "LOAD_DATE": "2026-03-01T04:30:00Z"},
            {"ACCOUNT_NUM": "local", "LOAD_DATE": "2026-03-01 10:00:00"},
        ],
    )
    moment = datetime(2026, 3, 1, 4, 30, tzinfo=UTC)
    survey, accounts, rows = look(path, NEVER, moment, "Asia/Colombo")
    assert (survey.newest, accounts) == (moment, {"z", "local"})
    assert {row[-1] for one in rows for row in one.customers} == {moment}
    assert look(path, NEVER, moment.replace(minute=29), "Asia/Colombo")[1] == set()


def test_a_value_with_a_zone_keeps_its_place_in_a_repeated_hour(tmp_path: Path) -> None:
    """New York, 2026-11-01: 02:00 becomes 01:00 at 06:00Z. Each row is the newest from its own instant on."""
    path = tmp_path / "s.db"
    loaded = {
        "2026-11-01T05:40:00Z": (5, 40),
        "2026-11-01 01:50:00": (5, 50),
        "2026-11-01T06:05:00Z": (6, 5),
        "2026-11-01 06:20:00.5+00:00": (6, 20),
        "2026-11-01 02:00:00": (7, 0),
    }
    filled(path, "datetime", [{"ACCOUNT_NUM": "same", "LOAD_DATE": form} for form in loaded])
    start = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    for hour, minute in loaded.values():
        end = datetime(2026, 11, 1, hour, minute, 1, tzinfo=UTC)
        survey, _, (*_, found) = look(path, start, end, "America/New_York")
        (newest,) = (row[-1] for row in found.customers)
        assert (survey.rows["debt_cust_detail"], survey.newest) == (1, newest)
        assert newest.replace(microsecond=0) == end.replace(second=0)
        start = end
