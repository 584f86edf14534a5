"""Rows that are read all and picked here are those that the server picks, whatever the dates and texts."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from incident_process.source.base import AccountRows
from incident_process.source.client_side import FEW
from incident_process.source.mysql import MySQLSource
from tests.support.source_data import create_tables, insert_customers, insert_payments
from tests.support.sql_server import SqlServer

ACCOUNTS = [f"{number:04d}" for number in range(FEW + 50)]
START = date(2026, 3, 1)
LOADED: list[Any] = [START + timedelta(days=day) for day in range(4)]
PAID: list[Any] = [
    *(f"2026-02-0{day} 10:00:00" for day in range(1, 5)),
    "2026-02-01 10:00:00",
    "0000-00-00 00:00:00",
    "2026-00-00 00:00:00",
    "1899-12-31 10:00:00",
    None,
]


def given(connection: Any, dice: random.Random) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = ''")
    customers = [
        {
            "ACCOUNT_NUM": account,
            "ASSET_ID": dice.choice(["A1", "a1", "A2", "", None]),
            "PRODUCT_NAME": dice.choice(["x", "y"]),
            "LOAD_DATE": dice.choice([*LOADED, "2026-02-00", None]),
        }
        for account in ACCOUNTS
        for _ in range(dice.randint(0, 5))
    ]
    payments = [
        {
            "AP_ACCOUNT_NUMBER": account,
            "ACCOUNT_PAYMENT_SEQ": dice.randint(1, 3),
            "ACCOUNT_PAYMENT_DAT": dice.choice(PAID),
            "LOAD_DATE": dice.choice([*LOADED, None]),
        }
        for account in ACCOUNTS
        for _ in range(dice.randint(0, 5))
    ]
    insert_customers(connection, customers)
    insert_payments(connection, payments)


def comparable(found: Sequence[AccountRows]) -> list[tuple[str, list[str], list[str]]]:
    """Accounts with their rows, in an order of our own: the server's is not fixed."""
    return [(of.account, sorted(map(repr, of.customers)), sorted(map(repr, of.payments))) for of in found]


@pytest.mark.parametrize("seed", range(6))
def test_all_ways_give_the_same_rows(sql_server: SqlServer, sql_database: str, seed: int) -> None:
    dice = random.Random(seed)
    with closing(sql_server.connect(sql_database)) as connection:
        create_tables(connection, "mysql")
        given(connection, dice)
    as_of = datetime(2026, 3, dice.randint(1, 4), 12, tzinfo=UTC)

    # Half of them: more rows of others than of these lie between the first and the last.
    asked = dice.choice([ACCOUNTS, sorted(dice.sample(ACCOUNTS, len(ACCOUNTS) // 2 + 30))])

    async def read() -> tuple[list[AccountRows], list[AccountRows], list[AccountRows]]:
        source = MySQLSource(sql_server.target(sql_database))
        async with source:
            assert all(choice.as_range(asked) for choice in source._choices.values())
            in_a_range = await source.read(asked, as_of)
            for choice in source._choices.values():
                choice.read(100, 0, 0, as_range=True)
                assert choice.all_rows(asked)
                assert not choice.as_range(asked)
            one_by_one = await source.read(asked, as_of)
            for choice in source._choices.values():
                choice.read(100, 100, 0, as_range=False)
                assert not choice.all_rows(asked)
            by_the_server = await source.read(asked, as_of)
            return in_a_range, one_by_one, by_the_server

    in_a_range, one_by_one, by_the_server = asyncio.run(read())
    assert comparable(in_a_range) == comparable(one_by_one) == comparable(by_the_server)
    assert any(len(of.payments) > 1 for of in in_a_range)
