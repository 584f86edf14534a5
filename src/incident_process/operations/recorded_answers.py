"""What a run would make of recorded answers of a receiver (SPEC 5).

A file has answers as ``curl -i`` prints them, one after the other, or one JSON object a line:
``{"status": 500, "body": "…"}``, the body a text or any JSON value.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from incident_process.core.errors import ConfigurationError
from incident_process.core.models import Record
from incident_process.delivery.failure_text import reason
from incident_process.delivery.http.persistent_connection import EXCERPT_BYTES
from incident_process.delivery.http.transport import Answer
from incident_process.delivery.policy import ResponseClass, classify_response
from incident_process.delivery.response_rules import ResponseRules
from incident_process.settings import Api

_STATUS_LINE = re.compile(rb"^HTTP/[0-9](?:\.[0-9])? ([1-5][0-9]{2})(?: .*)?\r?$", re.MULTILINE)
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")

MEANINGS = {
    ResponseClass.DELIVERED: "delivered",
    ResponseClass.DEAD: "a dead letter at once",
    ResponseClass.RETRY: "tried again; a dead letter after max_runs runs in which others are taken",
    ResponseClass.THROTTLED: "a limit of the rate: everything is sent more slowly, nothing is held against the record",
    ResponseClass.REFUSED: "a dead letter in the same run, unless whatever is sent is refused",
    ResponseClass.SUSPECT: "a dead letter once others that were sent later are taken: it may speak of the way there",
    ResponseClass.ID_IN_USE: (
        "delivered, if an earlier attempt may have arrived; a first attempt takes a new Incident_Id"
    ),
}


class Judged(Record, frozen=True, kw_only=True):
    """One answer: its place in the file, its status, the rule that decides on it, what it means, and its words."""

    place: int
    status: int
    rule: str | None
    verdict: ResponseClass
    meaning: str
    reason: str


def judged(file: Path, api: Api) -> list[Judged]:
    """Return what a run would make of each answer in the file.

    Raises:
        ConfigurationError: The file cannot be read, or holds something else.
    """
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{file}: the file of answers cannot be read: {exc.strerror}.") from None
    rules = ResponseRules.of(api)
    found = [
        _judged(place, status, body, rules) for place, (status, body) in enumerate(_answers(file, content), start=1)
    ]
    if not found:
        raise ConfigurationError(f"{file}: holds no answer: record one with curl -i, for example.")
    return found


def _judged(place: int, status: int, body: bytes, rules: ResponseRules) -> Judged:
    body = body[:EXCERPT_BYTES]
    rule = rules.fitting(status, body)
    verdict = classify_response(status, may_have_arrived=False) if rule is None else rule.verdict
    return Judged(
        place=place,
        status=status,
        rule=None if rule is None else str(rule),
        verdict=verdict,
        meaning=MEANINGS[verdict],
        reason=reason(Answer(status=status, seconds=0.0, excerpt=body), b"{}"),
    )


def _answers(file: Path, content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the status and the body of each answer, without interim ones (1xx)."""
    text = content.lstrip()
    if not text.startswith(b"HTTP/"):
        yield from _lines(file, content)
        return
    heads = list(_STATUS_LINE.finditer(text))
    if not heads or heads[0].start():
        raise ConfigurationError(
            f"{file}: does not begin with a status line such as HTTP/1.1 500 Internal Server Error."
        )
    for number, head in enumerate(heads):
        until = heads[number + 1].start() if number + 1 < len(heads) else len(text)
        _, *body = _END_OF_HEADERS.split(text[head.start() : until], maxsplit=1)
        if int(head[1]) >= 200:
            yield int(head[1]), b"".join(body).strip()


def _lines(file: Path, content: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            said: Any = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = None
        status = said.get("status") if isinstance(said, dict) else None
        if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 599:
            raise ConfigurationError(
                f"{file}, line {number}: is no answer: record answers with curl -i, or write one "
                '{"status": 500, "body": "…"} a line.'
            )
        body = said.get("body", "")
        yield status, body.encode() if isinstance(body, str) else msgspec.json.encode(body)
