"""Receivers that have their own way of saying no, over real HTTP: some accounts are refused, or all are (SPEC 5)."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import TRACKINGS, MakeSite, Site, day
from tests.support.listener import Listener, Reply, listening

MAX_RUNS = 3


class Receiver:
    """Takes each account once, but for those that ``refused`` has an answer for; ``down`` is an answer to everybody."""

    def __init__(self, listener: Listener) -> None:
        self.accepted: Counter[str] = Counter()
        self.requests: list[str | None] = []
        self.refused: Callable[[str], Reply | None] = lambda _: None
        self.down: Reply | None = None
        self.url = f"http://{listener.address}/incidents"
        listener.judge = self._judge

    def _judge(self, body: bytes) -> Reply:
        account = json.loads(body).get("Account_Num")
        self.requests.append(account)
        if self.down is not None:
            return self.down
        if account is None:
            return Reply(status=422, body=b'{"detail": "no incident"}')
        said = self.refused(account)
        if said is None:
            self.accepted[account] += 1
            return Reply(status=201)
        return said


@pytest.fixture
def receiver_of_ours() -> Iterator[Receiver]:
    with listening() as listener:
        yield Receiver(listener)


def site_of(make_site: MakeSite, receiver: Receiver, tracking: str = "sqlite", **api: Any) -> Site:
    site = make_site(tracking=tracking)
    site.command.configure(api={"api_url": receiver.url, "max_attempts": 2, **api}, process={"max_runs": MAX_RUNS})
    site.prepare()
    return site


def load(site: Site, first: int, count: int) -> set[str]:
    accounts = [f"{number:010d}" for number in range(first, first + count)]
    site.customers(*({"ACCOUNT_NUM": a, "ASSET_ID": "A1", "LOAD_DATE": day(5)} for a in accounts))
    return set(accounts)


def open_case(account: str) -> Reply:
    """What the field's receiver says of an account with an open case; another one may stand in its answer."""
    said = f"Incident for {account} failed: case {int(account) + 7000} already exists in open cases"
    return Reply(status=500, body=json.dumps({"detail": said}).encode())


@pytest.mark.parametrize("arrivals", [True, False], ids=["busy", "quiet"])
@pytest.mark.parametrize("tracking", TRACKINGS)
def test_a_refused_third_holds_nobody_up(
    make_site: MakeSite, receiver_of_ours: Receiver, tracking: str, arrivals: bool
) -> None:
    receiver = receiver_of_ours
    site = site_of(make_site, receiver, tracking, max_connections=4)
    accounts = load(site, 0, 30)
    refused = {account for account in accounts if 10 <= int(account) < 20}
    receiver.refused = lambda account: open_case(account) if account in refused else None
    for number in range(1, MAX_RUNS + 1):
        finished = site.finish(expect=0 if number == MAX_RUNS else 4)
        assert set(receiver.accepted) == accounts - refused, "everybody else is delivered in the first run"
        assert "circuit breaker" not in finished.stderr
        if number < MAX_RUNS:
            assert finished.json["pending"] == len(refused)
            words = "HTTP 500 Internal Server Error: Incident for … failed: case … already exists in open cases"
            assert f"({words}: 10 incidents)" in finished.json["message"]
            assert finished.json["last_execution_dtm"] == "1900-01-01T00:00:00Z"
            accounts |= load(site, 100 * number, 3) if arrivals else set()
    assert (finished.json["status"], finished.json["dead"], finished.json["pending"]) == ("completed", len(refused), 0)
    assert finished.json["last_execution_dtm"] > "2026"
    assert set(receiver.accepted.values()) == {1}
    dead = {entry["account"]: entry["error"] for entry in site.deliveries() if entry["status"] == "dead"}
    assert dead.keys() == refused
    assert all("already exists in open cases" in error for error in dead.values())
    site.make_due()
    assert site.run()["status"] == "no_data"


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_with_a_rule_the_refused_are_dead_letters_in_the_first_run(
    make_site: MakeSite, receiver_of_ours: Receiver, tracking: str
) -> None:
    receiver = receiver_of_ours
    site = site_of(make_site, receiver, tracking, refused_when="500 already exists in open cases")
    accounts = load(site, 0, 30)
    refused = {account for account in accounts if int(account) % 3 == 0}
    receiver.refused = lambda account: open_case(account) if account in refused else None
    report = site.run()
    assert (report["status"], report["delivered"], report["dead"], report["pending"]) == ("completed", 20, 10, 0)
    assert report["last_execution_dtm"] > "2026"
    assert Counter(account for account in receiver.requests if account in refused) == Counter(refused)
    dead = {entry["account"]: entry["error"] for entry in site.deliveries() if entry["status"] == "dead"}
    assert dead.keys() == refused
    assert all("already exists in open cases" in error for error in dead.values())


def test_rules_say_what_a_receiver_means_by_200_and_400(make_site: MakeSite, receiver_of_ours: Receiver) -> None:
    receiver = receiver_of_ours
    site = site_of(
        make_site,
        receiver,
        delivered_when="400 duplicate",
        refused_when='200 "success": false',
        retry_when="400 busy",
    )
    load(site, 0, 9)
    tried: Counter[str] = Counter()

    def said(account: str) -> Reply | None:
        tried[account] += 1
        match int(account) % 3:
            case 0:
                return Reply(status=200, body=b'{"success":false,"message":"closed in July"}')
            case 1:
                return Reply(status=400, body=b'{"detail": "a duplicate"}')
        return Reply(status=400, body=b"busy") if tried[account] == 1 else None

    receiver.refused = said
    report = site.run()
    assert (report["status"], report["delivered"], report["dead"], report["pending"]) == ("completed", 6, 3, 0)
    errors = {entry["error"] for entry in site.deliveries() if entry["status"] == "dead"}
    assert errors == {"HTTP 200 OK: closed in July"}


@pytest.mark.parametrize("place", ["first", "last", "alone"])
@pytest.mark.parametrize("status", [500, 422])
def test_where_the_refused_stand_does_not_matter(
    make_site: MakeSite, receiver_of_ours: Receiver, place: str, status: int
) -> None:
    """In chunks of five accounts: whole ones are refused."""
    receiver = receiver_of_ours
    site = site_of(make_site, receiver, max_connections=2)
    site.command.configure(process={"chunk_accounts": 5})
    accounts = load(site, 0, 30)
    refused = {a for a in accounts if int(a) in {"first": range(10), "last": range(20, 30), "alone": [7]}[place]}
    said = Reply(status=status, body=b'{"detail": "already exists in open cases"}')
    receiver.refused = lambda account: said if account in refused else None
    for number in range(1, MAX_RUNS + 1):
        report = site.finish(expect=None).json
        assert set(receiver.accepted) == accounts - refused
        if report["status"] == "completed":
            break
        accounts |= load(site, 100 * number, 6)
    assert (report["status"], report["pending"]) == ("completed", 0)
    dead = {entry["account"] for entry in site.deliveries() if entry["status"] == "dead"}
    assert dead == refused
    assert number == MAX_RUNS if status == 500 else number <= 2


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 500])
def test_refused_for_everybody_is_a_failing_service(
    make_site: MakeSite, receiver_of_ours: Receiver, status: int
) -> None:
    receiver = receiver_of_ours
    site = site_of(make_site, receiver)
    accounts = load(site, 0, 60)
    before = site.operation()
    receiver.down = Reply(status=status, body=b"<html>no</html>")
    for _ in range(MAX_RUNS + 1):
        finished = site.finish(expect=4)
        report = finished.json
        assert (report["delivered"], report["dead"], report["pending"]) == (0, 0, 60)
        assert f"HTTP {status}" in report["message"]
        assert site.operation() == before
    receiver.down = None
    assert site.run()["delivered"] == 60
    assert receiver.accepted == Counter(accounts)


def test_one_422_among_sixty_is_dead_at_once(make_site: MakeSite, receiver_of_ours: Receiver) -> None:
    receiver = receiver_of_ours
    site = site_of(make_site, receiver)
    load(site, 0, 60)
    receiver.refused = lambda account: Reply(status=422, body=b'{"detail": "bad NIC"}') if int(account) == 59 else None
    report = site.run()
    assert (report["status"], report["delivered"], report["dead"], report["pending"]) == ("completed", 59, 1, 0)
    (entry,) = [entry for entry in site.deliveries() if entry["status"] == "dead"]
    assert entry["error"] == "HTTP 422 Unprocessable Entity: bad NIC"


@pytest.mark.parametrize("status", [400, 422, 500, 503, 429])
def test_an_outage_that_begins_in_the_middle_and_lasts_kills_nothing(
    make_site: MakeSite, receiver_of_ours: Receiver, status: int
) -> None:
    """Run after run, with accounts that arrive meanwhile: the receiver took ten, and turns everybody away since."""
    receiver = receiver_of_ours
    site = site_of(make_site, receiver, max_connections=4, retry_seconds=2)
    accounts = load(site, 0, 40)
    receiver.refused = lambda _: Reply(status=status) if len(receiver.accepted) >= 10 else None
    for number in range(1, MAX_RUNS + 2):
        report = site.run(expect=4)
        assert report["dead"] == 0
        assert len(receiver.accepted) == 10 or len(receiver.accepted) <= 13  # those under way at once
        accounts |= load(site, 100 * number, 3)
    receiver.refused = lambda _: None
    assert site.run()["pending"] == 0
    assert receiver.accepted == Counter(accounts)


@pytest.mark.parametrize("asked", [{}, {"Retry-After": "0"}, {"Retry-After": "1"}])
@pytest.mark.parametrize("status", [429, 503])
def test_a_limit_of_the_rate_delivers_everything_in_one_run(
    make_site: MakeSite, receiver_of_ours: Receiver, status: int, asked: dict[str, str]
) -> None:
    receiver = receiver_of_ours
    site = site_of(make_site, receiver)
    accounts = load(site, 0, 60)
    window = Window(20)
    receiver.refused = lambda _: None if window.takes() else Reply(status=status, headers=asked)
    report = site.run()
    assert (report["status"], report["delivered"], report["dead"]) == ("completed", 60, 0)
    assert receiver.accepted == Counter(accounts)


@pytest.mark.parametrize("most", [20, 26])
def test_too_few_file_handles_use_up_no_attempt(make_site: MakeSite, receiver_of_ours: Receiver, most: int) -> None:
    """``ulimit -n``: the lack is this machine's, and fewer requests at once do as well."""
    receiver = receiver_of_ours
    site = site_of(make_site, receiver, max_attempts=1)
    accounts = load(site, 0, 60)
    # The shell lowers the limit, which this process still needs.
    limited = ["/bin/sh", "-c", f'ulimit -n {most} && exec "$@"', "sh", sys.executable, "-m", "incident_process"]
    started = subprocess.run(
        [*limited, "run", "--json", "--config", str(site.command.config)],
        check=False,
        cwd=site.command.folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert started.returncode == 0, started.stderr
    assert json.loads(started.stdout)["delivered"] == 60
    assert receiver.accepted == Counter(accounts)
    assert f"because this process may open {most} files and sockets" in started.stderr


class Window:
    """Takes so many in each second."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._taken: Counter[int] = Counter()
        self._lock = threading.Lock()

    def takes(self) -> bool:
        with self._lock:
            second = int(time.monotonic())
            if self._taken[second] >= self._per_second:
                return False
            self._taken[second] += 1
            return True
