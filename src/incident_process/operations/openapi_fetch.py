"""Looks for the receiver's description beside and above api_url: with GET, and never anywhere else.

Credentials of the configuration go to the origin of api_url alone; a redirect to another origin is not followed.
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
"""How long all of the looking may take: a receiver that says nothing is not waited for."""
MOST_BYTES = 4 << 20
"""A description that is larger is none."""
MOST_FOLDERS = 8
MOST_REDIRECTS = 3


class Found(NamedTuple):
    """A description: ``url`` says where it was found, ``folder`` is the path that it stands in."""

    url: str
    folder: str
    document: Any


async def descriptions(api: Api) -> list[Found]:
    """Return the descriptions that are there, the nearest one first; none where nobody answers with one."""
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
    """Yield the folder that a path stands in, and those above it."""
    for _ in range(MOST_FOLDERS):
        path = path.rpartition("/")[0]
        yield f"{path}/"
        if not path:
            return


def _get(api: Api, url: str, until: float) -> bytes:
    """Return what is there; raise OSError, HTTPException or ValueError where that cannot be had in time."""
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
"""Headers of a POST that say nothing about a GET."""


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
    """Read all of it, whatever pace it comes at, within the time and the size."""
    whole = bytearray()
    while part := answer.read1(65_536):
        whole += part
        if len(whole) > MOST_BYTES:
            raise ValueError("too large")
        if connection.sock is not None:  # None once the answer will end with the connection
            connection.sock.settimeout(_left(until))
        else:
            _left(until)
    return bytes(whole)


def _left(until: float) -> float:
    """Return the seconds that are left; raise TimeoutError when none are."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
