"""The receiver keeps the field's contract, over real sockets, and tells the truth about what it stored (SPEC 5, 7)."""

import hashlib
import http.client
import io
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from incident_process.cli.commands import app
from incident_process.core.errors import ConfigurationError
from incident_process.document.contract import incident_schema
from incident_process.sandbox.receiver import INCIDENT_PATH, Faults, export, summary
from incident_process.sandbox.receiver.faults import Dice, Fault
from incident_process.sandbox.receiver.receiver_server import serve
from tests.support.command import wait_until
from tests.support.receivers import ReceiverHandle, start_receiver

STAMP = "2024-05-06T07:08:09.000Z"


def incident(number: int | None, account: Any = "0000000001", **changes: Any) -> dict[str, Any]:
    """The smallest body that keeps the contract."""
    body: dict[str, Any] = {
        "Doc_Version": 1.0,
        "Incident_Id": number,
        "Account_Num": account,
        "Customer_Ref": "C1",
        "Arrears": 10.5,
        "Bss_Arrears_Amount": 10.5,
        "Last_Bss_Reading_Date": STAMP,
        "Created_By": "drs_admin",
        "Created_Dtm": STAMP,
        "Arrears_Band": "",
        "Contact_Details": [],
        "Product_Details": [],
        "Customer_Details": {
            "Customer_Name": "",
            "Full_Address": "",
            "Zip_Code": "",
            "Customer_Type_Id": 0,
            "Customer_Type": "",
        },
        "Account_Details": {
            "Account_Status": "",
            "Acc_Effective_Dtm": STAMP,
            "Credit_Class_Id": 0,
            "Credit_Class_Name": "",
            "Billing_Centre": "",
            "Customer_Segment": "",
        },
        "Last_Actions": [],
        "Marketing_Details": [],
    }
    return body | changes


class Reply:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()
        self.json: Any = json.loads(self.body) if self.headers["Content-Type"] == "application/json" else None


class Client:
    """Posts over one kept connection, by code that is not the program's."""

    def __init__(self, receiver: ReceiverHandle, timeout: float = 10) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=timeout)

    def send(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        try:
            self.connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            return Reply(self.connection.getresponse())
        except BaseException:
            self.connection.close()
            raise

    def post(self, body: Any, key: str | None = None) -> Reply:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", INCIDENT_PATH, content, {"Idempotency-Key": key} if key else None)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ReceiverHandle]:
    with start_receiver(tmp_path) as handle:
        yield handle


@pytest.fixture
def client(receiver: ReceiverHandle) -> Iterator[Client]:
    client = Client(receiver)
    with closing(client.connection):
        yield client


def stored_ids(receiver: ReceiverHandle) -> list[int]:
    return [row["incident_id"] for row in receiver.accepted()]


def logged(receiver: ReceiverHandle) -> list[tuple[int, str | None]]:
    return [(row["answer"], row["fault"]) for row in receiver.requests()]


# -- the contract --------------------------------------------------------------------------------------------------


def test_an_incident_is_created_once_and_a_known_id_is_a_conflict(receiver: ReceiverHandle, client: Client) -> None:
    body = json.dumps(incident(7)).encode()
    first = client.post(body, key="k-1")
    again = client.post(incident(7, account="other"))
    assert (first.status, first.json) == (201, {"Incident_Id": 7, "message": "Incident created successfully"})
    assert first.headers["Content-Type"] == "application/json"
    assert again.status == 409
    assert list(again.json) == ["detail"]
    (row,) = receiver.accepted()
    assert row["body"] == body
    assert (row["incident_id"], row["account_num"], row["idempotency_key"]) == (7, "0000000001", "k-1")
    assert row["received_at"].endswith("Z")
    assert logged(receiver) == [(201, None), (409, None)]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", '$: "Doc_Version" is a required property'),
        (b"", "$: the body is no JSON"),
        (b'{"Incident_Id": 7', "$: the body is no JSON"),
        (b'{"Incident_Id": "\xff"}', "$: the body is no JSON"),
        (b"[1]", "$: the body must be a JSON object"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "$"),
        (b"[" * 100_000, "$: the body is nested too deeply"),
        (incident(None), "$.Incident_Id: an integer from 1 to"),
        (incident(0), "$.Incident_Id: an integer from 1 to"),
        (incident(2**53), "$.Incident_Id: an integer from 1 to"),
        (incident(10**30), "$.Incident_Id: an integer from 1 to"),
        ({k: v for k, v in incident(1).items() if k != "Incident_Id"}, "$.Incident_Id: an integer from 1 to"),
        (incident(1, Last_Bss_Reading_Date="2024-02-30 Galle"), '$.Last_Bss_Reading_Date: the value is not a "date-ti'),
        (incident(1, Account_Num=4711), '$.Account_Num: the value is not of type "string"'),
        (
            incident(1, Contact_Details=[{"Contact_Type": "Galle", "Contact": "", "Create_Dtm": STAMP}]),
            "$.Contact_Details[0].Contact_Type: the value is not one of",
        ),
    ],
)
def test_a_body_that_breaks_the_contract_is_named_but_never_quoted(
    receiver: ReceiverHandle, client: Client, body: Any, said: str
) -> None:
    reply = client.post(body)
    assert reply.status == 422
    assert said in reply.json["detail"]
    assert "Galle" not in reply.json["detail"]
    assert "4711" not in reply.json["detail"]
    assert receiver.accepted() == []
    assert [row["answer"] for row in receiver.requests()] == [422]


def test_the_largest_id_and_hostile_text_are_taken_as_they_are(receiver: ReceiverHandle, client: Client) -> None:
    body = json.dumps(incident(2**53 - 1, account="0'\";\u0000😀"), ensure_ascii=False).encode()
    assert client.post(body).status == 201
    assert receiver.accepted()[0]["body"] == body
    assert receiver.accepted()[0]["account_num"] == "0'\";\u0000😀"


def test_every_property_that_the_schema_requires_is_required(client: Client) -> None:
    for name in json.loads(incident_schema())["required"]:
        body = incident(1)
        del body[name]
        reply = client.post(body)
        assert (reply.status, reply.json["detail"]) == (422, f'$: "{name}" is a required property')


def test_empty_notices_are_logged_without_an_account(receiver: ReceiverHandle, client: Client) -> None:
    client.post(b"{}")
    (row,) = receiver.requests()
    assert (row["incident_id"], row["account_num"], row["answer"], row["fault"]) == (None, None, 422, None)


def test_bodies_up_to_ten_megabytes(receiver: ReceiverHandle, client: Client) -> None:
    spare = 10 * 1024 * 1024 - len(json.dumps(incident(1, Remark="")).encode())
    assert client.post(incident(1, Remark="x" * spare)).status == 201
    assert client.post(incident(2, Remark="x" * (spare + 1))).status == 413
    assert client.post(incident(3)).status == 201
    assert stored_ids(receiver) == [1, 3]
    assert [row["answer"] for row in receiver.requests()] == [201, 413, 201]


def test_other_addresses_and_methods(client: Client) -> None:
    assert client.send("POST", "/elsewhere", b"{}").status == 404
    assert client.send("GET", INCIDENT_PATH).status == 405
    assert client.send("GET", INCIDENT_PATH).headers["Allow"] == "POST"
    assert client.send("PUT", INCIDENT_PATH, b"{}").status == 405
    assert client.send("POST", "/healthz", b"{}").status == 405
    healthy = client.send("GET", "/healthz")
    assert (healthy.status, healthy.json) == (200, {"status": "ok"})


# -- faults --------------------------------------------------------------------------------------------------------


def test_the_next_requests_fail_then_all_is_well(receiver: ReceiverHandle, client: Client) -> None:
    moment = "Wed, 21 Oct 2026 07:28:00 GMT"
    receiver.control(fail_next=2, fail_status=429, retry_after=moment)
    replies = [client.post(incident(1)) for _ in range(3)]
    assert [reply.status for reply in replies] == [429, 429, 201]
    assert [reply.headers["Retry-After"] for reply in replies] == [moment, moment, None]
    assert logged(receiver) == [(429, "fail"), (429, "fail"), (201, None)]
    assert receiver.faults()["fail_next"] == 0


def test_a_dropped_request_is_stored_and_its_retry_is_a_conflict(receiver: ReceiverHandle, client: Client) -> None:
    receiver.control(drop_next=1)
    with pytest.raises(http.client.RemoteDisconnected):
        client.post(incident(1), key="k")
    assert stored_ids(receiver) == [1]
    assert client.post(incident(1), key="k").status == 409
    assert logged(receiver) == [(0, "drop"), (409, None)]


def test_a_rejected_connection_stores_nothing(receiver: ReceiverHandle, client: Client) -> None:
    receiver.control(reject_before_rate=1)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        client.post(incident(1))
    receiver.calm()
    assert stored_ids(receiver) == []
    assert client.post(incident(1)).status == 201
    assert logged(receiver) == [(0, "reject_before"), (201, None)]


def test_a_stalled_request_is_stored_and_never_answered(receiver: ReceiverHandle) -> None:
    receiver.control(stall_rate=1)
    impatient = Client(receiver, timeout=0.5)
    with pytest.raises(TimeoutError):
        impatient.post(incident(1))
    assert stored_ids(receiver) == [1]
    assert logged(receiver) == [(0, "stall")]


def test_known_keys_are_honoured_on_request(receiver: ReceiverHandle, client: Client) -> None:
    client.post(incident(1), key="k")
    receiver.control(honour_keys=True)
    replay = client.post(incident(2), key="k")
    assert (replay.status, replay.json["Incident_Id"]) == (201, 1)
    assert client.post(incident(3), key="other").status == 201
    assert client.post(incident(4)).status == 201
    assert client.post(incident(1)).status == 409
    assert stored_ids(receiver) == [1, 3, 4]
    assert logged(receiver)[1] == (201, "honour_keys")


def test_an_account_can_fail_for_good_while_others_succeed(receiver: ReceiverHandle, client: Client) -> None:
    receiver.control(fail_accounts={"0000000002": 500, "0000000003": 404})
    assert client.post(incident(1, "0000000002")).status == 500
    assert client.post(incident(1, "0000000003")).status == 404
    assert client.post(incident(1, "0000000001")).status == 201
    assert logged(receiver)[0] == (500, "fail_account")


def test_answers_come_late_when_told_so_but_are_stored_at_once(receiver: ReceiverHandle, client: Client) -> None:
    receiver.control(latency_ms=400, jitter_ms=50)
    begun = time.monotonic()
    sender = threading.Thread(target=client.post, args=(incident(1),))
    sender.start()
    while not receiver.accepted():
        assert time.monotonic() - begun < 5
        time.sleep(0.01)
    assert sender.is_alive()
    sender.join()
    assert 0.4 <= time.monotonic() - begun < 5


def test_rates_hold_and_a_seed_repeats_them() -> None:
    def draw() -> list[Fault | None]:
        dice = Dice(Faults(fail_rate=0.25, drop_rate=0.25, reject_before_rate=0.1, stall_rate=0.1, seed=5))
        return [dice.roll(None) for _ in range(4000)]

    drawn = draw()
    assert drawn == draw()
    for fault, rate in ((Fault.FAIL, 0.25), (Fault.DROP, 0.25), (Fault.REJECT_BEFORE, 0.1), (Fault.STALL, 0.1)):
        assert drawn.count(fault) / 4000 == pytest.approx(rate, abs=0.03)


def test_a_business_rule_refuses_by_account_with_its_own_words(receiver: ReceiverHandle, client: Client) -> None:
    receiver.control(refuse_accounts={"0000000002": 500, "0000000003": 200}, refuse_text="already in open cases")
    refused = client.post(incident(1, "0000000002"))
    assert (refused.status, refused.json) == (500, {"detail": "already in open cases"})
    refused = client.post(incident(1, "0000000003"))
    assert (refused.status, refused.json) == (200, {"success": False, "message": "already in open cases"})
    assert client.post(incident(1, "0000000001")).status == 201
    assert logged(receiver)[:2] == [(500, "refuse"), (200, "refuse")]


def test_a_share_of_the_accounts_is_refused_and_always_the_same_ones(receiver: ReceiverHandle, client: Client) -> None:
    receiver.control(refuse_share=0.33, refuse_status=422)
    accounts = [f"{number:010d}" for number in range(60)]
    answers = [
        [client.post(incident(turn * 100 + at, name)).status for at, name in enumerate(accounts, 1)] for turn in (0, 1)
    ]
    assert answers[0] == answers[1]
    assert 10 <= answers[0].count(422) <= 30
    assert set(answers[0]) == {201, 422}


@pytest.mark.parametrize("kind", ["second", "sliding", "bucket"])
@pytest.mark.parametrize(("status", "asked"), [(429, None), (429, "1"), (503, "0")])
def test_only_so_many_a_second_are_taken(
    receiver: ReceiverHandle, client: Client, kind: str, status: int, asked: str | None
) -> None:
    receiver.control(rate_limit=5, rate_kind=kind, rate_burst=5, rate_status=status, rate_retry_after=asked)
    begun = time.monotonic()
    answers = [client.post(incident(number)) for number in range(1, 41)]
    seconds = time.monotonic() - begun
    taken = sum(answer.status == 201 for answer in answers)
    assert 5 <= taken <= 5 * (seconds + 2)
    turned_away = [answer for answer in answers if answer.status != 201]
    assert {answer.status for answer in turned_away} == {status}
    assert {answer.headers.get("Retry-After") for answer in turned_away} == {asked}
    assert len(stored_ids(receiver)) == taken


def test_workers_have_a_queue_before_them(receiver: ReceiverHandle) -> None:
    receiver.control(workers=2, work_ms=100)
    begun = time.monotonic()
    answers = all_at_once(receiver, 10)
    assert time.monotonic() - begun >= 0.5
    assert answers == [201] * 10


def test_who_finds_no_place_in_the_queue_is_told_so(receiver: ReceiverHandle) -> None:
    receiver.control(workers=1, work_ms=1000, queue=2)
    answers = all_at_once(receiver, 8)
    assert (answers.count(201), answers.count(503)) == (3, 5)
    assert (503, "busy") in logged(receiver)


def all_at_once(receiver: ReceiverHandle, count: int) -> list[int]:
    def post(number: int) -> int:
        client = Client(receiver)
        with closing(client.connection):
            return client.post(incident(number)).status

    with ThreadPoolExecutor(count) as pool:
        return sorted(pool.map(post, range(1, count + 1)))


@pytest.mark.parametrize("status", [400, 502])
def test_a_proxy_answers_everybody_in_html(receiver: ReceiverHandle, client: Client, status: int) -> None:
    receiver.control(proxy_status=status)
    answer = client.post(incident(1))
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html")
    assert answer.body.startswith(b"<html>")
    assert logged(receiver) == [(status, "proxy")]
    receiver.calm()
    assert client.post(incident(1)).status == 201


def test_a_proxy_lets_no_large_body_through(receiver: ReceiverHandle, client: Client) -> None:
    receiver.control(proxy_body_bytes=100)
    assert client.post(incident(1)).status == 413
    assert client.send("POST", INCIDENT_PATH, b"{}").status == 422
    assert stored_ids(receiver) == []


def test_it_says_where_it_listens_and_what_it_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    server = "incident_process.sandbox.receiver.receiver_server"
    monkeypatch.setattr(f"{server}.serve", lambda *given: given[-1]("http://h:1/x"))
    said = CliRunner().invoke(app, ["receiver", "--database", "r.db"]).output
    assert said == f"Listening: http://h:1/x\nIt keeps what it accepts in {tmp_path / 'r.db'}. Ctrl-C ends it.\n"


def test_every_fault_is_listed_in_the_help() -> None:
    said = CliRunner().invoke(app, ["receiver", "--help"], env={"NO_COLOR": "1"}).output
    assert [name for name in Faults.__struct_fields__ if not re.search(rf"\b{name}\b", said)] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fail_rate": 1.5}, "$.fail_rate"),
        ({"fail_rat": 1}, "fail_rat"),
        ({"fail_status": 200}, "$.fail_status"),
        ({"refuse_status": 99}, "$.refuse_status"),
        ({"rate_kind": "minute"}, "$.rate_kind"),
        ({"rate_retry_after": "1\n"}, "$.rate_retry_after"),
        ({"rate_burst": 0}, "$.rate_burst"),
        ({"workers": -1}, "$.workers"),
        ({"proxy_status": 201}, "$.proxy_status"),
        ({"retry_after": "1\r\nSet-Cookie: a"}, "$.retry_after"),
        ({"fail_accounts": {"1": "x"}}, "$.fail_accounts"),
    ],
)
def test_a_wrong_fault_is_refused_and_changes_nothing(
    receiver: ReceiverHandle, change: dict[str, Any], said: str
) -> None:
    before = receiver.faults()
    with pytest.raises(ValueError, match="receiver faults") as refused:
        receiver.control(**change)
    assert said in str(refused.value)
    assert receiver.faults() == before


@pytest.mark.parametrize(
    "header", [("Origin", "null"), ("Origin", "http://127.0.0.1"), ("Sec-Fetch-Site", "cross-site")]
)
def test_control_is_not_for_web_pages(receiver: ReceiverHandle, client: Client, header: tuple[str, str]) -> None:
    before = receiver.faults()
    for method, body in (("POST", b'{"fail_rate": 1}'), ("DELETE", None), ("GET", None)):
        assert client.send(method, "/_control", body, dict([header])).status == 403
    assert receiver.faults() == before


def test_control_wants_a_json_object(client: Client) -> None:
    assert client.send("POST", "/_control", b"[1]").status == 422
    assert client.send("POST", "/_control", b"\xff").status == 422
    assert client.send("PUT", "/_control", b"{}").status == 405


def test_in_a_storm_each_retried_incident_is_stored_once_and_the_log_agrees_with_the_clients(
    receiver: ReceiverHandle,
) -> None:
    receiver.control(fail_rate=0.15, drop_rate=0.15, reject_before_rate=0.1, seed=3)
    seen: list[int] = []

    def deliver(first: int) -> None:
        client = Client(receiver)
        with closing(client.connection):
            for number in range(first, first + 50):
                status = 0
                while status not in {201, 409}:
                    try:
                        status = client.post(incident(number)).status
                    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                        status = 0
                    seen.append(status)

    threads = [threading.Thread(target=deliver, args=(1 + 50 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stored_ids(receiver)) == list(range(1, 201))
    assert sorted(seen) == sorted(row["answer"] for row in receiver.requests())
    assert {0, 201, 409, 503} == set(seen)
    assert receiver.errors() == ""


def test_a_client_that_leaves_in_the_middle_of_its_body_sent_no_request(
    receiver: ReceiverHandle, client: Client
) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as leaving:
        leaving.sendall(f"POST {INCIDENT_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{".encode())
    assert client.post(incident(1)).status == 201
    assert logged(receiver) == [(201, None)]
    assert receiver.errors() == ""


# -- the process ---------------------------------------------------------------------------------------------------


def test_what_was_answered_survives_sigkill_and_is_known_after_restart(receiver: ReceiverHandle) -> None:
    answered: list[int] = []

    def post_until_killed(first: int) -> None:
        client = Client(receiver)
        try:
            for number in range(first, first + 100_000):
                reply = client.post(incident(number))
                assert reply.status == 201
                answered.append(number)
        except (http.client.HTTPException, OSError):
            return

    threads = [threading.Thread(target=post_until_killed, args=(1 + 100_000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answered) > 200)
    receiver.kill()
    for thread in threads:
        thread.join()
    url = receiver.url
    receiver.restart()
    assert receiver.url == url
    assert set(answered) <= set(stored_ids(receiver))
    with closing(Client(receiver).connection) as connection:
        connection.request("POST", INCIDENT_PATH, json.dumps(incident(answered[0])))
        assert connection.getresponse().status == 409


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0_even_while_requests_stall(tmp_path: Path, number: signal.Signals) -> None:
    with start_receiver(tmp_path, stall_rate=1) as receiver:
        body = json.dumps(incident(1)).encode()
        head = f"POST {INCIDENT_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as waiting:
            waiting.sendall(head.encode() + body)
            while not receiver.accepted():
                time.sleep(0.01)
            os.kill(receiver.pid, number)
            assert waiting.recv(100) == b""
        assert receiver.wait() == 0
        assert receiver.errors() == ""
        assert not receiver.database.with_name("receiver.sqlite-wal").exists()


def test_its_own_log_shows_no_body(receiver: ReceiverHandle, client: Client) -> None:
    client.post(incident(1, account="Galle"))
    client.post(incident(2, account=["Galle"]))
    client.post(b'{"Galle')
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as broken:
        broken.sendall(b"Galle\r\n\r\n")
        assert broken.recv(100).startswith(b"HTTP/1.1 400")
    # a fault of its own: the table that it writes to is gone
    with closing(sqlite3.connect(receiver.database)) as connection:
        connection.execute("DROP TABLE request")
    reply = client.post(incident(3, account="Galle"))
    assert (reply.status, reply.json) == (500, {"detail": "internal fault of the receiver"})
    assert stored_ids(receiver) == [1]
    client.connection.close()
    assert receiver.stop() == 0
    assert "OperationalError" in receiver.errors()
    assert "Galle" not in receiver.errors()


def test_bodies_are_for_the_owner_only(receiver: ReceiverHandle, client: Client) -> None:
    client.post(incident(1))
    for file in receiver.database.parent.glob("receiver.sqlite*"):
        assert file.stat().st_mode & 0o077 == 0


def test_a_port_in_use_is_one_clear_sentence(receiver: ReceiverHandle, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "incident_process.sandbox.receiver", "--port", str(receiver.port)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [*command, "--database", str(tmp_path / "second.sqlite")],
        capture_output=True,
        text=True,
        env=env,
        timeout=30,
        check=False,
    )
    said = f"receiver: cannot listen on 127.0.0.1:{receiver.port} (Address already in use); name another address\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", said)


def test_what_cannot_be_served_is_a_configuration_error(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("this is no database, and long enough to have a header of one hundred bytes " * 3)
    foreign = tmp_path / "foreign.sqlite"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE accepted (seq)")
    for database, port, said in (
        (text, 0, "cannot be used"),
        (foreign, 0, "of another program"),
        (tmp_path, 0, "cannot be written"),
        (tmp_path / "new.sqlite", 70_000, "no TCP port"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            serve("127.0.0.1", port, database, Faults(), print)
    with pytest.raises(ConfigurationError, match="fail_rate"):
        serve("127.0.0.1", 0, tmp_path / "new.sqlite", Faults(fail_rate=2), print)


# -- what a third party reads --------------------------------------------------------------------------------------


def test_the_export_holds_each_accepted_incident_in_order(receiver: ReceiverHandle, client: Client) -> None:
    pretty = json.dumps(incident(5, account="0000000009"), indent=2).replace("10.5", "10.50").encode()
    client.post(pretty, key="k")
    client.post(incident(3))
    client.post(incident(3))
    client.post(b"{}")
    out = io.StringIO()
    assert export(receiver.database, out) == 2
    lines = out.getvalue().splitlines()
    first, second = (json.loads(line) for line in lines)
    assert list(first) == ["seq", "received_at", "Incident_Id", "Account_Num", "Idempotency_Key", "sha256", "body"]
    assert (first["Incident_Id"], first["Account_Num"], first["Idempotency_Key"]) == (5, "0000000009", "k")
    assert first["sha256"] == hashlib.sha256(pretty).hexdigest()
    assert first["body"] == json.loads(pretty)
    assert '"Arrears":10.50' in lines[0]
    assert (second["Incident_Id"], second["Idempotency_Key"]) == (3, None)
    receiver.stop()
    out = io.StringIO()
    assert export(receiver.database, out, bodies=False) == 2
    assert "body" not in json.loads(out.getvalue().splitlines()[0])


def test_the_summary_counts_by_answer(receiver: ReceiverHandle, client: Client) -> None:
    client.post(incident(1))
    client.post(incident(2))
    client.post(incident(2))
    receiver.control(drop_next=1)
    with pytest.raises(http.client.RemoteDisconnected):
        client.post(incident(3, "0000000002"))
    requests = {"dropped": 1, "201": 2, "409": 1}
    assert summary(receiver.database) == {"accepted": 3, "accounts": 2, "requests": requests}


def test_a_missing_or_foreign_file_is_a_configuration_error(tmp_path: Path) -> None:
    text = tmp_path / "a file#1?"
    text.write_text("no database " * 20)
    foreign = tmp_path / "foreign.sqlite"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE accepted (seq)")
    for database, said in (
        (tmp_path / "none", "none: there is no such file; name the receiver's file with --database"),
        (text, "cannot be read"),
        (foreign, "of another program"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            export(database, io.StringIO())
        with pytest.raises(ConfigurationError, match=said):
            summary(database)


def test_importing_the_package_loads_no_web_server() -> None:
    package = "incident_process.sandbox.receiver"
    code = f"import sys, {package}; print({{'uvicorn', 'uvloop', 'jsonschema_rs'}} & set(sys.modules))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert ended.stdout == "set()\n"
