"""How many connections are opened at once: few, until the receiver has shown that it takes more.

A receiver takes new connections from a queue, which may be as short as five. Connections beyond it look open here but
are not: their requests time out.
"""

import asyncio
import time
from collections import deque

AT_ONCE = 4
"""Connections at first that may wait for their first answer."""
PATIENCE_SECONDS = 0.05
"""Seconds after which the next connection may be opened anyway: the network is slow then, or the receiver."""


class ConnectSlot:
    """The permission to open a connection, ``since`` when. It ends with ``end``, or by itself after a while."""

    def __init__(self, opening: "ConnectLimiter", loop: asyncio.AbstractEventLoop) -> None:
        self.since = time.perf_counter()
        self._opening = opening
        self._held = True
        self._timer = loop.call_later(PATIENCE_SECONDS, self._give)

    def end(self, *, answered: bool = False) -> None:
        """Note the first answer, or that there will be none.

        A late answer allows one connection more: it shows that the receiver can have many under way.
        """
        self._timer.cancel()
        if answered and not self._held:
            self._opening.give()
        self._give()

    def _give(self) -> None:
        if self._held:
            self._held = False
            self._opening.give()


class ConnectLimiter:
    """Hands out the slots in the order of asking."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._free = AT_ONCE
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def slot(self) -> ConnectSlot:
        """Wait for the permission to open a connection."""
        if self._free:
            self._free -= 1
            return ConnectSlot(self, self._loop)
        turn = self._loop.create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()
            raise
        return ConnectSlot(self, self._loop)

    def give(self) -> None:
        """Allow one more connection."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
