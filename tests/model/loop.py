"""An event loop that the test steps by hand, in virtual time: one for each runner, as each process has its own.

No loop waits. Where only a timer is left, the world's time jumps to that timer.
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
"""Cancellations of one task at most: it may catch the first to clean up, and each next one hits the clean-up."""


class DeadlockError(Exception):
    """A runner waits for something that nothing will bring."""


class SteppedLoop(asyncio.BaseEventLoop):
    """Runs one callback for each ``step``. A loop without steps is a stopped process."""

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
        """Cancel all tasks while time stands still: the process is gone, and with it all that their clean-up needs."""
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
        assert not left, "these tasks outlive their process"

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
    """Raise what asyncio would only log."""
    raise context.get("exception") or AssertionError(context["message"])
