"""Caches answers for a moment, so that many readers ask the databases no more often than one."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from datetime import UTC, datetime
from typing import Any, TypeVar

T = TypeVar("T")

LEAST_SECONDS = 2.0
SHARE = 20
"""An answer stays for at least this many times its reading time: readings take at most a twentieth of the databases'
time, however large the ledger is and however many users read."""
PATIENCE_SECONDS = 1.0
"""Seconds of a renewal after which a reader gets the old answer."""
MOST_KEPT = 64


class _Kept:
    def __init__(self) -> None:
        self.value: Any = None
        self.error: Exception | None = None
        self.known = False
        self.read_at: datetime | None = None
        self.until = 0.0
        self.task: asyncio.Task[None] | None = None


class SingleFlightCache:
    """Values by key. One task at a time reads each, and goes on when a reader leaves."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]], seconds: float = LEAST_SECONDS) -> T:
        """Return the value of the key, read again when it is old; raise the reading's error, which is cached likewise.

        Args:
            key: Names the value.
            read: Reads the value.
            seconds: How long the value is cached at least.
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

    def read_at(self, *keys: Hashable) -> datetime | None:
        """Return when the oldest of these values, or the error in its place, was read; None where none was."""
        found = [kept.read_at for key in keys if (kept := self._kept.get(key)) and kept.read_at]
        return min(found, default=None)

    def forget(self, *keys: Hashable) -> None:
        """Let the next request for each of these values read it again, of all where none is named."""
        for key, kept in self._kept.items():
            if not keys or key in keys:
                kept.until = 0.0

    async def close(self) -> None:
        """Wait for the readings under way."""
        tasks = [kept.task for kept in self._kept.values() if kept.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def _renew(self, kept: _Kept, read: Callable[[], Awaitable[Any]], seconds: float) -> None:
        began = self._clock()
        share = SHARE if kept.known else 0  # the first reading also opens the connection, so its time says little
        at = datetime.now(UTC)
        try:
            kept.value, kept.error = await read(), None
            kept.read_at = at
        except Exception as exc:  # raised again for every reader meanwhile
            kept.error, kept.read_at = exc, at
            share = 1  # a database that is back should show soon
        finally:
            now = self._clock()
            kept.until = now + max(seconds, share * (now - began))
            kept.known = True
            kept.task = None
