"""SIGTERM, SIGINT and SIGHUP as an operator's requests, from the command's first moment to its last."""

import asyncio
import os
import signal
from types import FrameType
from typing import Any

from incident_process.core.models import INTERRUPTED

ENDING = (signal.SIGTERM, signal.SIGINT)


def leave_at_once() -> None:
    """Let SIGTERM and SIGINT end the process with status 0 as long as nothing is under way."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        os._exit(0)  # no exception: Python ignores one in a destructor or a weak reference's callback

    for number in ENDING:
        signal.signal(number, leave)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the command reads the configuration next anyway


class SignalRequests:
    """What an operator has asked for so far. A context manager in the running loop, which takes the signals over.

    Afterwards the process ignores them: it is ending.
    """

    def __init__(self) -> None:
        self.reason = "asked to stop"
        self.reread = False
        self.end = asyncio.Event()  # the first signal to end
        self.hurry = asyncio.Event()  # the second one
        self.any = asyncio.Event()  # any new signal

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
    """Wait for the task, the event, or ``seconds``, whichever comes first; the task goes on."""
    waiter: asyncio.Future[Any] = asyncio.ensure_future(event.wait())
    try:
        waiting = {waiter} if task is None else {waiter, task}
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()


async def give_up(task: "asyncio.Future[Any]", seconds: float) -> None:
    """Cancel a task again and again until it ends, for ``seconds`` at most.

    Once is not enough: asyncio.wait_for of Python 3.11, which drivers use, can lose a cancellation.
    """
    until = asyncio.get_running_loop().time() + seconds
    while not task.done() and asyncio.get_running_loop().time() < until:
        task.cancel()
        await asyncio.wait({task}, timeout=1)
