"""The in-flight guard's question to the server (SPEC 3): which open transactions have changed rows, and since when."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from incident_process.source import in_flight
from incident_process.source.driver import Row
from incident_process.source.mysql import MySQLDriver, MySQLSource
from incident_process.source.queries import Statement
from incident_process.source.sqlite import SqliteSource
from tests.support.source_data import create_tables, insert_payments
from tests.support.sql_server import SqlServer


def source(server: SqlServer, database: str, user: str = "", password: str = "") -> MySQLSource:
    return MySQLSource(server.target(database, user, password))


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


@contextmanager
def polled(server: SqlServer, seconds: float = 0.02) -> Iterator[None]:
    """Have another program read the server's view of transactions so often that it is never renewed."""
    over = threading.Event()

    def poll() -> None:
        with server.connect(None) as connection, connection.cursor() as cursor:
            while not over.wait(seconds):
                cursor.execute("SELECT COUNT(*) FROM information_schema.innodb_trx")

    with ThreadPoolExecutor(1) as threads:
        polling = threads.submit(poll)
        time.sleep(0.3)  # by now the view is as old as the program
        yield
        over.set()
        polling.result()


def test_a_transaction_is_seen_while_another_program_polls_for_them(sql_server: SqlServer, tables: str) -> None:
    with polled(sql_server), sql_server.connect(tables) as reader, sql_server.connect(tables) as loader:
        assert asyncio.run(writers(source(sql_server, tables))) == []
        with reader.cursor() as cursor:
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        loader.begin()
        with loader.cursor() as cursor:
            cursor.execute("INSERT INTO debt_payment (AP_ACCOUNT_NUMBER) VALUES ('1')")
        before = datetime.now(UTC)
        time.sleep(1.1)
        found = asyncio.run(writers(source(sql_server, tables)))
        loader.rollback()
        assert asyncio.run(writers(source(sql_server, tables))) == []
    assert found is not None
    (started,) = found
    assert abs(started - before) < timedelta(seconds=3)


def test_an_answer_that_was_made_for_others_is_not_taken(
    sql_server: SqlServer, tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view is renewed as soon as the others pause: the pauses of the question see to it that they may."""
    asked = []
    monkeypatch.setattr(in_flight, "PAUSES", (0.0, 0.3))
    fetch = MySQLDriver.fetch

    async def noted(driver: MySQLDriver, statement: Statement) -> list[Row]:
        asked.append(statement.sql)
        return await fetch(driver, statement)

    monkeypatch.setattr(MySQLDriver, "fetch", noted)
    with sql_server.connect(tables) as loader, loader.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM information_schema.innodb_trx")
        loader.begin()
        cursor.execute("INSERT INTO debt_payment (AP_ACCOUNT_NUMBER) VALUES ('1')")

        async def main() -> list[datetime] | None:
            async with source(sql_server, tables) as of:
                with sql_server.connect(None) as other, other.cursor() as polling:
                    await asyncio.sleep(0.2)
                    polling.execute("SELECT COUNT(*) FROM information_schema.innodb_trx")
                    return await of.writers()

        assert len(asyncio.run(main()) or []) == 1
        loader.rollback()
    assert not any("INNODB STATUS" in statement for statement in asked)


def test_the_status_of_innodb_is_read_as_both_products_write_it() -> None:
    assert in_flight.seconds_open(STATUS) == [7, 3600, 12]


STATUS = """
------------
TRANSACTIONS
------------
Trx id counter 1562
LIST OF TRANSACTIONS FOR EACH SESSION:
---TRANSACTION 375300819448600, not started
0 lock struct(s), heap size 1128, 0 row lock(s)
---TRANSACTION (0x7f249c163180), not started
0 lock struct(s), heap size 1128, 0 row lock(s)
---TRANSACTION 1561, ACTIVE 7 sec inserting
mysql tables in use 1, locked 1
LOCK WAIT 2 lock struct(s), heap size 1128, 1 row lock(s), undo log entries 1
MySQL thread id 12, OS thread handle 140359583360704, query id 22 127.0.0.1 tester update
INSERT INTO t VALUES ('
---')
------- TRX HAS BEEN WAITING 3 SEC FOR THIS LOCK TO BE GRANTED:
---TRANSACTION 1560, ACTIVE 5 sec fetching rows
1 lock struct(s), heap size 1128, 0 row lock(s)
MySQL thread id 13, OS thread handle 1, query id 23 127.0.0.1 tester Sending data
SELECT 'undo log entries 4'
---TRANSACTION 1559, ACTIVE (PREPARED) 3600 sec
1 lock struct(s), heap size 1128, 0 row lock(s), undo log entries 2
---TRANSACTION 19, ACTIVE 12 sec
1 lock struct(s), heap size 1128, 0 row lock(s), undo log entries 1
MariaDB thread id 7, OS thread handle 139795013269184, query id 22 127.0.0.1 tester
--------
FILE I/O
--------
"""


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
