"""Coroutines side by side that succeed or fail as one."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from incident_process.errors import LeaseLostError


async def together(*works: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the coroutines; when one fails, end the others and raise its error by itself.

    A lost lease outweighs other errors: what else goes wrong after a take-over is its consequence.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work())
    except BaseExceptionGroup as errors:
        first: BaseException = errors.subgroup(LeaseLostError) or errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from errors
