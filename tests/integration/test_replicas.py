"""Reading from replicas, over three real servers that replicate: in turn, never short, and never a reason to fail."""

import asyncio
import itertools
import json
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from incident_process.app.factory import make_source, make_store
from incident_process.app.runner import run_window
from incident_process.core.models import RunStatus
from incident_process.operations.doctor import Level, examine
from incident_process.settings import Settings
from incident_process.source import replicas
from incident_process.source.base import AccountRows, ReadRange, Source
from incident_process.source.columns import CUSTOMER_COLUMNS
from tests.support.command import freeze
from tests.support.receivers import start_receiver
from tests.support.source_data import create_tables, insert_customers, insert_payments
from tests.support.sql_server import Replication, SqlServer

T = TypeVar("T")

ON_ONE = pytest.mark.parametrize("site", ["mariadb"], indirect=True)
"""For what is the program's own affair, whatever server replicates."""

AS_OF = datetime(2026, 2, 1, tzinfo=UTC)
ACCOUNTS = [f"{number:04}" for number in range(20)]
SECRET = "hunter2-synthetic"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "replicas.md"
SPAN = ReadRange(watermark=datetime(2025, 1, 1, tzinfo=UTC), lookback_seconds=0, until=AS_OF)


class Site:
    """A database of its own on the primary, copied to both replicas, and a source over all three."""

    def __init__(self, servers: Replication) -> None:
        self.primary = servers.primary
        self.replicas = servers.replicas
        self.database = self.primary.create_database()
        with self.primary.connect(self.database) as connection:
            create_tables(connection, "mysql")
        self.load(ACCOUNTS)
        self.settle(*self.replicas)
        for server in (self.primary, *self.replicas):
            server.count_reads()

    def load(self, accounts: list[str], email: str = "first") -> None:
        """Insert a customer row each, and one payment for all."""
        day = date(2026, 1, 1) if email == "first" else date(2026, 1, 2)
        rows = [{"ACCOUNT_NUM": account, "ASSET_ID": "1", "EMAIL": email, "LOAD_DATE": day} for account in accounts]
        with self.primary.connect(self.database) as connection:
            insert_customers(connection, rows)
            insert_payments(connection, [{"AP_ACCOUNT_NUMBER": accounts[0], "LOAD_DATE": datetime(2026, 1, 1)}])  # noqa: DTZ001

    def settle(self, *replicas: SqlServer) -> None:
        assert all(replica.caught_up_with(self.primary) for replica in replicas)

    def settings(self, *urls: str, url: str = "", wait: float = 5.0, **sections: dict[str, Any]) -> Settings:
        """Return settings with these replicas, by default both."""
        listed = ", ".join(urls or [replica.url(self.database) for replica in self.replicas])
        database = {"url": url or self.primary.url(self.database), "replicas": listed, "replica_wait_seconds": wait}
        usual: dict[str, dict[str, Any]] = {"api": {"api_url": "http://127.0.0.1:9/x"}, "process": {"tracking": "sql"}}
        return Settings.model_validate(usual | {"database": database} | sections)

    def read(self, server: SqlServer) -> int:
        """Return how many customer rows of the database the server has read so far."""
        return server.rows_read(self.database, "debt_cust_detail")

    def counted(self, work: Callable[[], T]) -> tuple[T, list[int]]:
        """Return what some work gives, and how many rows primary, first and second replica read meanwhile."""
        servers = (self.primary, *self.replicas)
        before = [self.read(server) for server in servers]
        result = work()
        return result, [self.read(server) - count for server, count in zip(servers, before, strict=True)]


@pytest.fixture(params=["mariadb", "mysql"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site on each product in turn, which replicates in its own way."""
    replication: Replication = request.getfixturevalue(f"{request.param}_replication")
    made = Site(replication)
    yield made
    for replica in replication.replicas:
        with suppress(OSError):
            replica.ask("START REPLICA")
    made.primary.drop_database(made.database)


@pytest.fixture(autouse=True)
def warned(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logger = logging.getLogger("incident_logger")
    caplog.set_level(logging.INFO, logger.name)
    return caplog


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def using(settings: Settings, work: Callable[[Source], Awaitable[T]]) -> T:
    async def main() -> T:
        async with make_source(settings) as source:
            return await work(source)

    return asyncio.run(main())


async def all_in_chunks(source: Source, size: int = 5) -> list[AccountRows]:
    return [
        rows
        for start in range(0, len(ACCOUNTS), size)
        for rows in await source.read(ACCOUNTS[start : start + size], AS_OF)
    ]


def emails(found: list[AccountRows]) -> list[str]:
    at = CUSTOMER_COLUMNS.index("EMAIL")
    return [row[at] for rows in found for row in rows.customers]


# -- who reads --------------------------------------------------------------------------------------------------------


def test_a_replica_with_a_session_of_its_own_is_read_in_full(site: Site, warned: pytest.LogCaptureFixture) -> None:
    """What a replica is set to is not what the primary is set to (SPEC 2)."""
    for replica in site.replicas:
        replica.ask("SET GLOBAL sql_select_limit = 2")
        replica.ask("SET GLOBAL time_zone = '+09:30'")
    try:
        found, (primary, *_) = site.counted(lambda: using(site.settings(), all_in_chunks))
    finally:
        for replica in site.replicas:
            replica.ask("SET GLOBAL sql_select_limit = DEFAULT")
            replica.ask("SET GLOBAL time_zone = 'SYSTEM'")
    assert [rows.account for rows in found if len(rows.customers) == 1] == ACCOUNTS
    assert (primary, warnings(warned)) == (0, [])


def test_replicas_take_turns_and_the_primary_is_left_alone(site: Site, warned: pytest.LogCaptureFixture) -> None:
    found, (primary, first, second) = site.counted(lambda: using(site.settings(), all_in_chunks))
    plain = Settings.model_validate(
        {
            "api": {"api_url": "http://127.0.0.1:9/x"},
            "process": {"tracking": "sql"},
            "database": {"url": site.primary.url(site.database)},
        }
    )
    assert found == using(plain, all_in_chunks)
    assert emails(found) == ["first"] * len(ACCOUNTS)
    assert primary == 0
    assert first == second > 0
    assert not warnings(warned)


@ON_ONE
def test_everything_else_is_asked_of_the_primary(site: Site) -> None:
    async def work(source: Source) -> tuple[int, list[str]]:
        assert abs(await source.now() - datetime.now(UTC)) < timedelta(seconds=5)
        assert await source.writers() == []
        assert set(await source.indexes()) == set(await source.excluded()) == set(source.load_date_types)
        survey = await source.survey(SPAN)
        return survey.accounts, [one.account async for batch in source.selected_accounts(7) for one in batch]

    (count, touched), (primary, first, second) = site.counted(lambda: using(site.settings(), work))
    assert (count, touched) == (len(ACCOUNTS), ACCOUNTS)
    assert primary > 0
    assert first == second == 0


def test_a_replica_may_have_the_credentials_of_the_source_with_the_rights_that_the_page_names(
    site: Site, warned: pytest.LogCaptureFixture
) -> None:
    on_mariadb, on_mysql = re.findall(r"^```sql\n(.*?);\n```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    granted = on_mysql if site.primary.product == "MySQL" else on_mariadb
    site.primary.ask(f"CREATE USER 'incident_reader'@'%' IDENTIFIED BY '{SECRET}'")
    for table in ("debt_cust_detail", "debt_payment"):
        site.primary.ask(f"GRANT SELECT ON {site.database}.{table} TO 'incident_reader'@'%'")
    site.primary.ask(granted)
    site.settle(*site.replicas)
    urls = [f"mysql://{replica.host}:{replica.port}" for replica in site.replicas]
    main = f"mysql://incident_reader:{SECRET}@{site.primary.host}:{site.primary.port}/{site.database}"
    try:
        found, read = site.counted(lambda: using(site.settings(*urls, url=main), all_in_chunks))
    finally:
        site.primary.ask("DROP USER 'incident_reader'@'%'")
    assert len(emails(found)) == len(ACCOUNTS)
    assert read[0] == 0 < read[1] == read[2]
    assert not warnings(warned)


# -- lag --------------------------------------------------------------------------------------------------------------


def test_a_replica_that_catches_up_in_time_is_waited_for(site: Site, warned: pytest.LogCaptureFixture) -> None:
    for replica in site.replicas:
        replica.ask("STOP REPLICA SQL_THREAD")
    site.load(ACCOUNTS, "second")

    async def work(source: Source) -> list[AccountRows]:
        reading = asyncio.create_task(all_in_chunks(source))
        await asyncio.sleep(0.5)
        assert not reading.done()
        for replica in site.replicas:
            await asyncio.to_thread(replica.ask, "START REPLICA SQL_THREAD")
        return await reading

    found, (primary, first, second) = site.counted(lambda: using(site.settings(wait=30), work))
    assert emails(found) == ["second"] * len(ACCOUNTS)
    assert primary == 0
    assert first > 0
    assert second > 0
    assert not warnings(warned)


@pytest.mark.parametrize("lagging", [(0,), (0, 1)], ids=["one", "all"])
def test_a_replica_that_lags_for_longer_is_passed_over(
    site: Site, lagging: tuple[int, ...], warned: pytest.LogCaptureFixture
) -> None:
    for place in lagging:
        site.replicas[place].ask("STOP REPLICA SQL_THREAD")
    site.load(ACCOUNTS, "second")
    site.settle(*(server for place, server in enumerate(site.replicas) if place not in lagging))
    found, read = site.counted(lambda: using(site.settings(wait=0.3), all_in_chunks))
    assert emails(found) == ["second"] * len(ACCOUNTS)
    assert [count > 0 for count in read] == [len(lagging) == 2, False, len(lagging) == 1]
    assert len(warnings(warned)) == len(lagging)  # not one a chunk
    assert all("has not applied within 0.3 s" in line for line in warnings(warned))


@ON_ONE
def test_a_replica_that_was_passed_over_is_read_from_once_it_has_caught_up(
    site: Site, monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(replicas, "AGAIN_SECONDS", 0.0)
    behind = site.replicas[0]
    behind.ask("STOP REPLICA SQL_THREAD")
    site.load(ACCOUNTS, "second")

    async def work(source: Source) -> int:
        await all_in_chunks(source)
        assert site.read(behind) == 0
        behind.ask("START REPLICA SQL_THREAD")
        site.settle(behind)
        assert emails(await all_in_chunks(source)) == ["second"] * len(ACCOUNTS)
        return site.read(behind)

    assert using(site.settings(behind.url(site.database), wait=0.1), work) > 0
    assert len(warnings(warned)) == 1
    assert "has caught up" in warned.records[-1].getMessage()


@pytest.mark.parametrize("anew", ["survey", "instant"])
def test_rows_that_appear_between_two_runs_are_not_missed(site: Site, anew: str) -> None:
    """A row that commits late bears an old LOAD_DATE: no replica may serve by what it had reached before."""

    async def work(source: Source) -> list[AccountRows]:
        await all_in_chunks(source)
        for replica in site.replicas:
            replica.ask("STOP REPLICA SQL_THREAD")
        site.load(ACCOUNTS, "second")
        if anew == "survey":
            await source.survey(SPAN)
            return await all_in_chunks(source)
        return await source.read(ACCOUNTS, AS_OF + timedelta(seconds=1))

    assert emails(using(site.settings(wait=0.2), work)) == ["second"] * len(ACCOUNTS)


def test_no_reading_is_short_of_its_survey_while_the_primary_is_written_to(
    site: Site, warned: pytest.LogCaptureFixture
) -> None:
    """Every row is a current one here (its ASSET_ID is new), so a reading must show as many as the survey counted."""
    stop = threading.Event()

    def write() -> None:
        with site.primary.connect(site.database) as connection:
            for number in itertools.count(100):
                if stop.is_set():
                    return
                account = ACCOUNTS[number % len(ACCOUNTS)]
                row = {"ACCOUNT_NUM": account, "ASSET_ID": str(number), "LOAD_DATE": date(2026, 1, 1)}
                insert_customers(connection, [row])

    async def work(source: Source) -> list[tuple[int, int]]:
        pairs = []
        until = time.monotonic() + 3
        while time.monotonic() < until:
            survey = await source.survey(SPAN)
            read = await source.read(ACCOUNTS, AS_OF)
            pairs.append((survey.rows["debt_cust_detail"], sum(len(rows.customers) for rows in read)))
        return pairs

    writer = threading.Thread(target=write)
    writer.start()
    try:
        pairs, (_, first, second) = site.counted(lambda: using(site.settings(), work))
    finally:
        stop.set()
        writer.join()
    assert all(read >= seen for seen, read in pairs)
    assert pairs[-1][0] > pairs[0][0]
    assert first > 0
    assert second > 0
    assert not warnings(warned)


# -- failure ----------------------------------------------------------------------------------------------------------


def test_a_replica_that_is_killed_between_two_readings_is_left_out(
    site: Site, warned: pytest.LogCaptureFixture
) -> None:
    killed = site.replicas[0]

    async def work(source: Source) -> list[AccountRows]:
        await all_in_chunks(source)
        killed.kill()
        return await all_in_chunks(source)

    try:
        found = using(site.settings(), work)
    finally:
        killed.start()
    assert emails(found) == ["first"] * len(ACCOUNTS)
    (line,) = warnings(warned)
    assert f"{killed.host}:{killed.port}" in line
    assert "rest of the run" in line


@ON_ONE
def test_a_replica_that_is_killed_in_the_middle_of_a_reading_costs_nothing_but_time(
    site: Site, warned: pytest.LogCaptureFixture
) -> None:
    killed = site.replicas[0]

    async def work(source: Source) -> list[AccountRows]:
        await source.read(ACCOUNTS[:1], AS_OF)
        connection = killed.connect(site.database)
        connection.query("LOCK TABLES debt_cust_detail WRITE")
        reading = asyncio.create_task(source.read(ACCOUNTS, AS_OF))
        await asyncio.sleep(0.5)
        assert not reading.done()
        killed.kill()
        return await reading

    before = site.read(site.primary)
    try:
        found = using(site.settings(killed.url(site.database)), work)
    finally:
        killed.start()
    assert emails(found) == ["first"] * len(ACCOUNTS)
    assert site.read(site.primary) > before
    assert len(warnings(warned)) == 1


@ON_ONE
def test_a_replica_that_freezes_does_not_stop_the_run(
    site: Site, monkeypatch: pytest.MonkeyPatch, warned: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(replicas, "READ_SECONDS", 2.0)
    frozen = site.replicas[0]

    async def work(source: Source) -> list[AccountRows]:
        await source.read(ACCOUNTS[:1], AS_OF)
        freeze(frozen.pid)
        return await source.read(ACCOUNTS, AS_OF)

    try:
        found = using(site.settings(frozen.url(site.database), wait=1), work)
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    assert emails(found) == ["first"] * len(ACCOUNTS)
    (line,) = warnings(warned)
    assert "gave no answer within 2 s" in line


class KillsAtTheFirstStep:
    def __init__(self, server: SqlServer) -> None:
        self._server = server
        self.killed = False

    def start(self, accounts: int) -> None:
        """Wait for the first step."""

    def advance(self, accounts: int) -> None:
        if accounts and not self.killed:
            self.killed = True
            self._server.kill()


@ON_ONE
def test_a_whole_run_with_a_replica_killed_in_mid_run(
    site: Site, tmp_path: Path, warned: pytest.LogCaptureFixture
) -> None:
    process = {"tracking": "sql", "chunk_accounts": 2}
    state = {"url": f"sqlite:///{tmp_path}/state.db"}
    killed = site.replicas[1]
    progress = KillsAtTheFirstStep(killed)
    with start_receiver(tmp_path) as receiver:
        settings = site.settings(process=process, state=state, api={"api_url": receiver.url})
        asyncio.run(prepared(settings))
        try:
            report = run_window(settings, progress=progress)
        finally:
            if progress.killed:
                killed.start()
        accepted = receiver.accepted()
    assert progress.killed
    assert report.status is RunStatus.COMPLETED
    assert sorted(json.loads(one["body"])["Account_Num"] for one in accepted) == ACCOUNTS
    assert sum("rest of the run" in line for line in warnings(warned)) == 1


async def prepared(settings: Settings) -> None:
    """Make the operation's row, as init does."""
    async with make_store(settings) as store:
        await store.prepare()
        await store.create_operation(60)


# -- replicas that must not serve -------------------------------------------------------------------------------------


def refused(site: Site, settings: Settings, caplog: pytest.LogCaptureFixture) -> str:
    """Read with these settings, which the primary has to do alone; return the one warning."""
    found, (primary, first, second) = site.counted(lambda: using(settings, all_in_chunks))
    assert emails(found) == ["first"] * len(ACCOUNTS)
    assert primary > 0
    assert first == second == 0
    (line,) = warnings(caplog)
    assert SECRET not in caplog.text
    assert site.primary.password not in caplog.text
    return line


@ON_ONE
def test_wrong_credentials(site: Site, warned: pytest.LogCaptureFixture) -> None:
    replica = site.replicas[0]
    url = f"mysql://tester:{SECRET}@{replica.host}:{replica.port}"
    settings = site.settings(url)
    assert "access denied (error 1045). Check user and password" in refused(site, settings, warned)
    assert SECRET not in f"{settings!r} {settings.replica_targets!r} {settings.model_dump()}"


@ON_ONE
def test_one_that_is_not_there(site: Site, warned: pytest.LogCaptureFixture) -> None:
    line = refused(site, site.settings(f"mysql://tester:{SECRET}@127.0.0.1:9"), warned)
    assert "127.0.0.1:9" in line
    assert "rest of the run" in line


def test_a_primary_without_a_log(site: Site, warned: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> None:
    product = site.primary.product.lower()
    server, database = request.getfixturevalue(product), request.getfixturevalue(f"{product}_database")
    with server.connect(database) as connection:
        create_tables(connection, "mysql")
        insert_customers(connection, [{"ACCOUNT_NUM": "1", "EMAIL": "x", "LOAD_DATE": date(2026, 1, 1)}])
    settings = site.settings(site.replicas[0].url(site.database), url=server.url(database))
    assert emails(using(settings, lambda source: source.read(["1"], AS_OF))) == ["x"]
    (line,) = warnings(warned)
    assert "start it with log_bin" in line


def test_a_primary_that_logs_some_databases_only(site: Site, warned: pytest.LogCaptureFixture) -> None:
    """Its position moves on without what is not logged, so that a replica seems to have it all."""
    primary = type(site.primary)("--log-bin=binlog", "--server-id=9", "--binlog-ignore-db=other")
    try:
        primary.create()
        database = primary.create_database()
        with primary.connect(database) as connection:
            create_tables(connection, "mysql")
            insert_customers(connection, [{"ACCOUNT_NUM": "1", "EMAIL": "x", "LOAD_DATE": date(2026, 1, 1)}])
        settings = site.settings(url=primary.url(database))
        assert emails(using(settings, lambda source: source.read(["1"], AS_OF))) == ["x"]
    finally:
        primary.stop()
    (line,) = warnings(warned)
    assert "binlog_ignore_db" in line


@ON_ONE
def test_one_that_has_not_found_its_primary_yet(site: Site, warned: pytest.LogCaptureFixture) -> None:
    replica = site.replicas[0]
    replica.kill()
    replica.start("--skip-slave-start")
    try:
        line = refused(site, site.settings(replica.url(site.database)), warned)
    finally:
        replica.ask("START REPLICA")
        site.settle(replica)
    assert "has not been connected to its primary" in line


@pytest.mark.parametrize(
    ("site", "given", "said"),
    [
        ("mariadb", ["SELECT", "REPLICA MONITOR"], "GRANT BINLOG MONITOR ON *.*"),
        ("mariadb", ["SELECT", "BINLOG MONITOR"], "GRANT REPLICA MONITOR ON *.*"),
        ("mysql", ["SELECT"], "REPLICATION CLIENT on MySQL"),
    ],
    indirect=["site"],
)
def test_a_user_without_the_right(site: Site, given: list[str], said: str, warned: pytest.LogCaptureFixture) -> None:
    site.primary.ask(f"CREATE USER 'weak'@'%' IDENTIFIED BY '{SECRET}'")
    for right in given:
        site.primary.ask(f"GRANT {right} ON *.* TO 'weak'@'%'")
    replica = site.replicas[0]
    site.settle(replica)
    main = f"mysql://weak:{SECRET}@{site.primary.host}:{site.primary.port}/{site.database}"
    try:
        line = refused(site, site.settings(f"mysql://{replica.host}:{replica.port}", url=main), warned)
    finally:
        site.primary.ask("DROP USER 'weak'@'%'")
    assert said in line


@pytest.mark.parametrize(
    ("variable", "value", "usual", "said"),
    [
        ("replicate_wild_ignore_table", "other.%", "", "replicate_wild_ignore_table"),
        ("replicate_ignore_db", "other", "", "replicate_ignore_db"),
        ("replicate_do_table", "a.b,c.d", "", "replicate_do_table"),
        ("{replica}_exec_mode", "IDEMPOTENT", "STRICT", "passes over errors"),
    ],
)
def test_one_that_may_leave_something_out(
    site: Site, variable: str, value: str, usual: str, said: str, warned: pytest.LogCaptureFixture
) -> None:
    replica = site.replicas[0]
    variable = variable.format(replica="replica" if replica.product == "MySQL" else "slave")
    with told(replica, variable, value, usual):
        assert said in refused(site, site.settings(replica.url(site.database)), warned)


def test_a_filter_of_the_servers_own_tables_does_no_harm(site: Site, warned: pytest.LogCaptureFixture) -> None:
    replica = site.replicas[0]
    with told(replica, "replicate_wild_ignore_table", "mysql.%,sys.%", ""):
        _, read = site.counted(lambda: using(site.settings(replica.url(site.database)), all_in_chunks))
    assert read[1] > 0
    assert not warnings(warned)


@contextmanager
def told(replica: SqlServer, variable: str, value: str, usual: str) -> Iterator[None]:
    """Change a variable of the replica, which it allows while its replication stands still."""
    replica.ask("STOP REPLICA")
    replica.change_replication(variable, value)
    replica.ask("START REPLICA")
    try:
        yield
    finally:
        replica.ask("STOP REPLICA")
        replica.change_replication(variable, usual)
        replica.ask("START REPLICA")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE debt_cust_detail DROP COLUMN EMAIL", "has no column EMAIL"),
        ("ALTER TABLE debt_payment MODIFY LOAD_DATE DATE", "LOAD_DATE of another type"),
        ("DROP TABLE debt_payment", "has no table debt_payment"),
    ],
)
def test_one_whose_tables_are_others(site: Site, change: str, said: str, warned: pytest.LogCaptureFixture) -> None:
    replica = site.replicas[0]
    with replica.connect(site.database) as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_log_bin = 0")
        cursor.execute(change)
    assert said in refused(site, site.settings(replica.url(site.database)), warned)


def test_one_that_is_no_replica(site: Site, warned: pytest.LogCaptureFixture) -> None:
    line = refused(site, site.settings(site.primary.url(site.database)), warned)
    assert "replicates from no server" in line


@ON_ONE
def test_one_of_another_server(site: Site, warned: pytest.LogCaptureFixture) -> None:
    """A position of MariaDB does not say whose it is, so a replica of some other primary would seem to have it."""
    first, second = site.replicas
    settings = site.settings(second.url(site.database), url=first.url(site.database))
    assert emails(using(settings, all_in_chunks)) == ["first"] * len(ACCOUNTS)
    (line,) = warnings(warned)
    assert "does not replicate from the source itself (server_id 2)" in line


# -- doctor -----------------------------------------------------------------------------------------------------------


def test_doctor_looks_at_each_replica(site: Site, tmp_path: Path) -> None:
    first, second = (replica.url(site.database) for replica in site.replicas)
    state = {"url": f"sqlite:///{tmp_path}/state.db"}
    settings = site.settings(first, second, f"mysql://x:{SECRET}@127.0.0.1:9", wait=0.2, state=state)
    site.replicas[1].ask("STOP REPLICA SQL_THREAD")
    site.load(["9999"])
    site.settle(site.replicas[0])
    found = {finding.subject: finding for finding in asyncio.run(examine(settings)) if "replica " in finding.subject}
    assert [finding.level for finding in found.values()] == [Level.OK, Level.WARNING, Level.WARNING]
    ready, behind, away = found.values()
    assert "caught up with the primary within" in ready.finding
    assert "has not applied within 0.2 s" in behind.finding
    assert "cannot be reached" in away.finding
    assert behind.remedy
    assert away.remedy
    assert SECRET not in f"{found}"


@ON_ONE
def test_doctor_says_why_no_replica_can_serve(site: Site, mariadb: SqlServer, mariadb_database: str) -> None:
    with mariadb.connect(mariadb_database) as connection:
        create_tables(connection, "mysql")
    settings = site.settings(url=mariadb.url(mariadb_database))
    (finding,) = [one for one in asyncio.run(examine(settings)) if one.subject == "replicas"]
    assert finding.level is Level.WARNING
    assert "start it with log_bin" in finding.finding
