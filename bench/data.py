"""Synthetic source tables on MariaDB, made as fast as the machine can: files by all processors, then LOAD DATA."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.support.mariadb import MariaDBServer
from tests.support.source_data import create_tables, source_columns

from bench.plan import ASSETS
from incident_process.sandbox.demo.data import Population, Row
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE
from incident_process.source.indexes import INDEX_ADVICE

BATCH = 5_000
"""Accounts in one file."""

OLD = timedelta(days=100)
"""How far back the loads of those accounts lie that no lookback reaches."""

ACCOUNT = {CUSTOMER_TABLE: "ACCOUNT_NUM", PAYMENT_TABLE: "AP_ACCOUNT_NUMBER"}


def load(server: MariaDBServer, accounts: int, recent: int, assets: int = ASSETS) -> str:
    """Make a database with its indexes, and return its name.

    Args:
        server: Where.
        accounts: How many; each has ``assets`` customer rows of one load, and two payments.
        recent: The first so many have their customer rows of today and a payment of three hours ago (``pay`` makes
            newer ones); those of all others are 100 days old.
        assets: Customer rows of an account.
    """
    database = server.create_database()
    now = datetime.now(UTC).replace(microsecond=0)
    spans = [
        (start, min(start + BATCH, stop), loaded)
        for first, stop, loaded in ((0, recent, now), (recent, accounts, now - OLD))
        for start in range(first, stop, BATCH)
    ]
    # Processes only where their start is worth it, and not forked: this one may have threads.
    workers: Executor = (
        ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))
        if len(spans) > 1
        else ThreadPoolExecutor(1)
    )
    with (
        server.connect(database) as connection,
        tempfile.TemporaryDirectory(prefix="bench-data-") as name,
        workers as pool,
    ):
        Path(name).chmod(0o755)  # the database server reads the files
        create_tables(connection, "mysql")
        with connection.cursor() as cursor:
            for table, file in _files(pool, spans, Path(name), assets):
                cursor.execute("LOAD DATA INFILE %s INTO TABLE " + table + " CHARACTER SET utf8mb4", (str(file),))
                file.unlink()
            for table in source_columns():
                indexes = ", ".join(
                    f"ADD INDEX {one.name} ({', '.join(one.columns)})" for one in INDEX_ADVICE if one.table == table
                )
                cursor.execute(f"ALTER TABLE {table} {indexes}")
        analyze(connection)
    return database


def _files(
    pool: Executor, spans: Sequence[tuple[int, int, datetime]], folder: Path, assets: int
) -> Iterable[tuple[str, Path]]:
    """Yield each table's files as they are ready; at most as many wait as there are processors."""
    width = (os.cpu_count() or 1) + 1
    waiting = [pool.submit(write, span, folder, assets) for span in spans[:width]]
    following = iter(spans[width:])
    while waiting:
        files = waiting.pop(0).result()
        if (span := next(following, None)) is not None:
            waiting.append(pool.submit(write, span, folder, assets))
        yield from files


def write(span: tuple[int, int, datetime], folder: Path, assets: int) -> list[tuple[str, Path]]:
    """Write the rows of some accounts as LOAD DATA reads them; return table and file."""
    start, stop, loaded = span
    population = Population(assets=assets)
    indexes = range(start, stop)
    payments = [population.payments(indexes, loaded - timedelta(hours=hours)) for hours in (3, 24 * 40)]
    made: tuple[tuple[str, Iterable[Iterable[Row]]], ...] = (
        (CUSTOMER_TABLE, [population.customers(indexes, loaded.date())]),
        (PAYMENT_TABLE, payments),
    )
    files = []
    for table, groups in made:
        file = folder / f"{table}-{start}"
        with file.open("w", encoding="utf-8") as out:
            for rows in groups:
                # No value of the synthetic rows holds a tab, a line's end or a backslash.
                out.writelines("\t".join(["\\N" if one is None else str(one) for one in row]) + "\n" for row in rows)
        files.append((table, file))
    return files


def pay(connection: Any, indexes: Iterable[int], assets: int = ASSETS) -> None:
    """Insert a payment of this very second for each of these accounts."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT UTC_TIMESTAMP()")
        now = cursor.fetchone()[0].replace(tzinfo=UTC)
        rows = list(Population(assets=assets).payments(indexes, now))
        marks = ", ".join(["%s"] * len(rows[0]))
        cursor.executemany(f"INSERT INTO {PAYMENT_TABLE} VALUES ({marks})", rows)  # noqa: S608 - a fixed name


def deepen(connection: Any, loads: int) -> None:
    """Add the same rows of every account once for each day before, until the account has ``loads`` loads."""
    days = f"WITH RECURSIVE days (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM days WHERE n < {loads - 1})"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute("SET max_recursive_iterations = 1000000")
        for table, columns in source_columns().items() if loads > 1 else ():
            values = ", ".join(
                f"DATE_SUB({name}, INTERVAL n DAY)" if name in {"LOAD_DATE", "ACCOUNT_PAYMENT_DAT"} else name
                for name in columns
            )
            cursor.execute(f"INSERT INTO {table} {days} SELECT {values} FROM {table}, days")  # noqa: S608 - fixed names
    analyze(connection)


def widen(connection: Any, numbers: range) -> None:
    """Add the first rows of the tables 90 times (for 10 to 99) as old rows of other accounts."""
    with connection.cursor() as cursor:
        for table, columns in source_columns().items():
            account = ACCOUNT[table]
            moved = {
                # The population's account numbers begin with two zeros.
                account: f"CONCAT(%s, SUBSTRING({account}, 3))",
                "LOAD_DATE": f"DATE_SUB(LOAD_DATE, INTERVAL {OLD.days} DAY)",
            }
            values = ", ".join(moved.get(name, name) for name in columns)
            for number in numbers:
                cursor.execute(
                    f"INSERT INTO {table} SELECT {values} FROM {table} WHERE {account} < '01'",  # noqa: S608 - fixed names
                    (number,),
                )
    analyze(connection)


def analyze(connection: Any) -> None:
    """Bring the optimizer's statistics up to date, as on a server that has held the rows for a while."""
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE TABLE {', '.join(source_columns())}")
