"""What the command puts into ``[METRICS] textfile`` and at ``/metrics``: the runs in figures, and nothing personal."""

import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import TRACKINGS, MakeSite, Site, day
from tests.support.command import wait_until
from tests.support.schedules import schedule

PERSONAL = "Ms Perera"
ACCOUNTS = [f"94170{n:05d}" for n in range(10)]
P = "incident_process_"
NOBODY = 65534


def values(text: str) -> dict[str, float]:
    """Samples by name and, in brackets, the labels but the operation."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(value for name, value in sorted(sample.labels.items()) if name != "operation")
            found[f"{sample.name.removeprefix(P)}[{labels}]"] = sample.value
    return found


def metered(site: Site) -> Path:
    path = site.command.folder / "incident_process.prom"
    site.command.configure(metrics={"textfile": path}, api={"max_attempts": 3})
    site.prepare()
    rows = ({"ACCOUNT_NUM": a, "ASSET_ID": "A1", "CONTACT_PERSON": PERSONAL, "LOAD_DATE": day(0)} for a in ACCOUNTS)
    site.customers(*rows)
    return path


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_runs_of_cron_add_up_to_what_the_receiver_saw(make_site: MakeSite, tracking: str) -> None:
    site = make_site("sqlite", tracking)
    path = metered(site)
    site.receiver.control(fail_next=2, fail_accounts={ACCOUNTS[0]: 422})
    first = site.run()
    site.make_due()
    site.run()
    found = values(path.read_text())
    assert found["incidents_total[delivered]"] == first["delivered"] == len(site.accepted())
    assert found["incidents_total[dead]"] == 1
    assert found["incidents_total[unchanged]"] == len(ACCOUNTS)
    posts = [row for row in site.requests() if row["incident_id"] is not None]
    assert found["retries_total[]"] == len(posts) - len(ACCOUNTS) == 2
    assert found["attempt_seconds_count[5xx]"] == 2
    assert sum(value for name, value in found.items() if name.startswith("runs_total")) == 2
    assert (found["last_run_success[]"], found["lease_held[]"], found["breaker_state[]"]) == (1, 0, 0)
    assert (found["dead_letters_open[]"], found["pending_incidents[]"]) == (1, 0)
    assert found["ledger_deliveries[delivered]"] == first["delivered"]
    assert found[f"build_info[{version('incident-process')}]"] == 1
    assert not any(name.startswith("process_") for name in found)  # in the file they are node_exporter's own
    assert found["state_write_seconds_count[record_outcomes]"] >= 1
    assert found["state_write_seconds_count[acquire_lease]"] == 2
    assert 0 <= found["watermark_lag_seconds[]"] < 2 * 86400


def test_an_outage_shows_in_breaker_pending_and_success(make_site: MakeSite) -> None:
    site = make_site()
    path = metered(site)
    site.customers(*({"ACCOUNT_NUM": f"{n:06d}", "ASSET_ID": "A1", "LOAD_DATE": day(0)} for n in range(60)))
    site.command.configure(api={"max_attempts": 2, "max_connections": 4})
    site.receiver.control(fail_rate=1)
    report = site.run(4)
    found = values(path.read_text())
    assert (found["breaker_state[]"], found["last_run_success[]"]) == (2, 0)
    assert found["pending_incidents[]"] == report["pending"] > 0
    assert found["runs_total[window,incomplete]"] == 1


def test_a_database_that_is_away_is_counted_too(make_site: MakeSite) -> None:
    site = make_site()
    path = metered(site)
    site.command.configure(state={"url": "mysql://nobody:none@127.0.0.1:1/none"})
    site.finish(3)
    assert values(path.read_text())["runs_total[window,failed]"] == 1


def test_a_file_that_cannot_be_written_is_a_warning(make_site: MakeSite) -> None:
    site = make_site()
    metered(site)
    site.command.configure(metrics={"textfile": site.command.folder / "none" / "a.prom"})
    finished = site.finish()
    (warning,) = finished.messages("WARNING")
    assert warning.startswith("The end of the run could not be noted in the metrics: [METRICS] textfile ")
    assert "cannot be written (No such file or directory)" in warning
    assert finished.json["status"] == "completed"


def test_a_run_by_hand_shows_at_the_schedule_as_well(make_site: MakeSite) -> None:
    """What its metrics say of the last run is what its readiness says, whoever did that run."""
    site = make_site()
    metered(site)
    site.customers(*({"ACCOUNT_NUM": f"{n:06d}", "ASSET_ID": "A1", "LOAD_DATE": day(0)} for n in range(60)))
    site.command.configure(api={"max_attempts": 2, "max_connections": 4})
    site.receiver.control(fail_rate=1)
    with schedule(site.command, retry_seconds=3600, retry_cap_seconds=3600) as running:

        def shown() -> dict[str, float]:
            return values(running.ask("/metrics")[1].decode())

        wait_until(lambda: "last run is incomplete" in str(running.ready()["reasons"]))
        found = shown()
        assert found["last_run_success[]"] == 0
        assert found["pending_incidents[]"] > 0
        assert "processed_until_timestamp_seconds[]" not in found
        site.receiver.calm()
        assert site.run()["status"] == "completed"
        wait_until(lambda: shown()["last_run_success[]"] == 1)
        found = shown()
        assert running.ready()["ready"]
        assert (found["last_run_success[]"], found["pending_incidents[]"]) == (1, 0)
        assert found["processed_until_timestamp_seconds[]"] > 0
        assert found["runs_total[window,completed]"] == 0
        running.stop()


def test_the_schedule_shows_them_while_it_runs(make_site: MakeSite) -> None:
    site = make_site()
    metered(site)
    site.receiver.control(latency_ms=1500)
    with schedule(site.command) as running:
        wait_until(lambda: values(running.ask("/metrics")[1].decode())["lease_held[]"] == 1)
        wait_until(lambda: values(running.ask("/metrics")[1].decode())["incidents_total[delivered]"] == len(ACCOUNTS))
        wait_until(lambda: values(running.ask("/metrics")[1].decode())["lease_held[]"] == 0)
        text = running.ask("/metrics")[1].decode()
        running.stop()
    assert {"ledger_deliveries[delivered]", "process_open_fds[]", "state_bytes[]"} <= values(text).keys()
    assert PERSONAL not in text
    assert not any(account in text for account in ACCOUNTS)
    site.make_due()
    site.run()  # by hand, beside the schedule's file
    found = values((site.command.folder / "incident_process.prom").read_text())
    assert (found["runs_total[window,completed]"], found["runs_total[window,no_data]"]) == (1, 1)


@contextmanager
def holding_locks(folder: Path, *, user: int) -> Iterator[None]:
    """Have another process, of this user, hold every lock file of a folder that it can open."""
    ready, told = os.pipe()
    holder = os.fork()
    if not holder:
        try:
            if user != os.geteuid():
                os.setgid(user)
                os.setuid(user)
            for path in folder.glob(".*lock*"):
                with suppress(OSError):
                    fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX)
            os.write(told, b"ready")
            signal.pause()
        finally:  # whatever happens, it must not go on as a second pytest
            os.write(told, b"ended")
            os._exit(1)
    try:
        assert os.read(ready, 5) == b"ready"
        yield
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.close(ready)
        os.close(told)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user of the machine can look into, as the textfile collector's is."""
    with tempfile.TemporaryDirectory(prefix="incident-process-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")
def test_another_user_who_may_read_the_file_cannot_hold_its_lock(make_site: MakeSite, shared: Path) -> None:
    site = make_site()
    metered(site)
    site.command.configure(metrics={"textfile": shared / "a.prom"}, api={"send_empty": "off"})
    site.run()
    site.make_due()
    with holding_locks(shared, user=NOBODY):
        finished = site.finish()
    assert finished.messages("WARNING") == []  # which is how a wait for the lock would have ended
    assert values((shared / "a.prom").read_text())["runs_total[window,no_data]"] == 1
    assert {path.name: path.stat().st_mode & 0o777 for path in shared.iterdir()} == {
        "a.prom": 0o644,
        ".a.prom.0.lock": 0o600,
    }


def test_a_lock_that_is_held_for_ever_holds_up_neither_run_nor_schedule(make_site: MakeSite, shared: Path) -> None:
    site = make_site()
    metered(site)
    site.command.configure(metrics={"textfile": shared / "a.prom"}, api={"send_empty": "off"})
    site.run()
    with holding_locks(shared, user=os.geteuid()):
        site.make_due()
        (warning,) = site.finish().messages("WARNING")
        assert "cannot be written (another process has held its lock" in warning
        site.make_due()
        with schedule(site.command) as running:
            running.wait_for("INFO:Processing time window")
            slowest = 0.0
            for _ in range(30):
                began = time.monotonic()
                assert running.ask("/healthz")[0] == 200
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.1)
            assert slowest < 2
            running.wait_for("WARNING:The end of the run could not be noted in the metrics")
            running.stop()


def test_links_in_the_folder_are_not_followed(make_site: MakeSite, shared: Path) -> None:
    site = make_site()
    metered(site)
    victim = site.command.folder / "victim"
    victim.write_text("kept")
    for name in (".a.prom.new", "a.prom.new", "a.prom"):
        (shared / name).symlink_to(victim)
    site.command.configure(metrics={"textfile": shared / "a.prom"}, api={"send_empty": "off"})
    site.run()
    assert victim.read_text() == "kept"
    assert victim.stat().st_mode & 0o777 == 0o644
    assert values((shared / "a.prom").read_text())["runs_total[window,completed]"] == 1


def test_a_pipe_in_place_of_the_file_holds_up_no_run(make_site: MakeSite, shared: Path) -> None:
    site = make_site()
    metered(site)
    os.mkfifo(shared / "a.prom")
    site.command.configure(metrics={"textfile": shared / "a.prom"}, api={"send_empty": "off"})
    site.run()
    assert values((shared / "a.prom").read_text())["runs_total[window,completed]"] == 1
