"""Read rows of both tables raw: ``read.py HOST PORT USER DATABASE [SINCE]``, the password in BENCH_PASSWORD.

The columns that the document needs, through the product's database driver, one pass over each table, nothing done
with them. With SINCE (``YYYY-MM-DD HH:MM:SS``) only those with a LOAD_DATE from then on. Prints how many rows it read.
"""

import os
import sys

import asyncmy
import uvloop
from asyncmy.cursors import SSCursor

from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS

BATCH = 1_000


async def read(host: str, port: str, user: str, database: str, since: str | None = None) -> int:
    """Return the number of rows."""
    connection = await asyncmy.connect(
        host=host, port=int(port), user=user, database=database, password=os.environ["BENCH_PASSWORD"]
    )
    rows = 0
    async with connection:
        for table, columns in ((CUSTOMER_TABLE, CUSTOMER_COLUMNS), (PAYMENT_TABLE, PAYMENT_COLUMNS)):
            query = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 - fixed names
            async with connection.cursor(SSCursor) as cursor:
                if since is None:
                    await cursor.execute(query)
                else:
                    await cursor.execute(f"{query} WHERE LOAD_DATE >= %s", (since,))
                while some := await cursor.fetchmany(BATCH):
                    rows += len(some)
    return rows


if __name__ == "__main__":
    sys.stdout.write(f"{uvloop.run(read(*sys.argv[1:]))}\n")
