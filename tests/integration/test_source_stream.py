"""A streamed result takes the memory of few of its rows, however slowly it is read."""

import asyncio
import time
from typing import Any

from incident_process.source.mysql import MySQLSource
from incident_process.source.queries import Statement
from tests.support.source_data import create_tables
from tests.support.sql_server import SqlServer, numbers

ROWS = 100_000
WIDE = 400
"""Characters of a row: 40 MB in all, several times what a system holds unread for a connection by itself."""


def test_what_waits_to_be_read_is_bounded(sql_server: SqlServer, sql_database: str) -> None:
    with sql_server.connect(sql_database) as connection:
        create_tables(connection, "mysql")
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE digits AS SELECT seq FROM {numbers(1, ROWS)} AS digits")

    async def main() -> tuple[int, int]:
        source = MySQLSource(sql_server.target(sql_database))
        async with source:
            driver: Any = source._driver
            wide = Statement(sql=f"SELECT REPEAT('x', {WIDE}), seq FROM digits")
            rows = held = 0
            async for batch in driver.stream(wide, 1000):
                rows += len(batch)
                time.sleep(0.005)  # noqa: ASYNC251  # a reader that is slower than the server
                held = max(held, len(driver._connection.driver._proto.buffer))
            return rows, held

    rows, held = asyncio.run(main())
    assert rows == ROWS
    assert held < 2 * 1024 * 1024
