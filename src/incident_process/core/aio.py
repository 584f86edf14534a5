"""Coroutines side by side: run as one, and work on the next items while an earlier one is being used."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from incident_process.core.errors import LeaseLostError

Item = TypeVar("Item")
Result = TypeVar("Result")

_CANCEL_AGAIN_SECONDS = 1.0


async def run_all_or_cancel(*works: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the coroutines; when one fails, cancel the others and raise its error by itself.

    A lost lease outweighs other errors: what else goes wrong after a take-over is its consequence.
    """
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        # Over and over: asyncio.wait_for of Python 3.11, which drivers use, can lose a cancellation, and the coroutine
        # that went on would wait for ever for those that have ended.
        while waiting := [task for task in tasks if not task.done()]:
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting, timeout=_CANCEL_AGAIN_SECONDS)
    errors = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
    errors.sort(key=lambda error: not isinstance(error, LeaseLostError))
    if errors:
        raise errors[0]


async def prefetch(
    items: AsyncIterator[Item], work: Callable[[Item], Awaitable[Result]], limit: Callable[[], int]
) -> AsyncGenerator[tuple[Item, Result], None]:
    """Yield every item with the result of its work, in their order.

    At most ``limit()`` works are under way beyond the one that is yielded; with 0 an item's work begins when the one
    before has been used. Close it (``contextlib.aclosing``) where it may be left early: works under way end with it.
    """
    under_way: deque[tuple[Item, asyncio.Future[Result]]] = deque()
    try:
        async for item in items:
            under_way.append((item, asyncio.ensure_future(work(item))))
            while len(under_way) > limit():
                yield await _first(under_way)
        while under_way:
            yield await _first(under_way)
    finally:
        for _, task in under_way:
            task.cancel()
        await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)


async def _first(under_way: "deque[tuple[Item, asyncio.Future[Result]]]") -> tuple[Item, Result]:
    """Wait for the oldest; it stays where it is cancelled with the others until it is done."""
    item, task = under_way[0]
    result = await task
    under_way.popleft()
    return item, result
