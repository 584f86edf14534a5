"""Trying again after a fault that passes, by stamina. Neither it nor a driver is heard: the caller says how it ends."""

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

import stamina

T = TypeVar("T")

_ours = ContextVar("_ours", default=False)


async def retried(
    work: Callable[[], Awaitable[T]],
    on: type[Exception],
    *,
    attempts: int,
    wait_initial: float,
    seconds: float | None = None,
) -> T:
    """Return what ``work`` returns, which is called again, after growing pauses, when it raises.

    Args:
        work: What to do; each attempt does it from its start.
        on: The errors that pass. The last attempt's is raised, as any other is at once.
        attempts: How often it is done, at most.
        wait_initial: The first pause, in seconds.
        seconds: The time after which there is no further attempt; None: any number.
    """
    token = _ours.set(True)
    try:
        async for attempt in stamina.retry_context(
            on=on, attempts=attempts, timeout=seconds, wait_initial=wait_initial, wait_max=2.0, wait_jitter=0.2
        ):
            with attempt:
                return await work()
    finally:
        _ours.reset(token)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _not_ours(record: logging.LogRecord) -> bool:
    """Tell whether stamina or asyncmy speaks of somebody else's work.

    A script that has set up no logging would have a bare line on stderr for each retry of ours, and for each of the
    database's warnings, which repeat what a statement was given. The script's own use of either is not ours to silence.
    stamina's hooks are one list for the whole process, so the logger is the place.
    """
    return not _ours.get()


for _library in ("stamina", "asyncmy"):
    logging.getLogger(_library).addFilter(_not_ours)
