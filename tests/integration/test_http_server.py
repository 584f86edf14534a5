"""Connections that say nothing, say it slowly, or take no answer: they are closed, and keep nobody else out."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection

import pytest
import uvicorn

from incident_process.core.http_server import (
    MOST_HEAD_BYTES,
    REQUEST_SECONDS,
    Server,
    bounded,
    listen,
)

MOST = 20
ANSWER_SECONDS = 2.0
LARGE = 32 * 1024 * 1024
BODIES = {"/large": b"x" * LARGE, "/some": b"x" * (LARGE // 16)}


async def answering(scope, receive, send) -> None:  # type: ignore[no-untyped-def]  # an ASGI application
    body = BODIES.get(scope["path"], b"well")
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    ready = threading.Event()
    config = uvicorn.Config(
        answering,
        http=bounded(MOST, ANSWER_SECONDS),
        lifespan="off",
        log_config=None,
        log_level="critical",
        timeout_keep_alive=3,
    )
    with listen("127.0.0.1", 0, str) as listener:
        server = Server(config, ready.set)
        server.capture_signals = ExitStack  # type: ignore[method-assign,assignment]  # this is no main thread
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert ready.wait(20)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def is_answered(port: int) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read() == b"well"


def connected(stack: ExitStack, port: int, says: bytes = b"") -> socket.socket:
    one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
    if says:
        one.sendall(says)
    return one


def ends(one: socket.socket, seconds: float) -> float:
    """Return after how long the other side closes a connection; fail when that takes too long."""
    began = time.monotonic()
    one.settimeout(seconds)
    try:
        while one.recv(1024 * 1024):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - began


def is_cut(one: socket.socket, says: bytes, times: int, pause: float) -> bool:
    """Say something over and over; return whether the other side closes before the end."""
    try:
        for _ in range(times):
            one.sendall(says)
            time.sleep(pause)
    except OSError:
        return True
    return False


@pytest.mark.parametrize("says", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"])
def test_a_crowd_that_says_nothing_or_half_keeps_nobody_out(port: int, says: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(5 * MOST):
            connected(stack, port, says)
        began = time.monotonic()
        assert all(is_answered(port) for _ in range(10))
        assert time.monotonic() - began < 3


def test_one_that_says_nothing_is_closed_after_some_seconds(port: int) -> None:
    with ExitStack() as stack:
        assert REQUEST_SECONDS - 1 < ends(connected(stack, port), REQUEST_SECONDS + 5) < REQUEST_SECONDS + 4


def test_one_that_says_a_letter_at_a_time_is_closed(port: int) -> None:
    with ExitStack() as stack:
        one = connected(stack, port, b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        began = time.monotonic()
        assert is_cut(one, b"a", times=100, pause=0.2)
        assert time.monotonic() - began < REQUEST_SECONDS + 5


def test_a_kept_connection_has_to_say_its_next_request_in_time_too(port: int) -> None:
    with ExitStack() as stack:
        one = connected(stack, port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"well" in one.recv(1000)
        one.sendall(b"GET / HTTP")
        assert ends(one, REQUEST_SECONDS + 5) > REQUEST_SECONDS - 1


def test_a_head_without_end_is_not_collected(port: int) -> None:
    with ExitStack() as stack:
        one = connected(stack, port, b"GET / HTTP/1.1\r\nX: ")
        assert is_cut(one, b"a" * 65536, times=3 * MOST_HEAD_BYTES // 65536, pause=0.01)


@pytest.mark.parametrize("how", [b"", b"Connection: close\r\n"])
def test_one_that_takes_no_answer_is_closed(port: int, how: bytes) -> None:
    with ExitStack() as stack:
        one = connected(stack, port, b"GET /large HTTP/1.1\r\nHost: x\r\n" + how + b"\r\n")
        time.sleep(REQUEST_SECONDS + 3)
        taken = 0
        with suppress(ConnectionResetError):
            while part := one.recv(1024 * 1024):
                taken += len(part)
        assert taken < LARGE


def test_a_crowd_that_takes_no_answer_keeps_nobody_out(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(2 * MOST):
            connected(stack, port, b"GET /some HTTP/1.1\r\nHost: x\r\n\r\n")
        assert is_answered(port)
