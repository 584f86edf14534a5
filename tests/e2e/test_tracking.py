"""Tracking, end to end (SPEC 6, 7): the three steps, the gate of the SQL table, its success, its rollback."""

import asyncio
import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from incident_process.operations.doctor import Level, examine
from incident_process.settings import Settings
from tests.e2e.conftest import OPERATION, SERVERS, TRACKINGS, MakeSite, Site, day, moment
from tests.support.command import wait_until

FAR = "2999-12-31 00:00:00"
INSERT = (
    "INSERT INTO Process_Operation (Process_Operation_Sequence, created_dtm, Operation_name, execution_duration,"
    " Next_execution_dtm, Last_execution_dtm, end_dtm) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
CREATED = datetime(2025, 1, 2, 3, 4, 5)  # noqa: DTZ001  # as the table holds it, without a zone
SQL = pytest.mark.parametrize("tracking", ["sqlite", *SERVERS])


def given_accounts(site: Site, *accounts: str, load_date: str | None = None) -> None:
    site.customers(
        *({"ACCOUNT_NUM": account, "ASSET_ID": "A1", "LOAD_DATE": load_date or day(5)} for account in accounts)
    )


def given_operation(site: Site, **changes: Any) -> dict[str, Any]:
    """Put the operation's row there as another program would, and return it."""
    site.prepare()
    row: dict[str, Any] = {
        "Process_Operation_Sequence": 7,
        "created_dtm": CREATED,
        "Operation_name": OPERATION,
        "execution_duration": 45,
        "Next_execution_dtm": datetime(2025, 2, 1),  # noqa: DTZ001
        "Last_execution_dtm": datetime(2025, 1, 31, 23),  # noqa: DTZ001
        "end_dtm": None,
    }
    row |= changes
    assert site.state is not None
    site.state.sql("DELETE FROM Process_Operation")
    site.state.sql(INSERT, *(str(value) if isinstance(value, datetime) else value for value in row.values()))
    return row


def empty_posts(site: Site) -> int:
    """How often ``{}`` was posted: the one body without account and key, which the field's receiver answers 422."""
    return sum(
        (request["answer"], request["account_num"], request["idempotency_key"]) == (422, None, None)
        for request in site.requests()
    )


# -- tracking = mongo -------------------------------------------------------------------------------------------------


def test_three_steps_with_mongo(make_site: MakeSite) -> None:
    site = make_site("mariadb", "mongo")
    newest_day = day(3)
    given_accounts(site, "0000000001", "0000000002", load_date=day(6))
    given_accounts(site, "0000000003", load_date=newest_day)

    first = site.finish()
    assert (first.json["status"], first.json["sequence"], first.json["delivered"]) == ("completed", 1, 3)
    one = site.operation()
    newest = datetime.fromisoformat(newest_day).replace(tzinfo=UTC)
    assert set(one) == {
        "_id",
        "Process_Operation_Sequence",
        "created_dtm",
        "Operation_name",
        "Last_execution_dtm",
        "end_dtm",
    }
    assert (one["Process_Operation_Sequence"], one["Operation_name"]) == (1, OPERATION)
    assert one["Last_execution_dtm"] == newest
    assert all(isinstance(one[name], datetime) for name in ("created_dtm", "Last_execution_dtm", "end_dtm"))
    assert "Updated MongoDB with newest timestamp: " + newest.strftime("%Y-%m-%dT%H:%M:%SZ") in first.messages("INFO")

    paid = moment(86_400)
    site.payments({"AP_ACCOUNT_NUMBER": "0000000002", "ACCOUNT_PAYMENT_SEQ": 4, "LOAD_DATE": paid})
    second = site.run()
    assert (second["sequence"], second["accounts"], second["delivered"]) == (2, 1, 1)
    assert second["rows"] == {"debt_cust_detail": 0, "debt_payment": 1}
    two = site.operation()
    assert (two["_id"], two["created_dtm"], two["Process_Operation_Sequence"]) == (one["_id"], one["created_dtm"], 2)
    assert two["Last_execution_dtm"] == datetime.fromisoformat(paid).replace(tzinfo=UTC)
    assert two["end_dtm"] > one["end_dtm"]

    assert empty_posts(site) == 0
    third = site.finish()
    assert third.json["status"] == "no_data"
    assert "No new data in the time window." in third.messages("INFO")
    assert not [line for line in third.messages() if line.startswith("Updated")]
    assert site.operation() == two
    assert empty_posts(site) == 1
    accepted = [row["account_num"] for row in site.accepted()]
    assert sorted(accepted[:3]) == ["0000000001", "0000000002", "0000000003"], "in an order of chance"
    assert accepted[3:] == ["0000000002"]


def test_three_steps_without_the_empty_post(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mongo")
    site.command.configure(api={"send_empty": "false"})
    given_accounts(site, "1")
    site.run()
    before = site.operation()
    assert site.run()["status"] == "no_data"
    assert (site.operation(), len(site.requests())) == (before, 1)


def test_a_failing_run_leaves_the_mongo_document_as_it_was(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mongo")
    site.command.configure(api={"max_attempts": 2})
    given_accounts(site, "1", load_date=day(9))
    site.run()
    before = site.operation()
    given_accounts(site, *map(str, range(10, 20)), load_date=day(3))
    site.receiver.control(fail_rate=1.0)
    assert site.run(expect=4)["status"] == "incomplete"
    assert site.operation() == before
    site.receiver.calm()
    assert site.run()["sequence"] == 2
    assert len(site.accepted()) == 11


# -- tracking = sql: the gate -----------------------------------------------------------------------------------------


@SQL
def test_without_a_table_or_a_row_the_operation_is_inactive(make_site: MakeSite, tracking: str) -> None:
    site = make_site("sqlite", tracking)
    given_accounts(site, "1")
    finished = site.finish(expect=6)
    assert finished.json["status"] == "inactive"
    (said,) = finished.messages("ERROR")
    assert OPERATION in said
    assert "inactive" in said

    site.prepare()
    site.command.configure(process={"operation_name": "Another operation"})
    assert site.run(expect=6)["status"] == "inactive"
    repaired = site.command("reconcile", "--repair", "--json")
    assert (repaired.status, repaired.json["run"]["status"]) == (6, "inactive"), "nothing is new to who has no row"
    assert site.requests() == []


def test_an_end_date_in_the_past_terminates(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mariadb")
    given_accounts(site, "1")
    row = given_operation(site, end_dtm=datetime(2026, 1, 1))  # noqa: DTZ001
    finished = site.finish(expect=6)
    assert finished.json["status"] == "terminated"
    (said,) = finished.messages("ERROR")
    assert "terminated because of its end date 2026-01-01T00:00:00Z" in said
    assert site.command("backfill", "--from", "2026-01-01", "--to", "2026-12-31").status == 6
    assert site.operation() == row
    assert site.requests() == []


def test_an_end_date_ahead_runs_and_stays(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mariadb")
    given_accounts(site, "1")
    ahead = datetime(2999, 12, 31)  # noqa: DTZ001
    given_operation(site, end_dtm=ahead)
    assert site.run()["status"] == "completed"
    after = site.operation()
    assert (after["end_dtm"], after["Process_Operation_Sequence"]) == (ahead, 8)


def test_not_due_yet_is_an_information(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mariadb")
    given_accounts(site, "1")
    row = given_operation(site, Next_execution_dtm=datetime.fromisoformat(FAR))
    finished = site.finish()
    assert finished.json["status"] == "not_due"
    (said,) = finished.messages()
    assert said in finished.messages("INFO")
    assert "2999-12-31T00:00:00Z" in said
    assert site.operation() == row
    assert site.requests() == []


def test_now_does_not_wait_until_a_run_is_due(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mariadb")
    given_accounts(site, "1")
    given_operation(site, Next_execution_dtm=datetime.fromisoformat(FAR))
    waits = site.finish()
    assert "'incident-process run --now' does not wait for it" in waits.stderr
    assert (waits.json["pending"], "an outcome" in waits.stderr) == (0, False)
    finished = site.command("run", "--now", "--json")
    assert (finished.status, finished.json["status"], finished.json["delivered"]) == (0, "completed", 1)
    assert site.operation()["Next_execution_dtm"] < datetime.fromisoformat(FAR).replace(tzinfo=None)
    # What is inactive or has ended does not go ahead for it.
    given_operation(site, end_dtm=datetime(2020, 1, 1))  # noqa: DTZ001 - as the column holds it
    assert site.command("run", "--now").status == 6


def test_a_watermark_that_is_still_to_come_is_said(make_site: MakeSite) -> None:
    site = make_site()
    given_accounts(site, "1")
    given_operation(site, Last_execution_dtm=datetime.fromisoformat(FAR))
    (found,) = [
        finding
        for finding in asyncio.run(examine(Settings.load(site.command.config, {})))
        if finding.subject == "operation"
    ]
    finished = site.finish()
    assert finished.json["status"] == "no_data"
    said = "Process_Operation has processed through 2999-12-31T00:00:00Z, which is still to come"
    assert said in finished.messages("WARNING")[0]
    assert (found.level, found.finding.startswith(said)) == (Level.WARNING, True)
    assert site.state is not None
    site.state.sql("UPDATE Process_Operation SET Last_execution_dtm = ?", f"{day(6)} 00:00:00")
    site.make_due()
    assert site.run()["delivered"] == 1


@pytest.mark.parametrize(("minutes", "status"), [("45", 0), ("an hour", 2)])
def test_a_duration_that_is_text(make_site: MakeSite, minutes: str, status: int) -> None:
    site = make_site("sqlite", "sqlite")
    given_accounts(site, "1")
    given_operation(site)
    assert site.state is not None
    site.state.sql("ALTER TABLE Process_Operation DROP COLUMN execution_duration")
    site.state.sql("ALTER TABLE Process_Operation ADD COLUMN execution_duration TEXT")
    site.state.sql("UPDATE Process_Operation SET execution_duration = ?", minutes)
    finished = site.command("run")
    assert finished.status == status
    assert ("Process_Operation: execution_duration is no whole number" in finished.stderr) is bool(status)
    assert len(site.requests()) == (not status)


# -- tracking = sql: success ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "tracking"), [("sqlite", "sqlite"), ("mariadb", "mariadb"), ("mysql", "mysql"), ("mariadb", "sqlite")]
)
def test_success_moves_last_next_and_sequence_alone(make_site: MakeSite, source: str, tracking: str) -> None:
    site = make_site(source, tracking)
    given_accounts(site, "1", "2")
    row = given_operation(site, Last_execution_dtm=datetime(2025, 1, 31, 23))  # noqa: DTZ001
    finished = site.finish()
    system_date = finished.json["window"]["end"]
    assert finished.json["window"]["start"] == "2025-01-31T23:00:00Z"
    assert (finished.json["sequence"], finished.json["last_execution_dtm"]) == (8, system_date)

    local = datetime.fromisoformat(system_date).replace(tzinfo=None)
    now = datetime.now(UTC).replace(tzinfo=None)
    assert timedelta(seconds=59) < now - local < timedelta(seconds=90)
    assert site.operation() == row | {
        "Process_Operation_Sequence": 8,
        "Last_execution_dtm": local,
        "Next_execution_dtm": local + timedelta(minutes=45),
    }
    assert f"Updated Process_Operation with Last_execution_dtm: {system_date}" in finished.messages("INFO")


@SQL
def test_no_new_data_moves_only_the_next_execution(make_site: MakeSite, tracking: str) -> None:
    site = make_site("sqlite", tracking)
    row = given_operation(site)
    finished = site.finish()
    assert finished.json["status"] == "no_data"
    assert "No new data in the time window." in finished.messages("INFO")
    stated = [line.partition("Last_execution_dtm: ")[2] for line in finished.messages() if "Last_execution_dtm" in line]
    assert set(stated) <= {"2025-01-31T23:00:00Z"}
    local = datetime.fromisoformat(finished.json["window"]["end"]).replace(tzinfo=None)
    assert site.operation() == row | {"Next_execution_dtm": local + timedelta(minutes=45)}
    assert empty_posts(site) == 1


@pytest.mark.parametrize("server", SERVERS)
def test_init_creates_a_row_that_is_due_at_once(make_site: MakeSite, server: str) -> None:
    site = make_site(server, server)
    given_accounts(site, "1")
    site.command.configure(process={"execution_duration": 15})
    assert site.command("init").status == 0
    row = site.operation()
    assert (row["Process_Operation_Sequence"], row["execution_duration"], row["end_dtm"]) == (0, 15, None)
    report = site.run()
    assert (report["sequence"], report["window"]["start"]) == (1, "1900-01-01T00:00:00Z")
    after = site.operation()
    assert after["Next_execution_dtm"] - after["Last_execution_dtm"] == timedelta(minutes=15)
    assert after["created_dtm"] == row["created_dtm"]


@pytest.mark.parametrize("server", SERVERS)
def test_datetimes_of_the_table_are_in_source_timezone(make_site: MakeSite, server: str) -> None:
    zone = ZoneInfo("Asia/Colombo")
    site = make_site(server, server)
    site.command.configure(process={"source_timezone": "Asia/Colombo"})
    last = datetime(2025, 6, 1, 5, 30)  # noqa: DTZ001
    row = given_operation(site, Last_execution_dtm=last)
    # Both rows bear the same local time, which is after the watermark in Colombo and before it in UTC.
    site.payments({"AP_ACCOUNT_NUMBER": "1", "ACCOUNT_PAYMENT_SEQ": 1, "LOAD_DATE": "2025-06-01 05:30:01"})
    given_accounts(site, "1", load_date="2025-05-31")
    report = site.run()
    assert report["window"]["start"] == "2025-06-01T00:00:00Z"
    assert report["rows"] == {"debt_cust_detail": 0, "debt_payment": 1}
    (accepted,) = site.accepted()
    assert json.loads(accepted["body"])["Last_Bss_Reading_Date"] == "2025-05-30T18:30:00.000Z"
    local = datetime.fromisoformat(report["window"]["end"]).astimezone(zone).replace(tzinfo=None)
    assert site.operation() == row | {
        "Process_Operation_Sequence": 8,
        "Last_execution_dtm": local,
        "Next_execution_dtm": local + timedelta(minutes=45),
    }


def test_state_url_names_another_database(make_site: MakeSite) -> None:
    site = make_site("mariadb", "sqlite")
    given_accounts(site, "1")
    site.prepare()
    assert site.run()["status"] == "completed"
    assert sorted(name for (name,) in site.source.sql("SHOW TABLES")) == ["debt_cust_detail", "debt_payment"]


# -- tracking = sql: rollback -----------------------------------------------------------------------------------------


def test_a_failing_receiver_leaves_the_row_as_it_was(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mariadb")
    site.command.configure(api={"max_attempts": 2})
    given_accounts(site, *map(str, range(10)))
    row = given_operation(site)
    site.receiver.control(fail_rate=1.0, fail_status=503)
    finished = site.finish(expect=4)
    assert (finished.json["status"], finished.json["pending"]) == ("incomplete", 10)
    assert "(circuit breaker): HTTP 503 Service Unavailable" in finished.json["message"]
    assert "(HTTP 503 Service Unavailable: failing on purpose: 10 incidents)" in finished.json["message"]
    assert site.operation() == row
    site.receiver.calm()
    assert site.run()["sequence"] == 8
    assert len(site.accepted()) == 10


TRIGGERS = {
    "sqlite": "CREATE TRIGGER no BEFORE UPDATE ON Process_Operation BEGIN SELECT RAISE(ABORT, 'refused'); END",
    "mysql": "CREATE TRIGGER no BEFORE UPDATE ON Process_Operation FOR EACH ROW"
    " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused'",
}


@SQL
def test_an_update_that_the_database_refuses_is_rolled_back(make_site: MakeSite, tracking: str) -> None:
    site = make_site("sqlite", tracking)
    given_accounts(site, "1", "2")
    row = given_operation(site)
    assert site.state is not None
    site.state.sql(TRIGGERS[site.state.dialect])
    finished = site.command("run", "--json")
    assert finished.status in {1, 3}
    assert "Traceback" not in finished.stderr
    assert finished.json["status"] == "failed"
    assert site.operation() == row
    assert site.history()[0]["status"] == "failed"

    site.state.sql("DROP TRIGGER no")
    report = site.run()
    assert (report["status"], report["sequence"], report["delivered"], report["unchanged"]) == ("completed", 8, 0, 2)
    assert len(site.accepted()) == 2


def test_a_user_who_may_not_update_the_table_leaves_it_as_it_was(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mariadb")
    given_accounts(site, "1")
    row = given_operation(site)
    state: Any = site.state
    limited, password = f"lim_{state.name[-12:]}", "synthetic-Secret-7"
    with state.server.connect(None) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE USER '{limited}'@'%' IDENTIFIED BY '{password}'")
        for (table,) in state.sql("SHOW TABLES"):
            rights = "SELECT" if table == "Process_Operation" else "ALL"
            cursor.execute(f"GRANT {rights} ON {state.name}.{table} TO '{limited}'@'%'")
    url = f"mysql://{limited}:{password}@127.0.0.1:{state.server.port}/{state.name}"
    site.command.configure(state={"url": url})
    finished = site.command("run", "--json")
    assert finished.status not in {0, 4}
    assert "Traceback" not in finished.stderr
    assert password not in finished.stderr + finished.stdout
    assert site.operation() == row
    with state.server.connect(None) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP USER '{limited}'@'%'")


def test_the_same_row_is_found_by_its_exact_name(make_site: MakeSite) -> None:
    """A collation may hold two names for equal: only the exact row is read and written."""
    site = make_site("sqlite", "mariadb")
    given_accounts(site, "1")
    row = given_operation(site)
    assert site.state is not None
    other = copy.copy(row) | {"Operation_name": OPERATION.upper(), "Process_Operation_Sequence": 99}
    site.state.sql(INSERT, *(str(value) if isinstance(value, datetime) else value for value in other.values()))
    assert site.run()["sequence"] == 8
    rows = dict(site.state.sql("SELECT Operation_name, Process_Operation_Sequence FROM Process_Operation"))
    assert rows == {OPERATION: 8, OPERATION.upper(): 99}


# -- the run's record -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_a_run_under_way_says_how_far_it_has_come(make_site: MakeSite, tracking: str) -> None:
    site = make_site("sqlite", tracking)
    site.command.configure(api={"requests_per_second": 8}, process={"chunk_accounts": 8})
    given_accounts(site, *(f"{number:04d}" for number in range(56)))
    site.prepare()
    seen: dict[str, Any] = {}

    def is_under_way() -> bool:
        seen.update((site.history() or [{"status": None, "delivered": 0}])[0])
        return bool(seen["status"] == "running" and seen["delivered"] > 0)

    with site.command.started("run", "--json") as running:
        wait_until(is_under_way)
        finished = running.wait()
    assert (seen["accounts"], seen["ended"]) == (56, None)
    assert 0 < seen["delivered"] < 56
    (run,) = site.history()
    assert (run["run_id"], run["status"], run["delivered"]) == (seen["run_id"], "completed", 56)
    assert finished.json["run_id"] == run["run_id"]
