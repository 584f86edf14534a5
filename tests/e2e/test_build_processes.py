"""Processes that read and build beside the one that sends: the same documents, and nothing lost with one of them."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeSite, ServerDatabase, Site, day
from tests.support.command import KILLED, Running, wait_until

FRESH = True
ACCOUNTS = [f"{number:010d}" for number in range(300)]


def given(make_site: MakeSite, source: str = "sqlite", processes: int = 2) -> Site:
    """A site with 300 accounts in chunks of 20, three of which make no incident."""
    site = make_site(source, "sqlite")
    site.command.configure(process={"chunk_accounts": 20, "build_processes": processes, "lookback_seconds": 864000})
    site.customers(*({"ACCOUNT_NUM": account, "ASSET_ID": "A1", "LOAD_DATE": day(3)} for account in ACCOUNTS))
    site.payments(
        *({"AP_ACCOUNT_NUMBER": f"p{n}", "ACCOUNT_PAYMENT_SEQ": 1, "LOAD_DATE": f"{day(4)} 10:00:00"} for n in range(3))
    )
    site.prepare()
    return site


def builders_of(pid: int) -> list[int]:
    """The processes for building that a command has now."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int(folder.joinpath("stat").read_text().rpartition(")")[2].split()[1])
                words = folder.joinpath("cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if parent == pid and b"incident_process.app.build_worker" in words:
                found.append(int(folder.name))
    return found


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def check_delivered_once(site: Site) -> None:
    accounts = Counter(body["account"] for body in site.deliveries("--status", "delivered", "--limit", "1000"))
    assert accounts == Counter(ACCOUNTS)
    assert len(site.accepted()) == len(ACCOUNTS)


def test_they_build_the_same_documents(make_site: MakeSite) -> None:
    """What they deliver is what a run without them knows as unchanged: the same digests, from the same rows."""
    site = given(make_site)
    report = site.run()
    assert (report["delivered"], report["skipped"], report["accounts"]) == (300, 3, 303)
    check_delivered_once(site)
    site.command.configure(process={"build_processes": 0})
    site.make_due()
    report = site.run()
    assert (report["delivered"], report["unchanged"]) == (0, 303)
    site.command.configure(process={"build_processes": 2})
    site.customers({"ACCOUNT_NUM": ACCOUNTS[7], "ASSET_ID": "A2", "LOAD_DATE": day(2)})
    site.make_due()
    report = site.run()
    assert (report["delivered"], report["unchanged"]) == (1, 302)


def slowed(site: Site) -> None:
    """Have the run last long enough to look at it."""
    site.command.configure(api={"max_connections": 4})
    site.receiver.control(latency_ms=60)


@contextmanager
def at_work(site: Site) -> Iterator[tuple[Running, list[int]]]:
    """A run that has sent something, with the processes that build for it."""
    slowed(site)
    with site.command.started("run", "--json") as running:
        wait_until(lambda: len(builders_of(running.pid)) == 2 and site.accepted())
        yield running, builders_of(running.pid)


def test_one_that_is_killed_costs_nothing(make_site: MakeSite) -> None:
    site = given(make_site)
    with at_work(site) as (running, builders):
        for pid in builders:
            os.kill(pid, signal.SIGKILL)
        finished = running.wait()
    assert finished.status == 0, finished.stderr
    assert finished.json["delivered"] == 300
    assert any("process for building has ended" in message for message in finished.messages("WARNING"))
    check_delivered_once(site)


def test_they_end_with_a_run_that_is_killed(make_site: MakeSite) -> None:
    site = given(make_site)
    with at_work(site) as (running, builders):
        assert running.kill().status == KILLED
    wait_until(lambda: not any(map(is_there, builders)))
    site.receiver.control(latency_ms=0)
    site.run()
    check_delivered_once(site)


def test_they_do_not_heed_signals_that_are_meant_for_the_run(make_site: MakeSite) -> None:
    """A service manager sends SIGTERM to all processes of the service; the run ends in good order and they with it."""
    site = given(make_site)
    with at_work(site) as (running, builders):
        for pid in builders:
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        time.sleep(0.2)
        assert all(map(is_there, builders))
        finished = running.terminate()
    assert finished.status == 4, finished.stderr
    assert not any(map(is_there, builders))
    site.receiver.control(latency_ms=0)
    assert site.run()["status"] == "completed"
    check_delivered_once(site)


def test_secrets_stand_neither_in_their_arguments_nor_in_their_environment(make_site: MakeSite) -> None:
    site = given(make_site, "mariadb")
    slowed(site)
    assert isinstance(site.source, ServerDatabase)
    password = site.source.server.password.encode()
    with site.command.started("run", "--json") as running:
        wait_until(lambda: len(builders_of(running.pid)) == 2)
        for pid in builders_of(running.pid):
            shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
            assert password not in shown
        assert running.wait().status == 0
    check_delivered_once(site)


def test_a_source_that_lets_no_further_connection_in(make_site: MakeSite) -> None:
    """Then the run's own process does the work, and says so."""
    site = given(make_site, "mariadb")
    database: Any = site.source
    user, password = "alone", "only-one-at-a-time"
    database.sql(f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{password}' WITH MAX_USER_CONNECTIONS 1")
    try:
        database.sql(f"GRANT SELECT ON {database.name}.* TO {user}@'127.0.0.1'")
        url = f"mysql://{user}:{password}@127.0.0.1:{database.server.port}/{database.name}"
        site.command.configure(database={"URL": url})
        finished = site.command.run()
    finally:
        database.sql(f"DROP USER {user}@'127.0.0.1'")
    assert finished.status == 0, finished.stderr
    assert finished.json["delivered"] == 300
    assert any("could not be started" in message for message in finished.messages("WARNING"))
    check_delivered_once(site)


@pytest.mark.parametrize("value", ["-1", "17", "two"])
def test_a_wrong_number_is_one_sentence(make_site: MakeSite, value: str) -> None:
    site = make_site()
    site.command.configure(process={"build_processes": value})
    finished = site.command.run()
    assert finished.status == 2
    assert "[PROCESS] build_processes" in finished.stderr
    assert "it must be auto or a whole number from 0 to 16" in finished.stderr
