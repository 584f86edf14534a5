"""The plans of the hot queries, guarded: with the advised indexes, no table is read as a whole (STYLE)."""

# ruff: noqa: DTZ001 - local times without a zone are what the tables hold

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from incident_process.source import queries
from incident_process.source.indexes import INDEX_ADVICE
from incident_process.source.mysql import MySQLSource
from incident_process.source.queries import Statement, TableQueries
from incident_process.source.sqlite import SqliteSource
from tests.support.source_data import create_tables, insert_customers, insert_payments
from tests.support.sql_server import SqlServer

ACCOUNTS = [f"{number:06d}" for number in range(0, 200, 20)]
ODD = [*ACCOUNTS, "\u200b"]
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
LATE = AS_OF - timedelta(days=1)

HOT: dict[str, Callable[[dict[str, TableQueries]], Statement]] = {
    "customers": lambda of: queries.current_customers(of["debt_cust_detail"], ACCOUNTS, AS_OF),
    "payments": lambda of: queries.newest_payments(of["debt_payment"], ACCOUNTS, AS_OF),
    # With a character that not every character set has.
    "odd customers": lambda of: queries.current_customers(of["debt_cust_detail"], ODD, AS_OF),
    "odd payments": lambda of: queries.newest_payments(of["debt_payment"], ODD, AS_OF),
    "survey customers": lambda of: queries.survey(of["debt_cust_detail"], LATE, LATE.replace(tzinfo=None), AS_OF),
    "survey payments": lambda of: queries.survey(of["debt_payment"], LATE, LATE.replace(tzinfo=None), AS_OF),
}

NATIVE: dict[str, Callable[[dict[str, TableQueries]], Statement]] = {
    "native customers": lambda of: queries.native_customers(of["debt_cust_detail"], ACCOUNTS, AS_OF),
    "native payments": lambda of: queries.native_payments(of["debt_payment"], ACCOUNTS, AS_OF),
    "odd native customers": lambda of: queries.native_customers(of["debt_cust_detail"], ODD, AS_OF),
    "odd native payments": lambda of: queries.native_payments(of["debt_payment"], ODD, AS_OF),
}
"""For MariaDB and MySQL only."""


def fill(connection: Any, dialect: str, account_type: str | None = None) -> None:
    create_tables(connection, dialect, account_type=account_type)
    days = [(datetime(2025, 11, 1) + timedelta(days=day)).isoformat(" ") for day in range(60)]
    accounts = [f"{number:06d}" for number in range(200)]
    insert_customers(connection, [{"ACCOUNT_NUM": one, "LOAD_DATE": day[:10]} for day in days for one in accounts])
    insert_payments(
        connection,
        [{"AP_ACCOUNT_NUMBER": one, "ACCOUNT_PAYMENT_DAT": day, "LOAD_DATE": day} for day in days for one in accounts],
    )
    cursor = connection.cursor()
    for index in INDEX_ADVICE:
        cursor.execute(index.statement)
    cursor.close()


def explain(source: Any, word: str, hot: dict[str, Callable[..., Statement]]) -> dict[str, list[Any]]:
    async def main() -> dict[str, list[Any]]:
        async with source:
            plans = {}
            for name, make in hot.items():
                statement = make(source._tables)
                asked = Statement(sql=f"{word} {statement.sql}", parameters=statement.parameters)
                plans[name] = await source._driver.fetch(asked)
            return plans

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("analysed", "charset"), [(False, None), (True, None), (False, "latin1"), (True, "latin1"), (True, "utf8mb3")]
)
def test_mariadb(sql_server: SqlServer, sql_database: str, analysed: bool, charset: str | None) -> None:
    with closing(sql_server.connect(sql_database)) as connection:
        fill(connection, "mysql", charset and f"varchar(40) CHARACTER SET {charset}")
        if analysed:
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE TABLE debt_cust_detail, debt_payment")
                cursor.fetchall()
    source = MySQLSource(sql_server.target(sql_database))
    access_at = 3 if sql_server.product == "MariaDB" else 4  # MySQL has a column more, of partitions
    for name, plan in explain(source, sql_server.explain, HOT | NATIVE).items():
        steps = {row[2]: row[access_at] for row in plan}
        for table, access in steps.items():
            assert access != "ALL" or table.startswith("<derived"), (name, steps)


def test_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path)) as connection:
        fill(connection, "sqlite")
        connection.commit()
    for name, plan in explain(SqliteSource(path), "EXPLAIN QUERY PLAN", HOT).items():
        steps = [row[3] for row in plan]
        assert not [step for step in steps if step.startswith("SCAN")], (name, steps)
