"""The cases of the promise in which runs overlap: two runners, a paused one, backfill and preview beside a window."""

import json
import os
import signal
import time
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.e2e.conftest import TRACKINGS, MakeSite, Site, day, moment
from tests.e2e.test_promise_boundary import check_promise, histories, load, set_watermark
from tests.support.command import freeze, wait_until

ACCOUNTS = tuple(f"{number:010d}" for number in range(30))
LEASE_SECONDS = 5


def given_accounts(site: Site, load_date: str, amount: str = "1.00") -> dict[str, Decimal]:
    rows = ({"ACCOUNT_NUM": a, "ASSET_ID": "A1", "OUTSTANDING": amount, "LOAD_DATE": load_date} for a in ACCOUNTS)
    site.customers(*rows)
    return dict.fromkeys(ACCOUNTS, Decimal(amount))


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_a_runner_paused_past_its_lease_wakes_up(make_site: MakeSite, tracking: str) -> None:
    """Case 9: its successor does the work; the one that wakes up posts nothing more and changes nothing."""
    site = make_site("sqlite", tracking)
    site.command.configure(
        process={"lease_seconds": LEASE_SECONDS, "chunk_accounts": 7}, api={"max_connections": 3, "timeout_seconds": 60}
    )
    site.prepare()
    final = given_accounts(site, day(3))
    site.receiver.control(latency_ms=300)
    with site.command.started("run", "--json") as paused:
        wait_until(lambda: len(site.accepted()) >= 6)
        freeze(paused.pid)
        try:
            assert site.run(expect=5)["status"] == "locked", "the holder lives: its lease has to run out"
            time.sleep(LEASE_SECONDS)
            site.receiver.calm()
            load(site, ACCOUNTS[0], day(2), OUTSTANDING="2.00")
            assert site.run()["status"] == "completed"
            requests, operation, history = len(site.requests()), site.operation(), site.history()
        finally:
            os.kill(paused.pid, signal.SIGCONT)
        woken = paused.wait()
    # It may also find that the connections that it slept on are gone, before it learns of its successor.
    assert (woken.status, json.loads(woken.stdout)["status"]) in {(5, "locked"), (3, "failed")}
    assert len(site.requests()) == requests
    assert (site.operation(), site.history()) == (operation, history)
    check_promise(site, final | {ACCOUNTS[0]: Decimal("2.00")})


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_a_backfill_over_a_live_window(make_site: MakeSite, tracking: str) -> None:
    """Case 15: what a backfill has sent the window does not send again, nor the reverse; it moves no watermark."""
    site = make_site("sqlite", tracking)
    site.prepare()
    load(site, "old", day(9), OUTSTANDING="9.00")
    site.run()
    set_watermark(site, datetime.fromisoformat(day(5)).replace(tzinfo=UTC), day(5))
    final = given_accounts(site, day(2))
    finished = site.command("backfill", "--from", day(9), "--to", day(0), "--json")
    filled = finished.json
    assert (filled["status"], filled["delivered"], filled["unchanged"]) == ("completed", len(ACCOUNTS), 1)
    assert filled["last_execution_dtm"].startswith(day(5))
    load(site, ACCOUNTS[0], moment(90)[:10], OUTSTANDING="2.00")
    site.make_due()
    with_window = site.run()
    assert (with_window["status"], with_window["accounts"], with_window["delivered"]) == ("completed", 30, 1)
    assert with_window["last_execution_dtm"][:10] > day(2)
    again = site.command("backfill", "--from", day(9), "--to", day(0), "--json").json
    assert (again["status"], again["delivered"]) == ("no_data", 0)
    check_promise(site, final | {ACCOUNTS[0]: Decimal("2.00"), "old": Decimal("9.00")})


def test_a_backfill_beside_a_run_waits_its_turn(make_site: MakeSite) -> None:
    """Case 15: both hold the operation's lease, so one of them goes first and nothing is sent by both."""
    site = make_site("sqlite", "mariadb")
    site.command.configure(api={"max_connections": 5})
    site.prepare()
    final = given_accounts(site, day(3))
    site.receiver.control(latency_ms=4000)
    with site.command.started("run", "--json") as running:
        wait_until(site.requests)
        refused = site.command("backfill", "--from", day(9), "--to", day(0), "--json")
        assert (refused.status, refused.json["status"]) == (5, "locked")
        site.receiver.calm()
        assert running.wait().status == 0
    assert site.command("backfill", "--from", day(9), "--to", day(0), "--json").json["delivered"] == 0
    check_promise(site, final)


def test_a_preview_before_a_run(make_site: MakeSite) -> None:
    """Case 15: a preview sends nothing, changes nothing, and shows the content that the run then sends."""
    site = make_site("mariadb", "mariadb")
    site.prepare()
    for number, account in enumerate(("0000000001", "0000000002")):
        load(site, account, day(3), OUTSTANDING=f"{number}.50")
    before = site.operation()
    shown = json.loads(site.command("preview", "--json").stdout)
    assert site.requests() == []
    assert (site.operation(), site.deliveries(), site.history()) == (before, [], [])
    assert site.run()["delivered"] == 2
    sent = [json.loads(row["body"]) for row in site.accepted()]
    assert sorted(map(_content, shown)) == sorted(map(_content, sent))
    assert site.command("preview", "--json").json == []


def _content(body: dict[str, Any]) -> str:
    """What is the same in every run: no id and no time of the run."""
    run_time, incident_id = body["Created_Dtm"], body["Incident_Id"]
    text = json.dumps(body, sort_keys=True)
    return text.replace(json.dumps(run_time), '"TIME"').replace(f": {incident_id}", ": ID")


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_two_payments_for_one_account_in_one_window(make_site: MakeSite, tracking: str) -> None:
    """Case 15: one incident that tells of the newest payment, not two; a third payment makes the next one."""
    site = make_site("sqlite", tracking)
    site.prepare()
    account = ACCOUNTS[0]
    load(site, account, day(3))

    def pay(*payments: tuple[int, str, str]) -> None:
        names = ("ACCOUNT_PAYMENT_SEQ", "AP_ACCOUNT_PAYMENT_MNY", "ACCOUNT_PAYMENT_DAT")
        rows = (dict(zip(names, payment, strict=True)) for payment in payments)
        site.payments(*(row | {"AP_ACCOUNT_NUMBER": account, "LOAD_DATE": moment(120)} for row in rows))

    def told() -> list[tuple[int, Decimal]]:
        bodies = [json.loads(row["body"], parse_float=Decimal) for row in site.accepted()]
        actions = [action for body in bodies for action in body["Last_Actions"]]
        return [(action["Payment_Seq"], action["Payment_Money"]) for action in actions]

    pay((8, "20.00", f"{day(3)} 11:00:00"), (7, "10.00", f"{day(3)} 10:00:00"))
    assert site.run()["delivered"] == 1
    assert told() == [(8, Decimal("20.00"))]
    pay((9, "30.00", f"{day(3)} 12:00:00"))
    site.make_due()
    assert site.run()["delivered"] == 1
    assert told() == [(8, Decimal("20.00")), (9, Decimal("30.00"))]
    assert Counter(histories(site)[account]) == {Decimal(0): 2}
