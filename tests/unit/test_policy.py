"""Outcomes, retries, breaker, idempotency key: SPEC 5 as pure decisions."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_process.delivery.breaker import Breaker, Circuit
from incident_process.delivery.connection import EXCERPT_BYTES
from incident_process.delivery.identity import idempotency_key
from incident_process.delivery.policy import (
    LONGEST_DELAY_SECONDS,
    Evidence,
    Fate,
    Verdict,
    backoff,
    fate_of_exhausted,
    judge,
    retry_after,
)
from incident_process.delivery.reasons import LONGEST, reason, secrets_of
from incident_process.delivery.transport import Answer
from incident_process.records import DeliveryStatus

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_2xx_is_delivered(status: int) -> None:
    assert judge(status, may_have_arrived=False) is Verdict.DELIVERED


@pytest.mark.parametrize("status", [None, 408, 425, 500, 502, 503, 504, 599, 301, 302, 307, 308])
def test_what_may_pass_is_tried_again(status: int | None) -> None:
    assert judge(status, may_have_arrived=True) is Verdict.RETRY


def test_a_limit_of_the_rate_is_about_the_client_and_503_is_one_while_others_are_taken() -> None:
    for others_taken in (False, True):
        assert judge(429, may_have_arrived=True, others_taken=others_taken) is Verdict.THROTTLED
    assert judge(503, may_have_arrived=True, others_taken=True) is Verdict.THROTTLED
    assert judge(500, may_have_arrived=True, others_taken=True) is Verdict.RETRY


@pytest.mark.parametrize("status", [400, 410, 413, 415, 422])
def test_other_4xx_are_dead_at_once(status: int) -> None:
    assert judge(status, may_have_arrived=True) is Verdict.DEAD


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_what_may_hold_for_every_body_is_suspect(status: int) -> None:
    assert judge(status, may_have_arrived=False) is Verdict.SUSPECT


def test_409_says_delivered_only_where_an_attempt_may_have_arrived() -> None:
    assert judge(409, may_have_arrived=True) is Verdict.DELIVERED
    assert judge(409, may_have_arrived=False) is Verdict.TAKEN


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


def test_a_run_counts_against_a_record_only_when_others_succeeded() -> None:
    assert fate_of_exhausted(2, Evidence.NONE, max_runs=3) == Fate(status=DeliveryStatus.PENDING, runs=2)
    assert fate_of_exhausted(0, Evidence.OTHERS, max_runs=3).runs == 1
    assert fate_of_exhausted(2, Evidence.OTHERS, max_runs=3).status is DeliveryStatus.DEAD


def test_that_it_takes_the_empty_payload_counts_only_where_others_were_taken_before() -> None:
    for suspect in (False, True):
        found = fate_of_exhausted(0, Evidence.EMPTY, max_runs=1, suspect=suspect)
        assert found == Fate(status=DeliveryStatus.PENDING, runs=0)
    assert fate_of_exhausted(1, Evidence.EMPTY, max_runs=3) == Fate(status=DeliveryStatus.PENDING, runs=2)
    assert fate_of_exhausted(2, Evidence.EMPTY, max_runs=3).status is DeliveryStatus.DEAD
    assert fate_of_exhausted(1, Evidence.EMPTY, max_runs=3, suspect=True).status is DeliveryStatus.DEAD


def test_a_suspect_is_dead_at_once_where_the_service_turns_away_nobody_else() -> None:
    assert fate_of_exhausted(0, Evidence.ASKED, max_runs=3, suspect=True).status is DeliveryStatus.DEAD
    assert fate_of_exhausted(0, Evidence.ASKED, max_runs=3) == Fate(status=DeliveryStatus.PENDING, runs=1)
    assert fate_of_exhausted(0, Evidence.OTHERS, max_runs=3, suspect=True) == Fate(
        status=DeliveryStatus.PENDING, runs=1
    )


def _circuit(breaker: Breaker) -> Circuit:
    """The breaker's state as it is now: the type checker would take it for what it was a line above."""
    return breaker.circuit


def test_the_breaker_wants_different_accounts_in_a_row() -> None:
    breaker = Breaker(accounts=3, probes=2)
    for _ in range(10):
        breaker.failure("a")
    breaker.failure("b")
    breaker.success()
    breaker.failure("c")
    breaker.failure("d")
    assert _circuit(breaker) is Circuit.CLOSED
    breaker.failure("e")
    assert _circuit(breaker) is Circuit.PROBING


def test_failed_probes_open_the_breaker_and_one_good_one_closes_it() -> None:
    breaker = Breaker(accounts=1, probes=2)
    breaker.failure("a")
    breaker.probe_failed()
    breaker.success()
    assert _circuit(breaker) is Circuit.CLOSED
    breaker.failure("a")
    breaker.probe_failed()
    breaker.failure("b")  # under way when the probing began: proves nothing
    assert _circuit(breaker) is Circuit.PROBING
    breaker.probe_failed()
    assert _circuit(breaker) is Circuit.OPEN


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
