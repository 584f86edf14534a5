"""One kept-alive connection to the receiver, over which one request at a time is answered (RFC 9112).

Its parser is llhttp, strict but for the ends of lines. What decides whether a record arrived is decided here, so the
rules are few: an answer counts once it is whole, what nobody asked for ends the connection, and nothing is ever sent a
second time.
"""

import asyncio
import select
from typing import cast

import httptools

EXCERPT_BYTES = 65_536
"""How much of an answer is looked at: its text only ever serves as a hint beside a refusal."""
MOST_BYTES = 1_048_576
"""An answer that is larger is read no further: its status has said what there is to know."""


class NoAnswerError(Exception):
    """The answer is not whole, or is none. Its subclasses' names stand in the ledger as the reason."""


class ConnectionClosedError(NoAnswerError):
    """The receiver closed the connection before its answer was whole."""


class MalformedAnswerError(NoAnswerError):
    """What came back is not HTTP."""


class EarlyAnswerError(NoAnswerError):
    """The receiver said that it took a request which it was not sent whole."""


class PersistentConnection(asyncio.Protocol):
    """Made by ``create_connection`` of an event loop, which opens it.

    ``status``, ``retry_after`` and ``excerpt`` are those of the last answer that was awaited; ``excerpt`` is the
    beginning of its text where the status is ``read_from`` or above.
    """

    status: int
    retry_after: str | None
    excerpt: bytes

    def __init__(self, loop: asyncio.AbstractEventLoop, read_from: int = 400) -> None:
        self._read_from = read_from
        self.idle_since = loop.time()
        """When it was made, or its last answer whole, by the clock of the event loop."""
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        # Lines may end with LF alone (RFC 9112, 2.2) and headers be folded (5.2): no danger where one request has one
        # answer, and of its headers only length, coding and Retry-After are read.
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
        """True while the receiver has neither closed it nor said anything that was not read yet.

        Asked of the system, because the event loop may not have heard of it yet, and then a request that could as well
        go over another connection would have no answer.
        """
        return self.usable and not self._events.poll(0)

    def send(self, request: bytes) -> asyncio.Future[None]:
        """Write a whole request; what is returned is done once the answer is whole.

        Raises NoAnswerError or OSError there, when there will be none. The caller closes a connection that it waits for
        no longer.
        """
        self._begin()
        self._waiter = waiter = self._loop.create_future()
        self._transport.write(request)
        return waiter

    def close(self) -> None:
        """Close it, whatever is under way."""
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
        """Take no request any more. Of TLS the system knows no end, and ``connection_lost`` comes after the answer."""
        self._closed = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Conclude from the end of the connection, which ends an answer that gave no length."""
        self._closed = True
        status = self._parser.get_status_code()
        del self._parser  # it holds on to this object, and this one to a TLS session: neither waits for the collector
        if self._waiter is None:
            return
        if exc is None and self._has_headers and not self._has_length:
            self._whole(status, keep=False)
        else:
            self._fail(exc or ConnectionClosedError())

    # -- what the parser calls ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Stop where nobody asked for an answer: it could pass for that of the next request, or mix with the last."""
        if self._waiter is None:
            raise MalformedAnswerError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note the few headers that matter."""
        name = name.lower()
        if name == b"content-length" or (name == b"transfer-encoding" and value.lower().endswith(b"chunked")):
            self._has_length = True  # any other coding goes on to the end of the connection (RFC 9112, 6.3)
        elif name == b"retry-after":
            self.retry_after = value.decode("ascii", "replace")

    def on_headers_complete(self) -> None:
        """Note that the status is known."""
        self._has_headers = True

    def on_body(self, body: bytes) -> None:
        """Keep the beginning of what a refusal says, and of what a rule may ask for."""
        if len(self.excerpt) < EXCERPT_BYTES and self._parser.get_status_code() >= self._read_from:
            self.excerpt = (self.excerpt + body)[:EXCERPT_BYTES]

    def on_message_complete(self) -> None:
        """Hand the answer to who waits for it, unless it is one of those that another one follows (1xx)."""
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
        # The rest of a request that was not sent whole would be taken for the next one. Of TLS only what was not
        # encrypted yet is known.
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
