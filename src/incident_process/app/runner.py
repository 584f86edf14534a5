"""The local engine: one process, one event loop, until the run is done."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

from incident_process.app.cluster_engine import make_processor
from incident_process.app.factory import open_parts
from incident_process.app.observers import Observers, observers_for
from incident_process.core.models import INTERRUPTED, RunKind, RunReport
from incident_process.observability.listeners import Progress, show_progress
from incident_process.pipeline.context import Parts
from incident_process.pipeline.plans import WindowPlan
from incident_process.pipeline.run import Run
from incident_process.settings import Settings

Result = TypeVar("Result")


def run_window(settings: Settings, *, now: bool = False, progress: Progress | None = None) -> RunReport:
    """Process one window and report it (SPEC 7, 9).

    With tracking in SQL the run goes ahead when the operation is due; with ``now`` also before that.

    When the main thread calls it, SIGTERM and SIGINT end the run in good order: the run records what is under way,
    leaves the rest pending, and reports ``incomplete``.

    Raises:
        ConfigurationError: A setting, a table or a column is not as it must be.
        DatabaseConnectionError: Source or state cannot be reached; ``report`` says how far the run had come.
    """

    async def make(parts: Parts) -> Run:
        return Run(parts, WindowPlan(parts, now=now))

    return run_leased(settings, make, progress=progress)


def in_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end from synchronous code, also where an event loop already runs in this thread."""
    if not _has_loop():
        return _run(work)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="incident-process") as thread:
        return thread.submit(_run, work).result()


def _has_loop() -> bool:
    """Return whether an event loop runs in this thread; separate, so that later errors do not chain to RuntimeError."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    from incident_process.core.event_loop import Loop

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(work)


def run_leased(
    settings: Settings, make: Callable[[Parts], Awaitable[Run]], *, progress: Progress | None = None
) -> RunReport:
    """Do the run that ``make`` makes of the opened parts; errors and signals as in ``run_window``."""

    async def shown(parts: Parts) -> Run:
        if progress is not None:
            show_progress(progress, parts.events)
        return await make(parts)

    async def run() -> RunReport:
        return await conduct(settings, shown, observers_for(settings))

    return in_loop(run())


async def conduct(
    settings: Settings,
    make: Callable[[Parts], Awaitable[Run]],
    observers: Observers,
    *,
    signal_handling: Callable[[Run], AbstractContextManager[None]] | None = None,
) -> RunReport:
    """Do one run in the running event loop, with its observers; errors as in ``run_window``.

    ``signal_handling`` makes a context manager around the run; None ends the run in good order at the first SIGTERM or
    SIGINT.
    """
    kind, is_reported = RunKind.WINDOW, False
    try:
        async with open_parts(settings, make_processor(settings)) as parts:
            observers.listen(parts.events)
            run = await make(parts)
            kind = run.kind
            try:
                with signal_handling(run) if signal_handling is not None else stop_on_signal(run.request_stop):
                    report = await run.run()
            except Exception as exc:
                is_reported = True
                await observers.failed(kind, exc, parts)
                raise
            is_reported = True
            await observers.ended(kind, report, parts)
            return report
    except Exception as exc:
        if not is_reported:
            await observers.failed(kind, exc, None)
        raise


class stop_on_signal:  # noqa: N801  # used as a verb: with stop_on_signal(...):
    """Calls ``stop(reason)`` on the first SIGTERM or SIGINT; a second one ends the process as usual."""

    def __init__(self, stop: Callable[[str], None]) -> None:
        self._stop = stop
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> None:
        """Handle the signals, if this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._caught, number)

    def __exit__(self, *exc_info: object) -> None:
        """Stop handling the signals."""
        self._give_back()

    def _caught(self, number: signal.Signals) -> None:
        self._give_back()
        self._stop(f"{INTERRUPTED}{signal.Signals(number).name}")

    def _give_back(self) -> None:
        if self._loop is not None:
            for number in (signal.SIGTERM, signal.SIGINT):
                with suppress(RuntimeError):  # the loop is closed already
                    self._loop.remove_signal_handler(number)
            self._loop = None
