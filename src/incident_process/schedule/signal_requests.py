"""SIGTERM, SIGINT and SIGHUP as wishes of an operator, from the first moment of the command to its last."""

import asyncio
import os
import signal
from types import FrameType
from typing import Any

from incident_process.core.models import INTERRUPTED

ENDING = (signal.SIGTERM, signal.SIGINT)


def leave_at_once() -> None:
    """End the process with status 0 at SIGTERM or SIGINT, as long as nothing is under way yet."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        os._exit(0)  # no exception: one that is raised in a destructor or a weak reference's callback is ignored

    for number in ENDING:
        signal.signal(number, leave)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the configuration is about to be read anyway


class SignalRequests:
    """What was asked for so far. A context manager in the running loop, which takes the signals over.

    Afterwards they are ignored: what is left of the process is its end.
    """

    def __init__(self) -> None:
        self.reason = "asked to stop"
        self.reread = False
        self.end = asyncio.Event()  # come to an end
        self.hurry = asyncio.Event()  # asked for a second time
        self.any = asyncio.Event()  # something new was asked for

    def __enter__(self) -> "SignalRequests":
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self._end, f"{INTERRUPTED}{number.name}")
        loop.add_signal_handler(signal.SIGHUP, self._reread)
        return self

    def __exit__(self, *exc_info: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (*ENDING, signal.SIGHUP):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _end(self, reason: str) -> None:
        if self.end.is_set():
            self.hurry.set()
        else:
            self.reason = reason
        self.end.set()
        self.any.set()

    def _reread(self) -> None:
        self.reread = True
        self.any.set()


async def first(task: "asyncio.Future[Any] | None", event: asyncio.Event, seconds: float | None) -> None:
    """Wait for the task, the event, or so many seconds, whichever comes first; the task goes on."""
    waiter: asyncio.Future[Any] = asyncio.ensure_future(event.wait())
    try:
        waiting = {waiter} if task is None else {waiter, task}
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()


async def give_up(task: "asyncio.Future[Any]", seconds: float) -> None:
    """Cancel a task, over and over, for so many seconds at the most.

    Once is not enough: asyncio.wait_for of Python 3.11, which drivers use, can lose a cancellation.
    """
    until = asyncio.get_running_loop().time() + seconds
    while not task.done() and asyncio.get_running_loop().time() < until:
        task.cancel()
        await asyncio.wait({task}, timeout=1)
