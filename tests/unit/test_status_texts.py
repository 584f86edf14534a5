"""The words beside a status are the program's own: an upgrade of Python changes no reason of a dead letter."""

from http import HTTPStatus

import pytest

from incident_process.delivery.status_texts import status_text, with_fixed_texts

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
    ],
)
def test_what_an_earlier_version_noted_on_a_newer_python_reads_alike(noted: str, now: str) -> None:
    assert with_fixed_texts(noted) == now
