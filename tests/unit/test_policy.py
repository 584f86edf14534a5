"""Outcomes, retries, breaker, idempotency key: SPEC 5 as pure decisions."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_process.core.models import DeliveryStatus
from incident_process.delivery.circuit_breaker import CircuitBreaker, CircuitState
from incident_process.delivery.failure_text import (
    LONGEST,
    common_form,
    reason,
    reasons_text,
    secrets_of,
)
from incident_process.delivery.http.persistent_connection import EXCERPT_BYTES
from incident_process.delivery.http.transport import Answer
from incident_process.delivery.idempotency import idempotency_key
from incident_process.delivery.policy import (
    LONGEST_DELAY_SECONDS,
    Evidence,
    Failure,
    ResponseClass,
    backoff,
    classify_response,
    dead_letter_decision,
    retry_after,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_2xx_is_delivered(status: int) -> None:
    assert classify_response(status, may_have_arrived=False) is ResponseClass.DELIVERED


@pytest.mark.parametrize("status", [None, 408, 425, 500, 502, 503, 504, 599, 301, 302, 307, 308])
def test_what_may_pass_is_tried_again(status: int | None) -> None:
    assert classify_response(status, may_have_arrived=True) is ResponseClass.RETRY


def test_a_limit_of_the_rate_is_about_the_client_and_503_is_one_while_others_are_taken() -> None:
    for others_taken in (False, True):
        assert classify_response(429, may_have_arrived=True, others_taken=others_taken) is ResponseClass.THROTTLED
    assert classify_response(503, may_have_arrived=True, others_taken=True) is ResponseClass.THROTTLED
    assert classify_response(500, may_have_arrived=True, others_taken=True) is ResponseClass.RETRY


@pytest.mark.parametrize("status", [400, 410, 415, 422])
def test_other_4xx_are_refused(status: int) -> None:
    assert classify_response(status, may_have_arrived=True) is ResponseClass.REFUSED


@pytest.mark.parametrize("status", [401, 403, 404, 405, 413])
def test_what_may_hold_for_every_body_is_suspect(status: int) -> None:
    assert classify_response(status, may_have_arrived=False) is ResponseClass.SUSPECT


def test_409_says_delivered_only_where_an_attempt_may_have_arrived() -> None:
    assert classify_response(409, may_have_arrived=True) is ResponseClass.DELIVERED
    assert classify_response(409, may_have_arrived=False) is ResponseClass.ID_IN_USE


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_bounded_and_never_zero(attempt: int, chance: float) -> None:
    assert 0 < backoff(attempt, chance) <= LONGEST_DELAY_SECONDS


def test_backoff_grows() -> None:
    waits = [backoff(attempt, 0.5) for attempt in range(1, 8)]
    assert waits == sorted(waits)
    assert waits[-1] > 10 * waits[0]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("31536000", 60.0),
        ("9" * 400, 60.0),
        ("-5", None),
        (format_datetime(NOW + timedelta(seconds=20), usegmt=True), 20.0),
        (format_datetime(NOW + timedelta(days=365), usegmt=True), 60.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), None),
        ("Sun, 99 Foo 2026 99:99:99 GMT", None),
        ("Sun, 01 Jan 99999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date_is_honoured_and_capped(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW, 60) == seconds


@given(st.text(max_size=40))
def test_retry_after_takes_any_text(header: str) -> None:
    found = retry_after(header, NOW, 60)
    assert found is None or 0 <= found <= 60


FAILED = Failure(verdict=ResponseClass.RETRY, status=500)
REFUSED = Failure(verdict=ResponseClass.REFUSED, status=422)
SUSPECT = Failure(verdict=ResponseClass.SUSPECT, status=403)
OTHERS = Evidence(taken=True)
PENDING, DEAD = DeliveryStatus.PENDING, DeliveryStatus.DEAD


def fate(failure: Failure, evidence: Evidence, *, max_runs: int = 3, **more: Any) -> tuple[DeliveryStatus, int]:
    found = dead_letter_decision(msgspec.structs.replace(failure, **more), evidence, max_runs=max_runs)
    return found.status, found.runs


@pytest.mark.parametrize("failure", [FAILED, REFUSED, SUSPECT])
@pytest.mark.parametrize("asked", [None, ResponseClass.RETRY, ResponseClass.SUSPECT, ResponseClass.THROTTLED])
def test_a_service_that_takes_nothing_kills_no_record(failure: Failure, asked: ResponseClass | None) -> None:
    for many, only in ((True, False), (False, False), (False, True)):
        evidence = Evidence(many=many, only=only, all_known=True, asked=asked)
        for known in (False, True):
            assert fate(failure, evidence, runs=2, known=known) == (PENDING, 2)


def test_a_record_that_fails_alone_is_dead_after_max_runs() -> None:
    assert fate(FAILED, OTHERS, alone=True) == (PENDING, 1)
    assert fate(FAILED, OTHERS, alone=True, runs=2) == (DEAD, 3)
    assert fate(FAILED, OTHERS, alone=True, max_runs=1) == (DEAD, 1)


def test_what_failed_after_the_last_that_was_taken_counts_but_kills_nothing() -> None:
    """An outage that begins at the end of a run looks the same."""
    assert fate(FAILED, OTHERS) == (PENDING, 1)
    assert fate(FAILED, OTHERS, runs=1) == (PENDING, 2)
    assert fate(FAILED, OTHERS, runs=2) == (PENDING, 2)
    assert fate(FAILED, OTHERS, runs=2, known=True) == (DEAD, 3)
    assert fate(FAILED, Evidence(taken=True, many=True), max_runs=1) == (PENDING, 0)
    assert fate(FAILED, OTHERS, max_runs=1) == (DEAD, 1)


def test_a_limit_of_the_rate_is_never_held_against_a_record() -> None:
    for status in (429, 503):
        assert fate(FAILED, OTHERS, status=status, alone=True, known=True, runs=2) == (PENDING, 2)


def test_in_a_quiet_run_what_is_known_to_be_refused_counts_where_the_service_answers() -> None:
    quiet = Evidence(many=True, all_known=True, asked=ResponseClass.REFUSED)
    assert fate(FAILED, quiet, known=True, runs=2) == (DEAD, 3)
    assert fate(FAILED, quiet, known=False, runs=2) == (PENDING, 2)
    assert fate(FAILED, msgspec.structs.replace(quiet, all_known=False), known=True, runs=2) == (PENDING, 2)
    assert fate(FAILED, Evidence(only=True, asked=ResponseClass.DELIVERED)) == (PENDING, 1)


@pytest.mark.parametrize("failure", [REFUSED, SUSPECT])
def test_a_refusal_is_of_the_record_where_another_that_was_sent_later_is_taken(failure: Failure) -> None:
    assert fate(failure, OTHERS, alone=True) == (DEAD, 0)
    assert fate(failure, Evidence(taken=True, many=True, asked=ResponseClass.RETRY), alone=True) == (DEAD, 0)


def test_a_refusal_at_the_end_of_a_run_is_of_the_record_unless_many_are_or_whatever_is_sent() -> None:
    assert fate(REFUSED, OTHERS) == (DEAD, 0)
    assert fate(SUSPECT, OTHERS) == (PENDING, 1)
    answers = Evidence(taken=True, asked=ResponseClass.REFUSED)
    assert fate(REFUSED, answers) == fate(SUSPECT, answers) == (DEAD, 0)
    for doubtful in (
        Evidence(taken=True, many=True),
        Evidence(taken=True, asked=ResponseClass.RETRY),
        Evidence(taken=True, asked=ResponseClass.REFUSED, same_words=True),
    ):
        assert fate(REFUSED, doubtful) == (PENDING, 1)
        assert fate(REFUSED, doubtful, runs=2) == (PENDING, 2)


def test_a_few_refusals_where_nothing_is_taken_wait_unless_the_service_answers_otherwise() -> None:
    assert fate(REFUSED, Evidence()) == (PENDING, 0)
    assert fate(REFUSED, Evidence(asked=ResponseClass.DELIVERED, same_words=True)) == (DEAD, 0)
    assert fate(REFUSED, Evidence(asked=ResponseClass.REFUSED)) == (DEAD, 0)
    assert fate(REFUSED, Evidence(asked=ResponseClass.REFUSED, same_words=True)) == (PENDING, 0)
    assert fate(REFUSED, Evidence(asked=ResponseClass.DELIVERED, many=True)) == (PENDING, 0)
    assert fate(SUSPECT, Evidence(asked=ResponseClass.DELIVERED)) == (PENDING, 0)
    assert fate(SUSPECT, Evidence(asked=ResponseClass.DELIVERED, only=True)) == (DEAD, 0)


def _circuit(breaker: CircuitBreaker) -> CircuitState:
    """The breaker's state as it is now: the type checker would take it for what it was a line above."""
    return breaker.circuit


def test_the_breaker_wants_different_accounts_in_a_row() -> None:
    breaker = CircuitBreaker(accounts=3, probes=2)
    for _ in range(10):
        breaker.failure("a")
    breaker.failure("b")
    breaker.success()
    breaker.failure("c")
    breaker.failure("d")
    assert _circuit(breaker) is CircuitState.CLOSED
    breaker.failure("e")
    assert _circuit(breaker) is CircuitState.PROBING


def test_failed_probes_open_the_breaker_and_one_good_one_closes_it() -> None:
    breaker = CircuitBreaker(accounts=1, probes=2)
    breaker.failure("a")
    breaker.probe_failed()
    breaker.success()
    assert _circuit(breaker) is CircuitState.CLOSED
    breaker.failure("a")
    breaker.probe_failed()
    breaker.failure("b")  # under way when the probing began: proves nothing
    assert _circuit(breaker) is CircuitState.PROBING
    breaker.probe_failed()
    assert _circuit(breaker) is CircuitState.OPEN


def test_the_key_depends_on_every_part_and_on_nothing_else() -> None:
    keys = {
        idempotency_key("op", "1", "d"),
        idempotency_key("op2", "1", "d"),
        idempotency_key("op", "2", "d"),
        idempotency_key("op", "1", "e"),
        idempotency_key("op", "1", "d", "again"),
        idempotency_key("op1", "", "d"),  # the parts cannot run into each other
    }
    assert len(keys) == 6
    assert idempotency_key("op", "1", "d") == idempotency_key("op", "1", "d")


BODY = b'{"Account_Num":"0012345678","Customer_Details":{"Customer_Name":"Jane Sample"},"Arrears":1234.50}'


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(status=None, seconds=1, error="ConnectError"), "no answer (ConnectError)"),
        (
            Answer(status=None, seconds=1, error="ConnectionRefusedError", place="127.0.0.1:8000"),
            "no answer: the receiver 127.0.0.1:8000 refuses connections",
        ),
        (
            Answer(status=None, seconds=1, error="TimeoutError", place="[::1]:443", limit=30.0),
            "no answer: the receiver [::1]:443 takes longer than 30 s",
        ),
        (Answer(status=None, seconds=1, error="no port left", place="[::1]:443"), "no answer (no port left)"),
        (Answer(status=503, seconds=1), "HTTP 503 Service Unavailable"),
        (Answer(status=599, seconds=1, excerpt=b"<html>Jane Sample</html>"), "HTTP 599"),
        (
            Answer(status=422, seconds=1, excerpt=b'{"detail": "Jane Sample of 0012345678 owes\\n 1234.5"}'),
            "HTTP 422 Unprocessable Entity: *** of *** owes ***",
        ),
        (
            Answer(
                status=422,
                seconds=1,
                excerpt=b'{"detail":[{"loc":["body","Nic"],"msg":"Field required","input":"Jane Sample"}]}',
            ),
            "HTTP 422 Unprocessable Entity: body.Nic: Field required",
        ),
        (Answer(status=400, seconds=1, excerpt=b'["odd"]'), "HTTP 400 Bad Request"),
        (Answer(status=400, seconds=1, excerpt=b"[" * 60_000), "HTTP 400 Bad Request"),
        (
            Answer(status=422, seconds=1, excerpt=b'{"detail":[{"loc":null,"msg":"wrong"}, 7]}'),
            "HTTP 422 Unprocessable Entity: : wrong; 7",
        ),
        (Answer(status=400, seconds=1, excerpt=b'{"message": "\\u001b[31mred"}'), "HTTP 400 Bad Request: [31mred"),
    ],
)
def test_a_refusal_is_remembered_without_the_customer_s_data(answer: Answer, said: str) -> None:
    assert reason(answer, BODY) == said


SECRETS = secrets_of(
    {"Authorization": "Bearer s3cr3t-%;#x", "X-Key": 'hush "77"', "X-Proxy": "Basic bWU6cGFzcyB3b3Jk", "X-V": "2"},
    "https://receiver.example/in?api_key=of-the-query&v=1",
)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("bad token Bearer s3cr3t-%;#x", "bad token ***"),
        ("bad token s3cr3t-%;#x of bearer", "bad token *** of bearer"),
        ('{"x-key": "hush \\"77\\""} and hush  "77"', '{"x-key": "***"} and ***'),
        ("not Basic bWU6cGFzcyB3b3Jk: me:pass word, not pass word", "not ***: ***, not ***"),
        ("no such page: /in?api_key=of-the-query&v=1, 2, 1", "no such page: /in?***, 2, 1"),
        ("of-the-query Jane Samples3cr3t-%;#x0012345678", "*** *********"),
        ("x" * (LONGEST - 40) + " s3cr3t-%;#x", "x" * (LONGEST - 40) + " ***"),
    ],
)
def test_a_refusal_is_remembered_without_the_credentials(said: str, kept: str) -> None:
    answer = Answer(status=403, seconds=1, excerpt=json.dumps({"detail": said}).encode())
    assert reason(answer, BODY, SECRETS) == f"HTTP 403 Forbidden: {kept}"


JWT = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0LXBhcnQtb25l.c2hvcnQ"
CUT_SECRETS = secrets_of(
    {"Authorization": f"Bearer {JWT}", "X-Proxy": "Basic bWU6bG9uZy1wYXNzd29yZA==", "X-Key": "0011-2233-4455"},
    "https://receiver.example/in?sig=a%2Fb%2Bc%3Dd-e&key=long-key-of-query",
)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"bad token {JWT[:-1]}", "bad token ***"),
        (f"bad token {JWT[1:]} of Bearer", "bad token *** of Bearer"),
        (f"bad token {JWT[:12]}...{JWT[-12:]}", "bad token ***...***"),
        (f"signature {JWT.rpartition('.')[2]} is wrong", "signature *** is wrong"),
        (f"BEARER {JWT.upper()[:20]} refused", "BEARER *** refused"),
        ("wrong: me:long-passwor, long-passwor, bWU6bG9uZy1wYX", "wrong: ***, ***, ***"),
        ("key 0011-2233-44 is unknown", "key *** is unknown"),
        ("wrong sig a%2Fb%2Bc%3Dd-e, a/b+c=d-e, a%2Fb%2Bc%3Dd", "wrong sig ***, ***, ***"),
        ("wrong key long-key-of-quer", "wrong key ***"),
        ("a long key is wanted, Bearer was given", "a long key is wanted, Bearer was given"),
    ],
)
def test_a_refusal_is_remembered_without_credentials_that_are_cut(said: str, kept: str) -> None:
    answer = Answer(status=401, seconds=1, excerpt=json.dumps({"detail": said}).encode())
    assert reason(answer, BODY, CUT_SECRETS) == f"HTTP 401 Unauthorized: {kept}"


PERSONAL_BODY = json.dumps(
    {
        "Account_Num": "0012345678",
        "Status": "reopened",
        "Customer_Details": {"Customer_Name": 'Jane "JJ" Sample-Perera', "Full_Address": "12 Temple Road, Colombo 03"},
        "Contact_Details": [{"Contact_Type": "email", "Contact": "jane.sample@mail.example"}],
    }
).encode()


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("input_value='12 Temple Road, C...', input_type=str", "input_value='***...', input_type=str"),
        ("input_value='12 Te...ombo 03'", "input_value='***...***'"),
        ("no such customer: SAMPLE-PERERA", "no such customer: ***"),
        ("JANE.SAMPLE@MAIL.EXAMPLE is taken", "*** is taken"),
        (r'{"Customer_Name": "Jane \"JJ\" Sample-Perera"}', '{"Customer_Name": "***"}'),
        ("Mr Perera of Temple Road owes", "Mr *** of *** owes"),
        ("a case was REOPENED for another reason", "a case was *** for another reason"),
        ("a case was open for another reason", "a case was open for another reason"),
    ],
)
def test_a_refusal_is_remembered_without_what_is_cut_or_written_in_another_way(said: str, kept: str) -> None:
    answer = Answer(status=422, seconds=1, excerpt=json.dumps({"detail": said}).encode())
    assert reason(answer, PERSONAL_BODY) == f"HTTP 422 Unprocessable Entity: {kept}"


def test_values_that_overlap_leave_no_end() -> None:
    answer = Answer(status=400, seconds=1, excerpt=b'{"detail": "it is: 0012345678-abc"}')
    assert reason(answer, BODY, {"it is: 0012"}) == "HTTP 400 Bad Request: ***-abc"


@pytest.mark.parametrize("place", range(EXCERPT_BYTES - 40, EXCERPT_BYTES + 1, 5))
def test_a_secret_at_the_end_of_what_was_looked_at_leaves_no_half(place: int) -> None:
    """Of an answer that was cut nothing is kept; no cut falls between two masks."""
    said = json.dumps({"detail": " " * (place - 12) + "Bearer s3cr3t-%;#x"}).encode()[:EXCERPT_BYTES]
    assert "s3c" not in reason(Answer(status=403, seconds=1, excerpt=said), BODY, SECRETS)
    for before in range(LONGEST - 60, LONGEST):
        said = json.dumps({"detail": "x" * before + "Bearer s3cr3t-%;#x"}).encode()
        assert "s3c" not in reason(Answer(status=403, seconds=1, excerpt=said), BODY, SECRETS)


@pytest.mark.parametrize(
    ("one", "shown"),
    [
        ("HTTP 500 Internal Server Error", "HTTP 500 Internal Server Error"),
        ("HTTP 500 X: Account 0000003746 already exists", "HTTP 500 X: Account … already exists"),
        (
            "HTTP 500 X: ***: case A-12/7 of code 12, jane@example.org is open",
            "HTTP 500 X: …: case … of code 12, … is open",
        ),
        ("HTTP 500 X: no '12 Lake Road' nor \"Jane\", but can't", "HTTP 500 X: no … nor …, but can't"),
        ("HTTP 422 X: *** *** 777 is closed", "HTTP 422 X: … is closed"),
        ("gave up after 6 attempts in 3 runs; last: HTTP 500 X: case 707 is open", "HTTP 500 X: case … is open"),
        ("no answer (TimeoutError)", "no answer (TimeoutError)"),
        (
            "no answer: the receiver h:8000 resets the connection",
            "no answer: the receiver h:8000 resets the connection",
        ),
        ("gave up after 6 attempts in 3 runs; last: no answer (OSError)", "no answer (OSError)"),
        ("OUTSTANDING holds 123456, which is none", "OUTSTANDING holds …, which is none"),
    ],
)
def test_reasons_of_many_records_are_the_same(one: str, shown: str) -> None:
    assert common_form(one) == shown


def test_reasons_are_told_with_their_counts() -> None:
    reasons = Counter({"a": 5, "b": 1, "c": 3, "d": 2, "e": 1})
    assert reasons_text(reasons) == "a: 5 incidents; c: 3 incidents; d: 2 incidents; other reasons: 2"
    assert reasons_text(Counter(["b"])) == "b: 1 incident"


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"error": "closed"}', ": closed"),
        (b'{"success": false, "message": "closed"}', ": closed"),
        (b'"closed"', ": closed"),
        (b"Account 0012345678 is closed\n", ": Account *** is closed"),
        (b"Internal Server Error", ""),
        (b"Traceback\n  of a program", ""),
        (b"<p>closed</p>", ""),
        (b'{"detail": "cut', ""),
        (b"\xff\xfe", ""),
        (b"x" * 500, ""),
    ],
)
def test_what_receivers_say_in_their_own_ways_is_kept(body: bytes, kept: str) -> None:
    assert reason(Answer(status=500, seconds=1, excerpt=body), BODY) == f"HTTP 500 Internal Server Error{kept}"
