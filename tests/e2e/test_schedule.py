"""``schedule`` as a process: when it runs, how it ends, what it survives, and that SPEC 10 holds all the while."""

import asyncio
import logging
import os
import shutil
import signal
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from incident_process import __version__
from incident_process.app.factory import open_parts
from incident_process.core.crash_points import VARIABLE, CrashPoint
from incident_process.core.models import RunStatus, Tracking
from incident_process.pipeline.plans import WindowPlan
from incident_process.pipeline.run import Run
from incident_process.schedule.run_executor import scheduled_run
from incident_process.schedule.timing import DueRules, Pauses, Timetable
from incident_process.settings import Settings
from tests.e2e.conftest import TRACKINGS, MakeSite, ServerDatabase, Site, day, moment
from tests.support.command import KILLED, wait_until
from tests.support.schedules import Schedule, schedule

COMPLETED = "INFO:Updated "
RUN = "INFO:Run "
DUE = "INFO:The next run is due at "


def given_accounts(site: Site, end: int, *, first: int = 0) -> None:
    """Add rows of today, which the lookback reaches wherever the watermark is."""
    site.customers(*({"ACCOUNT_NUM": f"{n:06d}", "ASSET_ID": "A1", "LOAD_DATE": day(0)} for n in range(first, end)))


def accepted(site: Site) -> Counter[str]:
    return Counter(row["account_num"] for row in site.accepted())


def check_once(site: Site, count: int) -> None:
    """Every account accepted, each once, no Incident_Id for two."""
    assert accepted(site) == {f"{n:06d}": 1 for n in range(count)}
    ids = [row["incident_id"] for row in site.accepted()]
    assert len(set(ids)) == len(ids)


def windows(site: Site) -> list[str]:
    """The statuses of the window runs, oldest first."""
    return [run["status"] for run in reversed(site.history()) if run["kind"] == "window"]


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    made = make_site()
    made.prepare()
    return made


@pytest.fixture
def mongo_site(make_site: MakeSite) -> Site:
    made = make_site("sqlite", "mongo")
    made.prepare()
    return made


# -- when it runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tracking", ["sqlite", "mariadb"])
def test_with_sql_the_rows_next_execution_decides(make_site: MakeSite, tracking: str) -> None:
    """Five missed hours are one run; then nothing until somebody, or the clock, makes the operation due."""
    site = make_site("sqlite", tracking)
    site.prepare()
    given_accounts(site, 5)
    assert site.state is not None
    late = f"{datetime.now(UTC) - timedelta(hours=5):%Y-%m-%d %H:%M:%S}"
    site.state.sql("UPDATE Process_Operation SET Next_execution_dtm = ?", late)
    with schedule(site.command) as running:
        running.wait_for(DUE)
        time.sleep(1)
        assert running.count(RUN) == 1
        given_accounts(site, 8, first=5)
        site.make_due()
        running.wait_for(RUN, 2)
        wait_until(lambda: sum(accepted(site).values()) == 8)
        running.stop()
    check_once(site, 8)
    assert windows(site) == ["completed", "completed"]


def test_with_mongo_an_interval_decides(mongo_site: Site) -> None:
    given_accounts(mongo_site, 5)
    with schedule(mongo_site.command, interval_seconds=2) as running:
        running.wait_for(RUN, 2)
        given_accounts(mongo_site, 9, first=5)
        wait_until(lambda: sum(accepted(mongo_site).values()) == 9)
        running.stop()
    check_once(mongo_site, 9)
    starts = [datetime.fromisoformat(run["started"]) for run in mongo_site.history()]
    gaps = [(late - early).total_seconds() for late, early in pairwise(starts)]
    assert all(gap >= 2 for gap in gaps)


def test_a_restart_does_not_forget_when_the_last_run_was(mongo_site: Site) -> None:
    for _ in range(2):
        with schedule(mongo_site.command, cron="0 0 1 1 *") as running:
            running.wait_for(DUE)
            running.stop()
    assert len(windows(mongo_site)) == 1


def test_a_refused_operation_is_said_once_and_looked_after(site: Site) -> None:
    assert site.state is not None
    site.state.sql("UPDATE Process_Operation SET end_dtm = ?", "2020-01-01 00:00:00")
    given_accounts(site, 3)
    with schedule(site.command) as running:
        running.wait_for("ERROR:Operation")
        time.sleep(1)
        assert running.count("ERROR:Operation") == 1
        assert "terminated because of its end date" in running.ready()["reasons"][0]
        site.state.sql("UPDATE Process_Operation SET end_dtm = NULL")
        running.wait_for(COMPLETED)
        wait_until(lambda: running.ready()["ready"])
        running.stop()
    check_once(site, 3)


# -- two of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_two_share_the_work_and_one_outlives_the_other(make_site: MakeSite, tracking: str) -> None:
    """No interval is run twice; when the one at work is killed, the other goes on with what it left."""
    site = make_site("sqlite", tracking)
    site.prepare()
    given_accounts(site, 30)
    site.command.configure(process={"chunk_accounts": 10, "time_gap_seconds": 0})
    with (
        schedule(site.command, interval_seconds=3600) as one,
        schedule(site.command, interval_seconds=3600) as two,
    ):
        for running in (one, two):
            running.wait_for(DUE)
        time.sleep(1)
        assert windows(site) == ["completed"]
        assert one.count("INFO:Fetched 30") + two.count("INFO:Fetched 30") == 1
        one.running.kill()
        if tracking != "mongo":
            given_accounts(site, 40, first=30)
            site.make_due()
            two.wait_for(COMPLETED, two.count(COMPLETED) + 1)
        two.stop()
    check_once(site, 30 if tracking == "mongo" else 40)


def test_a_lease_that_is_held_is_a_warning_to_a_run_by_hand_only(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings.load(site.command.config, {})
    rules = DueRules(
        tracking=Tracking.SQL,
        operation=settings.process.operation_name,
        time_gap_seconds=60,
        timetable=Timetable(interval_seconds=60),
        pauses=Pauses(first=1, cap=1),
    )

    async def levels() -> list[int]:
        async with open_parts(settings) as parts:
            await parts.store.acquire_lease("elsewhere:1", 30)
            caplog.clear()
            for run in (scheduled_run(parts, rules), Run(parts, WindowPlan(parts))):
                assert (await run.run()).status is RunStatus.LOCKED
        return [record.levelno for record in caplog.records if "holds the lease" in record.getMessage()]

    with caplog.at_level(logging.INFO):
        assert asyncio.run(levels()) == [logging.INFO, logging.WARNING]


def test_one_takes_over_in_the_middle_of_the_others_run(mongo_site: Site) -> None:
    given_accounts(mongo_site, 30)
    mongo_site.command.configure(process={"chunk_accounts": 5})
    mongo_site.receiver.control(latency_ms=100)
    with (
        schedule(mongo_site.command, interval_seconds=3600, env={VARIABLE: f"{CrashPoint.POSTED}:2"}) as one,
        schedule(mongo_site.command, interval_seconds=3600) as two,
    ):
        assert one.running.wait().status == KILLED
        two.wait_for(COMPLETED)
        two.stop()
    check_once(mongo_site, 30)


# -- how it ends ------------------------------------------------------------------------------------------------------


def test_sigterm_while_it_is_idle(site: Site) -> None:
    with schedule(site.command) as running:
        running.wait_for(DUE)
        began = time.monotonic()
        running.stop()
        assert time.monotonic() - began < 5
        assert running.log()[0].endswith(f"' is at work (incident-process {__version__}).")
        assert running.log()[-1] == "INFO:The schedule has ended: interrupted by SIGTERM."


def test_sigterm_while_it_starts(site: Site) -> None:
    """From the first line of the command on; before that the interpreter has not read any of it."""
    site.command.fresh = True
    ended = []
    for delay in (0.25, 0.35, 0.45, 0.6, 0.8):
        with schedule(site.command, wait=False) as running:
            until = time.monotonic() + delay
            wait_until(lambda pid=running.running.pid: caught(pid, signal.SIGTERM))
            time.sleep(max(0.0, until - time.monotonic()))
            ended.append(running.running.terminate().status)
    assert ended == [0] * 5


def caught(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for the signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")]
    return bool(mask >> (number - 1) & 1)


def test_sigterm_finishes_the_chunk_and_leaves_the_rest_to_the_next(site: Site) -> None:
    """The chunks that are being sent, two at most; of what lies ready nothing is sent, and nothing is in doubt."""
    given_accounts(site, 200)
    site.command.configure(process={"chunk_accounts": 20, "in_doubt": "park"}, api={"max_connections": 4})
    site.receiver.control(latency_ms=40)
    with schedule(site.command, stop_seconds=60) as running:
        wait_until(lambda: len(site.requests()) >= 10)
        running.stop()
    sent = len(site.accepted())
    assert sent % 20 == 0
    assert 20 <= sent <= 60  # while the signal is on its way, one more may begin
    (run,) = site.history()
    assert run["delivered"] == sent
    assert run["pending"] in {0, 20, 40}  # built and written down, not begun
    untried = f"; without an outcome: {run['pending']} not tried in this run" if run["pending"] else ""
    assert (run["status"], run["error"]) == ("incomplete", f"interrupted by SIGTERM{untried}")
    assert site.command("status", "--json").json["lease"] is None
    site.receiver.calm()
    with schedule(site.command) as running:
        running.wait_for(COMPLETED)
        running.stop()
    check_once(site, 200)


def test_sigterm_waits_for_no_rows(make_site: MakeSite) -> None:
    """While the source keeps a run waiting, no chunk is under way that stop_seconds could be for."""
    site = make_site("mariadb", "sqlite")
    site.prepare()
    given_accounts(site, 5)
    assert isinstance(site.source, ServerDatabase)
    with site.source.connect() as other, schedule(site.command, stop_seconds=60, poll_seconds=3600) as running:
        running.wait_for(DUE)
        other.query("LOCK TABLES debt_cust_detail WRITE")
        site.make_due()
        running.hang_up()
        running.wait_for("INFO:Processing time window", 2)
        began = time.monotonic()
        running.stop()
        assert time.monotonic() - began < 8
    assert (site.history()[0]["status"], site.history()[0]["error"]) == ("incomplete", "interrupted by SIGTERM")


@pytest.mark.parametrize("times", [1, 2])
def test_a_receiver_that_stalls_does_not_hold_up_the_end(site: Site, times: int) -> None:
    """After stop_seconds, or a second SIGTERM, what is under way is given up; it is in the outbox."""
    given_accounts(site, 20)
    site.command.configure(api={"timeout_seconds": 3, "max_attempts": 50}, process={"chunk_accounts": 10})
    site.receiver.control(stall_rate=1)
    with schedule(site.command, stop_seconds=1 if times == 1 else 60) as running:
        wait_until(lambda: len(site.requests()) >= 5)
        for _ in range(times - 1):
            os.kill(running.running.pid, signal.SIGTERM)
            time.sleep(0.5)
        began = time.monotonic()
        running.stop()
        assert time.monotonic() - began < 15
    site.receiver.calm()
    with schedule(site.command) as running:
        running.wait_for(COMPLETED)
        running.stop()
    check_once(site, 20)


# -- SIGHUP -----------------------------------------------------------------------------------------------------------


def test_sighup_rereads_the_configuration_and_a_wrong_one_is_not_taken(mongo_site: Site, closed_port: int) -> None:
    with schedule(mongo_site.command, interval_seconds=3600) as running:
        running.wait_for(DUE)
        mongo_site.command.configure(api={"max_attempts": "many"})
        running.hang_up()
        running.wait_for("ERROR:The configuration was not taken into use: the old one stays.")
        assert any("[API] max_attempts has a wrong value 'many'" in line for line in running.log())
        assert running.ready()["ready"]
        mongo_site.command.configure(
            api={"max_attempts": 3}, schedule={"interval_seconds": 1, "http_port": closed_port}
        )
        running.hang_up()
        running.wait_for("INFO:The configuration was read anew.")
        running.wait_for(RUN, 3)
        moved = Schedule(running.running, mongo_site.command.folder / "none", closed_port)
        wait_until(lambda: moved.ready()["ready"])
        with pytest.raises(ConnectionRefusedError):
            running.ask("/healthz")
        running.stop()


def test_sighup_in_the_middle_of_a_run_ends_nothing(site: Site) -> None:
    given_accounts(site, 40)
    site.receiver.control(latency_ms=300)
    site.command.configure(api={"max_connections": 8})
    with schedule(site.command) as running:
        wait_until(lambda: len(site.requests()) >= 4)
        running.hang_up()
        running.wait_for(COMPLETED)
        running.wait_for("INFO:The configuration was read anew.")
        running.stop()
    check_once(site, 40)


# -- what it survives -------------------------------------------------------------------------------------------------


def test_a_receiver_that_fails_is_tried_again_with_growing_pauses(site: Site) -> None:
    given_accounts(site, 12)
    site.command.configure(api={"max_attempts": 2, "retry_seconds": 1})
    site.receiver.control(fail_rate=1)
    with schedule(site.command, retry_seconds=1, retry_cap_seconds=3) as running:
        running.wait_for(RUN, 3)
        assert running.ready()["reasons"][0].startswith("the last run is incomplete: ")
        assert running.ask("/healthz") == (200, b'{"alive":true}')
        site.receiver.calm()
        running.wait_for(COMPLETED)
        wait_until(lambda: running.ready()["ready"])
        running.stop()
    runs = list(reversed(site.history()))
    assert [run["status"] for run in runs[:3]] == ["incomplete"] * 3
    pauses = [
        (datetime.fromisoformat(late["started"]) - datetime.fromisoformat(early["ended"])).total_seconds()
        for early, late in pairwise(runs)
    ]
    assert pauses[0] >= 0.5
    assert all(pause >= 1 for pause in pauses[1:])
    check_once(site, 12)


@pytest.mark.parametrize("away", ["source", "state"])
def test_a_database_that_goes_away_and_comes_back(make_site: MakeSite, away: str) -> None:
    site = make_site("mariadb", "sqlite") if away == "source" else make_site("sqlite", "mariadb")
    site.prepare()
    given_accounts(site, 6)
    gone = site.source if away == "source" else site.state
    assert isinstance(gone, ServerDatabase)
    with schedule(site.command) as running:
        running.wait_for(DUE)
        gone.server.kill()
        try:
            running.wait_for("ERROR:Database connection error during incident processing: ", seconds=60)
            wait_until(lambda: not running.ready()["ready"])
            assert running.ask("/healthz")[0] == 200
        finally:
            gone.server.start()
        running.wait_for("INFO:Source and state are within reach again.", seconds=60)
        wait_until(lambda: running.ready()["ready"])
        given_accounts(site, 9, first=6)
        site.make_due()
        running.wait_for(COMPLETED, 2)
        running.stop()
    check_once(site, 9)


@pytest.mark.parametrize(
    "fault",
    [f"{CrashPoint.ENQUEUED}:2", f"{CrashPoint.POSTED}:2", CrashPoint.RECORDED, CrashPoint.ADVANCED, CrashPoint.CLOSED],
)
@pytest.mark.parametrize("tracking", ["sqlite", "mongo"])
def test_killed_at_a_commit_step_and_started_again(make_site: MakeSite, tracking: str, fault: str) -> None:
    site = make_site("sqlite", tracking)
    site.prepare()
    given_accounts(site, 20)
    site.command.configure(process={"chunk_accounts": 6})
    with schedule(site.command, env={VARIABLE: fault}) as running:
        assert running.running.wait().status == KILLED
    with schedule(site.command) as running:
        running.wait_for(DUE)
        running.stop()
    check_once(site, 20)


# -- clocks -----------------------------------------------------------------------------------------------------------


def faked(folder: Path) -> tuple[dict[str, str], Callable[[int], None]]:
    """Return an environment in which this machine's clock may be set, and what sets it, in seconds from the true."""
    program = shutil.which("faketime")
    if program is None:
        pytest.skip("libfaketime is not installed: apt-get install faketime")
    found = sorted(Path("/usr/lib").rglob("libfaketime.so.1"))
    assert found
    shift = folder / "shift"

    def set_clock(seconds: int) -> None:
        new = folder / "shift.new"
        new.write_text(f"{seconds:+d}s\n")
        new.rename(shift)

    set_clock(0)
    env = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_CACHE_DURATION": "1",  # seconds; without it, every look at the clock would read the file
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    return env, set_clock


@pytest.mark.parametrize("source", ["mariadb", "sqlite"])
def test_clock_jumps_neither_lose_nor_double_a_run(make_site: MakeSite, tmp_path: Path, source: str) -> None:
    """Of this machine alone (MariaDB keeps the source's time), and of the source itself (SQLite has the machine's).

    Three hours ahead and back, between runs and in the middle of one, with rows arriving all the while.
    """
    site = make_site(source, "mongo", customer_type="datetime", payment_type="datetime")
    site.command.configure(process={"time_gap_seconds": 0, "chunk_accounts": 5}, api={"max_connections": 2})
    site.prepare()
    env, set_clock = faked(tmp_path)
    number = 0
    with schedule(site.command, env=env, interval_seconds=1) as running:
        for shift in (10800, -10800, 0):
            set_clock(shift)
            # Stamped as the source's clock was before all jumps: a time that it has surely passed.
            for _ in range(12):
                site.customers({"ACCOUNT_NUM": f"{number:06d}", "ASSET_ID": "A1", "LOAD_DATE": moment(4 * 3600)})
                number += 1
            runs = running.count(RUN)
            site.receiver.control(latency_ms=100)
            wait_until(lambda runs=runs: running.count(RUN) > runs, 60)
            set_clock(shift + 600)  # whatever is under way just now
            site.receiver.calm()
            runs = running.count(RUN)
            wait_until(lambda runs=runs: running.count(RUN) > runs, 60)
        set_clock(0)
        wait_until(lambda: sum(accepted(site).values()) == number, 30)
        running.stop()
    check_once(site, number)


# -- what it answers --------------------------------------------------------------------------------------------------


def test_what_it_answers_over_http(site: Site) -> None:
    with schedule(site.command) as running:
        running.wait_for(DUE)
        assert running.ask("/healthz") == (200, b'{"alive":true}')
        assert running.ask("/healthz", "HEAD") == (200, b"")
        report = running.ready()
        assert (report["ready"], report["reasons"], report["running"]) == (True, [], False)
        assert report["next_run_due"] is not None
        assert running.ask("/metrics")[0] == 200
        assert running.ask("/elsewhere")[0] == 404
        assert running.ask("/healthz", "POST")[0] == 405
        running.stop()


def test_an_address_that_is_taken_is_a_mistake_of_the_configuration(site: Site) -> None:
    with schedule(site.command) as running:
        running.wait_for(DUE)
        finished = site.command("schedule")
        assert finished.status == 2
        (message,) = finished.messages("ERROR")
        assert message.startswith(f"[SCHEDULE] http_port {running.port} on 127.0.0.1 cannot be listened on")
        running.stop()


def test_without_a_port_it_answers_nowhere(site: Site) -> None:
    with schedule(site.command, http_port=0) as running:
        running.wait_for(DUE)
        assert not listening(running.running.pid)
        running.stop()


def listening(pid: int) -> set[str]:
    """The listening TCP sockets of a process, by inode."""
    own = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        own.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()
    ]
    return {line[9] for line in lines if len(line) > 9 and line[3] == "0A"} & own


def test_the_state_of_a_source_without_tables_is_said_and_waited_for(site: Site) -> None:
    with closing(sqlite3.connect(site.command.folder / "empty.db")):
        pass
    site.command.configure(
        database={"URL": f"sqlite:///{site.command.folder}/empty.db"}, state={"url": site.source.url}
    )
    with schedule(site.command) as running:
        running.wait_for("ERROR:", 2)
        assert not running.ready()["ready"]
        running.stop()


def test_a_crowd_that_says_nothing_does_not_take_the_health_away(site: Site) -> None:
    with schedule(site.command) as running, ExitStack() as crowd:
        running.wait_for(DUE)
        for _ in range(300):
            crowd.enter_context(socket.create_connection(("127.0.0.1", running.port)))
        began = time.monotonic()
        assert [running.ask("/healthz")[0] for _ in range(5)] == [200] * 5
        assert running.ready()["ready"]
        assert time.monotonic() - began < 5
        running.stop()
