"""``kill -9`` between any two commit steps, and at any moment; then a run (SPEC 6, 10).

What is compared is the source with the receiver's own log: every account accepted once, with its final content, and no
Incident_Id for two contents.
"""

import json
import random
import time
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from incident_process.app.factory import make_store
from incident_process.app.runner import in_loop
from incident_process.core.crash_points import VARIABLE, CrashPoint
from incident_process.core.models import DeliveryStatus, Operation, RunRecord, RunStatus
from incident_process.settings import Settings
from tests.e2e.conftest import TRACKINGS, MakeSite, Site, day
from tests.support.command import KILLED

ACCOUNTS = [f"{number:010d}" for number in range(40)]
CHUNK = 12
"""Accounts in a chunk: there are four, so the second time at a step is in the middle of the work."""
PAYMENTS_ONLY = "0000000777"

MIDDLE = {CrashPoint.ENQUEUED, CrashPoint.POSTED, CrashPoint.RECORDED}
"""The steps that each chunk passes; there the second time is of interest, too."""
FAULTS = [f"{step}{time}" for step in CrashPoint for time in ([":1", ":2"] if step in MIDDLE else [":1"])]


def given_source(site: Site, amount: Decimal = Decimal("10.50"), load_date: str | None = None) -> dict[str, Decimal]:
    """Put one customer row for each account there; return what the receiver has to end with, by account."""
    arrears = {account: amount + number for number, account in enumerate(ACCOUNTS)}
    load_date = load_date or day(3)
    site.customers(
        *(
            {"ACCOUNT_NUM": account, "ASSET_ID": "A1", "OUTSTANDING": str(value), "LOAD_DATE": load_date}
            for account, value in arrears.items()
        )
    )
    return arrears


def received(site: Site) -> list[tuple[str, Decimal, int]]:
    """Account, arrears and Incident_Id of everything accepted, in order."""
    bodies = [json.loads(row["body"], parse_float=Decimal) for row in site.accepted()]
    return [(body["Account_Num"], body["Arrears"], body["Incident_Id"]) for body in bodies]


def check_delivered_once(site: Site, arrears: dict[str, Decimal]) -> None:
    found = received(site)
    assert {account: amount for account, amount, _ in found} == arrears  # every one, its final content
    assert max(Counter(account for account, _, _ in found).values()) == 1
    assert len({incident_id for _, _, incident_id in found}) == len(found)
    check_ids(site)


def check_ids(site: Site) -> None:
    """No Incident_Id stands for two contents, over everything that was ever sent."""
    keys: dict[int, set[str]] = {}
    for request in site.requests():
        if request["incident_id"] is not None:
            keys.setdefault(request["incident_id"], set()).add(request["idempotency_key"])
    assert all(len(of_one) == 1 for of_one in keys.values())


def look(site: Site) -> tuple[Operation | None, list[RunRecord], dict[DeliveryStatus, int], list[str]]:
    """Read the state: operation, runs (newest first), ledger counts, accounts of what is delivered twice."""

    async def read() -> Any:
        async with make_store(Settings.load(site.command.config, {})) as store:
            delivered = await store.deliveries(status=DeliveryStatus.DELIVERED, limit=1000)
            twice = [account for account, times in Counter(entry.account for entry in delivered).items() if times > 1]
            return await store.read_operation(), await store.runs(), await store.delivery_counts(), twice

    found: tuple[Operation | None, list[RunRecord], dict[DeliveryStatus, int], list[str]] = in_loop(read())
    return found


@pytest.mark.parametrize("tracking", TRACKINGS)
@pytest.mark.parametrize("fault", FAULTS)
def test_killed_between_two_steps(make_site: MakeSite, tracking: str, fault: str) -> None:
    site = make_site("sqlite", tracking)
    site.command.configure(process={"chunk_accounts": CHUNK, "lease_seconds": 600})
    arrears = given_source(site)
    site.payments({"AP_ACCOUNT_NUMBER": PAYMENTS_ONLY, "ACCOUNT_PAYMENT_SEQ": 1, "LOAD_DATE": f"{day(4)} 10:00:00"})
    site.prepare()
    killed = site.command("run", "--json", env={VARIABLE: fault})
    assert (killed.status, killed.stdout) == (KILLED, "")
    step = CrashPoint(fault.partition(":")[0])
    done = step in {CrashPoint.ADVANCED, CrashPoint.CLOSED}
    if done:
        site.make_due()
    report = site.run()

    check_delivered_once(site, arrears)
    operation, runs, counts, twice = look(site)
    assert +Counter(counts) == {DeliveryStatus.DELIVERED: len(ACCOUNTS), DeliveryStatus.SKIPPED: 1}
    assert twice == []
    assert operation is not None
    assert operation.sequence == 1
    assert operation.last_execution == _watermark(report, tracking)
    statuses = [run.status for run in runs]
    if step is CrashPoint.LEASED:
        assert statuses == [RunStatus.COMPLETED]  # it was killed before it had a record
    elif step is CrashPoint.CLOSED:
        assert statuses == [RunStatus.NO_DATA, RunStatus.COMPLETED]
    else:
        assert statuses == [RunStatus.NO_DATA if done else RunStatus.COMPLETED, RunStatus.FAILED]
        assert runs[1].error
    check_figures(report)


def _watermark(report: dict[str, Any], tracking: str) -> datetime:
    """Where the watermark has to be: the newest LOAD_DATE, or (tracking = sql) the end of the last window with data."""
    if tracking == "mongo":
        return datetime.fromisoformat(day(3)).replace(tzinfo=UTC)
    end = report["window"]["end"] if report["status"] == "completed" else report["window"]["start"]
    return datetime.fromisoformat(end)


def check_figures(report: dict[str, Any]) -> None:
    """What went in came out: accounts + reread + resumed = the sum of what became of them."""
    outcomes = ("delivered", "unchanged", "skipped", "dead", "pending")
    assert report["accounts"] + report["reread"] + report["resumed"] == sum(report[name] for name in outcomes)


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_a_changed_source_does_not_change_what_was_under_way(make_site: MakeSite, tracking: str) -> None:
    """The body that the receiver may have already is sent again as it was; the new content follows under its own id."""
    site = make_site("sqlite", tracking)
    site.command.configure(process={"chunk_accounts": CHUNK})
    site.prepare()
    old = given_source(site)
    assert site.command("run", env={VARIABLE: "posted"}).status == KILLED
    new = given_source(site, Decimal("900.25"), load_date=day(2))
    site.run()
    check_ids(site)
    by_account: dict[str, list[Decimal]] = {}
    for account, amount, _ in received(site):
        by_account.setdefault(account, []).append(amount)
    for account in ACCOUNTS:
        assert by_account[account] in ([old[account], new[account]], [new[account]])
    assert sum(len(found) for found in by_account.values()) >= len(ACCOUNTS) + CHUNK


def test_kill_at_random_moments(make_site: MakeSite) -> None:
    """Twenty times killed anywhere, with new rows in between, against a receiver that fails and loses its answers."""
    site = make_site("sqlite", "mongo")
    site.command.configure(process={"chunk_accounts": 5, "lease_seconds": 600}, api={"max_connections": 4})
    chance = random.Random(20)
    amounts = given_source(site, load_date=day(30))
    site.receiver.control(drop_rate=0.15, fail_rate=0.15, latency_ms=15, jitter_ms=20, seed=20)
    killed = 0
    for storm in range(20):
        account = chance.choice(ACCOUNTS)
        amounts[account] = Decimal(1000 + storm) + Decimal("0.25")
        row = {"ACCOUNT_NUM": account, "ASSET_ID": "A1", "OUTSTANDING": str(amounts[account])}
        site.customers(row | {"LOAD_DATE": day(25 - storm)})
        before = len(site.requests())
        with site.command.started("run") as running:
            # From the first request on, or after a while without one: before that there is nothing to interrupt.
            until = time.monotonic() + 1.5
            while len(site.requests()) == before and time.monotonic() < until and not running.has_ended:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.25))
            killed += running.kill().status == KILLED
    site.receiver.calm()
    last = site.run()
    assert (last["pending"], last["dead"]) == (0, 0)
    assert killed >= 10

    contents: dict[str, list[Decimal]] = {}
    for account, amount, _ in received(site):
        contents.setdefault(account, []).append(amount)
    assert {account: found[-1] for account, found in contents.items()} == amounts
    for found in contents.values():
        assert all(one != other for one, other in pairwise(found))
    check_ids(site)
    assert site.run()["status"] == "no_data"
