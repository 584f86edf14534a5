"""A streamed result takes the memory of few of its rows, however slowly it is read."""

import asyncio
import time
from typing import Any

from incident_process.source.mysql import MySQLSource
from incident_process.source.queries import Statement
from tests.support.mariadb import MariaDBServer
from tests.support.source_data import create_tables

ROWS = 100_000
WIDE = 400
"""Characters of a row: 40 MB in all, several times what a system holds unread for a connection by itself."""


def test_what_waits_to_be_read_is_bounded(mariadb: MariaDBServer, mariadb_database: str) -> None:
    with mariadb.connect(mariadb_database) as connection:
        create_tables(connection, "mysql")

    async def main() -> tuple[int, int]:
        source = MySQLSource(mariadb.host, mariadb.port, mariadb.user, mariadb.password, mariadb_database)
        async with source:
            driver: Any = source._driver
            wide = Statement(sql=f"SELECT REPEAT('x', {WIDE}), seq FROM seq_1_to_{ROWS}")
            rows = held = 0
            async for batch in driver.stream(wide, 1000):
                rows += len(batch)
                time.sleep(0.005)  # noqa: ASYNC251  # a reader that is slower than the server
                held = max(held, len(driver._connection._proto.buffer))
            return rows, held

    rows, held = asyncio.run(main())
    assert rows == ROWS
    assert held < 2 * 1024 * 1024
