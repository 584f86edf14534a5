"""The event loop of every run: uvloop's, which here closes the socket of a cancelled connect."""

import asyncio
import socket
from typing import Any

import uvloop


class Loop(uvloop.Loop):
    """Closes the socket of a connect that is cancelled.

    pymongo (4.20) leaves it open until a garbage collection. It cancels a connect when a heartbeat ends with its run,
    and when a client is closed while its server is away.
    """

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a non-blocking socket, as asyncio's loops do."""
        try:
            await super().sock_connect(sock, address)
        except asyncio.CancelledError:
            sock.close()
            raise
