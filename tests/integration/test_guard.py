"""The in-flight guard's question to the server (SPEC 3): which open transactions have changed rows, and since when."""

import asyncio
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from incident_process.source.mysql import MySQLSource
from incident_process.source.sqlite import SqliteSource
from tests.support.source_data import create_tables, insert_payments
from tests.support.sql_server import SqlServer


def source(server: SqlServer, database: str, user: str = "", password: str = "") -> MySQLSource:
    return MySQLSource(server.host, server.port, user or server.user, password or server.password, database)


async def writers(of: MySQLSource | SqliteSource) -> list[datetime] | None:
    async with of:
        return await of.writers()


@pytest.fixture
def tables(sql_server: SqlServer, sql_database: str) -> str:
    with sql_server.connect(sql_database) as connection:
        create_tables(connection, "mysql")
    return sql_database


def test_an_open_transaction_that_has_changed_rows_is_seen_with_its_start(sql_server: SqlServer, tables: str) -> None:
    with sql_server.connect(tables) as loader:
        assert asyncio.run(writers(source(sql_server, tables))) == []
        loader.begin()
        with loader.cursor() as cursor:
            cursor.execute("INSERT INTO debt_payment (AP_ACCOUNT_NUMBER) VALUES ('1')")
        time.sleep(0.3)  # the server answers from a cache that is up to 0.1 s old
        found = asyncio.run(writers(source(sql_server, tables)))
        loader.rollback()
    assert found is not None
    (started,) = found
    assert abs(datetime.now(UTC) - started) < timedelta(seconds=30)


def test_a_transaction_that_only_reads_is_not_waited_for(sql_server: SqlServer, tables: str) -> None:
    with sql_server.connect(tables) as reader:
        with reader.cursor() as cursor:
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        assert asyncio.run(writers(source(sql_server, tables))) == []
        reader.rollback()


def test_a_user_without_the_right_cannot_tell(sql_server: SqlServer, tables: str) -> None:
    with sql_server.connect(tables) as root, root.cursor() as cursor:
        cursor.execute("CREATE USER 'weak'@'%' IDENTIFIED BY 'synthetic'")
        cursor.execute(f"GRANT SELECT ON {tables}.* TO 'weak'@'%'")
        try:
            assert asyncio.run(writers(source(sql_server, tables, "weak", "synthetic"))) is None
        finally:
            cursor.execute("DROP USER 'weak'@'%'")


def test_sqlite_has_nothing_to_tell(tmp_path: Path) -> None:
    path = tmp_path / "source.db"
    with closing(sqlite3.connect(path)) as connection:
        create_tables(connection, "sqlite")
        insert_payments(connection, [{"AP_ACCOUNT_NUMBER": "1"}])
    assert asyncio.run(writers(SqliteSource(path))) == []
