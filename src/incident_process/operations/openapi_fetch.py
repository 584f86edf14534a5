"""Looks for the receiver's OpenAPI description beside and above api_url, with GET, and nowhere else.

The configured credentials go only to the origin of api_url: a redirect to another origin ends the search.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import httptools
import msgspec

from incident_process.delivery.endpoint import Endpoint, parse_address
from incident_process.delivery.http.transport import tls_context
from incident_process.settings import Api

NAME = "openapi.json"
SECONDS = 5.0
"""Seconds for the whole search."""
MOST_BYTES = 4 << 20
"""A larger answer is no description."""
MOST_FOLDERS = 8
MOST_REDIRECTS = 3


class Found(NamedTuple):
    """A description: its ``url``, the path of the ``folder`` that it is in, and the decoded ``document``."""

    url: str
    folder: str
    document: Any


async def descriptions(api: Api) -> list[Found]:
    """Return the descriptions that the receiver answers with, the nearest first.

    Whatever the receiver does, the search ends after ``SECONDS``, and nothing of it is left running.
    """
    found = []
    with suppress(TimeoutError):
        async with asyncio.timeout(SECONDS):
            for folder in _folders(urlsplit(api.api_url).path):
                url = urljoin(api.api_url, folder + NAME)
                try:
                    document = msgspec.json.decode(await _get(api, url))
                except (OSError, ValueError, RecursionError):  # ValueError: no JSON, no address, no HTTP
                    continue
                if isinstance(document, dict) and isinstance(document.get("paths"), dict):
                    found.append(Found(url, folder, document))
    return found


def _folders(path: str) -> Iterator[str]:
    """Yield the folder of a path, then the folders above it."""
    for _ in range(MOST_FOLDERS):
        path = path.rpartition("/")[0]
        yield f"{path}/"
        if not path:
            return


async def _get(api: Api, url: str) -> bytes:
    """Return the body at the URL; raise OSError or ValueError where it cannot be read."""
    origin = _origin(parse_address(url))
    for _ in range(MOST_REDIRECTS + 1):
        address = parse_address(url)
        if _origin(address) != origin:
            break
        answer = await _ask(address, api)
        if answer.status == 200:
            return bytes(answer.body)
        if answer.status not in _REDIRECTS or not answer.location:
            break
        url = urljoin(url, answer.location)
    raise ValueError("nothing that could be read")


async def _ask(address: Endpoint, api: Api) -> "_Answer":
    """Return the answer to one GET; raise OSError or ValueError where there is none."""
    context = tls_context(api.ca_file) if address.tls else None
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    try:
        writer.write(_request(address, api))
        answer = _Answer()
        received = 0
        while not answer.is_whole and (part := await reader.read(65_536)):
            received += len(part)
            if received > MOST_BYTES:
                raise ValueError("too large")
            try:
                answer.parser.feed_data(part)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
                raise ValueError("no HTTP") from exc
        return answer
    finally:
        writer.transport.abort()


class _Answer:
    """An answer as the parser reads it."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.location = ""
        self.body = bytearray()
        self.is_whole = False

    @property
    def status(self) -> int:
        """The status of the last answer, which an interim one (1xx) may come before."""
        return self.parser.get_status_code()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the address of a redirect."""
        if name.lower() == b"location":
            self.location = value.decode("ascii", "replace")

    def on_body(self, body: bytes) -> None:
        """Keep the text."""
        self.body += body

    def on_message_complete(self) -> None:
        """Note that the answer is whole, unless it is an interim one."""
        self.is_whole = self.status >= 200


def _request(address: Endpoint, api: Api) -> bytes:
    headers = {name: value for name, value in api.request_headers.items() if name.lower() not in _OURS}
    headers = {"Host": address.authority, "Accept": "application/json", "Connection": "close"} | headers
    lines = [f"GET {address.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")


_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OURS = frozenset({"accept", "connection", "content-type", "content-length", "host"})
"""Headers of a POST that a GET leaves out."""


def _origin(address: Endpoint) -> tuple[bool, str, int]:
    return address.tls, address.host.lower(), address.port
