"""Writes answers and reads requests: JSON, with a sentence for each error."""

from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from incident_process.core.errors import IncidentProcessError

MOST_BYTES = 256 * 1024
"""Bytes of a request at most: the page's longest has ten thousand account numbers."""

T = TypeVar("T")

_encode = msgspec.json.Encoder(decimal_format="number").encode


class BadRequestError(IncidentProcessError):
    """A request that the page would not send."""


class Json(Response):
    """An answer as JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the content; money keeps its decimals."""
        return _encode(content)


def problem(status: int, sentence: str, headers: dict[str, str] | None = None) -> Json:
    """Return an answer that says what is wrong."""
    return Json({"error": sentence}, status, headers)


async def content(request: Request, kind: type[T]) -> T:
    """Read a request's body.

    Raises:
        BadRequestError: It is too long, or not of this type.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise BadRequestError(f"The request is longer than {MOST_BYTES} bytes.")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequestError("The request's content is not as expected.") from exc


def number(request: Request, name: str, default: int, most: int) -> int:
    """Return a number of the query, between 0 and ``most``.

    Raises:
        BadRequestError: It is no number, or too large.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= most):
        raise BadRequestError(f"{name} has to be a number from 0 to {most}.")
    return int(text)
