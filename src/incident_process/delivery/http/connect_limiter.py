"""How many connections are opened at once: few, until the receiver has shown that it takes more.

A receiver takes new connections from a queue, which may be as short as five. Connections beyond it look open here but
are not: their requests time out.
"""

import asyncio
import time

AT_ONCE = 4
"""Connections at first that may wait for their first answer."""
PATIENCE_SECONDS = 0.05
"""Seconds after which the next connection may be opened anyway: the network is slow then, or the receiver."""


class ConnectSlot:
    """The permission to open a connection, ``since`` when. It ends with ``end``, or by itself after a while."""

    def __init__(self, free: asyncio.Semaphore, loop: asyncio.AbstractEventLoop) -> None:
        self.since = time.perf_counter()
        self._free = free
        self._held = True
        self._timer = loop.call_later(PATIENCE_SECONDS, self._give)

    def end(self, *, answered: bool = False) -> None:
        """Note the first answer, or that there will be none.

        A late answer allows one connection more: it shows that the receiver can have many under way.
        """
        self._timer.cancel()
        if answered and not self._held:
            self._free.release()
        self._give()

    def _give(self) -> None:
        if self._held:
            self._held = False
            self._free.release()


class ConnectLimiter:
    """Hands out the slots in the order of asking."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._free = asyncio.Semaphore(AT_ONCE)

    async def slot(self) -> ConnectSlot:
        """Wait for the permission to open a connection."""
        await self._free.acquire()
        return ConnectSlot(self._free, self._loop)
