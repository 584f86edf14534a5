"""A receiver that answers 201 to every POST after a delay, and looks at nothing. ``delay.py MILLISECONDS``.

Its port is the one line that it prints. The project's own receiver writes every request to a file before it answers;
this one leaves the processors to what is measured.
"""

import asyncio
import sys
from typing import cast

import uvloop

_BODY = b'{"message":"Incident created successfully"}'
_ANSWER = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)
_END = b"\r\n\r\n"


class Answering(asyncio.Protocol):
    """One connection; requests come one after the other, each with a Content-Length."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class has the methods, not the base

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._received += data
        while (size := self._whole()) is not None:
            del self._received[:size]
            if self._seconds:
                asyncio.get_running_loop().call_later(self._seconds, self._answer)
            else:
                self._answer()

    def _whole(self) -> int | None:
        """Return the size of the request that has arrived, None while it has not."""
        end = self._received.find(_END)
        if end < 0:
            return None
        for header in self._received[:end].lower().split(b"\r\n"):
            name, _, value = header.partition(b":")
            if name == b"content-length":
                size = end + len(_END) + int(value)
                return size if len(self._received) >= size else None
        return end + len(_END)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)


async def serve(seconds: float) -> None:
    """Listen on a free port of this machine until the process is ended."""
    server = await asyncio.get_running_loop().create_server(lambda: Answering(seconds), "127.0.0.1", 0, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(float(sys.argv[1]) / 1000))
