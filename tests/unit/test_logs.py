"""Logging: one line a record whatever the message holds, no personal data, the fixed wording of SPEC 7."""

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from docs_reference.events import calls, event_of
from hypothesis import given
from hypothesis import strategies as st

from incident_process.core import logs
from incident_process.core.logs import one_line, safe_json
from incident_process.core.models import Window

PERSONAL = "0771234567"
DOCUMENT = {
    "Account_Num": "0000123",
    "Arrears": 10.5,
    "Customer_Details": {
        "Customer_Name": PERSONAL,
        "Full_Address": PERSONAL,
        "Zip_Code": PERSONAL,
        "Nic": PERSONAL,
        "Company_Name": PERSONAL,
        "Company_Registry_Number": PERSONAL,
        "Email_Address": "",
        "Customer_Type": "Residential",
    },
    "Account_Details": {"Mobile_Contact_Tel": PERSONAL, "Daytime_Contact_Tel": PERSONAL, "Email_Address": PERSONAL},
    "Contact_Details": [{"Contact_Type": "mobile", "Contact": PERSONAL}, {"Contact_Type": "fix", "Contact": None}],
    "Product_Details": [{"Product_Id": "A1", "Service_Address": PERSONAL}],
}


@pytest.fixture(autouse=True)
def _logger_as_before() -> Iterator[None]:
    logger = logs.get_logger()
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def written(log_format: str, message: str, **arguments: object) -> str:
    stream = io.StringIO()
    logs.configure("DEBUG", log_format, stream)  # type: ignore[arg-type]
    logs.get_logger().error(message, **arguments)  # type: ignore[arg-type]
    return stream.getvalue()


def test_text_is_level_logger_message() -> None:
    assert written("text", "hello") == "ERROR:incident_logger:hello\n"


@pytest.mark.parametrize("log_format", ["text", "json"])
@given(message=st.text())
def test_a_record_is_always_one_line(log_format: str, message: str) -> None:
    lines = written(log_format, message.replace("%", "")).splitlines()
    assert len(lines) == 1


def test_a_message_can_neither_forge_a_line_nor_steer_a_terminal() -> None:
    assert written("text", "a\r\nINFO:x:b\x1b[2J\u2028c\ud800") == (
        "ERROR:incident_logger:a\\r\\nINFO:x:b\\x1b[2J\\u2028c\\ud800\n"
    )


def test_what_hides_or_turns_text_is_shown_as_an_escape() -> None:
    assert one_line("a\u202eb\u2066c\u200bd\ufeffe\u061cf\U000e0041") == (
        r"a\u202eb\u2066c\u200bd\ufeffe\u061cf\U000e0041"
    )
    kept = "ශ්\u200dරී 😀🏳️\u200d🌈 عربى e\u0301 \\x1b"
    assert one_line(kept) == kept


@given(value=st.text(st.characters(codec="utf-8")))
def test_json_for_a_terminal_is_the_same_json(value: str) -> None:
    text = safe_json(json.dumps({"a": value, "b": [value]}, ensure_ascii=False, indent=2))
    assert json.loads(text) == {"a": value, "b": [value]}
    assert one_line(text.replace("\n", "")) == text.replace("\n", "")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_exception_stays_on_the_line_of_its_record(log_format: str) -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        text = written(log_format, "failed", exc_info=True)
    assert len(text.splitlines()) == 1
    assert "ValueError: first\\nsecond" in text


def test_json_holds_the_fields_of_the_event() -> None:
    fields = {"run_id": "r1", "accounts": 3, "rate": float("nan"), "odd": object, "level": "mine", "bad": "\ud800"}
    event = json.loads(written("json", "chunk done", extra=fields))
    assert datetime.fromisoformat(event["ts"]).utcoffset() == timedelta(0)
    assert event["ts"].endswith("Z")
    assert (event["level"], event["logger"], event["message"]) == ("ERROR", "incident_logger", "chunk done")
    assert (event["run_id"], event["accounts"], event["rate"]) == ("r1", 3, None)
    assert event["odd"] == "<class 'object'>"


def test_json_names_the_operation_and_the_run_also_in_what_a_run_starts() -> None:
    stream = io.StringIO()
    logs.configure("INFO", "json", stream, operation="nightly")
    log = logs.get_logger()

    async def started() -> None:
        log.info("within", extra=logs.event("within", accounts=2))

    async def run() -> None:
        with logs.run_fields(operation="nightly", run_id="r1"):
            task = asyncio.ensure_future(started())
            await asyncio.to_thread(log.info, "in a thread")
        await task

    log.info("before")
    asyncio.run(run())
    log.info("after")
    lines = {line["message"]: line for line in map(json.loads, stream.getvalue().splitlines())}
    assert {message: (line["operation"], line.get("run_id")) for message, line in lines.items()} == {
        "before": ("nightly", None),
        "within": ("nightly", "r1"),
        "in a thread": ("nightly", "r1"),
        "after": ("nightly", None),
    }
    assert (lines["within"]["event"], lines["within"]["accounts"]) == ("within", 2)


def test_every_line_that_the_program_logs_names_its_event() -> None:
    found = list(calls())
    assert len(found) > 100
    without = [f"{file.name}:{call.lineno}" for file, _, call in found if event_of(call) is None]
    assert without == []


def test_configure_again_replaces_its_handler_only() -> None:
    other = logging.NullHandler()
    logs.get_logger().addHandler(other)
    first, second = io.StringIO(), io.StringIO()
    logs.configure("INFO", "text", first)
    logs.configure("WARNING", "text", second)
    logs.get_logger().info("too low")
    logs.get_logger().warning("seen")
    assert first.getvalue() == ""
    assert second.getvalue() == "WARNING:incident_logger:seen\n"
    assert other in logs.get_logger().handlers


def test_the_root_logger_does_not_show_records_again() -> None:
    root, stream = logging.getLogger(), io.StringIO()
    handler = logging.StreamHandler(stream)
    root.addHandler(handler)
    try:
        written("text", "once")
    finally:
        root.removeHandler(handler)
    assert stream.getvalue() == ""


def test_without_a_stream_the_present_stderr_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    logs.configure()
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    logs.get_logger().info("hello")
    assert later.getvalue() == "INFO:incident_logger:hello\n"


def test_mask_hides_every_personal_field_and_changes_nothing_else() -> None:
    masked = logs.mask(DOCUMENT)
    assert PERSONAL not in json.dumps(masked)
    assert PERSONAL in json.dumps(DOCUMENT), "the document itself stays as it is"
    assert masked["Customer_Details"]["Email_Address"] == ""
    assert masked["Customer_Details"]["Customer_Type"] == "Residential"
    assert masked["Contact_Details"] == [
        {"Contact_Type": "mobile", "Contact": "***"},
        {"Contact_Type": "fix", "Contact": None},
    ]
    assert masked["Product_Details"] == [{"Product_Id": "A1", "Service_Address": "***"}]
    masked["Contact_Details"].clear()
    assert len(DOCUMENT["Contact_Details"]) == 2  # type: ignore[arg-type]


def test_mask_body_shows_money_as_it_was_sent() -> None:
    assert logs.mask_body(b'{"Arrears":10.50,"Nic":"1"}') == '{"Arrears":10.50,"Nic":"***"}'


@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b'{"Nic":"\xff"}', b"[" * 5000])
def test_mask_body_shows_nothing_of_what_it_cannot_read(body: bytes) -> None:
    assert logs.mask_body(body) == f"({len(body)} bytes that are no JSON)"


def test_the_fixed_messages() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    end = datetime(2026, 1, 2, 5, 30, 0, 250000, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert logs.window_message(Window(start=start, end=end)) == (
        "Processing time window: 2026-01-01T00:00:00Z to 2026-01-02T00:00:00.250000Z"
    )
    assert logs.fetched_message(0, "debt_payment") == "Fetched 0 records from debt_payment."
    assert logs.fetched_message(1, "debt_cust_detail") == "Fetched 1 record from debt_cust_detail."
    assert logs.payload_message(logs.mask_body(b"{}")) == "Generated JSON payload: {}"
    assert logs.sending_message("http://127.0.0.1:8000/Request") == "Sending data to API: http://127.0.0.1:8000/Request"
    assert logs.SENT == "Successfully sent data to API."
    assert logs.updated_mongo_message(start) == "Updated MongoDB with newest timestamp: 2026-01-01T00:00:00Z"
    assert logs.updated_sql_message(start).startswith("Updated Process_Operation ")
    assert logs.NO_DATA == "No new data in the time window."
    assert logs.connection_error_message("refused") == "Database connection error during incident processing: refused"


def test_sending_shows_no_credential_of_the_address() -> None:
    assert (
        logs.sending_message("https://me:secret@host:1/p?token=secret#secret")
        == "Sending data to API: https://host:1/p"
    )


@pytest.mark.parametrize(("option", "lines"), [((), 0), (("-W", "default"), 2)])
def test_what_a_library_says_is_no_line_of_a_command(option: tuple[str, ...], lines: int) -> None:
    code = (
        "import logging, warnings; from incident_process.cli.commands import execute; execute(['--version']); "
        "logging.getLogger('library').error('x'); warnings.warn('y')"
    )
    done = subprocess.run([sys.executable, *option, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stderr.splitlines()) == lines, done.stderr
