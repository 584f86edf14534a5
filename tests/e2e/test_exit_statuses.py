"""What a run says and how it ends (SPEC 7): exit statuses, the log on stderr, the one object on stdout."""

import json
import os
from typing import Any

import pytest

from incident_process import __version__
from tests.e2e.conftest import OPERATION, SERVERS, MakeSite, ServerDatabase, Site, day
from tests.support.command import KILLED, Command, wait_until

FRESH = True
PASSWORD = "synthetic-p%ss;w#rd"
KEYS = {
    "status",
    "run_id",
    "sequence",
    "window",
    "rows",
    "accounts",
    "delivered",
    "unchanged",
    "skipped",
    "dead",
    "pending",
    "last_execution_dtm",
    "seconds",
}
"""What SPEC 7 names; a report may hold more."""


def given_accounts(site: Site, count: int) -> None:
    site.customers(*({"ACCOUNT_NUM": str(number), "ASSET_ID": "A1", "LOAD_DATE": day(5)} for number in range(count)))


# -- 0 ----------------------------------------------------------------------------------------------------------------


def test_messages_of_a_run(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mongo")
    site.customers(
        {"ACCOUNT_NUM": "0000000001", "ASSET_ID": "A1", "LOAD_DATE": day(5), "CONTACT_PERSON": "Synthetic Person"}
    )
    site.payments(
        *(
            {"AP_ACCOUNT_NUMBER": "0000000001", "ACCOUNT_PAYMENT_SEQ": n, "LOAD_DATE": f"{day(4)} 10:00:0{n}"}
            for n in (1, 2)
        )
    )
    site.command.configure(process={"log_level": "DEBUG"})
    finished = site.finish()
    report = finished.json
    assert set(report) >= KEYS
    newest = f"{day(4)}T10:00:02Z"
    assert report["last_execution_dtm"] == newest
    assert finished.messages("INFO") == [
        f"Processing time window: 1900-01-01T00:00:00Z to {report['window']['end']}",
        "The state knows no earlier run of this operation: every account in the source is new.",
        "Fetched 1 record from debt_cust_detail.",
        "Fetched 2 records from debt_payment.",
        f"Sending data to API: {site.receiver.url}",
        "Successfully sent data to API.",
        f"Updated MongoDB with newest timestamp: {newest}",
    ]
    (payload,) = [line for line in finished.messages("DEBUG") if line.startswith("Generated JSON payload: ")]
    order = finished.messages()
    sending = order.index(f"Sending data to API: {site.receiver.url}")
    assert order.index("Fetched 2 records from debt_payment.") < order.index(payload) < sending
    shown = json.loads(payload.partition(": ")[2])
    assert (shown["Account_Num"], shown["Customer_Details"]["Customer_Name"]) == ("0000000001", "***")
    assert "Synthetic Person" not in finished.stderr
    assert all(
        line.startswith(("INFO:incident_logger:", "DEBUG:incident_logger:")) for line in finished.stderr.splitlines()
    )


def test_one_object_a_line_with_log_format_json(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mongo")
    site.command.configure(process={"log_format": "json"})
    site.payments({"AP_ACCOUNT_NUMBER": "0000000001", "LOAD_DATE": f"{day(4)} 10:00:00"})
    finished = site.finish()
    assert finished.json["skipped"] == 1
    events = [json.loads(line) for line in finished.stderr.splitlines()]
    assert {event["logger"] for event in events} == {"incident_logger"}
    assert {event["operation"] for event in events} == {"Incident extraction from data lake"}
    assert {event.get("run_id") for event in events} == {finished.json["run_id"]}
    by_name = {event["event"]: event for event in events}
    assert by_name["window_planned"]["window_end"] == finished.json["window"]["end"]
    assert {(e["table"], e["rows"]) for e in events if e["event"] == "rows_fetched"} == {
        ("debt_cust_detail", 0),
        ("debt_payment", 1),
    }
    assert by_name["watermark_moved"]["watermark"] == f"{day(4)}T10:00:00Z"
    messages = [event["message"] for event in events]
    assert messages[-1] == f"Updated MongoDB with newest timestamp: {day(4)}T10:00:00Z"
    assert not [message for message in messages if "to API" in message]  # nothing was sent


def test_a_person_gets_a_table_and_no_progress_bar_in_a_pipe(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mongo")
    given_accounts(site, 3)
    finished = site.command("run")
    assert finished.status == 0
    assert dict(line.split(maxsplit=1) for line in finished.stdout.splitlines())["delivered"] == "3"
    assert "\x1b" not in finished.stdout + finished.stderr


# -- 2 ----------------------------------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "no receiver": ({"api": {"api_url": None}}, ("[API] api_url",)),
    "receiver is no URL": ({"api": {"api_url": "receiver:8000"}}, ("[API] api_url", "http")),
    "unknown tracking": ({"process": {"tracking": "redis"}}, ("[PROCESS] tracking", "mongo", "sql")),
    "no number": ({"process": {"chunk_accounts": "many"}}, ("[PROCESS] chunk_accounts", "many")),
    "unknown zone": ({"process": {"source_timezone": "Mars/Base"}}, ("[PROCESS] source_timezone", "Asia/Colombo")),
    "misspelled key": ({"process": {"lookback_second": "5"}}, ("[PROCESS] lookback_second", "lookback_seconds")),
    "other database": ({"database": {"URL": f"postgresql://u:{PASSWORD}@h/d"}}, ("[DATABASE] URL", "sqlite:///")),
    "no mongo": ({"process": {"tracking": "mongo"}}, ("[MONGODB] MONGO_URL", "[MONGODB] DATABASE_NAME")),
    "no port": ({"mongodb": {"MONGO_URL": "mongodb://h:99999/"}}, ("[MONGODB] MONGO_URL", "65535", "mongodb://host:")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_the_configuration(command: Command, mistake: str) -> None:
    changes, words = MISTAKES[mistake]
    command.configure(
        database={"URL": "sqlite:///source.db"},
        api={"api_url": "http://127.0.0.1:9/incidents", "bearer_token": PASSWORD},
        process={"tracking": "sql"},
    )
    command.configure(**changes)
    finished = command("run")
    assert (finished.status, finished.stdout) == (2, "")
    assert all(word in finished.stderr for word in words)
    assert "Traceback" not in finished.stderr
    assert PASSWORD not in finished.stderr


def test_a_configuration_that_is_named_and_missing(command: Command) -> None:
    for arguments, env in ((("--config", "nowhere.ini"), {}), ((), {"INCIDENT_PROCESS_CONFIG": "nowhere.ini"})):
        finished = command("run", *arguments, env=env)
        assert finished.status == 2
        assert "nowhere.ini" in finished.stderr
        assert "Traceback" not in finished.stderr


def test_a_configuration_that_may_not_be_read(make_site: MakeSite) -> None:
    site = make_site()
    site.command.config.chmod(0)
    # Root reads everything, unless it gives up the right to.
    by = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    finished = site.command("run", "--json", "--config", str(site.command.config), by=by)
    assert finished.status == 2
    assert finished.json["status"] == "failed"
    assert "cannot be read: Permission denied" in finished.json["message"]
    assert finished.messages("ERROR") == [finished.json["message"]]
    assert "Usage:" not in finished.stderr


def test_the_environment_wins_over_the_file(make_site: MakeSite) -> None:
    site = make_site()
    finished = site.command("run", env={"INCIDENT_PROCESS__PROCESS__TIME_GAP_SECONDS": "soon"})
    assert finished.status == 2
    assert "INCIDENT_PROCESS__PROCESS__TIME_GAP_SECONDS" in finished.stderr
    assert site.run(expect=6, INCIDENT_PROCESS__PROCESS__OPERATION_NAME="Another")["status"] == "inactive"


@pytest.mark.parametrize("server", SERVERS)
def test_a_source_without_its_tables_or_columns(make_site: MakeSite, server: str) -> None:
    site = make_site(server, "sqlite")
    site.prepare()
    site.source.sql("ALTER TABLE debt_cust_detail DROP COLUMN OUTSTANDING")
    finished = site.command("run")
    assert finished.status == 2
    assert "OUTSTANDING" in finished.stderr
    site.source.sql("DROP TABLE debt_payment")
    site.source.sql("ALTER TABLE debt_cust_detail ADD COLUMN OUTSTANDING DECIMAL(18,2)")
    finished = site.command("run")
    assert finished.status == 2
    assert "debt_payment" in finished.stderr


# -- 3 ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["source", "state", "mongo"])
def test_a_database_that_is_down(make_site: MakeSite, closed_port: int, which: str) -> None:
    site = make_site("sqlite", "sqlite")
    url = f"mysql://reader:synthetic-Secret-9@127.0.0.1:{closed_port}/incidents"
    if which == "source":
        site.command.configure(database={"URL": url}, state={"url": site.source.url})
    elif which == "state":
        site.command.configure(state={"url": url})
    else:
        mongo = f"mongodb://user:synthetic-Secret-9@127.0.0.1:{closed_port}/?serverSelectionTimeoutMS=500"
        site.command.configure(
            process={"tracking": "mongo"}, mongodb={"MONGO_URL": mongo, "DATABASE_NAME": "incidents"}
        )
    finished = site.finish(expect=3)
    assert finished.json["status"] == "failed"
    assert set(finished.json) >= KEYS
    assert finished.json["version"] == __version__
    assert (finished.json["sequence"], finished.json["last_execution_dtm"]) == (None, None), "nothing was read"
    (line,) = finished.stderr.splitlines()
    assert line.startswith("ERROR:incident_logger:Database connection error during incident processing: ")
    assert str(closed_port) in line
    assert "synthetic-Secret-9" not in finished.stdout + finished.stderr


@pytest.mark.parametrize("server", SERVERS)
def test_a_wrong_password(make_site: MakeSite, server: str) -> None:
    site = make_site(server, "sqlite")
    assert isinstance(site.source, ServerDatabase)
    login = site.source.server
    keys = {
        "URL": None,
        "MYSQL_HOST": "127.0.0.1",
        "MYSQL_PORT": login.port,
        "MYSQL_DATABASE": "incidents",
        "MYSQL_USER": login.user,
        "MYSQL_PASSWORD": PASSWORD,
    }
    site.command.configure(database=keys)
    finished = site.finish(expect=3)
    assert "MYSQL_PASSWORD" in finished.stderr
    assert PASSWORD not in finished.stdout + finished.stderr
    site.receiver.kill()
    examined = site.command("doctor")
    site.receiver.restart()
    assert examined.status == 3, "what a run would end with, though the receiver does not answer either"


# -- 4, 5 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tracking", ["sqlite", *SERVERS, "mongo"])
def test_a_second_runner_waits_for_nothing_and_a_killed_one_is_replaced_at_once(
    make_site: MakeSite, tracking: str
) -> None:
    site = make_site("sqlite", tracking)
    site.prepare()
    given_accounts(site, 40)
    site.command.configure(process={"lease_seconds": 3600, "chunk_accounts": 10}, api={"max_connections": 2})
    site.receiver.control(latency_ms=500)
    with site.command.started("run") as first:
        wait_until(site.requests)
        second = site.finish(expect=5)
        assert second.json["status"] == "locked"
        (said,) = second.messages("WARNING")
        assert "holds the lease" in said
        assert not first.has_ended
        assert first.kill().status == KILLED
    site.receiver.calm()
    third = site.finish()
    assert third.json["status"] == "completed"
    assert "taking over" in " ".join(third.messages("WARNING"))
    accounts = [row["account_num"] for row in site.accepted()]
    assert (len(accounts), len(set(accounts))) == (40, 40)


def test_who_finds_the_lease_taken_says_where_the_operation_stands(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mongo")
    site.customers({"ACCOUNT_NUM": "before", "LOAD_DATE": day(6)})
    before = site.run()
    earlier = len(site.requests())
    given_accounts(site, 80)
    site.command.configure(api={"max_connections": 2})
    site.receiver.control(latency_ms=500)
    with site.command.started("run") as first:
        wait_until(lambda: len(site.requests()) > earlier)
        report = site.finish(expect=5).json
        first.kill()
    where = ("sequence", "last_execution_dtm")
    assert [report[name] for name in where] == [before[name] for name in where]
    assert report["window"] == {"start": None, "end": None}
    assert report["rows"] == {"debt_cust_detail": 0, "debt_payment": 0}


def test_a_run_that_is_asked_to_end_ends_in_good_order(make_site: MakeSite) -> None:
    site = make_site("sqlite", "mongo")
    given_accounts(site, 60)
    site.command.configure(api={"max_connections": 2})
    site.receiver.control(latency_ms=200)
    with site.command.started("run", "--json") as running:
        wait_until(lambda: len(site.accepted()) >= 4)
        finished = running.terminate()
    assert finished.status == 4
    report = finished.json
    assert (report["status"], report["delivered"] + report["pending"]) == ("incomplete", 60)
    assert 0 < report["delivered"] == len(site.accepted())
    assert "SIGTERM" in report["message"]
    site.receiver.calm()
    assert site.run()["resumed"] == report["pending"]
    assert len({row["account_num"] for row in site.accepted()}) == len(site.accepted()) == 60


def test_the_operation_has_its_name_in_every_refusal(make_site: MakeSite) -> None:
    site = make_site()
    finished = site.command("run")
    assert finished.status == 6
    assert OPERATION in finished.stderr
