"""Looks for the receiver's OpenAPI description beside and above api_url, with GET, and nowhere else.

The configured credentials go only to the origin of api_url: a redirect to another origin ends the search.
"""

import asyncio
import http.client
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

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
    """Return the descriptions that the receiver answers with, the nearest first."""
    return await asyncio.to_thread(_look, api)


def _look(api: Api) -> list[Found]:
    until = time.monotonic() + SECONDS
    found = []
    for folder in _folders(urlsplit(api.api_url).path):
        url = urljoin(api.api_url, folder + NAME)
        try:
            document = msgspec.json.decode(_get(api, url, until))
        except (OSError, http.client.HTTPException, ValueError, RecursionError):  # ValueError: no JSON, no address
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


def _get(api: Api, url: str, until: float) -> bytes:
    """Return the body at the URL; raise OSError, HTTPException or ValueError where it cannot be read in time."""
    origin = _origin(parse_address(url))
    for _ in range(MOST_REDIRECTS + 1):
        address = parse_address(url)
        if _origin(address) != origin:
            break
        connection = _connection(address, api, until)
        try:
            headers = {name: value for name, value in api.request_headers.items() if name.lower() not in _OURS}
            connection.request("GET", address.target, headers=headers | {"Accept": "application/json"})
            answer = connection.getresponse()
            if answer.status == 200:
                return _read(answer, connection, until)
            location = answer.getheader("Location")
        finally:
            connection.close()
        if answer.status not in _REDIRECTS or not location:
            break
        url = urljoin(url, location)
    raise ValueError("nothing that could be read")


_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OURS = frozenset({"accept", "content-type", "content-length", "host"})
"""Headers of a POST that a GET leaves out."""


def _origin(address: Endpoint) -> tuple[bool, str, int]:
    return address.tls, address.host.lower(), address.port


def _connection(address: Endpoint, api: Api, until: float) -> http.client.HTTPConnection:
    seconds = _left(until)
    if address.tls:
        return http.client.HTTPSConnection(
            address.host, address.port, timeout=seconds, context=tls_context(api.ca_file)
        )
    return http.client.HTTPConnection(address.host, address.port, timeout=seconds)


def _read(answer: http.client.HTTPResponse, connection: http.client.HTTPConnection, until: float) -> bytes:
    """Read the whole answer, at any pace, within the time and the size."""
    whole = bytearray()
    while part := answer.read1(65_536):
        whole += part
        if len(whole) > MOST_BYTES:
            raise ValueError("too large")
        if connection.sock is not None:  # None where the answer ends with the connection
            connection.sock.settimeout(_left(until))
        else:
            _left(until)
    return bytes(whole)


def _left(until: float) -> float:
    """Return the remaining seconds; raise TimeoutError when there are none."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
