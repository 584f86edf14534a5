"""Answers that are kept for a moment, so that a room full of readers asks the databases no more than one of them."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

LEAST_SECONDS = 2.0
SHARE = 20
"""An answer is kept for at least so many times as long as it took: reading never takes more than a twentieth of the
time of whoever answers, however large the ledger is and however many look."""
PATIENCE_SECONDS = 1.0
"""When an answer takes longer than this to renew, the old one is given meanwhile."""
MOST_KEPT = 64


class _Kept:
    def __init__(self) -> None:
        self.value: Any = None
        self.error: Exception | None = None
        self.known = False
        self.until = 0.0
        self.task: asyncio.Task[None] | None = None


class SingleFlightCache:
    """Values by key; each is read by one task at a time, which no reader's leaving ends."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]], seconds: float = LEAST_SECONDS) -> T:
        """Return the value of the key, read anew when it was kept for long enough; an error is kept likewise.

        Args:
            key: What is asked for.
            read: Reads it.
            seconds: How long it is kept at least.
        """
        kept = self._kept.setdefault(key, _Kept())
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        if self._clock() >= kept.until and kept.task is None:
            kept.task = asyncio.create_task(self._renew(kept, read, seconds))
        if kept.task is not None:
            await asyncio.wait({kept.task}, timeout=PATIENCE_SECONDS if kept.known else None)
        if kept.error is not None:
            raise kept.error
        value: T = kept.value
        return value

    def forget(self) -> None:
        """Read everything anew when it is next asked for: something was changed."""
        for kept in self._kept.values():
            kept.until = 0.0

    async def close(self) -> None:
        """Wait for what is being read."""
        tasks = [kept.task for kept in self._kept.values() if kept.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def _renew(self, kept: _Kept, read: Callable[[], Awaitable[Any]], seconds: float) -> None:
        began = self._clock()
        share = SHARE if kept.known else 0  # the first reading also opens the connection, which is no measure
        try:
            kept.value, kept.error = await read(), None
        except Exception as exc:  # raised again for everybody who asks meanwhile
            kept.error = exc
            share = 1  # that somebody is back should be seen soon
        finally:
            now = self._clock()
            kept.until = now + max(seconds, share * (now - began))
            kept.known = True
            kept.task = None
