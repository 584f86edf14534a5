"""Requests per second: evenly spaced turns."""

import asyncio
from contextlib import suppress


class Pace:
    """Gives out turns no closer than ``1 / per_second`` seconds; 0 means without limit.

    ``shared``: one after another has this share of a rate, so the first turn has to be waited for as well.
    """

    def __init__(self, per_second: float, *, shared: bool = False) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._next = asyncio.get_running_loop().time() + self._gap if shared else 0.0

    @property
    def limited(self) -> bool:
        """False when a turn never has to be waited for."""
        return self._gap > 0

    async def turn(self, stopping: asyncio.Event) -> None:
        """Wait for the next turn, or until the event says that there is nothing to wait for."""
        if not self._gap:
            return
        now = asyncio.get_running_loop().time()
        due = max(now, self._next)
        self._next = due + self._gap
        if due > now:
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), due - now)
