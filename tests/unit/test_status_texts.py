"""The words beside a status are the program's own: an upgrade of Python changes no reason of a dead letter."""

from datetime import UTC, datetime
from http import HTTPStatus

import pytest

from incident_process.core.models import DeliveryStatus, Outcome
from incident_process.delivery.policy import ResponseClass
from incident_process.delivery.sender import FailureOrder
from incident_process.delivery.status_texts import no_answer_text, status_text, with_fixed_texts
from incident_process.pipeline.deliver import ExhaustedIncident

FIXED = {
    413: "HTTP 413 Request Entity Too Large",
    414: "HTTP 414 Request-URI Too Long",
    416: "HTTP 416 Requested Range Not Satisfiable",
    422: "HTTP 422 Unprocessable Entity",
}
"""The statuses that the tables of Python 3.11 and 3.13 name differently."""


def test_each_status_has_words_that_no_interpreter_changes() -> None:
    assert {status: status_text(status) for status in FIXED} == FIXED
    for status in set(HTTPStatus) - set(FIXED):
        assert status_text(status) == f"HTTP {int(status)} {status.phrase}"
    assert status_text(599) == "HTTP 599"


@pytest.mark.parametrize(
    ("noted", "now"),
    [
        ("HTTP 422 Unprocessable Content: no such asset", "HTTP 422 Unprocessable Entity: no such asset"),
        (
            "gave up after 5 attempts in 2 runs; last: HTTP 413 Content Too Large",
            "gave up after 5 attempts in 2 runs; last: HTTP 413 Request Entity Too Large",
        ),
        ("HTTP 414 URI Too Long", "HTTP 414 Request-URI Too Long"),
        ("HTTP 416 Range Not Satisfiable", "HTTP 416 Requested Range Not Satisfiable"),
        ("HTTP 400 Bad Request: Unprocessable Content", "HTTP 400 Bad Request: Unprocessable Content"),
        ("HTTP 422 Unprocessable Entity: x", "HTTP 422 Unprocessable Entity: x"),
        ("no answer (ConnectionRefusedError)", "no answer: the receiver refuses connections"),
        (
            "gave up after 5 attempts in 2 runs; last: no answer (TimeoutError); in doubt: x",
            "gave up after 5 attempts in 2 runs; last: no answer: the receiver takes too long; in doubt: x",
        ),
        ("no answer (OddError)", "no answer (OddError)"),
        ("HTTP 502 Bad Gateway: no answer (TimeoutError)", "HTTP 502 Bad Gateway: no answer (TimeoutError)"),
    ],
)
def test_what_an_earlier_version_noted_on_a_newer_python_reads_alike(noted: str, now: str) -> None:
    assert with_fixed_texts(noted) == now


@pytest.mark.parametrize("fault", ["ConnectionRefusedError", "TimeoutError", "gaierror", "SSLCertVerificationError"])
def test_a_missing_answer_is_compared_without_the_address_and_as_an_earlier_version_noted_it(fault: str) -> None:
    now = [no_answer_text(fault, place, limit) for place, limit in (("[fe80::1]:8000", 30.0), ("other:443", 2.5))]
    assert {*map(with_fixed_texts, now)} == {with_fixed_texts(f"no answer ({fault})")}
    assert fault not in "".join(now)
    assert with_fixed_texts(with_fixed_texts(now[0])) == with_fixed_texts(now[0])


def test_an_upgrade_forgets_no_run_in_which_a_single_incident_had_no_answer() -> None:
    now = no_answer_text("ConnectionResetError", "127.0.0.1:8000", 30.0)
    outcome = Outcome(
        incident_id=1,
        account="1",
        status=DeliveryStatus.PENDING,
        attempts=5,
        runs=1,
        error=now,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    noted = ("no answer (ConnectionResetError)", now, "no answer (TimeoutError)", "")
    known = [
        ExhaustedIncident(
            outcome=outcome,
            verdict=ResponseClass.RETRY,
            attempts=5,
            runs=1,
            refused_as=words,
            mark=FailureOrder(place=1),
            alone=False,
        ).is_known
        for words in noted
    ]
    assert known == [True, True, False, False]
