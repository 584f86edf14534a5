"""How many connections are opened at once: few, until the receiver has shown that it takes more.

A receiver takes new connections from a queue, which may be as short as five. Those beyond it look open here and are
not: their requests have no answer until they time out.
"""

import asyncio
import time
from collections import deque

AT_ONCE = 4
"""So many connections at first may be waiting for their first answer."""
PATIENCE_SECONDS = 0.05
"""After so long without one it is the way that is long, or the receiver slow: the next connection may be opened."""


class ConnectSlot:
    """The right to open a connection, ``since`` when. It ends with ``end``, or after a while by itself."""

    def __init__(self, opening: "ConnectLimiter", loop: asyncio.AbstractEventLoop) -> None:
        self.since = time.perf_counter()
        self._opening = opening
        self._held = True
        self._timer = loop.call_later(PATIENCE_SECONDS, self._give)

    def end(self, *, answered: bool = False) -> None:
        """Note the first answer, or that there will be none.

        An answer that came late allows one connection more: the receiver can have many under way.
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
    """Gives out the slots, in turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._free = AT_ONCE
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def slot(self) -> ConnectSlot:
        """Wait for the right to open a connection."""
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
        """Let one more connection be opened."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
