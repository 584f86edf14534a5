"""Databases that fail in the middle of a run: gone, cut, locked, deadlocked (SPEC 2, 6, 10)."""

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any

import pytest

from tests.e2e.conftest import SERVERS, MakeSite, ServerDatabase, Site, day
from tests.e2e.test_promise_boundary import check_promise
from tests.support.command import Running, wait_until
from tests.support.sql_server import numbers

ACCOUNTS = 24


def given_accounts(site: Site) -> dict[str, Decimal]:
    final = {f"{number:010d}": Decimal(f"{number}.25") for number in range(ACCOUNTS)}
    rows = ({"ACCOUNT_NUM": a, "ASSET_ID": "A1", "OUTSTANDING": str(v), "LOAD_DATE": day(5)} for a, v in final.items())
    site.customers(*rows)
    return final


@contextmanager
def in_the_middle(site: Site) -> Iterator[Running]:
    """Start a run and stop at the moment when some of its chunks are delivered and others have not been read."""
    site.command.configure(process={"chunk_accounts": 4}, api={"max_connections": 2})
    site.receiver.control(latency_ms=250)
    with site.command.started("run", "--json") as running:
        wait_until(lambda: len(site.accepted()) >= 3)
        yield running
        site.receiver.calm()


@pytest.mark.parametrize("server", SERVERS)
def test_a_source_that_goes_away_in_the_middle(make_site: MakeSite, server: str) -> None:
    """Case 16: the run ends with status 3, the watermark stays, and the next run goes on when the server is back."""
    site = make_site(server, "sqlite")
    site.prepare()
    final = given_accounts(site)
    before = site.operation()
    assert isinstance(site.source, ServerDatabase)
    with in_the_middle(site) as running:
        site.source.server.kill()
        try:
            finished = running.wait()
        finally:
            site.source.server.start()
    assert (finished.status, finished.json["status"]) == (3, "failed"), finished.stderr
    assert site.operation() == before
    assert len(site.accepted()) < ACCOUNTS
    assert site.run()["status"] == "completed"
    check_promise(site, final)


@pytest.mark.parametrize("server", SERVERS)
def test_a_connection_to_the_source_that_is_cut_in_the_middle(make_site: MakeSite, server: str) -> None:
    """Case 16: the same run reads the chunk again on a new connection, and nobody notices."""
    site = make_site(server, "sqlite")
    site.prepare()
    final = given_accounts(site)
    source = site.source
    assert isinstance(source, ServerDatabase)
    with in_the_middle(site) as running:
        listed = "SELECT id FROM information_schema.processlist WHERE db = ? AND id <> CONNECTION_ID()"
        cut = [number for (number,) in source.sql(listed, source.name)]
        for number in cut:
            source.sql(f"KILL CONNECTION {number}")
        finished = running.wait()
    assert len(cut) == 1
    assert (finished.status, finished.json["delivered"]) == (0, ACCOUNTS), finished.stderr
    check_promise(site, final)


@pytest.mark.parametrize("server", SERVERS)
def test_a_source_table_that_is_locked(make_site: MakeSite, server: str) -> None:
    """Case 16: a maintenance that locks the table is waited for."""
    site = make_site(server, "sqlite")
    site.prepare()
    final = given_accounts(site)
    with closing(site.source.connect()) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLES debt_cust_detail WRITE")
        with site.command.started("run", "--json") as running:
            time.sleep(3)
            assert not running.has_ended
            assert site.requests() == []
            cursor.execute("UNLOCK TABLES")
            assert json.loads(running.wait().stdout)["delivered"] == ACCOUNTS
    check_promise(site, final)


def waiting(state: ServerDatabase) -> bool:
    """Return whether a transaction waits for a lock.

    InnoDB renews the table only where nobody has read it for a tenth of a second: a quick machine must not ask faster.
    """
    time.sleep(0.15)
    return bool(state.sql("SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"))


def site_with_its_state_on(server: str, make_site: MakeSite) -> tuple[Site, ServerDatabase]:
    site = make_site("sqlite", server)
    site.prepare()
    assert isinstance(site.state, ServerDatabase)
    return site, site.state


@pytest.mark.parametrize("server", SERVERS)
def test_a_lock_wait_that_times_out(make_site: MakeSite, server: str) -> None:
    """Case 16: another program holds the lease's row for longer than the server lets wait: the step is done again."""
    site, state = site_with_its_state_on(server, make_site)
    final = given_accounts(site)
    ((before,),) = state.sql("SELECT @@GLOBAL.innodb_lock_wait_timeout")
    state.sql("SET GLOBAL innodb_lock_wait_timeout = 1")
    try:
        with in_the_middle(site) as running, closing(state.connect()) as other, other.cursor() as cursor:
            other.begin()
            cursor.execute("SELECT * FROM Process_Operation_Lease FOR UPDATE")
            wait_until(lambda: waiting(state))
            time.sleep(1.5)
            other.rollback()
            site.receiver.calm()
            finished = running.wait()
    finally:
        state.sql(f"SET GLOBAL innodb_lock_wait_timeout = {before}")
    assert (finished.status, finished.json["delivered"]) == (0, ACCOUNTS), finished.stderr
    check_promise(site, final)


@pytest.mark.parametrize("server", SERVERS)
def test_a_deadlock(make_site: MakeSite, server: str) -> None:
    """Case 16: the database ends the run's transaction and not the other one: the step is done again, whole."""
    site, state = site_with_its_state_on(server, make_site)
    final = given_accounts(site)
    state.sql(f"CREATE TABLE heavy AS SELECT seq FROM {numbers(1, 2000)} AS n")
    before = deadlocks(state)
    with closing(state.connect()) as other, other.cursor() as cursor:
        other.begin()
        # The lighter transaction is the victim: this one has changed more rows than a run's step does.
        cursor.execute("UPDATE heavy SET seq = seq + 1")
        cursor.execute("SELECT * FROM Process_Operation FOR UPDATE")
        with site.command.started("run", "--json") as running:
            # The run holds the lease's row and wants that of Process_Operation, to close the window ...
            wait_until(lambda: waiting(state) and len(site.accepted()) == ACCOUNTS)
            # ... and this one wants them the other way round.
            cursor.execute("UPDATE Process_Operation_Lease SET Token = Token")
            other.rollback()
            finished = running.wait()
    assert deadlocks(state) == before + 1
    assert (finished.status, finished.json["status"]) == (0, "completed"), finished.stderr
    assert finished.json["sequence"] == 1
    check_promise(site, final)


def deadlocks(state: ServerDatabase) -> int:
    ((count,),) = state.sql("SELECT COUNT FROM information_schema.INNODB_METRICS WHERE NAME = 'lock_deadlocks'")
    number: Any = count
    return int(number)
