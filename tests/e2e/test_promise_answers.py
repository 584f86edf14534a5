"""The cases of the promise that the receiver makes: lost answers, refusals, outages, waiting (SPEC 5, 10).

``docs/promise.md`` lists all cases. What is judged is the receiver's own log.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime

import pytest

from tests.e2e.conftest import TRACKINGS, MakeSite, Site, day, moment
from tests.e2e.test_crash import check_ids
from tests.e2e.test_promise_boundary import check_promise, histories, load
from tests.support.command import KILLED, wait_until

ACCOUNTS = tuple(f"{number:010d}" for number in range(8))
BAD = ACCOUNTS[3]


def given_accounts(site: Site, amount: str = "1.00", load_date: str | None = None) -> dict[str, Decimal]:
    site.customers(
        *(
            {"ACCOUNT_NUM": a, "ASSET_ID": "A1", "OUTSTANDING": amount, "LOAD_DATE": load_date or day(5)}
            for a in ACCOUNTS
        )
    )
    return dict.fromkeys(ACCOUNTS, Decimal(amount))


def killed_with_lost_answers(site: Site) -> None:
    """Kill a run whose bodies the receiver has stored without having answered one of them."""
    site.command.configure(api={"adaptive": "off"})  # no answer comes that would show how many help
    site.receiver.control(stall_rate=1.0)
    with site.command.started("run") as running:
        wait_until(lambda: len(site.accepted()) == len(ACCOUNTS))
        assert running.kill().status == KILLED
    site.receiver.calm()


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_an_answer_lost_after_storing_is_asked_for_again_under_the_same_key(make_site: MakeSite, tracking: str) -> None:
    """Case 5: after the restart each body goes out again byte for byte, under its id and its key."""
    site = make_site("sqlite", tracking)
    site.prepare()
    final = given_accounts(site)
    killed_with_lost_answers(site)
    report = site.run()
    assert (report["status"], report["resumed"], report["delivered"]) == ("completed", len(ACCOUNTS), len(ACCOUNTS))
    sent = Counter((r["account_num"], r["incident_id"], r["idempotency_key"]) for r in site.requests())
    assert len(sent) == len(ACCOUNTS)
    assert set(sent.values()) == {2}
    assert Counter(request["answer"] for request in site.requests()) == {0: len(ACCOUNTS), 409: len(ACCOUNTS)}
    check_promise(site, final)


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_a_source_that_changes_between_a_lost_answer_and_the_resumed_run(make_site: MakeSite, tracking: str) -> None:
    """Case 14b: both contents arrive, in order, once each, also at a receiver that honours no key."""
    site = make_site("sqlite", tracking)
    site.prepare()
    old = given_accounts(site, "1.00")
    killed_with_lost_answers(site)
    new = given_accounts(site, "2.00", load_date=day(2))
    report = site.run()
    assert (report["resumed"], report["delivered"]) == (len(ACCOUNTS), 2 * len(ACCOUNTS))
    assert histories(site) == {account: [old[account], new[account]] for account in ACCOUNTS}
    check_promise(site, new)


@pytest.mark.parametrize("tracking", ["mariadb", "mongo"])
def test_a_lasting_422_is_parked_and_replayed_once_also_when_the_replay_is_killed(
    make_site: MakeSite, tracking: str
) -> None:
    """Case 6: the others go on, later runs leave the record alone, the replay delivers it once its cause is gone."""
    site = make_site("sqlite", tracking)
    site.prepare()
    final = given_accounts(site)
    site.receiver.control(fail_accounts={BAD: 422})
    report = site.run()
    assert (report["status"], report["delivered"], report["dead"]) == ("completed", len(ACCOUNTS) - 1, 1)
    site.make_due()
    assert site.run()["status"] == "no_data"
    assert sum(request["account_num"] == BAD for request in site.requests()) == 1
    site.receiver.calm()
    killed = site.command("dead-letters", "replay", env={"INCIDENT_PROCESS_FAULT": "posted"})
    assert killed.status == KILLED
    site.make_due()
    assert site.run()["resumed"] == 1
    assert site.command("dead-letters", "replay", "--json").json["status"] == "no_data"
    check_promise(site, final)
    assert len(histories(site)[BAD]) == 1


@pytest.mark.parametrize("tracking", ["mariadb", "mongo"])
def test_503_for_hours(make_site: MakeSite, tracking: str) -> None:
    """Case 7: run after run, with new rows meanwhile: nothing passes, nothing dies, and then all of it arrives."""
    site = make_site("sqlite", tracking)
    site.command.configure(process={"max_runs": 1}, api={"max_attempts": 1, "retry_seconds": 0})
    site.prepare()
    given_accounts(site)
    site.receiver.control(fail_rate=1.0, fail_status=503)
    before = site.operation() if tracking != "mongo" else None
    for hour in range(3):
        load(site, f"new {hour}", day(4), OUTSTANDING="3.00")
        report = site.run(expect=4)
        assert (report["status"], report["dead"], report["delivered"]) == ("incomplete", 0, 0)
    if before is not None:
        assert site.operation() == before
    new = given_accounts(site, "2.00", load_date=day(2))
    assert {entry["status"] for entry in site.deliveries()} == {"pending"}
    assert not site.accepted()
    site.receiver.calm()
    report = site.run()
    assert (report["status"], report["pending"], report["dead"]) == ("completed", 0, 0)
    check_promise(site, new | {f"new {hour}": Decimal("3.00") for hour in range(3)})
    assert all(histories(site)[account] == [Decimal("1.00"), Decimal("2.00")] for account in ACCOUNTS), "in order"


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("0", 0.0, 2.5), ("31536000", 3.0, 15.0), ("a year ahead", 3.0, 15.0), ("a year ago", 0.0, 2.5)],
)
def test_retry_after_of_nothing_and_of_a_year(make_site: MakeSite, header: str, least: float, most: float) -> None:
    """Case 8: 0 and a date that is past ask for no pause; a year, in seconds or as a date, is capped."""
    site = make_site("sqlite", "sqlite")
    site.command.configure(api={"retry_after_cap_seconds": 3})
    site.prepare()
    load(site, BAD, day(5))
    year = timedelta(days=365)
    dates = {"a year ahead": datetime.now(UTC) + year, "a year ago": datetime.now(UTC) - year}
    value = format_datetime(dates[header], usegmt=True) if header in dates else header
    site.receiver.control(fail_next=1, retry_after=value)
    assert site.run()["delivered"] == 1
    first, second = (datetime.fromisoformat(request["received_at"]) for request in site.requests())
    assert timedelta(seconds=least) <= second - first < timedelta(seconds=most)


@pytest.mark.parametrize("tracking", ["mariadb", "mongo"])
def test_a_receiver_that_always_answers_500_for_one_account(make_site: MakeSite, tracking: str) -> None:
    """Case 17: it costs its own attempts in ``max_runs`` runs, holds the watermark that long, and nobody else."""
    site = make_site("sqlite", tracking)
    site.command.configure(process={"max_runs": 2}, api={"max_attempts": 2})
    site.prepare()
    final = given_accounts(site)
    site.receiver.control(fail_accounts={BAD: 500})
    first = site.run(expect=4)
    assert (first["delivered"], first["pending"], first["dead"]) == (len(ACCOUNTS) - 1, 1, 0)
    assert first["last_execution_dtm"].startswith("1900-01-01")
    load(site, "new", day(4), OUTSTANDING="3.00")
    second = site.run()
    assert (second["status"], second["delivered"], second["dead"]) == ("completed", 1, 1)
    assert sum(request["account_num"] == BAD for request in site.requests()) == 4
    del final[BAD]
    check_promise(site, final | {"new": Decimal("3.00")})
    check_ids(site)


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_content_that_comes_back(make_site: MakeSite, tracking: str) -> None:
    """A, then B, then A again: three contents, also at a receiver that would take the second A for the first one."""
    site = make_site("sqlite", tracking)
    site.prepare()
    site.receiver.control(honour_keys=True)
    account = f"comes back {tracking}"
    load(site, account, moment(90)[:10], OUTSTANDING="1.00")
    site.run()
    load(site, account, moment(90)[:10], OUTSTANDING="2.00")
    site.make_due()
    site.run()
    site.source.sql("DELETE FROM debt_cust_detail WHERE OUTSTANDING = 2")
    site.make_due()
    site.run()
    assert histories(site) == {account: [Decimal("1.00"), Decimal("2.00"), Decimal("1.00")]}
    check_promise(site, {account: Decimal("1.00")})
