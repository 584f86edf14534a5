"""The event loop of every run: uvloop's, which leaves nothing of a connection that was not to be made any more."""

import asyncio
import socket
from typing import Any

import uvloop


class Loop(uvloop.Loop):
    """Closes the socket of a connect that is cancelled.

    pymongo (4.20) leaves it open until the garbage collector comes by, and a heartbeat that ends with its run, or a
    client that is closed while its server is away, is cancelled just there.
    """

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a non-blocking socket, as asyncio's loops do."""
        try:
            await super().sock_connect(sock, address)
        except asyncio.CancelledError:
            sock.close()
            raise
