"""What a refusal is remembered by: short, one line, and without the customer's data (SPEC 6, 7)."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import msgspec

from incident_process.delivery.transport import Answer

LONGEST = 240
SHORTEST_VALUE = 3
"""Values of one or two characters say nothing about anybody, and stand in every text."""


def reason(answer: Answer, body: bytes) -> str:
    """Return why an attempt failed, for ledger and log.

    Receivers like to repeat what they dislike. Whatever stands in the body that was sent is therefore masked in the
    receiver's words before they are kept.
    """
    if answer.status is None:
        return f"no answer ({answer.error})"
    try:
        phrase = f"HTTP {answer.status} {HTTPStatus(answer.status).phrase}"
    except ValueError:
        phrase = f"HTTP {answer.status}"
    said = _masked(_said(answer.excerpt), body)
    return f"{phrase}: {said}"[:LONGEST] if said else phrase


def _said(excerpt: bytes) -> str:
    """Return the text of an error answer: ``detail`` or ``message`` of a JSON object, otherwise nothing."""
    try:
        answer = msgspec.json.decode(excerpt)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""  # a page of HTML or a cut answer: the status alone is the clearer reason
    said = (answer.get("detail") or answer.get("message") or "") if isinstance(answer, dict) else ""
    if isinstance(said, list):  # as FastAPI reports each problem: where and what
        said = "; ".join(_problem(item) for item in said)
    elif isinstance(said, dict):
        said = said.get("message", "")
    return " ".join("".join(c if c.isprintable() else " " for c in str(said)).split())


def _problem(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    place = item.get("loc")
    where = ".".join(str(part) for part in place) if isinstance(place, list) else ""
    return f"{where}: {item.get('msg', '')}"


def _masked(said: str, body: bytes) -> str:
    if not said:
        return said
    values = {text for text in _texts(msgspec.json.decode(body)) if len(text) >= SHORTEST_VALUE}
    for text in sorted(values, key=len, reverse=True):
        said = said.replace(text, "***")
    return said


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
