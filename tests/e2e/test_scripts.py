"""The names that the team's scripts use (SPEC 9), in this process, against real databases and a real receiver."""

import json
import logging
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest

import incident_process
from incident_process import (
    APIConfigError,
    ConfigurationError,
    DatabaseConnectionError,
    DataProcessingError,
    IncidentCreationError,
    ProcessOperation,
    Settings,
    create_incident,
    get_logger,
    get_mongo_collection,
    get_mysql_connection,
    read_api_config,
    run_window,
)
from incident_process.core.errors import IncidentProcessError, LeaseHeldError, LeaseLostError, OperationRefusedError
from incident_process.core.models import NEVER
from tests.e2e.conftest import OPERATION, SERVERS, MakeSite, ServerDatabase, Site, day
from tests.e2e.test_hostile import SCHEMA
from tests.support.command import wait_until

ACCOUNT = "0000003746"
NO_CUSTOMER = "0000000009"
MAX_ID = 2**53 - 1


@pytest.fixture(autouse=True)
def quiet_logger() -> Iterator[None]:
    """Leave the logger as it was, and let pytest see what it says."""
    logger = get_logger()
    before = (list(logger.handlers), logger.propagate, logger.level)
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.DEBUG)
    yield
    logger.handlers, logger.propagate = before[0], before[1]
    logger.setLevel(before[2])


def enter(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Stand in the site's folder, where the scripts find its configuration, with one account in the source."""
    monkeypatch.chdir(site.command.folder)
    monkeypatch.delenv("INCIDENT_PROCESS_CONFIG", raising=False)
    old = {"ACCOUNT_NUM": ACCOUNT, "ASSET_ID": "A1", "OUTSTANDING": "1.00", "LOAD_DATE": day(9)}
    new = {
        "CONTACT_PERSON": "Synthetic Person",
        "MOBILE_CONTACT": "0770000000",
        "OUTSTANDING": "100.50",
        "LOAD_DATE": day(5),
    }
    site.customers(old, old | new)
    site.payments(
        {
            "AP_ACCOUNT_NUMBER": ACCOUNT,
            "ACCOUNT_PAYMENT_SEQ": 7,
            "AP_ACCOUNT_PAYMENT_MNY": "12.30",
            "ACCOUNT_PAYMENT_DAT": f"{day(6)} 08:00:00",
            "LOAD_DATE": f"{day(5)} 09:00:00",
        },
        {"AP_ACCOUNT_NUMBER": NO_CUSTOMER, "ACCOUNT_PAYMENT_SEQ": 1, "LOAD_DATE": f"{day(5)} 09:00:00"},
    )
    return site


@pytest.fixture(params=SERVERS)
def sql_site(request: pytest.FixtureRequest, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Source and state on one server, each product's in turn."""
    site = enter(make_site(request.param, request.param), monkeypatch)
    site.prepare()
    return site


@pytest.fixture
def mongo_site(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Source in MariaDB, state on the Mongo-wire server."""
    return enter(make_site("mariadb", "mongo"), monkeypatch)


@pytest.fixture
def small_site(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Source and state in SQLite."""
    site = enter(make_site(), monkeypatch)
    site.prepare()
    return site


# -- run_window -------------------------------------------------------------------------------------------------------


def test_run_window(mongo_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    report = run_window(Settings.load())
    assert (report.status, report.sequence, report.counts.delivered, report.counts.skipped) == ("completed", 1, 1, 1)
    assert (report.rows["debt_cust_detail"], report.accounts, report.delivered, report.skipped) == (2, 2, 1, 1)
    assert (report.unchanged, report.dead, report.pending) == (0, 0, 0)
    assert report.last_execution_dtm == report.last_execution > NEVER
    assert "Fetched 2 records from debt_cust_detail." in caplog.messages
    assert run_window(Settings.load()).status == "no_data"
    assert [row["account_num"] for row in mongo_site.accepted()] == [ACCOUNT]


def test_run_window_says_how_far_it_came(small_site: Site) -> None:
    small_site.command.configure(database={"URL": "mysql://u:synthetic-secret@127.0.0.1:9/none"})
    with pytest.raises(DatabaseConnectionError) as caught:
        run_window(Settings.load())
    assert "synthetic-secret" not in str(caught.value)
    assert caught.value.exit_status == 3


PLAIN_SCRIPT = """
import stamina
from incident_process import DatabaseConnectionError, ProcessOperation, Settings, create_incident, run_window

for call in (lambda: run_window(Settings.load()), create_incident("1", 1).process_incident, ProcessOperation().gate):
    try:
        call()
    except DatabaseConnectionError:
        print("down")
results = iter([False, True])


@stamina.retry(on=AssertionError, wait_initial=0.01)
def own():
    assert next(results)


own()
"""


def test_a_script_without_logging_hears_of_its_own_retries_only(small_site: Site) -> None:
    small_site.command.configure(database={"URL": "mysql://u:synthetic-secret@127.0.0.1:9/none"})
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_SCRIPT],
        cwd=small_site.command.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["down"] * 3
    assert done.stderr.count("stamina.retry_scheduled") == 1


def test_what_a_statement_was_given_is_not_logged(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """MariaDB warns of a number that its column cannot hold, and asyncmy logs what it says."""
    enter(make_site("mariadb", account_type="BIGINT"), monkeypatch)
    with pytest.raises(DataProcessingError):
        create_incident("synthetic", 1).read_customer_details()
    assert "synthetic" not in caplog.text


# -- create_incident --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "account",
    [
        None,
        "",
        "   ",
        True,
        b"123",
        [],
        {},
        1.5,
        Decimal(1),
        "9" * 256,
        10**255,
        pytest.param(10**5000, id="long"),
        "\ud800",
    ],
)
def test_create_incident_wants_an_account(account: object) -> None:
    with pytest.raises(ValueError, match="account_num must be"):
        create_incident(account, 1)


def test_create_incident_keeps_the_account_as_it_is() -> None:
    for account in ("0000003746", "x" * 255, " 7", 3746, 10**255 - 1):
        incident = create_incident(account, "9")
        assert (incident.account_num, incident.incident_id) == (str(account), 9)
        assert incident.mongo_data["Account_Num"] == str(account)


@pytest.mark.parametrize(
    "incident_id",
    [None, "", "abc", 0, -1, 1.5, True, MAX_ID + 1, " 7 ", "7\n", "+7", "1_0", "\u0661", "9" * 5000, b"7", Decimal(7)],
)
def test_create_incident_wants_an_id(incident_id: object) -> None:
    with pytest.raises(ValueError, match="incident_id"):
        create_incident(ACCOUNT, incident_id)


def test_the_steps_of_create_incident(sql_site: Site) -> None:
    incident = create_incident(ACCOUNT, "42")
    assert (incident.account_num, incident.incident_id) == (ACCOUNT, 42)
    assert create_incident(3746, MAX_ID).account_num == "3746"
    blank = incident.initialize_mongo_doc()
    jsonschema.Draft202012Validator(SCHEMA).validate(blank)
    assert (blank["Account_Num"], blank["Incident_Id"], blank["Contact_Details"]) == (ACCOUNT, 42, [])
    assert incident.mongo_data == blank

    assert incident.read_customer_details() == "success"
    assert incident.mongo_data["Arrears"] == Decimal("100.50")
    assert incident.mongo_data["Customer_Details"]["Customer_Name"] == "Synthetic Person"
    assert incident.mongo_data["Last_Actions"][0]["Payment_Seq"] == 0
    assert incident.get_payment_data() == "success"
    assert incident.mongo_data["Last_Actions"][0]["Payment_Seq"] == 7

    text = incident.format_json_object()
    assert '"Payment_Money": 12.30' in text
    incident.mongo_data["Rejected_Dtm"] = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    incident.mongo_data["Contact_Details"][0]["Create_Dtm"] = date(2026, 1, 2)
    dated = json.loads(incident.format_json_object())
    assert dated["Rejected_Dtm"] == "2026-01-02T03:04:05.678Z"
    assert dated["Contact_Details"][0]["Create_Dtm"] == "2026-01-02T00:00:00.000Z"
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))
    assert "Synthetic Person" not in repr(incident)
    assert sql_site.requests() == []


def test_its_document_is_that_of_a_run(sql_site: Site) -> None:
    incident = create_incident(ACCOUNT, secrets.randbelow(10**9) + 1)  # others share the receiver
    assert incident.process_incident() is True
    assert sql_site.run()["delivered"] == 1
    one, other = (json.loads(row["body"], parse_float=Decimal) for row in sql_site.accepted())
    assert one.keys() == other.keys()
    for body in (one, other):
        for name in [name for name in body if name.endswith(("_Dtm", "_On", "updatedAt")) or name == "Incident_Id"]:
            del body[name]
        for cross in body["Account_Cross_Details"]:
            del cross["Incident_Id"]
    assert one == other
    keys = {row["idempotency_key"] for row in sql_site.accepted()}
    assert len(keys) == 1  # a receiver that honours keys takes the content once


def test_a_period_ends_where_it_is_told_to(sql_site: Site) -> None:
    incident = create_incident(ACCOUNT, 1)
    assert incident.read_customer_details(None, datetime.now(UTC) - timedelta(days=7)) == "success"
    assert incident.mongo_data["Arrears"] == Decimal("1.00")
    assert incident.get_payment_data() == "failure"
    assert incident.get_payment_data(None, datetime.now(UTC)) == "success"
    assert incident.mongo_data["Last_Actions"][0]["Payment_Seq"] == 7
    assert incident.get_payment_data(day(9), day(7)) == "failure"
    assert incident.mongo_data["Last_Actions"][0]["Payment_Seq"] == 0
    with pytest.raises(ValueError, match="time_period_end"):
        incident.get_payment_data(None, "yesterday")


@pytest.mark.parametrize(
    ("end", "arrears"),
    [
        (day(6), "1.00"),
        (date.fromisoformat(day(6)), "1.00"),
        (f"{day(6)}T23:59:59", "1.00"),
        (f"{day(6)}T18:29:59Z", "1.00"),
        (f"{day(6)}T18:30:00Z", "100.50"),
        (datetime.fromisoformat(f"{day(5)} 00:00:00"), "100.50"),
        (day(5), "100.50"),
    ],
)
def test_a_period_may_be_given_as_text(small_site: Site, end: Any, arrears: str) -> None:
    small_site.command.configure(process={"source_timezone": "Asia/Colombo"})
    incident = create_incident(ACCOUNT, 1)
    assert incident.read_customer_details("1900-01-01", end) == "success"
    assert incident.mongo_data["Arrears"] == Decimal(arrears)
    assert small_site.requests() == []


@pytest.mark.parametrize(
    "period",
    [(None, "yesterday"), (None, ""), (None, "2026-02-30"), ("soon", None), (None, 1767225600), (None, "0001-01-01")],
)
def test_a_period_that_is_none(small_site: Site, period: tuple[Any, Any]) -> None:
    incident = create_incident(ACCOUNT, 1)
    for step in (incident.read_customer_details, incident.get_payment_data, incident.process_incident):
        with pytest.raises(ValueError, match=r"time_period_(start|end) "):
            step(*period)
    assert small_site.requests() == []


def test_an_account_that_makes_no_incident(small_site: Site) -> None:
    for account in (NO_CUSTOMER, "unknown"):
        incident = create_incident(account, 1)
        for step in (incident.process_incident, incident.read_customer_details, incident.get_payment_data):
            with pytest.raises(DataProcessingError, match="customer row"):
                step()
    assert small_site.requests() == []


def test_json_serializer() -> None:
    serialize = create_incident(ACCOUNT, 1).json_serializer
    assert serialize(datetime(2026, 1, 2, 3, 4, 5, 678_000)) == "2026-01-02T03:04:05.678Z"  # noqa: DTZ001
    assert serialize(date(2026, 1, 2)) == "2026-01-02T00:00:00.000Z"
    assert serialize(Decimal("10.50")) == 10.5
    assert serialize(None) == ""
    with pytest.raises(TypeError, match="set"):
        serialize({1})


def test_a_payload_that_breaks_the_contract_is_not_sent(small_site: Site) -> None:
    incident = create_incident(ACCOUNT, 1)
    incident.read_customer_details()
    incident.mongo_data["Arrears"] = "much"
    with pytest.raises(DataProcessingError, match="Arrears"):
        incident.format_json_object()
    with pytest.raises(DataProcessingError):
        incident.send_to_api("{}")
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    for payload in ("no json", "\ud800", b"\xff", b"", {}, {"Arrears": object()}, loop):
        with pytest.raises(DataProcessingError):
            incident.send_to_api(payload)
    for other in (17, ["{}"], object()):
        with pytest.raises(ValueError, match="json_payload must be a document"):
            incident.send_to_api(other)  # type: ignore[arg-type]  # what a script may give
    assert small_site.requests() == []


def test_a_payload_may_be_text_bytes_or_a_dict(small_site: Site) -> None:
    forms: list[Callable[[str], Any]] = [str, str.encode, lambda text: bytearray(text.encode()), json.loads]
    for number, form in enumerate(forms, start=31):
        incident = create_incident(ACCOUNT, number)
        incident.read_customer_details()
        assert incident.send_to_api(form(incident.format_json_object())) is True
    incident = create_incident(ACCOUNT, 35)
    incident.read_customer_details()
    assert incident.send_to_api(incident.mongo_data) is True
    assert [row["incident_id"] for row in small_site.accepted()] == [31, 32, 33, 34, 35]
    assert len({row["idempotency_key"] for row in small_site.accepted()}) == 1


def test_what_the_receiver_turns_away(small_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    small_site.command.configure(api={"max_attempts": 2})
    small_site.receiver.control(fail_accounts={ACCOUNT: 422})
    with pytest.raises(IncidentCreationError, match="422"):
        create_incident(ACCOUNT, 11).process_incident()
    small_site.receiver.control(fail_accounts={}, drop_next=1)
    incident = create_incident(ACCOUNT, 12)
    incident.read_customer_details()
    assert incident.send_to_api() is True  # the answer was lost, the repetition met a 409
    assert [row["incident_id"] for row in small_site.accepted()] == [12]
    with pytest.raises(IncidentCreationError, match="409"):
        create_incident(ACCOUNT, 12).process_incident()  # the id is in use
    assert "Synthetic Person" not in caplog.text
    assert "Successfully sent data to API." in caplog.messages


def test_another_url_gets_no_credentials(small_site: Site) -> None:
    elsewhere = small_site.receiver.url
    small_site.command.configure(api={"api_url": "http://127.0.0.1:9/", "bearer_token": "synthetic-token"})
    incident = create_incident(ACCOUNT, 21)
    incident.read_customer_details()
    assert incident.send_to_api(incident.format_json_object(), elsewhere) is True
    assert [row["incident_id"] for row in small_site.accepted()] == [21]


# -- connections and configuration ------------------------------------------------------------------------------------


def test_get_mysql_connection(sql_site: Site) -> None:
    with get_mysql_connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM debt_cust_detail WHERE ACCOUNT_NUM = %s", (ACCOUNT,))
        assert cursor.fetchone() == (2,)
    sql_site.command.configure(database={"URL": "mysql://u:synthetic-secret@127.0.0.1:9/none"})
    with pytest.raises(DatabaseConnectionError) as caught:
        get_mysql_connection()
    assert "synthetic-secret" not in str(caught.value)
    sql_site.command.configure(database={"URL": "sqlite:///source.db"})
    with pytest.raises(ConfigurationError, match="SQLite"):
        get_mysql_connection()


@pytest.mark.parametrize("password", ["gr\u00fcn", "\u0dc3\u0dd2\u20ac"])
def test_get_mysql_connection_takes_any_password(sql_site: Site, password: str) -> None:
    assert isinstance(sql_site.source, ServerDatabase)
    server = sql_site.source.server
    with server.connect(None) as root, root.cursor() as cursor:
        cursor.execute("DROP USER IF EXISTS 'foreign'@'%'")
        cursor.execute("CREATE USER 'foreign'@'%%' IDENTIFIED BY %s", (password,))
        cursor.execute("GRANT SELECT ON *.* TO 'foreign'@'%'")
    database = sql_site.source.url.rpartition("/")[2]
    url = f"mysql://foreign:{quote(password)}@{server.host}:{server.port}/{database}"
    sql_site.command.configure(database={"URL": url})
    with get_mysql_connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER()")
        assert cursor.fetchone() == ("foreign@%",)


def test_get_mongo_collection(mongo_site: Site) -> None:
    collection = get_mongo_collection("Process_Operation")
    try:
        assert collection.find_one({}) is None
        assert mongo_site.run()["sequence"] == 1
        found = collection.find_one({"Operation_name": OPERATION})
        assert found is not None
        assert found["Last_execution_dtm"].tzinfo is not None
    finally:
        collection.database.client.close()


def test_get_mongo_collection_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INCIDENT_PROCESS_CONFIG", raising=False)
    wrong = {"h:abc/": "a port", "user:synthetic:secret@h/": "no address", "h/?tlsCAFile=/nowhere": "a file"}
    for url, said in wrong.items():
        (tmp_path / "DB_Config.ini").write_text(f"[MONGODB]\nMONGO_URL = mongodb://{url}\nDATABASE_NAME = d\n")
        with pytest.raises(ConfigurationError, match=rf"\[MONGODB\] MONGO_URL.* {said}") as caught:
            get_mongo_collection("Process_Operation")
        assert "secret" not in str(caught.value)
    (tmp_path / "DB_Config.ini").write_text("[MONGODB]\nMONGO_URL = mongodb://127.0.0.1:1/\nDATABASE_NAME = d\n")
    with pytest.raises(DatabaseConnectionError, match=r"MongoDB at 127\.0\.0\.1:1: .*does not answer"):
        get_mongo_collection("Process_Operation")


def test_read_api_config(small_site: Site) -> None:
    assert read_api_config() == small_site.receiver.url
    for wrong in (None, "receiver", "ftp://receiver/"):
        small_site.command.configure(api={"api_url": wrong})
        with pytest.raises(APIConfigError, match="api_url"):
            read_api_config()


def test_each_needs_its_own_section_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INCIDENT_PROCESS_CONFIG", raising=False)
    asked: dict[str, Callable[[], object]] = {
        "API": read_api_config,
        "DATABASE": get_mysql_connection,
        "MONGODB": lambda: get_mongo_collection("Process_Operation"),
    }
    (tmp_path / "DB_Config.ini").write_text("[PROCESS]\ntracking = nowhere\n")
    for section, ask in asked.items():
        with pytest.raises(ConfigurationError) as caught:
            ask()
        assert {line.split(": ")[1].split("] ")[0] for line in str(caught.value).splitlines()} == {f"[{section}"}
    (tmp_path / "DB_Config.ini").write_text("[API]\napi_url = http://h/x\n")
    assert read_api_config() == "http://h/x"


def test_get_logger() -> None:
    assert get_logger().name == "incident_logger"
    assert get_logger("another") is logging.getLogger("another")


def test_the_errors_have_one_base() -> None:
    for name in ("APIConfigError", "IncidentCreationError", "DatabaseConnectionError", "DataProcessingError"):
        assert issubclass(getattr(incident_process, name), IncidentProcessError)


# -- ProcessOperation -------------------------------------------------------------------------------------------------


def test_process_operation(sql_site: Site) -> None:
    operation = ProcessOperation()
    window = operation.gate()
    assert window is not None
    assert window.start == datetime(1900, 1, 1, tzinfo=UTC)
    before = sql_site.operation()
    assert operation.update(window) == 1
    after = sql_site.operation()
    assert after["Last_execution_dtm"].replace(tzinfo=UTC) == window.end
    assert after["Next_execution_dtm"].replace(tzinfo=UTC) == window.end + timedelta(minutes=60)
    assert (after["created_dtm"], after["end_dtm"]) == (before["created_dtm"], None)
    assert operation.gate() is None  # not due
    with pytest.raises(ValueError, match="no run is due"):
        operation.update(None)
    with pytest.raises(LeaseLostError):
        operation.update(window)  # it is closed already
    assert sql_site.operation() == after

    sql_site.make_due()
    again = operation.gate()
    assert again is not None
    assert operation.update(again, new_data=False) == 1
    assert sql_site.operation()["Last_execution_dtm"] == after["Last_execution_dtm"]


def test_process_operation_refuses(sql_site: Site) -> None:
    with pytest.raises(OperationRefusedError, match="inactive"):
        ProcessOperation("Another").gate()
    assert sql_site.state is not None
    sql_site.state.sql("UPDATE Process_Operation SET end_dtm = '2026-01-01 00:00:00'")
    with pytest.raises(OperationRefusedError, match="terminated"):
        ProcessOperation().gate()


def test_process_operation_waits_for_a_runner(sql_site: Site) -> None:
    sql_site.receiver.control(latency_ms=1500)
    window: Any = ProcessOperation().gate()
    with sql_site.command.started("run") as running:
        wait_until(sql_site.requests)
        with pytest.raises(LeaseHeldError):
            ProcessOperation().update(window)
        assert running.wait().status == 0


def test_process_operation_is_for_sql_tracking(mongo_site: Site) -> None:
    assert mongo_site.mongo is not None
    with pytest.raises(ConfigurationError, match="tracking"):
        ProcessOperation()
