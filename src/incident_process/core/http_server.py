"""What the program's HTTP servers share: the socket, bounds for connections, how uvicorn starts and stops."""

import asyncio
import ipaddress
import itertools
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from incident_process.core.errors import ConfigurationError

REQUEST_SECONDS = 8.0
"""Seconds in which a whole request must arrive, from its first byte or from the start of the connection."""
MOST_HEAD_BYTES = 512 * 1024
"""Bytes that may arrive before a request's head ends; browsers and collectors send some two thousand."""

_turns = itertools.count()
"""The order in which connections became idle: the loop's clock stands still while it takes new connections."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with an end to every wait, so that silent or slow connections keep no client out.

    uvicorn itself waits for ever for a first request, and rejects every client once its limit of connections is open.
    This protocol closes a slow connection, and above the limit it closes the one that has been idle for longest: a
    client that connects and asks gets its answer. ``bounded`` makes a class with its own bounds.
    """

    most = 256
    """Connections open at once, at most."""
    answer_seconds = 60.0
    """Seconds until the client must have read the whole answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the library has it
        """Wait for a request; above the limit, close another connection."""
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._head: int | None = 0
        self._turn = next(_turns)
        self._wait(REQUEST_SECONDS)
        if len(self.connections) > self.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; abort the connection when the head grows too long."""
        if self._timer is None and self.is_idle:  # the next request on a connection that was kept
            self._wait(REQUEST_SECONDS)
        if self._head is not None:
            self._head += len(data)
            if self._head > MOST_HEAD_BYTES:
                self.transport.abort()
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Note that the head of the request is complete."""
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Start the time for the answer."""
        self._head = 0
        self._wait(self.answer_seconds)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or until the client has read the answer."""
        self._turn = next(_turns)
        self._wait(REQUEST_SECONDS if self.transport.is_closing() else None)
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for too long, even if its client has not read what was sent."""
        self.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self, seconds: float | None) -> None:
        """Close the connection after so many seconds unless this is called again first; None cancels."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)

    def _make_room(self) -> None:
        others = cast("set[BoundedProtocol]", self.connections - {self})
        leaving = min(others, key=lambda one: (not one.is_idle, one._turn))
        self.connections.discard(leaving)  # at once: the loop reports its end only later
        leaving.transport.abort()


def bounded(most: int, answer_seconds: float) -> type[BoundedProtocol]:
    """Return a protocol class, for ``uvicorn.Config``, with its own most connections and seconds for an answer."""
    bounds: dict[str, Any] = {"most": most, "answer_seconds": answer_seconds}
    return type("BoundedProtocol", (BoundedProtocol,), bounds)


def server_config(app: Any, **own: Any) -> uvicorn.Config:
    """Return the configuration of an ASGI application's server; ``own``: what the program's servers do not share."""
    return uvicorn.Config(
        app,
        ws="none",
        interface="asgi3",
        log_config=None,
        log_level="critical",  # uvicorn's own errors carry tracebacks; the application reports its own, without data
        access_log=False,  # addresses hold account numbers
        proxy_headers=False,  # a header must not say where a request comes from: that is trusted, or counted
        server_header=False,
        **own,
    )


class Server(uvicorn.Server):
    """uvicorn's server that reports when it is ready, and after a signal ends with exit status 0."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, then call ``on_ready``."""
        await super().startup(sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT; the inherited method raises them again afterwards, which kills the process."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(host: str, port: int, refusal: Callable[[str], str], *, backlog: int = 128) -> socket.socket:
    """Return a listening socket.

    Raises ConfigurationError when the address cannot be bound; ``refusal`` makes its sentence of the system's reason.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=backlog)
    except OSError as exc:
        # exc.strerror repeats the address, so strerror(errno) is used; a name that cannot be resolved has only a text
        reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror
        raise ConfigurationError(refusal(str(reason))) from exc


def url_host(host: str) -> str:
    """Return the host as a URL has it that this machine can call."""
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound to: every address includes this one
        return "127.0.0.1" if host != "::" else "[::1]"
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
