"""backfill, dead-letters, reconcile and the in-flight guard, by the command against real parts (SPEC 3, 7)."""

import json
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from incident_process.app import factory, runner
from incident_process.cli.commands import execute
from incident_process.core.errors import DatabaseConnectionError
from incident_process.core.models import RunReport, iso
from incident_process.core.process_identity import user_name
from incident_process.source.sql import SqlSource
from tests.e2e.conftest import SERVERS, TRACKINGS, MakeSite, Site, day, moment
from tests.support.command import KILLED

ALL = tuple(f"{number:010d}" for number in range(6))
NEWER = "8000000000"
"""Its row moves the watermark of each tracking past the lookback of the others."""


def load(site: Site, accounts: tuple[str, ...], load_date: str, **values: object) -> None:
    site.customers(*({"ACCOUNT_NUM": a, "ASSET_ID": "A1", "LOAD_DATE": load_date, **values} for a in accounts))


def times(site: Site) -> Counter[str]:
    return Counter(row["account_num"] for row in site.accepted() if row["account_num"] != NEWER)


@pytest.fixture(params=TRACKINGS)
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    """Six accounts delivered by a first run, with the state in each of the three stores."""
    made = make_site("sqlite", request.param)
    made.command.configure(process={"chunk_accounts": 4}, api={"max_attempts": 1})
    made.prepare()
    load(made, ALL, day(5))
    load(made, (NEWER,), day(2))
    assert made.run()["delivered"] == len(ALL) + 1
    return made


# -- backfill ---------------------------------------------------------------------------------------------------------


def test_a_backfill_finds_rows_older_than_the_lookback_and_leaves_the_watermark(site: Site) -> None:
    before = site.operation()
    load(site, ALL[:2], day(40), ASSET_ID="B2")
    site.make_due()
    assert site.run()["delivered"] == 0, "forty days ago is no business of a window"
    finished = site.command("backfill", "--from", day(41), "--to", day(39), "--json")
    assert (finished.status, finished.json["status"], finished.json["delivered"]) == (0, "completed", 2)
    assert (finished.json["accounts"], finished.json["rows"]["debt_cust_detail"]) == (2, 2)
    assert site.operation()["Last_execution_dtm"] >= before["Last_execution_dtm"]
    assert site.operation()["Process_Operation_Sequence"] == before["Process_Operation_Sequence"]
    assert site.history()[0]["kind"] == "backfill"
    again = site.command("backfill", "--from", day(41), "--to", day(39), "--json")
    assert (again.status, again.json["status"], again.json["delivered"]) == (0, "no_data", 0)
    assert times(site) == Counter(dict.fromkeys(ALL, 1) | dict.fromkeys(ALL[:2], 2))


def test_a_forced_backfill_sends_unchanged_accounts_under_keys_of_their_own(site: Site) -> None:
    site.receiver.control(honour_keys=True)
    finished = site.command("backfill", "--from", day(5), "--to", day(5), "--force", "--json")
    assert (finished.status, finished.json["delivered"]) == (0, len(ALL))
    assert times(site) == Counter(dict.fromkeys(ALL, 2))
    outside = site.command("backfill", "--from", day(4), "--to", day(3), "--force", "--json")
    assert (outside.status, outside.json["delivered"]) == (0, 0)


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [("2026-02-30", "2026-03-01", "no date"), ("2026-03-02", "2026-03-01", "later than")],
)
def test_a_range_that_is_none_is_refused_with_a_sentence(make_site: MakeSite, first: str, last: str, said: str) -> None:
    finished = make_site().command("backfill", "--from", first, "--to", last)
    assert finished.status == 2
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_relative_times_of_a_backfill_count_from_the_clock_of_the_source(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def two_days_behind(_: object) -> datetime:
        return clock

    clock = datetime.now(UTC) - timedelta(days=2)
    monkeypatch.chdir(site.command.folder)
    monkeypatch.setattr(SqlSource, "now", two_days_behind)
    assert execute(("backfill", "--from", "2h", "--to", "now", "--json")) == 0
    window = json.loads(capsys.readouterr().out)["window"]
    assert window["end"] == iso(clock)
    assert window["start"][:19] == iso(clock - timedelta(hours=2))[:19]


# -- dead letters -----------------------------------------------------------------------------------------------------


def test_a_dead_letter_is_listed_exported_and_replayed_once_its_cause_is_gone(site: Site) -> None:
    bad = ALL[3]
    site.receiver.control(fail_accounts={bad: 422})
    load(site, ALL, day(1), OUTSTANDING="9.50")
    site.make_due()
    assert site.run()["dead"] == 1
    (entry,) = site.command("dead-letters", "list", "--json").json
    assert (entry["account"], entry["http_status"]) == (bad, 422)
    assert site.command("dead-letters", "list", "--json", "--reason", "nothing like it").json == []
    assert site.command("dead-letters", "export").json_lines == [entry]
    assert site.command("dead-letters", "export", "--out", "d.jsonl", "--json").json == {"written": 1, "out": "d.jsonl"}
    assert (site.command.folder / "d.jsonl").stat().st_mode & 0o777 == 0o600

    still = site.command("dead-letters", "replay", "--json")
    assert (still.status, still.json["dead"], still.json["delivered"]) == (0, 1, 0)
    site.receiver.calm()
    replayed = site.command("dead-letters", "replay", "--json")
    assert (replayed.status, replayed.json["delivered"]) == (0, 1)
    assert site.command("dead-letters", "list", "--json").json == []
    nothing = site.command("dead-letters", "replay", "--json", "--account", "nope")
    assert nothing.json["status"] == "no_data"
    assert "No open dead letter fits." in nothing.messages("INFO")
    unfit = site.command("dead-letters", "replay", "--json", "--reason", "ticket 4711: corrected")
    hint = "--reason selects; your own reason goes into --why."
    assert f"No open dead letter fits. {hint}" in unfit.messages("INFO")
    assert times(site) == Counter(dict.fromkeys(ALL, 2))
    assert {run["kind"] for run in site.history()} == {"window", "replay"}


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_a_replay_says_what_goes_out_first_and_may_leave_it_pending(site: Site) -> None:
    bad, others = ALL[3], ALL[:3]
    site.receiver.control(fail_accounts={bad: 422})
    load(site, (bad,), day(1), OUTSTANDING="9.50")
    site.make_due()
    assert site.run()["dead"] == 1
    load(site, others, day(1), OUTSTANDING="8.50")
    site.make_due()
    site.finish(None, INCIDENT_PROCESS_FAULT="enqueued")
    site.receiver.calm()
    mistyped = site.command("dead-letters", "replay", "--account", "nope", "--json")
    assert (mistyped.status, mistyped.json["status"], mistyped.json["resumed"]) == (0, "no_data", 0)
    assert "0 dead letter(s) are replayed, and 3 pending incident(s) stay pending." in mistyped.messages("INFO")
    # As a cluster would have left them: in the outbox of a chunk.
    site.source.sql("UPDATE Incident_Outbox SET Scope = 3, Token = 0")
    site.source.sql("UPDATE Incident_Delivery SET Scope = 3 WHERE Status = 'pending'")
    waiting = site.command("deliveries", "--status", "pending", "--limit", "2").stdout.splitlines()
    assert len(waiting) == 1 + 2, "a program gets whole rows, tried or not"
    only = site.command("dead-letters", "replay", "--only", "--why", "ticket 4711", "--json")
    assert (only.status, only.json["delivered"], only.json["resumed"]) == (0, 1, 0)
    assert "1 dead letter(s) are replayed, and 3 pending incident(s) stay pending." in only.messages("INFO")
    claims = site.source.sql("SELECT Token FROM Incident_Outbox")
    assert claims == site.source.sql("SELECT Token FROM Process_Operation_Scope WHERE Scope = 3") != [(0,)]
    told = {name: site.history()[0][name] for name in ("kind", "why", "requested_by")}
    assert told == {"kind": "replay", "why": "ticket 4711", "requested_by": user_name()}
    again = site.command("dead-letters", "replay", "--json")
    assert "0 dead letter(s) are replayed, and 3 pending incident(s) go out first." in again.messages("INFO")
    assert (again.json["delivered"], again.json["resumed"]) == (3, 3)
    assert times(site) == Counter({**dict.fromkeys(ALL, 1), bad: 2, **dict.fromkeys(others, 2)})


def test_a_dead_letter_whose_content_went_back_is_not_sent_twice(site: Site) -> None:
    bad = ALL[0]
    site.receiver.control(fail_accounts={bad: 422})
    load(site, (bad,), day(1), OUTSTANDING="9.50")
    site.make_due()
    assert site.run()["dead"] == 1
    site.receiver.calm()
    site.source.sql("DELETE FROM debt_cust_detail WHERE OUTSTANDING = ?", "9.50")
    assert site.command("dead-letters", "replay", "--json").json["delivered"] == 0
    assert times(site)[bad] == 1


# -- reconcile --------------------------------------------------------------------------------------------------------


def test_reconcile_names_missing_stale_and_surplus_accounts_and_repairs(site: Site) -> None:
    load(site, ("9000000001",), day(300))
    load(site, ALL[:1], day(300), ASSET_ID="B2")
    site.source.sql("DELETE FROM debt_cust_detail WHERE ACCOUNT_NUM = ?", ALL[5])
    site.payments({"AP_ACCOUNT_NUMBER": "9000000002", "LOAD_DATE": f"{day(300)} 10:00:00"})
    compared = site.command("reconcile", "--json")
    totals = compared.json
    found = totals["differences"]
    assert compared.status == 4
    assert {(item["account"], item["difference"]) for item in found} == {
        (ALL[0], "stale"),
        (ALL[5], "surplus"),
        ("9000000001", "missing"),
        ("9000000002", "skipped"),
    }
    assert (totals["accounts"], totals["in_order"], totals["missing"], totals["pending"]) == (9, 5, 1, 0)
    assert totals["run"] is None
    assert sum(times(site).values()) == len(ALL), "comparing sends nothing"

    repaired = site.command("reconcile", "--repair", "--json")
    assert repaired.status == 0, repaired.stderr
    assert repaired.json["differences"] == found
    assert (repaired.json["missing"], repaired.json["left"]["missing"], repaired.json["left"]["in_order"]) == (1, 0, 7)
    assert (repaired.json["run"]["accounts"], repaired.json["run"]["delivered"]) == (2, 2)
    assert times(site) == Counter(dict.fromkeys(ALL, 1) | {ALL[0]: 2, "9000000001": 1})
    again = site.command("reconcile", "--json")
    assert again.status == 0
    assert {item["difference"] for item in again.json["differences"]} == {"surplus", "skipped"}
    assert site.history()[0]["kind"] == "reconcile"


@pytest.mark.usefixtures("logging_as_before")
@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
@pytest.mark.parametrize("interrupted", [True, False])
def test_a_repair_that_was_stopped_or_cannot_look_again_keeps_its_status(
    site: Site, interrupted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def repaired(*args: Any, **how: Any) -> RunReport:
        report = run_leased(*args, **how)
        return msgspec.structs.replace(report, message="interrupted by SIGTERM") if interrupted else report

    def away(_: object) -> None:
        raise AssertionError if interrupted else DatabaseConnectionError("the source is away")

    run_leased = runner.run_leased
    monkeypatch.chdir(site.command.folder)
    monkeypatch.setattr(runner, "run_leased", repaired)
    monkeypatch.setattr(factory, "open_parts", away)
    load(site, ALL[:1], day(300), ASSET_ID="B2")
    assert execute(("reconcile", "--repair", "--json")) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (found["stale"], found["run"]["delivered"], found["left"]) == (1, 1, None)
    assert ("The repair is done." in told.err) is not interrupted


def test_reconcile_with_the_receiver_s_own_log_finds_what_it_lost(make_site: MakeSite) -> None:
    site = make_site()
    site.prepare()
    load(site, ALL, day(5))
    assert site.run()["delivered"] == len(ALL)
    export = site.command.folder / "receiver.jsonl"
    database = str(site.receiver.database)
    assert site.command("receiver", "--database", database, "--export", str(export)).status == 0
    assert export.stat().st_mode & 0o777 == 0o600, "it holds bodies, which are personal data"
    assert site.command("reconcile", "--receiver-log", str(export)).status == 0
    lines = [line for line in export.read_text().splitlines() if ALL[2] not in line]
    export.write_text("\n".join(lines) + "\n")
    compared = site.command("reconcile", "--receiver-log", str(export), "--json")
    assert compared.status == 4
    missing = [item["account"] for item in compared.json["differences"] if item["difference"] == "missing"]
    assert missing == [ALL[2]]
    assert site.command("reconcile", "--receiver-log", str(export), "--repair").status == 0
    assert times(site)[ALL[2]] == 2
    since = site.command("reconcile", "--receiver-log", str(export), "--repair", "--json")
    left = {item["difference"] for item in since.json["differences"]}
    assert not left & {"missing", "stale"}, "what was delivered after the export was made is not in it"
    assert times(site)[ALL[2]] == 2
    export.write_text("no log\n")
    wrong = site.command("reconcile", "--receiver-log", str(export))
    assert wrong.status == 2
    assert "line 1" in wrong.stderr


# -- the in-flight guard -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
def test_a_load_that_commits_late_is_waited_for(make_site: MakeSite, server: str) -> None:
    site = make_site(server, server, customer_type="datetime")
    site.command.configure(process={"lookback_seconds": 0, "time_gap_seconds": 1})
    site.prepare()
    with closing(site.source.connect()) as loader:
        loader.begin()
        with loader.cursor() as cursor:
            cursor.execute(
                "INSERT INTO debt_cust_detail (ACCOUNT_NUM, LOAD_DATE) VALUES (%s, UTC_TIMESTAMP())", (ALL[0],)
            )
        time.sleep(4)
        load(site, ALL[1:2], moment(2))
        preview = site.command("preview", "--json")
        assert preview.json == []
        assert any("The window waits for an open transaction" in message for message in preview.messages("INFO"))
        report = site.run()
        assert report["window"]["end"] < f"{moment(3).replace(' ', 'T')}Z"
        assert report["delivered"] == 0
        loader.commit()
    time.sleep(2)
    site.make_due()
    assert site.run()["delivered"] == 2
    assert times(site) == Counter({ALL[0]: 1, ALL[1]: 1})


def test_a_window_that_is_held_sends_no_older_content_after_newer(make_site: MakeSite) -> None:
    """A backfill has delivered a row; then a transaction that began before it writes, and holds the next window."""
    site = make_site("mariadb", "sqlite", customer_type="datetime")
    site.command.configure(process={"time_gap_seconds": 1})
    site.prepare()
    load(site, ALL[:1], moment(3600), OUTSTANDING="1.00")
    assert site.run()["delivered"] == 1
    with closing(site.source.connect()) as loader, loader.cursor() as cursor:
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        time.sleep(2)
        load(site, ALL[:1], moment(), OUTSTANDING="2.00")
        time.sleep(2.5)
        backfilled = site.command("backfill", "--from", day(1), "--to", day(0), "--json")
        assert backfilled.json["delivered"] == 1
        cursor.execute("INSERT INTO debt_payment (AP_ACCOUNT_NUMBER) VALUES ('9')")
        site.make_due()
        report = site.run()
        loader.rollback()
    assert report["delivered"] == 0
    assert times(site)[ALL[0]] == 2


@pytest.mark.parametrize("server", SERVERS)
def test_a_load_that_takes_too_long_is_let_go_with_a_warning(make_site: MakeSite, server: str) -> None:
    site = make_site(server, server, customer_type="datetime")
    site.command.configure(process={"guard_limit_seconds": 1, "time_gap_seconds": 0})
    site.prepare()
    with closing(site.source.connect()) as loader:
        loader.begin()
        with loader.cursor() as cursor:
            cursor.execute("INSERT INTO debt_payment (AP_ACCOUNT_NUMBER) VALUES ('1')")
        load(site, ALL[:1], moment(60))
        time.sleep(3)
        finished = site.finish()
        loader.rollback()
    assert finished.json["delivered"] == 1
    assert any("no longer waits" in message for message in finished.messages("WARNING"))


@pytest.mark.parametrize("server", SERVERS)
def test_without_the_right_the_run_warns_once_and_goes_on(make_site: MakeSite, server: str) -> None:
    site = make_site(server, "sqlite")
    site.prepare()
    load(site, ALL[:1], day(5))
    name = site.source.url.rpartition("/")[2]
    host = site.source.url.rpartition("@")[2]
    site.source.sql("CREATE USER 'unseeing'@'%' IDENTIFIED BY 'synthetic'")
    try:
        site.source.sql(f"GRANT SELECT ON {name}.* TO 'unseeing'@'%'")
        site.command.configure(database={"URL": f"mysql://unseeing:synthetic@{host}"})
        finished = site.finish()
    finally:
        site.source.sql("DROP USER 'unseeing'@'%'")
    assert finished.json["delivered"] == 1
    assert sum("GRANT PROCESS" in message for message in finished.messages("WARNING")) == 1


# -- outcomes in doubt -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_doubt", ["resend", "park"])
def test_an_outcome_in_doubt_is_resent_or_parked(site: Site, in_doubt: str) -> None:
    site.command.configure(process={"in_doubt": in_doubt})
    load(site, ALL[:1], day(1), OUTSTANDING="1.00")
    site.receiver.control(drop_next=1)
    site.make_due()
    assert site.run(expect=4)["pending"] == 1
    assert times(site)[ALL[0]] == 2, "the receiver stored it and did not say so"

    report = site.run()
    assert (report["delivered"], report["dead"]) == ((1, 0) if in_doubt == "resend" else (0, 1))
    assert times(site)[ALL[0]] == 2
    if in_doubt == "park":
        (entry,) = site.command("dead-letters", "list", "--json").json
        assert "in doubt" in entry["error"]
        assert sum(request["account_num"] == ALL[0] for request in site.requests()) == 2, "nothing was sent again"


def test_a_dead_letter_says_that_an_attempt_before_had_no_answer(make_site: MakeSite) -> None:
    site = make_site()
    site.command.configure(api={"max_attempts": 1})
    site.prepare()
    load(site, ALL[:1], day(1))  # alone: were another one taken after it, the run would try it again
    site.receiver.control(drop_next=1)
    assert site.run(expect=4)["pending"] == 1
    load(site, ALL[1:4], day(1))
    site.receiver.control(fail_accounts=dict.fromkeys((ALL[0], ALL[2]), 422))
    assert site.run()["dead"] == 2
    in_doubt = {entry["account"]: "in doubt" in entry["error"] for entry in site.deliveries("--status", "dead")}
    assert in_doubt == {ALL[0]: True, ALL[2]: False}


def test_what_was_refused_or_never_tried_is_not_in_doubt(site: Site) -> None:
    site.command.configure(process={"in_doubt": "park"}, api={"max_connections": 1, "breaker_failures": 2})
    load(site, ALL, day(1), OUTSTANDING="1.00")
    site.receiver.control(fail_rate=1.0)
    site.make_due()
    assert site.run(expect=4)["pending"] > 0
    site.receiver.calm()
    report = site.run()
    assert (report["dead"], sum(times(site).values())) == (0, 2 * len(ALL))


def test_after_a_crash_everything_in_the_outbox_is_in_doubt(site: Site) -> None:
    site.command.configure(process={"in_doubt": "park"})
    load(site, ALL[:2], day(1), OUTSTANDING="1.00")
    site.make_due()
    assert site.command.run({"INCIDENT_PROCESS_FAULT": "enqueued"}).status == KILLED
    assert site.run()["dead"] == 2
    assert site.command("dead-letters", "replay", "--json").json["delivered"] == 2
    assert times(site) == Counter(dict.fromkeys(ALL, 1) | dict.fromkeys(ALL[:2], 2))
