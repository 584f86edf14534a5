"""Coroutines side by side that succeed or fail as one."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from incident_process.errors import LeaseLostError

_AGAIN_SECONDS = 1.0


async def together(*works: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the coroutines; when one fails, end the others and raise its error by itself.

    A lost lease outweighs other errors: what else goes wrong after a take-over is its consequence.
    """
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        # Over and over: asyncio.wait_for of Python 3.11, which drivers use, can lose a cancellation, and what went on
        # would wait for ever for those that have ended.
        while waiting := [task for task in tasks if not task.done()]:
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting, timeout=_AGAIN_SECONDS)
    errors = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
    errors.sort(key=lambda error: not isinstance(error, LeaseLostError))
    if errors:
        raise errors[0]
