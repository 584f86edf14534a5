"""A receiver that answers 201 to every POST after a delay, and checks nothing. ``delay.py MILLISECONDS [WORKERS]``.

Its port is the one line that it prints. With WORKERS it works on no more than so many requests at once, and the others
queue; GET tells then how many were there on average while any was, and how many were given up by their client. The
project's own receiver writes every request to a file before it answers; this one leaves the processors to what is
measured.
"""

import asyncio
import sys
from collections import deque
from typing import cast

import uvloop

_BODY = b'{"message":"Incident created successfully"}'
_ANSWER = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)
_END = b"\r\n\r\n"


class WorkerQueue:
    """Workers and the queue before them: a request is a connection, which has one at a time."""

    def __init__(self, seconds: float, workers: int) -> None:
        self._seconds = seconds
        self._free = workers
        self._queue: deque[DelayedAnswers] = deque()
        self._there = 0
        self._since = 0.0
        self._area = self._busy = 0.0
        self.given_up = 0

    def take(self, request: "DelayedAnswers") -> None:
        """Work on a request as soon as a worker is free."""
        self._count(1)
        self._queue.append(request)
        self._next()

    @property
    def mean(self) -> float:
        """Return the average number of requests, over the time in which there was at least one."""
        return self._area / self._busy if self._busy else 0.0

    def _next(self) -> None:
        while self._free and self._queue:
            self._free -= 1
            asyncio.get_running_loop().call_later(self._seconds, self._done, self._queue.popleft())

    def _done(self, request: "DelayedAnswers") -> None:
        self._free += 1
        self._count(-1)
        if request.is_gone:
            self.given_up += 1
        request.answer()
        self._next()

    def _count(self, more: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._there:
            self._area += self._there * (now - self._since)
            self._busy += now - self._since
        self._since = now
        self._there += more


class DelayedAnswers(asyncio.Protocol):
    """One connection; requests come one after the other, each with a Content-Length."""

    def __init__(self, seconds: float, queue: WorkerQueue | None) -> None:
        self._seconds = seconds
        self._queue = queue
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class has the methods, not the base

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._received += data
        while (size := self._whole()) is not None:
            asks = self._queue is not None and self._received.startswith(b"GET")
            del self._received[:size]
            if self._queue is not None and asks:
                said = b'{"mean":%.3f,"given_up":%d}' % (self._queue.mean, self._queue.given_up)
                self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))
            elif self._queue is not None:
                self._queue.take(self)
            elif self._seconds:
                asyncio.get_running_loop().call_later(self._seconds, self.answer)
            else:
                self.answer()

    def _whole(self) -> int | None:
        """Return the size of the request that has arrived, None until it is whole."""
        end = self._received.find(_END)
        if end < 0:
            return None
        for header in self._received[:end].lower().split(b"\r\n"):
            name, _, value = header.partition(b":")
            if name == b"content-length":
                size = end + len(_END) + int(value)
                return size if len(self._received) >= size else None
        return end + len(_END)

    @property
    def is_gone(self) -> bool:
        """True when the client no longer waits for the answer."""
        return self._transport.is_closing()

    def answer(self) -> None:
        """Answer the request."""
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)


async def serve(seconds: float, workers: int) -> None:
    """Listen on a free port of this machine until the process is ended."""
    loop = asyncio.get_running_loop()
    queue = WorkerQueue(seconds, workers) if workers else None
    server = await loop.create_server(lambda: DelayedAnswers(seconds, queue), "127.0.0.1", 0, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(float(sys.argv[1]) / 1000, int(sys.argv[2]) if len(sys.argv) > 2 else 0))
