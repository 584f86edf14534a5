"""Looking for the receiver's description over real HTTP: where, with what, and what is left alone."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from pydantic import SecretStr

from incident_process.operations import openapi_fetch
from incident_process.operations.openapi_fetch import Found, descriptions
from incident_process.settings import Api
from tests.support.described import Site, serving
from tests.support.fastapi_documents import document


@pytest.fixture(name="site")
def _site() -> Iterator[Site]:
    with serving() as found:
        yield found


def look(site: Site, path: str = "/a/b/incidents", **api: Any) -> list[Found]:
    return asyncio.run(descriptions(Api(api_url=site.origin + path, **api)))


def test_nothing_is_posted_and_nothing_found_where_there_is_nothing(site: Site) -> None:
    assert look(site) == []
    assert [(method, path) for method, path, _ in site.asked] == [
        ("GET", "/a/b/openapi.json"),
        ("GET", "/a/openapi.json"),
        ("GET", "/openapi.json"),
    ]


def test_the_nearest_one_comes_first(site: Site) -> None:
    site.publish("/a/openapi.json", document())
    site.publish("/openapi.json", document(path="/other"))
    assert [(found.url, found.folder) for found in look(site)] == [
        (f"{site.origin}/a/openapi.json", "/a/"),
        (f"{site.origin}/openapi.json", "/"),
    ]


def test_credentials_go_along_to_the_receiver(site: Site) -> None:
    site.publish("/openapi.json", document())
    look(site, "/x", bearer_token=SecretStr("s3cr3t"), headers={"X-Client": SecretStr("me")})
    headers = site.asked[0][2]
    assert (headers["Authorization"], headers["X-Client"]) == ("Bearer s3cr3t", "me")
    assert headers["Host"] == site.origin.removeprefix("http://")


def test_a_redirect_is_followed_within_the_origin_only(site: Site) -> None:
    site.pages["/openapi.json"] = (307, {"Location": "/docs/openapi.json"}, b"")
    site.publish("/docs/openapi.json", document())
    assert len(look(site, "/x")) == 1
    with serving() as elsewhere:
        elsewhere.publish("/openapi.json", document())
        site.pages["/openapi.json"] = (302, {"Location": f"{elsewhere.origin}/openapi.json"}, b"")
        assert look(site, "/x", bearer_token=SecretStr("s3cr3t")) == []
        assert elsewhere.asked == []
    site.pages["/openapi.json"] = (302, {"Location": "/openapi.json"}, b"")
    assert look(site, "/x") == []


@pytest.mark.parametrize(
    "body", [b"", b"<html></html>", b"[]", b'{"openapi": "3.1.0"}', b'{"paths": 5}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_description_is_passed_over(site: Site, body: bytes) -> None:
    site.pages["/openapi.json"] = (200, {}, body)
    assert look(site, "/x") == []


def test_a_description_without_end_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi_fetch, "MOST_BYTES", 1000)
    site.publish("/openapi.json", document())
    assert look(site, "/x") == []


def test_a_receiver_that_is_slow_to_tell_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi_fetch, "SECONDS", 0.5)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        try:
            for _ in range(50):
                handler.wfile.write(b" ")
                time.sleep(0.1)
        except OSError:
            pass

    site.pages["/openapi.json"] = drip
    begun = time.monotonic()
    assert look(site) == []
    assert time.monotonic() - begun < 4


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"X"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1", b"0"),
    ],
    ids=["interim answers", "a header", "the size of a chunk"],
)
def test_an_answer_that_never_begins_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, more: bytes
) -> None:
    monkeypatch.setattr(openapi_fetch, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer, suppress(OSError):
                peer.sendall(begin)
                for _ in range(100):
                    peer.sendall(more)
                    time.sleep(0.05)

        thread = threading.Thread(target=answer)
        thread.start()
        begun = time.monotonic()
        assert asyncio.run(descriptions(Api(api_url=f"http://127.0.0.1:{server.getsockname()[1]}/x"))) == []
        assert time.monotonic() - begun < 2
        thread.join()
        assert time.monotonic() - begun < 4, "the connection is closed"


def test_nobody_there_is_no_description() -> None:
    with serving() as site:
        pass
    assert look(site) == []
