"""A runner that stands still at a write (SIGSTOP, or a host that vanishes) keeps no successor waiting (SPEC 6).

It holds row locks of a database server, or the lock of a SQLite file, and says nothing. Its lease is of three seconds.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from incident_process.state.sql.stopped import end_stopped_writer, is_stopped, writer_of
from tests.e2e.conftest import MakeSite, ServerDatabase, Site, SqliteDatabase, day
from tests.support.command import wait_until
from tests.support.proxy import TcpProxy

LEASE_SECONDS = 3
LIMIT_SECONDS = LEASE_SECONDS + 30
ACCOUNTS = 60


def given_site(make_site: MakeSite, tracking: str) -> Site:
    site = make_site("sqlite", tracking)
    site.command.configure(
        process={"lease_seconds": LEASE_SECONDS, "chunk_accounts": 5}, api={"max_connections": 2, "timeout_seconds": 5}
    )
    if tracking != "mongo":
        site.prepare()
    site.customers(*({"ACCOUNT_NUM": f"{n:010d}", "ASSET_ID": "A", "LOAD_DATE": day(3)} for n in range(ACCOUNTS)))
    return site


def taken_over(site: Site) -> tuple[float, list[int]]:
    """Start runs until one is done; return how long that took, and the exit statuses."""
    began = time.monotonic()
    statuses: list[int] = []
    while not statuses or statuses[-1] != 0:
        finished = site.command.run()
        statuses.append(finished.status)
        assert finished.status in {0, 5}, finished.stderr
        assert time.monotonic() - began < LIMIT_SECONDS, statuses
        time.sleep(0.2)
    return time.monotonic() - began, statuses


def all_accepted_once(site: Site) -> bool:
    accepted = Counter(row["account_num"] for row in site.accepted())
    # What the stopped runner had posted without noting the answer is posted again, under the same key: the receiver
    # has stored it once.
    return len(accepted) == ACCOUNTS and set(accepted.values()) == {1}


@pytest.mark.parametrize("way", ["stopped", "vanished"])
@pytest.mark.parametrize("product", ["mariadb", "mysql"])
def test_the_locks_of_a_runner_that_stands_still_are_let_go(make_site: MakeSite, product: str, way: str) -> None:
    """``vanished``: the network drops all that it sends, and no FIN ever comes."""
    site = given_site(make_site, product)
    assert isinstance(site.state, ServerDatabase)
    straight = site.state.url
    with TcpProxy(site.state.server.port) as proxy:
        site.command.configure(state={"url": straight.replace(f":{site.state.server.port}/", f":{proxy.port}/")})
        proxy.hold_at(b"COMMIT", after=b"INSERT INTO Incident_Delivery")
        with site.command.started("run", "--json") as first:
            wait_until(lambda: proxy.held)
            if way == "stopped":
                os.kill(first.pid, signal.SIGSTOP)
            assert locks_held(site)
            site.command.configure(state={"url": straight})
            told = lease_told(site)
            seconds, statuses = taken_over(site)
            os.kill(first.pid, signal.SIGCONT)
            proxy.resume()
            ended = first.wait()
    assert (statuses[-1], seconds < LIMIT_SECONDS) == (0, True)
    assert f"/{first.pid}/" in told
    assert all_accepted_once(site)
    assert ended.status == 5, ended.stderr
    site.make_due()
    assert site.run()["delivered"] == 0


def locks_held(site: Site) -> bool:
    assert site.state is not None
    return bool(site.state.sql("SELECT 1 FROM information_schema.innodb_trx WHERE trx_rows_modified > 0"))


def lease_told(site: Site) -> str:
    """Return who holds the lease, or has left it to run out, as ``status`` tells it."""
    finished = site.command("status", "--json")
    assert finished.status == 0, finished.stderr
    status = finished.json
    assert (status["lease"] is None) != (status["expired_lease"] is None)
    return str((status["lease"] or status["expired_lease"])["holder"])


def test_a_runner_that_was_stopped_with_the_lock_of_a_sqlite_file_is_ended(make_site: MakeSite) -> None:
    site = given_site(make_site, "sqlite")
    assert isinstance(site.state, SqliteDatabase)
    file = site.state.file
    with site.command.started("run", "--json") as first:
        wait_until(site.accepted)  # it has taken the lease long ago
        stop_with_lock(first.pid, file)
        told = lease_told(site)
        seconds, statuses = taken_over(site)
        ended = first.wait()
    assert (statuses[-1], seconds < LIMIT_SECONDS) == (0, True)
    assert f"/{first.pid}/" in told
    assert ended.status == -signal.SIGKILL
    assert all_accepted_once(site)
    site.make_due()
    assert site.run()["delivered"] == 0


def stop_with_lock(pid: int, file: Path) -> None:
    """Stop a process until it is found to have the lock."""

    def is_caught() -> bool:
        if writer_of(file) != pid:
            return False
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: is_stopped(pid))
        if writer_of(file) == pid:
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    until = time.monotonic() + 30
    while not is_caught():
        assert time.monotonic() < until


def test_a_process_that_is_none_of_ours_keeps_the_lock_and_is_left_alone(make_site: MakeSite) -> None:
    """Somebody who has the file open in another program, and has stopped that: it is named, and not touched."""
    site = given_site(make_site, "sqlite")
    assert isinstance(site.state, SqliteDatabase)
    program = f"""
import sqlite3, time
connection = sqlite3.connect({str(site.state.file)!r}, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        os.kill(other.pid, signal.SIGSTOP)
        assert writer_of(site.state.file) == other.pid
        assert end_stopped_writer(site.state.file, "") is False
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("sent", [5, 25])
def test_a_stopped_runner_holds_no_lock_of_a_document_store(make_site: MakeSite, sent: int) -> None:
    """State in MongoDB is written one document at a time, without transactions: nothing is held between two writes."""
    site = given_site(make_site, "mongo")
    with site.command.started("run", "--json") as first:
        wait_until(lambda: len(site.accepted()) >= sent)
        os.kill(first.pid, signal.SIGSTOP)
        seconds, statuses = taken_over(site)
        os.kill(first.pid, signal.SIGCONT)
        ended = first.wait()
    assert (statuses[-1], seconds < LIMIT_SECONDS) == (0, True)
    assert all_accepted_once(site)
    # Stopped in the middle of an answer, it may wait in vain for the rest of it: either way it writes nothing more.
    assert ended.status == 5 or (ended.status == 3 and "NetworkTimeout" in ended.stderr), ended.stderr
    assert site.run()["delivered"] == 0
