"""What the program's HTTP servers have in common: the socket, bounds for connections, how uvicorn begins and ends."""

import asyncio
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
"""How long a connection may take until its request is there as a whole, from its first byte or from the beginning."""
MOST_HEAD_BYTES = 512 * 1024
"""How much may come before the head of a request has an end; browsers and collectors send two thousand bytes."""

_turns = itertools.count()
"""Who has been idle for longest: the loop's clock stands still while it takes new connections."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with an end to every wait, so that connections which say or take nothing keep nobody out.

    uvicorn itself waits for a first request for ever, and refuses everybody once so many connections are open. Here,
    one that is slow is closed, and where there are too many the one that has been idle for longest makes room: whoever
    connects and asks is answered. Set ``most`` and ``answer_seconds`` in a class of their own, see ``bounded``.
    """

    most = 256
    """Connections at once."""
    answer_seconds = 60.0
    """How long an answer may take, until its reader has taken it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the library has it
        """Begin to wait for a request, and make room for it."""
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._head: int | None = 0
        self._turn = next(_turns)
        self._wait(REQUEST_SECONDS)
        if len(self.connections) > self.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        if self._timer is None and self.is_idle:  # the next request on a connection that was kept
            self._wait(REQUEST_SECONDS)
        if self._head is not None:
            self._head += len(data)
            if self._head > MOST_HEAD_BYTES:
                self.transport.abort()
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Take the head of a request, which is there as a whole."""
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Give the request its time to be answered."""
        self._head = 0
        self._wait(self.answer_seconds)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or until the reader has taken the answer."""
        self._turn = next(_turns)
        self._wait(REQUEST_SECONDS if self.transport.is_closing() else None)
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that nobody has used for a while, also where what was sent was not read."""
        self.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self, seconds: float | None) -> None:
        """Close the connection in so many seconds, unless this is called again before that."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)

    def _make_room(self) -> None:
        others = cast("set[BoundedProtocol]", self.connections - {self})
        leaving = min(others, key=lambda one: (not one.is_idle, one._turn))
        self.connections.discard(leaving)  # at once: the loop tells of its end only later
        leaving.transport.abort()


def bounded(most: int, answer_seconds: float) -> type[BoundedProtocol]:
    """Return the protocol for so many connections, each answer within so many seconds, for ``uvicorn.Config``."""
    bounds: dict[str, Any] = {"most": most, "answer_seconds": answer_seconds}
    return type("BoundedProtocol", (BoundedProtocol,), bounds)


class Server(uvicorn.Server):
    """uvicorn's server, which says when it is ready and ends as asked, with exit status 0."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, then say so."""
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

    Raises ConfigurationError, with the sentence that ``refusal`` makes of the system's reason, when the address cannot
    be had.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=backlog)
    except OSError as exc:
        # the error's own text repeats the address; a name that cannot be resolved has no error number, but a text
        reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror
        raise ConfigurationError(refusal(str(reason))) from exc


def shown(host: str) -> str:
    """Return the host as it stands in a URL that this machine can call."""
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound to: every address includes this one
        return "127.0.0.1" if host != "::" else "[::1]"
    return f"[{host}]" if ":" in host else host
