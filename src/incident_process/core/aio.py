"""Coroutines side by side: run several as one, work on the next items meanwhile, give one up once an event is set."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from incident_process.core.errors import LeaseLostError

Item = TypeVar("Item")
Result = TypeVar("Result")

_CANCEL_AGAIN_SECONDS = 1.0
"""Seconds between two attempts to cancel a coroutine that has not ended."""


async def run_all_or_cancel(*works: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the coroutines; when one fails, cancel the others and raise its error itself, in no exception group.

    LeaseLostError takes precedence: after a take-over, the other errors are its consequences.
    """
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await _cancel_all(tasks)
    errors = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
    errors.sort(key=lambda error: not isinstance(error, LeaseLostError))
    if errors:
        raise errors[0]


async def unless_set(event: asyncio.Event, work: Awaitable[Result]) -> Result | None:
    """Return what the work returns, or None once the event is set; the work is then cancelled and has ended."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(event.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel_all(tasks)
    return None if tasks[0].cancelled() else tasks[0].result()


async def until_set(event: asyncio.Event, items: AsyncIterator[Item]) -> AsyncIterator[Item]:
    """Yield the items until the event is set; work on the next one is then cancelled."""

    async def next_one() -> tuple[Item] | None:
        try:
            return (await anext(items),)  # with a default, a cancelled anext() of Python 3.11 raises SystemError
        except StopAsyncIteration:
            return None

    while not event.is_set() and (one := await unless_set(event, next_one())) is not None:
        yield one[0]


async def prefetch(
    items: AsyncIterator[Item], work: Callable[[Item], Awaitable[Result]], limit: Callable[[], int]
) -> AsyncGenerator[tuple[Item, Result], None]:
    """Yield each item with the result of its work, in the order of the items.

    At most ``limit()`` works run beyond the item that was yielded; with 0, work on an item begins when the caller has
    used the one before. Close the generator (``contextlib.aclosing``) if you may leave it early: it cancels its works.
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
        await _cancel_all([task for _, task in under_way])


async def _cancel_all(tasks: "Sequence[asyncio.Future[Any]]") -> None:
    """Cancel the tasks that have not ended, and wait for them.

    Repeatedly: asyncio.wait_for of Python 3.11, which drivers use, can lose a cancellation. The coroutine would then go
    on, and wait for ever for the coroutines that have ended. A cancellation of the caller is raised once they have:
    what they use, such as a generator, must not be closed under them.
    """
    cancelled: asyncio.CancelledError | None = None
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:
            task.cancel()
        ended = asyncio.ensure_future(asyncio.wait(waiting, timeout=_CANCEL_AGAIN_SECONDS))
        while not ended.done():
            try:
                await asyncio.shield(ended)
            except asyncio.CancelledError as exc:
                cancelled = exc
    for task in tasks:
        if not task.cancelled():
            task.exception()  # else asyncio logs it as never retrieved where the caller was cancelled
    if cancelled is not None:
        raise cancelled


async def _first(under_way: "deque[tuple[Item, asyncio.Future[Result]]]") -> tuple[Item, Result]:
    """Wait for the oldest work; until it is done it stays in the queue, so that the caller can cancel it too."""
    item, task = under_way[0]
    result = await task
    under_way.popleft()
    return item, result
