"""An event loop that somebody else turns by hand, in virtual time: one for each runner, as a process has its own.

Nothing waits. When a loop has nothing to do but to wait for a timer, the world's time goes on to that timer.
"""

import asyncio
import heapq
from collections import deque
from typing import Any, Protocol


class Time(Protocol):
    """The time that all loops share, in seconds."""

    elapsed: float

    def pass_time(self, seconds: float) -> None:
        """Let time go on."""
        ...


MOST_CANCELLATIONS = 20
"""A task may catch the first, to clean up; each next one meets what it does for that."""


class DeadlockError(Exception):
    """A runner waits for something that nothing will bring."""


class SteppedLoop(asyncio.BaseEventLoop):
    """Runs one callback at a time, when it is told to. A loop that is not turned is a process that is stopped."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, time: Time) -> None:
        super().__init__()
        self._time = time
        self.set_exception_handler(_raise)

    def time(self) -> float:
        """Return the world's time."""
        return self._time.elapsed

    def step(self) -> None:
        """Run one callback; raise DeadlockError when there is none and no timer either."""
        self._collect_due()
        while not self._ready:
            if not self._scheduled:
                raise DeadlockError("nothing to run and nothing to wait for")
            self._time.pass_time(max(0.0, self._scheduled[0].when() - self.time()))
            self._collect_due()
        self._run(self._ready.popleft())

    def abandon(self) -> None:
        """End all tasks without letting time go on: what their clean-up reaches for is gone, as the process is."""
        for _ in range(MOST_CANCELLATIONS):
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            while self._ready:
                self._run(self._ready.popleft())
        left = asyncio.all_tasks(self)
        self.close()
        assert not left, "these hold on to a process that is gone"

    def _collect_due(self) -> None:
        while self._scheduled and (self._scheduled[0].cancelled() or self._scheduled[0].when() <= self.time()):
            timer = heapq.heappop(self._scheduled)
            if not timer.cancelled():
                self._ready.append(timer)

    def _run(self, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        asyncio._set_running_loop(self)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(None)


def _raise(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Let what asyncio would only log end the test."""
    raise context.get("exception") or AssertionError(context["message"])
