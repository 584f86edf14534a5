"""EXPLAIN for every hot query on MariaDB and MySQL, over tens of thousands of rows: no table is read as a whole.

Source and state are asked with what a run and the commands ask; each statement is then explained with the values that
it had. ``test_source_plans`` does so for SQLite and for few accounts in a statement.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from incident_process.core.models import Chunk, DeliveryStatus, Incident, Outcome, RunKind, RunRecord, RunStatus
from incident_process.source import client_side, queries
from incident_process.source.indexes import INDEX_ADVICE
from incident_process.source.mysql import MySQLSource
from incident_process.source.queries import Statement
from incident_process.state.sql import SqlStateStore
from incident_process.state.sql.mysql import MySQLConnection
from incident_process.state.sql.sqlite import SqliteConnection
from tests.support.source_data import create_tables
from tests.support.sql_server import SqlServer, numbers
from tests.support.stores import OPERATION

ACCOUNTS = 8_000
"""Accounts of the ledger. A run asks for a twentieth: for a tenth MariaDB 11.8 rather reads all of the table."""
HISTORIES = {"mariadb": (4_000, 10), "mysql": (400, 100)}
"""How many accounts the source has, and how many loads. MySQL steps over long histories only: it turned between 30 and
100 loads, and walks through shorter ones in the index, which has all that it needs."""

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NEWEST = "'2026-02-28'"
ASKED = [f"{number:08d}" for number in range(1, ACCOUNTS // 2, 10)]
SMALL = {"Process_Operation", "Process_Operation_Lease", "Process_Operation_Scope", "Incident_Counter"}
"""Tables of one row an operation, or a chunk; the team's has no key."""

NEWEST_ENTRIES = "WHERE Operation_name = %s ORDER BY Incident_Id DESC LIMIT"
"""The newest entries of all: read from the end of the key, up to the limit."""

Plan = list[tuple[str, str, str]]
"""Table, kind of access, and remarks of each step."""


@pytest.fixture(scope="module", params=sorted(HISTORIES))
def product(request: pytest.FixtureRequest) -> str:
    """Each product in turn, for all tests of the source, so that its tables are filled once."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, product: str) -> SqlServer:
    found = request.getfixturevalue(product)
    assert isinstance(found, SqlServer)
    return found


@pytest.fixture(scope="module")
def database(server: SqlServer) -> Iterator[str]:
    name = server.create_database()
    yield name
    server.drop_database(name)


def explain(server: SqlServer, connection: Any, statement: str, parameters: Any) -> Plan:
    with connection.cursor() as cursor:
        cursor.execute(f"{server.explain} {statement}", parameters or None)
        names = [column[0] for column in cursor.description]
        steps = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [(str(step["table"]), str(step["type"]), str(step["Extra"])) for step in steps]


def scans(plan: Plan) -> list[str]:
    """Return the tables that are read as a whole; lists of values and results of subqueries are none."""
    return [table for table, access, _ in plan if access in {"ALL", "index"} and table[0] != "<" and table != "None"]


# -- source -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(server: SqlServer, database: str, product: str) -> MySQLSource:
    """Accounts with one row a load in each table, the loads day by day."""
    accounts, loads = HISTORIES[product]
    with closing(server.connect(database)) as connection:
        create_tables(connection, "mysql")
        with connection.cursor() as cursor:
            every = f"{numbers(0, loads - 1)} AS loads, {numbers(1, accounts)} AS accounts"
            day = f"{NEWEST} - INTERVAL {loads - 1} DAY + INTERVAL loads.seq DAY"
            account = "LPAD(accounts.seq, 8, '0')"
            cursor.execute(
                f"INSERT INTO debt_cust_detail (ACCOUNT_NUM, ASSET_ID, LOAD_DATE) SELECT {account}, 'A1', {day} "
                f"FROM {every} ORDER BY loads.seq"
            )
            cursor.execute(
                "INSERT INTO debt_payment (AP_ACCOUNT_NUMBER, ACCOUNT_PAYMENT_DAT, LOAD_DATE) "
                f"SELECT {account}, {day}, {day} FROM {every} ORDER BY loads.seq"
            )
            for index in INDEX_ADVICE:
                cursor.execute(index.statement)
        connection.commit()
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE TABLE debt_cust_detail, debt_payment")
    return MySQLSource(server.target(database))


@pytest.fixture(scope="module")
def source_plans(source: MySQLSource, server: SqlServer, database: str, product: str) -> dict[str, Plan]:
    """The plans of a chunk of a tenth of the accounts and of a window of the newest load."""
    accounts, _ = HISTORIES[product]
    asked = [f"{number:08d}" for number in range(1, accounts, 10)]

    async def statements() -> dict[str, Statement]:
        async with source:
            customer, payment = source._tables["debt_cust_detail"], source._tables["debt_payment"]
            late = NOW - timedelta(days=1, hours=1)
            since = late.replace(tzinfo=None, hour=0)
            return {
                "survey of customers": queries.survey(customer, late, since, NOW),
                "survey of payments": queries.survey(payment, late, since, NOW),
                "excluded customers": queries.excluded(customer, NOW),
                "excluded payments": queries.excluded(payment, NOW),
                "all customers": client_side.all_rows(customer, asked, NOW),
                "all payments": client_side.all_rows(payment, asked, NOW),
                "customers from one to another": client_side.all_rows(customer, asked, NOW, as_range=True),
                "payments from one to another": client_side.all_rows(payment, asked, NOW, as_range=True),
                "native customers": queries.native_customers(customer, asked, NOW),
                "mixed accounts": queries.mixed_accounts(customer, asked),
                "exact customers": queries.current_customers(customer, asked, NOW),
                "native payments": queries.native_payments(payment, asked, NOW),
                "exact payments": queries.newest_payments(payment, asked, NOW),
            }

    with closing(server.connect(database)) as connection:
        return {
            name: explain(server, connection, one.sql, one.parameters)
            for name, one in asyncio.run(statements()).items()
        }


def test_no_query_of_the_source_scans_a_table(source_plans: dict[str, Plan]) -> None:
    assert {name: scans(plan) for name, plan in source_plans.items() if scans(plan)} == {}


@pytest.mark.parametrize("name", ["native customers", "mixed accounts", "native payments"])
def test_a_history_is_stepped_over(source_plans: dict[str, Plan], name: str) -> None:
    """The newest date of each account is one step in the index, not a walk through its loads."""
    assert any("Using index for group-by" in remarks for _, _, remarks in source_plans[name]), source_plans[name]


def test_the_check_sees_a_scan(source: MySQLSource, server: SqlServer, database: str) -> None:
    with closing(server.connect(database)) as connection:
        plan = explain(server, connection, "SELECT COUNT(*) FROM debt_cust_detail WHERE TRIM(ASSET_ID) = 'x'", None)
    assert scans(plan) == ["debt_cust_detail"]


# -- state ------------------------------------------------------------------------------------------------------------


def fill_state(connection: Any) -> None:
    """A ledger with a history: eight delivered incidents an account, few dead and pending, runs, kept bodies."""
    entry = (
        f"'{OPERATION}', LPAD(seq % {ACCOUNTS}, 8, '0'), SHA2(seq, 224), SHA2(seq, 224),"
        " IF(seq % 1000 = 0, 'dead', 'delivered'), 1, 1, 200, NULL, CONCAT('run-', seq DIV 400),"
        " UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), -1, '', NULL"
    )
    stamp = "TIMESTAMP'2026-01-01 00:00:00' + INTERVAL seq MINUTE"
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO Incident_Delivery SELECT seq, {entry} FROM {numbers(1, 8 * ACCOUNTS)} AS n")
        cursor.execute(
            "INSERT INTO Process_Operation_Run (Run_Id, Operation_name, Kind, Status, Accounts, Delivered, Unchanged,"
            " Skipped, Dead, Pending, Counts, Host, Started_Dtm)"
            f" SELECT CONCAT('run-', seq), '{OPERATION}', 'window', 'completed', 1, 1, 0, 0, 0, 0, '{{}}', 'h', {stamp}"
            f" FROM {numbers(1, 5000)} AS n"
        )
        cursor.execute(
            "INSERT INTO Incident_Outbox (Operation_name, Chunk_Id, Part_Number, First_Incident_Id, Incidents, Token,"
            f" Run_Id, Created_Dtm, Done_Dtm, Body) SELECT '{OPERATION}', CONCAT('run-', seq, '-1'), 0, seq, 0, 1,"
            f" CONCAT('run-', seq), {stamp}, {stamp}, '' FROM {numbers(1, 2000)} AS n"
        )
    connection.commit()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE Incident_Delivery, Process_Operation_Run, Incident_Outbox")


def incidents(first: int, accounts: list[str]) -> tuple[Incident, ...]:
    return tuple(
        Incident(incident_id=number, account=account, digest=f"d{number}", key=f"k{number}", body=b"{}")
        for number, account in enumerate(accounts, start=first)
    )


async def one_run(store: SqlStateStore) -> None:
    """What a run asks of the state, from the lease to the end."""
    lease = await store.acquire_lease("plans", 60)
    await store.claim_outbox(lease)
    known = await store.last_known(ASKED)
    await store.delivered_before([(account, entry.newest_digest) for account, entry in known.items()])
    first = await store.reserve_ids(lease, len(ASKED), 10**9)
    chunk = Chunk(chunk_id="run-now-1", run_id="run-now", incidents=incidents(first, ASKED))
    await store.enqueue(lease, chunk)
    await store.load_chunk(chunk.chunk_id)
    await store.claim_outbox(lease)
    outcomes = [
        Outcome(
            incident_id=one.incident_id, account=one.account, status=DeliveryStatus.DELIVERED, attempts=1, runs=1,
            http_status=200, at=NOW,
        )
        for one in chunk.incidents
    ]  # fmt: skip
    await store.record_outcomes(lease, chunk, outcomes[:10])
    await store.record_outcomes(lease, chunk, outcomes[10:])
    await store.purge_bodies(lease, datetime(2026, 1, 1, 3, tzinfo=UTC))
    await one_chunk(store, lease.token, await store.open_scopes(lease, 3))
    await store.open_scopes(lease, 3)
    await store.release_lease(lease)


async def one_chunk(store: SqlStateStore, epoch: int, leftovers: list[int]) -> None:
    """What a chunk beside others asks of it, the first time and when it is gone over again."""
    assert leftovers == []
    worker = store.scoped(1, epoch)
    for turn in range(2):
        lease = await worker.acquire_lease("plans", 60)
        assert len(await worker.claim_outbox(lease)) == turn
        first = await worker.reserve_ids(lease, len(ASKED), 10**9)
        chunk = Chunk(chunk_id=f"run-scope-{lease.token}", run_id="run-scope", incidents=incidents(first, ASKED))
        await worker.enqueue(lease, chunk)
        await worker.load_chunk(chunk.chunk_id)
    await worker.purge_bodies(lease, datetime(2026, 1, 1, 4, tzinfo=UTC))
    await worker.release_lease(lease)


async def commands(store: SqlStateStore) -> None:
    """What status, history, deliveries, dead-letters and reconcile ask of the state."""
    await store.runs(limit=5)
    await store.runs(run_id="run-7")
    await store.delivery_counts()
    await store.deliveries(limit=20)
    await store.deliveries(account=ASKED[3])
    await store.deliveries(status=DeliveryStatus.PENDING)
    await store.deliveries(status=DeliveryStatus.DEAD, limit=20)
    await store.deliveries(run_id="run-7", limit=20)
    await store.dead_letters(limit=20)
    await store.dead_letters(before=20_000)
    await store.dead_letters(account=ASKED[3])
    async for _ in store.delivered_accounts():
        break
    old = await store.ledger_after(0, 20)
    superseded = {entry.incident_id: entry.incident_id + ACCOUNTS for entry in old if entry.account in ASKED}
    record = RunRecord(
        run_id="prune", operation=OPERATION, kind=RunKind.PRUNE, status=RunStatus.COMPLETED, host="h", started_at=NOW
    )
    assert await store.prune(superseded, ["run-7", "run-8"], lambda *_: record) == (2, 2)


@pytest.mark.parametrize("work", [one_run, commands], ids=["a run", "the commands"])
def test_no_query_of_the_state_scans_a_table(
    sql_server: SqlServer, sql_database: str, monkeypatch: pytest.MonkeyPatch, work: Any
) -> None:
    asked: dict[str, Any] = {}
    run = MySQLConnection._run

    async def noted(connection: MySQLConnection, statement: str, values: Any) -> Any:
        if statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE")):
            asked.setdefault(statement, values)
        return await run(connection, statement, values)

    async def main() -> None:
        async with SqlStateStore(sql_server.url(sql_database), OPERATION, ZoneInfo("UTC")) as store:
            await store.prepare()
            await store.create_operation(60)
            with closing(sql_server.connect(sql_database)) as connection:
                fill_state(connection)
            monkeypatch.setattr(MySQLConnection, "_run", noted)
            await work(store)

    asyncio.run(main())
    with closing(sql_server.connect(sql_database)) as connection:
        plans = {statement: explain(sql_server, connection, statement, values) for statement, values in asked.items()}
    assert any("Incident_Delivery" in statement for statement in plans)
    found = {
        statement: set(scans(plan)) - SMALL for statement, plan in plans.items() if NEWEST_ENTRIES not in statement
    }
    assert {statement: tables for statement, tables in found.items() if tables} == {}


@pytest.mark.parametrize(
    "page",
    [
        lambda store: store.deliveries(),
        lambda store: store.deliveries(before=50),
        lambda store: store.ledger_after(50, 9),
    ],
    ids=["newest", "before", "after"],
)
def test_pages_of_the_whole_ledger_are_not_sorted_on_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Callable[[SqlStateStore], Awaitable[object]]
) -> None:
    asked: list[tuple[str, Any]] = []
    run = SqliteConnection._run

    async def noted(connection: SqliteConnection, statement: str, values: Any) -> Any:
        asked.append((statement, values))
        return await run(connection, statement, values)

    async def main() -> None:
        async with SqlStateStore(f"sqlite:///{tmp_path}/state.db", OPERATION, ZoneInfo("UTC")) as store:
            await store.prepare()
            monkeypatch.setattr(SqliteConnection, "_run", noted)
            await page(store)

    asyncio.run(main())
    ((statement, values),) = asked
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        (plan,) = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert "sqlite_autoindex_Incident_Delivery_1" in plan  # of the primary key
