"""The turns in which tokens are compared: a wrong one keeps its turn for a second, a right one for no time.

So all clients together guess ``MOST_HELD`` tokens a second, over however many connections. Every token has its turn,
those before it first; only where more wait than ``MOST_WAITING`` is one sent away, from the address that has most.
"""

import asyncio
from collections import Counter

MOST_HELD = 20
"""Tokens that have a turn at once, at most."""
MOST_WAITING = 100
"""Tokens that wait for a turn, at most: a flood of guesses must not take all connections."""


class SignInTurns:
    """The turns of one event loop."""

    def __init__(self) -> None:
        self._free = MOST_HELD
        self._waiting: dict[asyncio.Future[bool], str] = {}  # the address of each, in the order of their arrival

    async def take(self, address: str) -> bool:
        """Wait for a turn and return True; ``give_back`` has to follow. Return False where too many wait."""
        if self._free:
            self._free -= 1
            return True
        if len(self._waiting) >= MOST_WAITING and not self._make_room(address):
            return False
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = address
        try:
            return await turn
        except asyncio.CancelledError:
            self._waiting.pop(turn, None)
            if not turn.cancelled() and turn.result():  # it was given just before
                self.give_back()
            raise

    def give_back(self) -> None:
        """Give the turn to whoever has waited for longest."""
        while self._waiting:
            turn = next(iter(self._waiting))
            del self._waiting[turn]
            if not turn.done():
                turn.set_result(True)
                return
        self._free += 1

    def _make_room(self, address: str) -> bool:
        """Send the newest of the address that has most away; return False where that is this address."""
        counts = Counter(self._waiting.values())
        crowded, most = counts.most_common(1)[0]
        if counts[address] >= most:
            return False
        leaving = next(turn for turn, of in reversed(self._waiting.items()) if of == crowded)
        del self._waiting[leaving]
        if not leaving.done():
            leaving.set_result(False)
        return True
