"""Work on the next items while an earlier one is being used."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def ahead(
    items: AsyncIterator[Item], work: Callable[[Item], Awaitable[Result]], most: Callable[[], int]
) -> AsyncGenerator[tuple[Item, Result], None]:
    """Yield every item with the result of its work, in their order.

    At most ``most()`` works are under way beyond the one that is yielded; with 0 an item's work begins when the one
    before has been used. Close it (``contextlib.aclosing``) where it may be left early: works under way end with it.
    """
    under_way: deque[tuple[Item, asyncio.Future[Result]]] = deque()
    try:
        async for item in items:
            under_way.append((item, asyncio.ensure_future(work(item))))
            while len(under_way) > most():
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
