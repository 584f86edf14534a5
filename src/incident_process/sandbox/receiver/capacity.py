"""A receiver's limits: requests a second, and requests at once with a queue before them."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from incident_process.sandbox.receiver.faults import Faults


class RateLimit:
    """``Faults.rate_limit`` in its three kinds. Call ``takes`` once for each request."""

    def __init__(self, faults: Faults) -> None:
        self._most = faults.rate_limit
        self._kind = faults.rate_kind
        self._burst = faults.rate_burst
        self._log: deque[float] = deque()
        self._second = -1
        self._tokens = float(faults.rate_burst)
        self._filled = time.time()

    def takes(self, now: float) -> bool:
        """Return whether the limit allows one more request at this time, in seconds of a clock."""
        if not self._most:
            return True
        if self._kind == "bucket":
            self._tokens = min(self._burst, self._tokens + max(0.0, now - self._filled) * self._most)
            self._filled = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
        if self._kind == "sliding":
            while self._log and self._log[0] <= now - 1:
                self._log.popleft()
        elif math.floor(now) != self._second:
            self._second = math.floor(now)
            self._log.clear()
        if len(self._log) >= self._most:
            return False
        self._log.append(now)
        return True


class Workers:
    """``Faults.workers`` and their queue, in one event loop."""

    def __init__(self, faults: Faults) -> None:
        self._seconds = faults.work_ms / 1000
        self._queue = faults.queue
        self._free = asyncio.Semaphore(faults.workers) if faults.workers else None
        self._waiting = 0

    @property
    def full(self) -> bool:
        """True when all workers are busy and their queue has no place left."""
        if self._free is None or self._queue is None or not self._free.locked():
            return False
        return self._waiting >= self._queue

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Wait for a worker, and keep it busy with a request while the block runs."""
        if self._free is None:
            yield
            return
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            await asyncio.sleep(self._seconds)
            yield
        finally:
            self._free.release()
