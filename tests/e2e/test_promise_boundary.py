"""The cases of the promise that lie at the window's boundary: ties, late commits, odd dates, precision (SPEC 3, 10).

``docs/promise.md`` lists all cases. What is judged is the receiver's own log.
"""

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from pymongo import MongoClient

from tests.e2e.conftest import TRACKINGS, MakeSite, Site, day, moment
from tests.e2e.test_crash import check_ids, received

FIRST, TIE, NEWER = "0000000001", "0000000002", "0000000009"
GAP = "INCIDENT_PROCESS__PROCESS__TIME_GAP_SECONDS"


def load(site: Site, account: str, load_date: str | None, **values: Any) -> None:
    """Commit one customer row."""
    site.customers({"ACCOUNT_NUM": account, "ASSET_ID": "A1", "LOAD_DATE": load_date, **values})


def written(instant: datetime, digits: int = 0) -> str:
    """Return an instant as a DATETIME column in UTC holds it."""
    text = f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
    return text[: 19 + (digits and digits + 1)]


def histories(site: Site) -> dict[str, list[Decimal]]:
    """Return the contents that each account was accepted with, in order; a test's contents differ by their arrears."""
    found: dict[str, list[Decimal]] = {}
    for account, amount, _ in received(site):
        found.setdefault(account, []).append(amount)
    return found


def check_promise(site: Site, final: dict[str, Decimal]) -> None:
    """SPEC 10, by the receiver's log: final contents, none twice in succession, no Incident_Id for two contents."""
    found = histories(site)
    assert {account: contents[-1] for account, contents in found.items()} == final
    for contents in found.values():
        assert all(one != other for one, other in pairwise(contents))
    ids = [incident_id for _, _, incident_id in received(site)]
    assert len(ids) == len(set(ids))
    check_ids(site)


def set_watermark(site: Site, instant: datetime, in_table: str) -> None:
    """Set the watermark as an operator would: a BSON date, or what the table shows in the source's zone."""
    if site.mongo is not None:
        client: MongoClient[dict[str, Any]]
        with MongoClient(site.mongo[0]) as client:
            changed = client[site.mongo[1]]["Process_Operation"].update_one(
                {}, {"$set": {"Last_execution_dtm": instant}}
            )
        assert changed.matched_count == 1
    else:
        assert site.state is not None
        site.state.sql("UPDATE Process_Operation SET Last_execution_dtm = ?", in_table)


@pytest.mark.parametrize(
    ("tracking", "column"),
    [
        ("sqlite", "date"),
        ("sqlite", "timestamp(3)"),
        ("mariadb", "datetime"),
        ("mysql", "datetime"),
        ("mysql", "timestamp(3)"),
        ("mongo", "date"),
        ("mongo", "datetime(6)"),
    ],
)
def test_a_row_equal_to_the_watermark_inserted_after_the_run(make_site: MakeSite, tracking: str, column: str) -> None:
    """Case 1: with the least lookback that can be set, on every type of LOAD_DATE and in every state."""
    site = make_site("mysql" if tracking == "mysql" else "mariadb", tracking, customer_type=column)
    site.command.configure(process={"lookback_seconds": 0})
    site.prepare()
    load(site, FIRST, moment(120, 6))
    watermark = datetime.fromisoformat(site.run()["last_execution_dtm"])
    load(site, TIE, written(watermark, 6))
    site.make_due()
    assert site.run()["delivered"] == 1
    assert [account for account, _, _ in received(site)] == [FIRST, TIE]
    check_ids(site)


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_rows_stamped_t_and_committed_later(make_site: MakeSite, tracking: str) -> None:
    """Case 2: committed T+30 s, T+90 s, T+1 h (windows and lookback) and T+25 h (reconcile), once each."""
    site = make_site("mariadb", tracking, customer_type="datetime", payment_type="datetime")
    site.prepare()
    load(site, NEWER, moment(61))
    site.run()
    behind = {"0000000030": 30, "0000000090": 90, "0000003600": 3600, "0000090000": 25 * 3600}
    for account, seconds in behind.items():
        load(site, account, moment(seconds))
    # A payment alone, an hour late, makes its account's document a new one.
    site.payments({"AP_ACCOUNT_NUMBER": NEWER, "ACCOUNT_PAYMENT_SEQ": 1, "LOAD_DATE": moment(3600)})
    site.make_due()
    site.run()
    assert set(histories(site)) == {NEWER, "0000000090", "0000003600"}, (
        "30 s is within the gap, 25 h beyond the lookback"
    )
    site.make_due()
    site.run(0, **{GAP: "0"})
    assert set(histories(site)) == {NEWER, "0000000090", "0000003600", "0000000030"}
    repaired = site.command("reconcile", "--repair")
    assert (repaired.status, repaired.stdout.splitlines()[0].split()) == (0, ["missing", "0000090000"]), repaired.stderr
    times = {account: len(contents) for account, contents in histories(site).items()}
    assert times == dict.fromkeys(behind, 1) | {NEWER: 2}
    check_ids(site)


@pytest.mark.parametrize(("source", "tracking"), [("mariadb", "mariadb"), ("mysql", "mysql"), ("mariadb", "mongo")])
def test_null_zero_1970_and_future_dates(make_site: MakeSite, source: str, tracking: str) -> None:
    """Case 10: NULL and zero are counted and warned of, 1970 is delivered, the future waits and moves no watermark."""
    site = make_site(source, tracking, customer_type="datetime", payment_type="datetime")
    site.command.configure(process={"time_gap_seconds": 1})
    site.prepare()
    connection = site.source.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = ''")  # lets a zero date in, as the field's servers do
        cursor.execute(
            "INSERT INTO debt_cust_detail (ACCOUNT_NUM, LOAD_DATE) "
            "VALUES ('null', NULL), ('zero', '0000-00-00 00:00:00')"
        )
        cursor.execute("INSERT INTO debt_payment (AP_ACCOUNT_NUMBER, LOAD_DATE) VALUES (%s, NULL)", (FIRST,))
    due = datetime.now(UTC) + timedelta(seconds=12)
    load(site, "1970", "1970-01-01 00:00:00", OUTSTANDING="1970.00")
    load(site, FIRST, moment(120), OUTSTANDING="1.00")
    load(site, FIRST, written(due), OUTSTANDING="2.00")
    load(site, "future", written(due), OUTSTANDING="3.00")
    finished = site.finish()
    assert (finished.json["delivered"], finished.json["unprocessable"]) == (2, 3)
    warned = [line for line in finished.messages("WARNING") if "can never be processed" in line]
    assert [line.split(" row(s) of ")[0] for line in warned] == ["2", "1"]
    (waits,) = [line for line in finished.messages("WARNING") if "still to come" in line]
    assert waits.startswith("2 row(s) of debt_cust_detail have a LOAD_DATE that is still to come, the last of them ")
    assert waits.endswith("[PROCESS] source_timezone = UTC is not the zone in which they are written.")
    assert histories(site) == {"1970": [Decimal("1970.00")], FIRST: [Decimal("1.00")]}
    assert datetime.fromisoformat(finished.json["last_execution_dtm"]) < datetime.now(UTC)
    # Loaded today with a date of 1970: behind every lookback, and so for reconcile.
    load(site, "late 1970", "1970-01-01 00:00:01", OUTSTANDING="1971.00")
    assert site.command("reconcile", "--repair").status == 0
    time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds() + 2.5))
    site.make_due()
    assert site.run()["delivered"] == 2
    amounts = {"1970": "1970.00", "late 1970": "1971.00", FIRST: "2.00", "future": "3.00"}
    check_promise(site, {account: Decimal(amount) for account, amount in amounts.items()})


def test_a_watermark_that_was_set_too_far_ahead_brings_no_future_row(make_site: MakeSite) -> None:
    site = make_site()
    site.prepare()
    load(site, FIRST, day(1), OUTSTANDING="1.00")
    load(site, FIRST, day(-30), OUTSTANDING="2.00")
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3650)
    set_watermark(site, ahead, written(ahead))
    repaired = site.command("reconcile", "--repair")
    assert repaired.status == 0, repaired.stderr
    assert any("still to come" in line for line in repaired.messages("WARNING"))
    assert histories(site) == {FIRST: [Decimal("1.00")]}


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_the_watermark_is_exact_in_every_state(make_site: MakeSite, tracking: str) -> None:
    """Case 11: a microsecond after the watermark is in the window, the watermark is not; nothing is new twice."""
    site = make_site("mariadb", tracking, customer_type="datetime(6)", payment_type="datetime(6)")
    site.prepare()
    load(site, FIRST, written(datetime.now(UTC) - timedelta(seconds=90), 6)[:-3] + "457")
    first = site.run()
    watermark = datetime.fromisoformat(first["last_execution_dtm"])
    if tracking == "mongo":
        assert watermark.microsecond % 1000 == 457, "a BSON date alone would have cut it to milliseconds"
    site.make_due()
    again = site.run()
    assert (again["status"], again["accounts"]) == ("no_data", 0)

    load(site, TIE, written(watermark, 6))
    load(site, NEWER, written(watermark + timedelta(microseconds=1), 6))
    site.make_due()
    second = site.run(0, **{GAP: "20"})
    assert datetime.fromisoformat(second["window"]["start"]) == watermark
    assert second["rows"]["debt_cust_detail"] == second["accounts"] == 1
    assert second["delivered"] == 2
    site.make_due()
    assert site.run(0, **{GAP: "20"})["status"] == "no_data"
    assert {account: len(contents) for account, contents in histories(site).items()} == {FIRST: 1, TIE: 1, NEWER: 1}


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_rows_inserted_between_reading_the_clock_and_reading_the_rows(make_site: MakeSite, tracking: str) -> None:
    """Case 13: the clock is read first; what is committed while the outbox is emptied belongs where its date says."""
    site = make_site("mariadb", tracking, customer_type="datetime", payment_type="datetime")
    site.prepare()
    load(site, FIRST, moment(300), OUTSTANDING="1.00")
    site.command.run({"INCIDENT_PROCESS_FAULT": "enqueued"})  # leaves a body that the next run sends before it surveys
    site.receiver.control(latency_ms=2500)
    with site.command.started("run", "--json") as running:
        until = time.monotonic() + 20
        while not site.requests() and time.monotonic() < until:
            time.sleep(0.02)
        load(site, "within", moment(90), OUTSTANDING="2.00")
        load(site, FIRST, moment(90), OUTSTANDING="3.00")
        load(site, "after", moment(20), OUTSTANDING="4.00")
        site.receiver.calm()
        report = json.loads(running.wait().stdout)
    assert (report["status"], report["resumed"], report["delivered"]) == ("completed", 1, 3)
    assert histories(site) == {FIRST: [Decimal("1.00"), Decimal("3.00")], "within": [Decimal("2.00")]}
    site.make_due()
    assert site.run(0, **{GAP: "0"})["delivered"] == 1
    check_promise(site, {FIRST: Decimal("3.00"), "within": Decimal("2.00"), "after": Decimal("4.00")})


ZONE = "America/New_York"
NIGHTS = {
    # Loaded at 01:20 of the second pass, after a watermark in the first pass: the date alone says it is older.
    "repeated hour": (datetime(2025, 11, 2, 5, 50, tzinfo=UTC), "2025-11-02 01:50:00", "2025-11-02 01:20:00", 0),
    # Written by a loader that knows no clock change: 02:30 never occurred, and is earlier than 03:10 to the column.
    "missing hour": (datetime(2026, 3, 8, 7, 10, tzinfo=UTC), "2026-03-08 03:10:00", "2026-03-08 02:30:00", 0),
}


@pytest.mark.parametrize(
    ("tracking", "night"), [*((tracking, "repeated hour") for tracking in TRACKINGS), ("mongo", "missing hour")]
)
def test_nights_in_which_the_clock_is_changed(make_site: MakeSite, tracking: str, night: str) -> None:
    """Rows stamped in a repeated or missing hour are found behind the watermark: the lookback grows by the shift."""
    watermark, in_table, stamped, lookback = NIGHTS[night]
    site = make_site("mariadb", tracking, customer_type="datetime", payment_type="datetime")
    site.command.configure(process={"source_timezone": ZONE, "lookback_seconds": lookback})
    site.prepare()
    load(site, FIRST, "2025-06-01 00:00:00", OUTSTANDING="1.00")
    site.run()
    set_watermark(site, watermark, in_table)
    load(site, TIE, stamped, OUTSTANDING="2.00")
    load(site, "older", in_table[:11] + "00:05:00", OUTSTANDING="3.00")
    load(site, NEWER, in_table[:11] + "05:00:00", OUTSTANDING="4.00")
    site.make_due()
    report = site.run()
    assert datetime.fromisoformat(report["window"]["start"]) == watermark
    assert (report["accounts"], report["reread"], report["delivered"]) == (1, 1, 2)
    # "older" lies behind watermark, lookback and shift together: no business of this window.
    check_promise(site, {FIRST: Decimal("1.00"), TIE: Decimal("2.00"), NEWER: Decimal("4.00")})
