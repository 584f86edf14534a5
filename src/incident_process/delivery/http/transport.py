"""One POST over a kept-alive connection, and nothing more: no retry, no redirect, no proxy, no interpretation (SPEC 5).

It is this package's own because it is the hot path, and because libraries hide what the promise depends on: whether a
request was sent at all, and that it was sent once (docs/decisions/0022-http-client.md).
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Protocol

from incident_process.core.errors import APIConfigError
from incident_process.core.models import Record
from incident_process.delivery.endpoint import Endpoint, parse_address
from incident_process.delivery.http.connect_limiter import ConnectLimiter, ConnectSlot
from incident_process.delivery.http.file_handles import LACKS
from incident_process.delivery.http.persistent_connection import NoAnswerError, PersistentConnection

CONNECT_SECONDS = 10.0
"""Seconds to open a connection, at most."""
IDLE_SECONDS = 4.0
"""Seconds after which an idle connection is not used again: servers close theirs after 5 seconds and more, and a
request that meets the closing has no answer."""

TRACEPARENT: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The header of this name, for requests of this task: to which trace they belong (W3C Trace Context)."""


class Answer(Record, frozen=True, kw_only=True):
    """The answer to one request: ``status`` is None when there was none, and ``error`` then says why.

    ``unsent``: there was no connection to send it over. ``lacking``: because this machine can open no more connections;
    ``error`` says so in words. ``new_connection``: there was no answer over one that had carried none before. Without
    an answer, ``place`` is the receiver's host and port, and ``limit`` the seconds that the attempt might take.
    """

    status: int | None
    seconds: float
    retry_after: str | None = None
    error: str | None = None
    unsent: bool = False
    lacking: bool = False
    new_connection: bool = False
    excerpt: bytes = b""
    place: str | None = None
    limit: float = 0.0

    def __repr__(self) -> str:
        """Leave the excerpt out: receivers repeat what the sender sent."""
        return f"Answer(status={self.status}, seconds={self.seconds:.3f}, error={self.error})"


MaySend = Callable[[], bool]


def always() -> bool:
    """Allow every request."""
    return True


class Transport(Protocol):
    """Posts a body once."""

    async def post(self, body: bytes, key: str | None, may_send: MaySend = always, *, fresh: bool = False) -> Answer:
        """Post the body under an Idempotency-Key; never raise for a fault of the network or the receiver.

        Where opening a connection took time, ``may_send`` is asked again; False leaves the body unsent.
        ``fresh``: over a connection that has carried no request yet.
        """


class HttpTransport:
    """``Transport`` over HTTP/1.1. An asynchronous context manager; one serves all requests of a run.

    It opens as many connections as there are requests at once, and reads the text of answers with a status of
    ``read_from`` or above.
    """

    def __init__(
        self, url: str, headers: dict[str, str], timeout: float, ca: Path | None, *, read_from: int = 400
    ) -> None:
        self._url = url
        self._headers = headers
        self._timeout = timeout
        self._ca = ca
        self._read_from = read_from
        self._idle: list[PersistentConnection] = []

    async def __aenter__(self) -> "HttpTransport":
        """Read the address and the certificates; raise APIConfigError when they are unusable."""
        try:
            self._address = parse_address(self._url)
        except ValueError as exc:
            raise APIConfigError(
                "[API] api_url is no address that can be posted to: write http://host:port/path"
            ) from exc
        context = tls_context(self._ca) if self._address.tls or self._ca is not None else None
        self._tls = context if self._address.tls else None
        self._head = _head(self._address, self._headers)
        self._loop = asyncio.get_running_loop()
        self._opening = ConnectLimiter(self._loop)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections; none is in use, for a caller that stopped waiting has closed its own."""
        while self._idle:
            self._idle.pop().close()

    async def post(self, body: bytes, key: str | None, may_send: MaySend = always, *, fresh: bool = False) -> Answer:
        """Post the body once."""
        started = time.perf_counter()
        slot: ConnectSlot | None = None
        connection = self._take_idle(fresh=fresh)
        if connection is None:
            try:
                connection, slot = await self._open_in_turn()
            except (OSError, ValueError) as exc:  # ValueError: a name that no resolver accepts
                lack = LACKS.get(exc.errno or 0) if isinstance(exc, OSError) else None
                if lack is not None:
                    return self._no_answer(started, lack, unsent=True, lacking=True)
                return self._no_answer(started, type(exc).__name__, unsent=True, new_connection=True)
            started = slot.since
            if not may_send():
                slot.end()
                self._idle.append(connection)
                return self._no_answer(started, "NotAllowed", unsent=True)
        waiter = connection.send(self._request(body, key))
        too_late = self._loop.call_later(self._timeout - (time.perf_counter() - started), _give_up, waiter)
        try:
            await waiter
        except (NoAnswerError, OSError) as exc:
            connection.close()
            return self._no_answer(started, type(exc).__name__, new_connection=slot is not None)
        except BaseException:
            connection.close()
            raise
        finally:
            too_late.cancel()
            if slot is not None:
                slot.end(answered=waiter.done() and not waiter.cancelled() and waiter.exception() is None)
        if connection.usable:
            self._idle.append(connection)
        return Answer(
            status=connection.status,
            seconds=time.perf_counter() - started,
            retry_after=connection.retry_after,
            excerpt=connection.excerpt,
        )

    async def connect(self) -> None:
        """Open a connection as for a request, and close it; raise OSError or ValueError where that fails."""
        (await self._connect()).close()

    def _take_idle(self, *, fresh: bool) -> PersistentConnection | None:
        """Return the connection that was used last, or None; close those that were idle for too long.

        ``fresh``: return None, and close the one that was idle for longest: a new one takes its place.
        """
        if fresh:
            if self._idle:
                self._idle.pop(0).close()
            return None
        oldest = self._loop.time() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since > oldest and connection.at_rest:
                return connection
            connection.close()
        return None

    async def _open_in_turn(self) -> tuple[PersistentConnection, ConnectSlot]:
        """Open a connection when its turn has come; raise as ``_connect`` does."""
        slot = await self._opening.slot()
        try:
            return await self._connect(), slot
        except BaseException:
            slot.end()
            raise

    async def _connect(self) -> PersistentConnection:
        """Open a connection; raise OSError, which includes TimeoutError, where that fails."""
        address = self._address
        error: OSError = ConnectionResetError()
        async with asyncio.timeout(self._connect_limit) as limit:
            places = await self._loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            for tried, (*_, place) in enumerate(places):
                # An address that swallows packets, as IPv6 without a route does, leaves the others their share of time.
                share = ((limit.when() or 0.0) - self._loop.time()) / (len(places) - tried)
                try:
                    async with asyncio.timeout(share):
                        _, connection = await self._loop.create_connection(
                            lambda: PersistentConnection(self._loop, self._read_from),
                            str(place[0]),
                            int(place[1]),
                            ssl=self._tls,
                            server_hostname=address.host if self._tls else None,
                        )
                except OSError as exc:
                    error = exc
                    continue
                if connection.usable:  # else the receiver closed it, or spoke first: nothing was sent
                    return connection
                connection.close()
        raise error

    @property
    def _connect_limit(self) -> float:
        return min(CONNECT_SECONDS, self._timeout)

    def _no_answer(
        self, started: float, error: str, *, unsent: bool = False, lacking: bool = False, new_connection: bool = False
    ) -> Answer:
        return Answer(
            status=None,
            seconds=time.perf_counter() - started,
            error=error,
            unsent=unsent,
            lacking=lacking,
            new_connection=new_connection,
            place=self._address.place,
            limit=self._connect_limit if unsent else self._timeout,
        )

    def _request(self, body: bytes, key: str | None) -> bytes:
        extra = b""
        if key is not None:
            extra = b"Idempotency-Key: %b\r\n" % key.encode()
        trace = TRACEPARENT.get()
        if trace is not None:
            extra += b"traceparent: %b\r\n" % trace.encode()
        return b"%bContent-Length: %d\r\n%b\r\n%b" % (self._head, len(body), extra, body)


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """Return the context that checks the receiver's certificate; raise APIConfigError where ``ca`` holds none."""
    try:
        context = ssl.create_default_context()
        if ca is not None:
            context.load_verify_locations(ca)
            # From Python 3.13 on certificates need extensions that many companies' own authorities leave out.
            # The chain, the name and the dates are checked as before.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    except OSError as exc:
        raise APIConfigError(f"[API] ca_file {ca} cannot be used as a PEM certificate: {type(exc).__name__}") from exc
    context.set_alpn_protocols(["http/1.1"])
    return context


def _head(address: Endpoint, headers: dict[str, str]) -> bytes:
    """Return the beginning of every request."""
    own = {"Host": address.authority, "Content-Type": "application/json", "Accept": "application/json"}
    named = {name.lower() for name in headers}
    if "user-agent" not in named:
        own["User-Agent"] = "incident-process"
    lines = [f"POST {address.target} HTTP/1.1", *(f"{name}: {value}" for name, value in {**own, **headers}.items())]
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def _give_up(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
