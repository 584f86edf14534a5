"""Accounts and ASSET_IDs that a collation holds to be equal, at every place of a history: read exactly (SPEC 4).

The queries that step through the index see such values as one; what they would hide is found out and read again. Each
random history is compared with the current rows as plain Python picks them.
"""

import asyncio
import random
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from incident_process.source import current_rows
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS
from incident_process.source.indexes import INDEX_ADVICE
from incident_process.source.mysql import MySQLSource
from tests.support.source_data import create_tables, insert_customers, insert_payments
from tests.support.sql_server import SqlServer

ACCOUNTS = ["a1", "A1", "a1 ", "b", "B", "c", "none"]
ASSETS = ["x", "X", "x ", "y", None]
DAY = timedelta(days=1)
START = date(2026, 1, 1)
DAYS = 8
Row = dict[str, Any]


@pytest.fixture
def connection(sql_server: SqlServer, sql_database: str) -> Iterator[Any]:
    with closing(sql_server.connect(sql_database)) as connection:
        create_tables(connection, "mysql")
        with connection.cursor() as cursor:
            for index in INDEX_ADVICE:
                cursor.execute(index.statement)
        yield connection


@pytest.fixture
def source(sql_server: SqlServer, sql_database: str, connection: Any) -> MySQLSource:
    return MySQLSource(sql_server.target(sql_database))


def history(seed: int) -> tuple[list[Row], list[Row]]:
    """Customer rows and payments: few accounts and assets, so that most native groups hold several exact ones."""
    dice = random.Random(seed)
    some, days = ACCOUNTS[: dice.randint(2, 6)], [START + DAY * day for day in range(DAYS)]
    customers = [
        {
            "ACCOUNT_NUM": dice.choice(some),
            "ASSET_ID": dice.choice(ASSETS),
            "LOAD_DATE": dice.choice([*days, None]),
            "BSS_PRODUCT_SEQ": dice.randint(1, 2),
        }
        for _ in range(dice.randint(5, 60))
    ]
    payments = [
        {
            "AP_ACCOUNT_NUMBER": dice.choice(some),
            "ACCOUNT_PAYMENT_DAT": dice.choice([*map(_moment, days[:3]), None]),
            "ACCOUNT_PAYMENT_SEQ": dice.randint(1, 3),
            "LOAD_DATE": dice.choice([*map(_moment, days), None]),
        }
        for _ in range(dice.randint(5, 40))
    ]
    return customers, payments


def _moment(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12)  # noqa: DTZ001 - as the column holds it


def picked(rows: list[Row], account: str, group: tuple[str, ...], order: str) -> set[tuple[Any, ...]]:
    """Return, as Python sees it, an account's rows that are the newest of their group; no date is the oldest."""
    mine = [row for row in rows if row[group[0]] == account]
    newest: dict[tuple[Any, ...], Any] = {}
    for row in mine:
        key, at = tuple(row[name] for name in group), (row[order] is not None, row[order])
        if key not in newest or newest[key] < at:
            newest[key] = at
    return {tuple(row.values()) for row in mine if newest[tuple(row[name] for name in group)][1] == row[order]}


async def read(source: MySQLSource, as_of: datetime) -> tuple[list[Any], list[Any]]:
    async with source, source._driver.snapshot():
        fetch, tables = source._driver.fetch, source._tables
        return (
            await current_rows.customer_rows(fetch, tables["debt_cust_detail"], ACCOUNTS, as_of),
            await current_rows.payment_rows(fetch, tables["debt_payment"], ACCOUNTS, as_of),
        )


def of_account(rows: list[Any], columns: tuple[str, ...], account: str, like: Row) -> list[tuple[Any, ...]]:
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    name = next(iter(like))
    return [tuple(row[column] for column in like) for row in found if row[name] == account]


@pytest.mark.parametrize("seed", range(25))
def test_random_histories(connection: Any, source: MySQLSource, seed: int) -> None:
    customers, payments = history(seed)
    insert_customers(connection, customers)
    insert_payments(connection, payments)
    end = START + DAY * random.Random(seed).randint(2, DAYS)
    as_of = datetime(end.year, end.month, end.day, 18, tzinfo=UTC)
    customer_rows, payment_rows = asyncio.run(read(source, as_of))
    seen_c = [row for row in customers if row["LOAD_DATE"] is not None and row["LOAD_DATE"] <= end]
    seen_p = [
        row for row in payments if row["LOAD_DATE"] is not None and row["LOAD_DATE"] <= as_of.replace(tzinfo=None)
    ]
    for account in ACCOUNTS:
        rows = of_account(customer_rows, CUSTOMER_COLUMNS, account, customers[0])
        assert len(rows) == len(set(rows)), account
        assert set(rows) == picked(seen_c, account, ("ACCOUNT_NUM", "ASSET_ID"), "LOAD_DATE"), account
        rows = of_account(payment_rows, PAYMENT_COLUMNS, account, payments[0])
        assert len(rows) == len(set(rows)), account
        assert set(rows) == picked(seen_p, account, ("AP_ACCOUNT_NUMBER",), "ACCOUNT_PAYMENT_DAT"), account


def test_an_asset_that_came_once_in_the_middle(connection: Any, source: MySQLSource) -> None:
    """Neither the newest nor the oldest rows of the group show that there is another ASSET_ID in it."""
    insert_customers(
        connection,
        [{"ACCOUNT_NUM": "c", "ASSET_ID": asset, "LOAD_DATE": START + DAY * day} for day, asset in enumerate("xxXxx")],
    )
    rows, _ = asyncio.run(read(source, datetime(2026, 2, 1, tzinfo=UTC)))
    at = CUSTOMER_COLUMNS.index("ASSET_ID")
    assert sorted((row[at], row[-1]) for row in rows) == [("X", START + DAY * 2), ("x", START + DAY * 4)]
