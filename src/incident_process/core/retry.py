"""Retry after a fault that passes, by stamina. stamina and the driver stay silent: the caller reports the end."""

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

import stamina

T = TypeVar("T")

_ours = ContextVar("_ours", default=False)


async def call_with_retries(
    work: Callable[[], Awaitable[T]],
    on: type[Exception],
    *,
    attempts: int,
    wait_initial: float,
    seconds: float | None = None,
) -> T:
    """Return the result of ``work``; call it again, after growing pauses, when it raises a fault that passes.

    Args:
        work: The work; each attempt does it from its start.
        on: The errors that pass. The last attempt's error is raised; any other error is raised at once.
        attempts: Attempts, at most.
        wait_initial: Seconds of the first pause.
        seconds: Seconds after which no further attempt begins; None: no limit.
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
    """Return whether a record of stamina or asyncmy comes from work outside ``call_with_retries``.

    A script without logging would show a bare line on stderr for each retry here, and for each warning of the database,
    which repeats a statement's values. The script's own use of either library is not silenced.
    stamina's hooks are one list for the whole process, so the filter sits on the logger.
    """
    return not _ours.get()


for _library in ("stamina", "asyncmy"):
    logging.getLogger(_library).addFilter(_not_ours)
