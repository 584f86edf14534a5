"""Delivery over real sockets, by the command, against a receiver that misbehaves on purpose (SPEC 5)."""

import http.client
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from incident_process.app.runner import run_window
from incident_process.core.models import RunStatus
from incident_process.settings import Settings
from tests.e2e.conftest import MakeSite, Site, SqliteDatabase, day
from tests.support.command import Command, wait_until
from tests.support.listener import listening

BAD = "0000000005"
QUICK = {"max_attempts": 2, "timeout_seconds": 20}
NOBODY = "http://127.0.0.1:9/"
"""Nobody listens on the port of the discard protocol."""


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """Ten accounts in a SQLite source, which keeps the state as well."""
    made = make_site()
    made.command.configure(api=QUICK)
    made.prepare()
    given_accounts(made, 10)
    return made


Answering = Callable[[Callable[[str | None], int]], None]


@pytest.fixture
def answering(command: Command) -> Iterator[Answering]:
    """Have incidents posted to a receiver that answers as a function says of the account; None stands for ``{}``."""
    with listening() as listener:

        def answer(judge: Callable[[str | None], int]) -> None:
            listener.judge = lambda body: judge(json.loads(body).get("Account_Num"))
            command.configure(api={"api_url": f"http://{listener.address}/", "max_connections": 4})

        yield answer


def given_accounts(site: Site, count: int, *, first: int = 0, load_date: str | None = None) -> list[str]:
    accounts = [f"{number:010d}" for number in range(first, first + count)]
    site.customers(*({"ACCOUNT_NUM": a, "ASSET_ID": "A1", "LOAD_DATE": load_date or day(5)} for a in accounts))
    return accounts


def ledger(site: Site) -> dict[str, dict[str, Any]]:
    return {entry["account"]: entry for entry in site.deliveries()}


def accepted_times(site: Site) -> Counter[str]:
    return Counter(row["account_num"] for row in site.accepted())


def request_times(site: Site) -> list[datetime]:
    return [datetime.fromisoformat(row["received_at"]) for row in site.requests()]


# -- a record that is turned away -------------------------------------------------------------------------------------


def test_a_lasting_422_is_a_dead_letter_at_once_and_the_run_goes_on(site: Site) -> None:
    site.receiver.control(fail_accounts={BAD: 422})
    report = site.run()
    assert (report["status"], report["delivered"], report["dead"], report["pending"]) == ("completed", 9, 1, 0)
    assert (report["sequence"], report["last_execution_dtm"]) == (1, report["window"]["end"])
    entry = ledger(site)[BAD]
    assert (entry["status"], entry["attempts"], entry["http_status"]) == ("dead", 1, 422)
    assert sum(request["account_num"] == BAD for request in site.requests()) == 1

    site.make_due()
    again = site.run()
    assert (again["status"], again["sequence"]) == ("no_data", 1)
    assert sum(request["account_num"] == BAD for request in site.requests()) == 1

    site.receiver.calm()
    site.customers({"ACCOUNT_NUM": BAD, "ASSET_ID": "A1", "OUTSTANDING": "7.00", "LOAD_DATE": day(1)})
    site.make_due()
    assert site.run()["delivered"] == 1  # new content is a new incident


def test_one_account_that_keeps_failing_is_dead_after_max_runs(site: Site) -> None:
    site.command.configure(process={"max_runs": 3})
    site.receiver.control(fail_accounts={BAD: 500})
    before = site.operation()
    for _ in range(2):
        report = site.run(expect=4)
        assert (report["status"], report["pending"], report["dead"]) == ("incomplete", 1, 0)
        assert site.operation() == before  # the watermark never passes a row without an outcome
    assert set(accepted_times(site).values()) == {1}
    last = site.run()
    assert (last["status"], last["pending"], last["dead"], last["sequence"]) == ("completed", 0, 1, 1)
    assert site.operation()["Last_execution_dtm"] > before["Last_execution_dtm"]
    entry = ledger(site)[BAD]
    assert (entry["status"], entry["attempts"], entry["http_status"]) == ("dead", 6, 500)
    assert entry["error"].startswith("gave up after 6 attempts in 3 runs; last: HTTP 500")
    ids = {request["incident_id"] for request in site.requests() if request["account_num"] == BAD}
    keys = {request["idempotency_key"] for request in site.requests() if request["account_num"] == BAD}
    assert (len(ids), len(keys)) == (1, 1)  # taken before the first attempt, and the same ever after


def test_one_account_that_is_forbidden_is_a_dead_letter_at_once(site: Site) -> None:
    """403 may speak of the credentials; that the service takes all others says that it spoke of the record."""
    site.receiver.control(fail_accounts={BAD: 403})
    report = site.run()
    assert (report["status"], report["delivered"], report["dead"], report["pending"]) == ("completed", 9, 1, 0)
    entry = ledger(site)[BAD]
    assert (entry["status"], entry["attempts"], entry["http_status"]) == ("dead", 1, 403)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_one_account_that_is_forbidden_is_a_dead_letter_at_once_also_where_nobody_can_be_asked(
    site: Site, status: int
) -> None:
    """One that was sent later was delivered: so the refusal was of the record."""
    site.command.configure(api={"send_empty": "off", "max_connections": 2})
    site.receiver.control(fail_accounts={BAD: status})
    finished = site.command.run()
    sent = [request["account_num"] for request in site.requests()]
    assert len(sent) == 10
    assert ledger(site)[BAD]["error"].startswith(f"HTTP {status}")
    figures = tuple(finished.json[name] for name in ("status", "delivered", "dead", "pending"))
    # They go out in an order of chance: behind one of the last two at a time nothing may be sent any more.
    known = ("completed", 9, 1, 0)
    assert figures == known or (BAD in sent[-2:] and figures == ("incomplete", 9, 0, 1))


def test_refusals_that_nothing_was_delivered_after_kill_no_record(site: Site, answering: Answering) -> None:
    """A token that runs out in the middle of a run refuses its last accounts: too few of them for the breaker."""
    site.command.configure(api={"send_empty": "off"}, process={"max_runs": 2})
    taken = itertools.count()
    answering(lambda _: 201 if next(taken) < 7 else 401)
    site.command.configure(api={"max_connections": 1})
    for delivered in (7, 0, 0):
        report = site.run(expect=4)
        assert (report["delivered"], report["dead"], report["pending"]) == (delivered, 0, 3)
    answering(lambda _: 201)
    assert site.run()["delivered"] == 3


def test_a_few_accounts_that_keep_failing_are_dead_after_max_runs_also_in_quiet_hours(
    site: Site, answering: Answering
) -> None:
    site.command.configure(process={"max_runs": 3})
    failing, failed = {BAD, "0000000006"}, set[str | None]()

    def fails(account: str | None) -> int:
        # Incidents go out in an order of chance: one that is taken after both have failed tells on them.
        failed.add(account)
        late = account == "0000000007" and not failing <= failed
        return 500 if account is None or account in failing or late else 201

    answering(fails)
    for delivered in (8, 0, 0, 0):
        report = site.run(expect=4)
        assert (report["delivered"], report["pending"], report["dead"]) == (delivered, 2, 0)
    answering(lambda account: 500 if account in failing else 201)
    report = site.run(expect=4)
    assert (report["delivered"], report["pending"], report["dead"]) == (0, 2, 0)
    report = site.run()
    assert (report["status"], report["delivered"], report["pending"], report["dead"]) == ("completed", 0, 0, 2)


def test_a_few_accounts_that_fail_from_the_first_on_may_be_all_that_a_failing_service_was_sent(
    make_site: MakeSite, answering: Answering
) -> None:
    """That it takes {} does not show that it takes incidents, also where it says so for hours."""
    site = make_site()
    site.command.configure(api=QUICK, process={"max_runs": 2})
    site.prepare()
    given_accounts(site, 3)
    answering(lambda account: 200 if account is None else 500)
    for _ in range(4):
        report = site.run(expect=4)
        assert (report["delivered"], report["pending"], report["dead"]) == (0, 3, 0)
    answering(lambda _: 200)
    assert site.run()["delivered"] == 3


# -- a service that fails ---------------------------------------------------------------------------------------------


def test_a_failing_service_kills_no_record_however_long_it_lasts(site: Site) -> None:
    site.command.configure(process={"max_runs": 2})
    site.receiver.control(fail_rate=1.0, fail_status=503)
    before = site.operation()
    for _ in range(5):
        report = site.run(expect=4)
        assert (report["status"], report["pending"], report["dead"]) == ("incomplete", 10, 0)
    assert site.operation() == before
    assert {entry["status"] for entry in site.deliveries()} == {"pending"}
    site.receiver.calm()
    assert site.run()["delivered"] == 10
    assert set(accepted_times(site).values()) == {1}


def test_refused_credentials_kill_no_record(site: Site) -> None:
    site.receiver.control(fail_rate=1.0, fail_status=401)
    report = site.run(expect=4)
    assert (report["status"], report["pending"], report["dead"]) == ("incomplete", 10, 0)
    site.receiver.calm()
    assert site.run()["delivered"] == 10
    assert set(accepted_times(site).values()) == {1}


def test_a_receiver_that_is_not_there(site: Site) -> None:
    port = site.receiver.port
    site.receiver.stop()
    try:
        report = site.run(expect=4)
        assert (report["pending"], report["dead"]) == (10, 0)
    finally:
        site.receiver.restart()
    assert site.receiver.port == port
    assert site.run()["delivered"] == 10
    assert set(accepted_times(site).values()) == {1}


# -- answers that are lost --------------------------------------------------------------------------------------------


def test_a_lost_answer_delivers_once(site: Site) -> None:
    site.receiver.control(drop_next=4)
    report = site.run()
    assert (report["delivered"], report["pending"]) == (10, 0)
    assert set(accepted_times(site).values()) == {1}
    assert Counter(request["answer"] for request in site.requests()) == {201: 6, 0: 4, 409: 4}


def test_a_stalled_answer_times_out_and_delivers_once(site: Site) -> None:
    site.command.configure(api={"timeout_seconds": 1, "max_attempts": 5, "breaker_failures": 100})
    site.receiver.control(stall_rate=1.0)
    with site.command.started("run", "--json") as running:
        wait_until(lambda: len(site.requests()) >= 10)
        site.receiver.calm()
        finished = running.wait()
    assert finished.status == 0
    assert finished.json["delivered"] == 10
    assert set(accepted_times(site).values()) == {1}


def test_a_killed_run_resumes_what_was_stored_without_an_answer(site: Site) -> None:
    """The 409 that meets a resumed body says that it was delivered, not that the id is somebody else's."""
    site.command.configure(api={"adaptive": "off"})  # no answer comes that would show how many help
    site.receiver.control(stall_rate=1.0)
    with site.command.started("run") as running:
        wait_until(lambda: len(site.accepted()) == 10)
        running.kill()
    site.receiver.calm()
    finished = site.finish()
    assert finished.json["delivered"] == 10
    assert not [line for line in finished.messages("WARNING") if "Incident_Id" in line]
    assert set(accepted_times(site).values()) == {1}


def test_a_lost_state_doubles_nothing_at_a_receiver_that_honours_keys(make_site: MakeSite) -> None:
    site = make_site()
    site.prepare()
    given_accounts(site, 10, first=7_000)  # not those of other tests: they had the same keys, which is the point
    site.receiver.control(honour_keys=True)
    assert site.run()["delivered"] == 10
    state = site.state
    assert state is not None
    for (table,) in state.sql(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND (name LIKE 'Proc%' OR name LIKE 'Inc%')"
    ):
        state.sql(f"DROP TABLE {table}")
    site.prepare()
    assert site.run()["delivered"] == 10
    assert len(site.requests()) == 20
    assert set(accepted_times(site).values()) == {1}


# -- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "form"), [(503, "date"), (429, "seconds")])
def test_retry_after_is_honoured(make_site: MakeSite, status: int, form: str) -> None:
    site = make_site()
    site.prepare()
    given_accounts(site, 1)
    # A date is in whole seconds, so the pause may be up to one shorter.
    due = datetime.now(UTC) + timedelta(seconds=5)
    site.receiver.control(
        fail_next=1, fail_status=status, retry_after="2" if form == "seconds" else format_datetime(due, usegmt=True)
    )
    assert site.run()["delivered"] == 1
    first, second = request_times(site)
    if form == "seconds":
        assert timedelta(seconds=2) <= second - first < timedelta(seconds=10)
    else:
        assert second >= due.replace(microsecond=0) - timedelta(seconds=0.1)


def test_429_holds_back_all_requests(site: Site) -> None:
    site.command.configure(api={"max_connections": 1})
    site.receiver.control(fail_next=1, fail_status=429, retry_after="2")
    assert site.run()["delivered"] == 10
    first, second, *_ = request_times(site)
    assert second - first >= timedelta(seconds=2)


def test_a_long_retry_after_is_capped(make_site: MakeSite) -> None:
    site = make_site()
    site.prepare()
    given_accounts(site, 1)
    site.command.configure(api={"retry_after_cap_seconds": 1})
    site.receiver.control(fail_next=1, retry_after="86400")
    assert site.run()["delivered"] == 1
    first, second = request_times(site)
    assert timedelta(seconds=1) <= second - first < timedelta(seconds=10)


def test_requests_per_second(site: Site) -> None:
    site.command.configure(api={"requests_per_second": 10})
    assert site.run()["delivered"] == 10
    times = request_times(site)
    assert times[-1] - times[0] >= timedelta(seconds=0.8)
    assert all(later > earlier for earlier, later in pairwise(times))


# -- an Incident_Id that somebody else has used -----------------------------------------------------------------------


def test_a_409_on_a_first_attempt_takes_a_new_id(site: Site, stranger: Callable[[Site, int], int]) -> None:
    state = site.state
    assert isinstance(state, SqliteDatabase)
    taken = 2**52  # far ahead of the clock, so the next ids are known
    state.sql("INSERT INTO Incident_Counter VALUES ('Incident_Id', ?)", taken - 1)
    for incident_id in (taken, taken + 3):
        assert stranger(site, incident_id) == 201

    finished = site.finish()
    assert (finished.json["delivered"], finished.json["pending"]) == (10, 0)
    warned = [line for line in finished.messages("WARNING") if "Incident_Id" in line]
    assert len(warned) == 2
    assert any(str(taken) in line for line in warned)
    ours = [row for row in site.accepted() if row["account_num"] != "stranger"]
    assert Counter(row["account_num"] for row in ours) == dict.fromkeys((f"{n:010d}" for n in range(10)), 1)
    assert not {row["incident_id"] for row in ours} & {taken, taken + 3}
    for row in ours:
        body = json.loads(row["body"])
        assert body["Incident_Id"] == body["Account_Cross_Details"][0]["Incident_Id"] == row["incident_id"]
    by_id = {entry["incident_id"]: entry["account"] for entry in site.deliveries()}
    assert by_id == {row["incident_id"]: row["account_num"] for row in ours}


def test_the_progress_of_a_run_that_stopped_stays_where_it_was(make_site: MakeSite) -> None:
    site = make_site()
    site.command.configure(process={"chunk_accounts": 20}, api={"max_attempts": 1, "breaker_failures": 3})
    site.prepare()
    given_accounts(site, 20)
    site.receiver.control(fail_rate=1.0)
    moves: dict[str, list[int]] = {"start": [], "advance": [], "delivered": []}
    progress = SimpleNamespace(**{name: moved.append for name, moved in moves.items()})
    settings = Settings.load(site.command.config, site.command.environment)
    assert run_window(settings, progress=progress).status is RunStatus.INCOMPLETE
    assert moves == {"start": [20], "advance": [], "delivered": []}
    site.receiver.calm()
    assert run_window(settings, now=True, progress=progress).delivered == 20
    assert (sum(moves["advance"]), sum(moves["delivered"])) == (20, 20)


def test_a_409_to_everything_is_a_failing_service(make_site: MakeSite, answering: Answering) -> None:
    """Nothing dies of it, and the next run does not take the 409 for the answer to what was never sent."""
    site = make_site()
    site.prepare()
    given_accounts(site, 20)
    answering(lambda account: 200 if account is None else 409)
    for _ in range(2):
        finished = site.finish(expect=4)
        report = finished.json
        assert (report["delivered"], report["dead"], report["pending"]) == (0, 0, 20)
        assert "circuit breaker" in report["message"]
        assert len([line for line in finished.messages("WARNING") if "Incident_Id" in line]) <= 50
    answering(lambda _: 201)
    assert site.run()["delivered"] == 20


@pytest.mark.parametrize("send_empty", ["on", "off"])
def test_a_409_under_each_id_for_one_account_is_a_dead_letter(
    make_site: MakeSite, answering: Answering, send_empty: str
) -> None:
    site = make_site()
    site.command.configure(api={"send_empty": send_empty})
    if send_empty == "off":  # the empty payload cannot tell: another account has to be sent after this one
        site.command.configure(api={"max_connections": 1}, process={"chunk_accounts": int(BAD) + 1})
    site.prepare()
    given_accounts(site, 10)
    answering(lambda account: 409 if account == BAD else 201)
    report = site.run()
    assert (report["status"], report["delivered"], report["dead"]) == ("completed", 9, 1)
    entry = ledger(site)[BAD]
    assert (entry["attempts"], entry["http_status"]) == (11, 409)


@pytest.mark.parametrize("tried", [False, True])
def test_a_409_to_what_no_run_has_sent_yet_is_somebody_else_s_id(
    site: Site, stranger: Callable[[Site, int], int], tried: bool
) -> None:
    """Not come to by the run before, or tried while the receiver was not there."""
    site.command.configure(api={"max_connections": 1, "breaker_failures": 2})
    if tried:
        site.command.configure(api={"api_url": NOBODY})
    else:
        site.receiver.control(fail_rate=1.0, fail_status=503)
    site.run(expect=4)
    site.receiver.calm()
    site.command.configure(api={"api_url": site.receiver.url})
    (unsent, *_) = [entry for entry in site.deliveries() if bool(entry["attempts"]) is tried]
    assert stranger(site, unsent["incident_id"]) == 201
    assert site.run()["delivered"] == 10
    assert accepted_times(site) == Counter({**{f"{n:010d}": 1 for n in range(10)}, "stranger": 1})


def test_a_409_to_what_a_killed_run_has_sent_is_a_delivery_also_where_the_one_before_had_not(site: Site) -> None:
    site.command.configure(api={"max_connections": 1, "breaker_failures": 2})
    site.receiver.control(fail_rate=1.0, fail_status=503)
    site.run(expect=4)
    assert not all(entry["attempts"] for entry in site.deliveries())
    site.command.configure(api={"max_connections": 10, "adaptive": "off"})
    site.receiver.control(fail_rate=0, stall_rate=1.0)
    with site.command.started("run") as running:
        wait_until(lambda: len(site.accepted()) == 10)
        running.kill()
    site.receiver.calm()
    assert site.run()["delivered"] == 10
    assert set(accepted_times(site).values()) == {1}


@pytest.fixture
def stranger() -> Callable[[Site, int], int]:
    """Another program that posts an incident of its own under an id of its choice."""

    def post(site: Site, incident_id: int) -> int:
        shown = site.command("preview", "--account", "0000000000")
        body = json.loads(shown.stdout)
        body |= {"Incident_Id": incident_id, "Account_Num": "stranger"}
        with closing(http.client.HTTPConnection("127.0.0.1", site.receiver.port, timeout=10)) as connection:
            connection.request(
                "POST",
                site.receiver.url.partition(str(site.receiver.port))[2],
                json.dumps(body),
                {"Idempotency-Key": ""},
            )
            return connection.getresponse().status

    return post
