"""One kept-alive connection to the receiver, which answers one request at a time on it (RFC 9112).

Its parser is llhttp, strict except for line ends. This class decides whether a record arrived, so its rules are few: an
answer counts once it is whole, an unrequested answer ends the connection, and nothing is ever sent a second time.
"""

import asyncio
import select
from typing import cast

import httptools

EXCERPT_BYTES = 65_536
"""Bytes of an answer's text that are kept: the text only explains a rejection."""
MOST_BYTES = 1_048_576
"""Bytes of an answer after which the client stops reading: its status is known by then."""


class NoAnswerError(Exception):
    """The answer is not whole, or is none. ``status_texts`` has the ledger's words for each subclass."""


class ConnectionClosedError(NoAnswerError):
    """The receiver closed the connection before its answer was whole."""


class MalformedAnswerError(NoAnswerError):
    """The answer is not HTTP."""


class EarlyAnswerError(NoAnswerError):
    """The receiver accepted a request that had not been sent whole."""


class PersistentConnection(asyncio.Protocol):
    """A connection, made and opened by ``create_connection`` of an event loop.

    ``status``, ``retry_after`` and ``excerpt`` are those of the last answer awaited; ``excerpt`` is the beginning of
    its text where the status is ``read_from`` or above.
    """

    status: int
    retry_after: str | None
    excerpt: bytes

    def __init__(self, loop: asyncio.AbstractEventLoop, read_from: int = 400) -> None:
        self._read_from = read_from
        self.idle_since = loop.time()
        """When it was made, or its last answer was whole, by the event loop's clock in seconds."""
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        # Lines may end with LF alone (RFC 9112, 2.2) and headers be folded (5.2): harmless where one request has one
        # answer, and only the headers for length, coding and Retry-After are read.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_headers=True)
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._begin()

    @property
    def usable(self) -> bool:
        """True while it is open and nothing is under way on it."""
        return not self._closed and self._waiter is None

    @property
    def at_rest(self) -> bool:
        """True while the receiver has neither closed it nor sent anything that was not read yet.

        This asks the system: the event loop may not know yet, and a request that could as well go over another
        connection would then have no answer.
        """
        return self.usable and not self._events.poll(0)

    def send(self, request: bytes) -> asyncio.Future[None]:
        """Write a whole request and return a future that is done once the answer is whole.

        The future raises NoAnswerError or OSError when there will be no answer. A caller that stops waiting must close
        the connection.
        """
        self._begin()
        self._waiter = waiter = self._loop.create_future()
        self._transport.write(request)
        return waiter

    def close(self) -> None:
        """Close it, also with a request under way."""
        self._closed = True
        self._transport.abort()

    # -- what the event loop calls --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the open connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class has the methods, not the base
        self._events = select.poll()
        self._events.register(transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLRDHUP)

    def data_received(self, data: bytes) -> None:
        """Read on in the answer."""
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(MalformedAnswerError())
            return
        if self._received > MOST_BYTES and self._waiter is not None:
            self._whole(self._parser.get_status_code() if self._has_headers else 0, keep=False)

    def eof_received(self) -> None:
        """Accept no further request. Under TLS the system sees no end; ``connection_lost`` comes after the answer."""
        self._closed = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Draw the conclusion from the connection's end, which also ends an answer that gave no length."""
        self._closed = True
        status = self._parser.get_status_code()
        del self._parser  # it refers to this object, and this one to a TLS session: neither waits for the collector
        if self._waiter is None:
            return
        if exc is None and self._has_headers and not self._has_length:
            self._whole(status, keep=False)
        else:
            self._fail(exc or ConnectionClosedError())

    # -- what the parser calls ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Reject an answer without a request: it could pass for that of the next request, or mix with the last."""
        if self._waiter is None:
            raise MalformedAnswerError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note length, coding and Retry-After; other headers do not matter."""
        name = name.lower()
        if name == b"content-length" or (name == b"transfer-encoding" and value.lower().endswith(b"chunked")):
            self._has_length = True  # any other coding goes on to the end of the connection (RFC 9112, 6.3)
        elif name == b"retry-after":
            self.retry_after = value.decode("ascii", "replace")

    def on_headers_complete(self) -> None:
        """Note that the status is known."""
        self._has_headers = True

    def on_body(self, body: bytes) -> None:
        """Keep the beginning of the text of a rejection, and of an answer that a rule may need."""
        if len(self.excerpt) < EXCERPT_BYTES and self._parser.get_status_code() >= self._read_from:
            self.excerpt = (self.excerpt + body)[:EXCERPT_BYTES]

    def on_message_complete(self) -> None:
        """Complete the answer, unless it is an interim one that another follows (1xx)."""
        if self._waiter is None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._begin()
            return
        self._whole(status, keep=self._parser.should_keep_alive())

    def _begin(self) -> None:
        self.status = 0
        self.retry_after = None
        self.excerpt = b""
        self._received = 0
        self._has_headers = self._has_length = False

    def _whole(self, status: int, *, keep: bool) -> None:
        if status < 200:
            self._fail(MalformedAnswerError())
            return
        # The receiver would take the rest of an unfinished request for the next one. Under TLS only the part that is
        # not yet encrypted is known.
        is_early = not self._closed and self._transport.get_write_buffer_size() > 0
        if is_early and status < 300:
            self._fail(EarlyAnswerError())
            return
        self.status = status
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        self.idle_since = self._loop.time()
        if is_early or not keep:
            self.close()

    def _fail(self, error: Exception) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        self.close()
