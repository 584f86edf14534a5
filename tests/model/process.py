"""One runner as a process: its own event loop, its ports to the world, and its sudden end."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from incident_process.core.errors import DatabaseConnectionError
from incident_process.core.models import RunReport
from tests.model.loop import DeadlockError, SteppedLoop
from tests.model.world import World

T = TypeVar("T")

MOST_CALLBACKS = 200_000
"""A run needs some hundreds; more means that it turns in circles."""


class Run(Protocol):
    """A run of the pipeline, of whatever kind."""

    async def run(self) -> RunReport:
        """Do it."""
        ...

    def request_stop(self, reason: str) -> None:
        """End it in good order."""
        ...


class Process:
    """A runner that is turned step by step, from one *point* to the next: a point lies before and after each effect.

    ``local``: on the machine of the others, so that they see that it is gone.
    """

    def __init__(self, world: World, name: str, *, local: bool) -> None:
        self.name = name
        self.local = local
        self.dead = False
        self.report: RunReport | None = None
        self.fault: DatabaseConnectionError | None = None
        self.run: Run | None = None
        self._world = world
        self._loop = SteppedLoop(world)
        self._points = 0
        self._task: asyncio.Task[RunReport] | None = None

    def start(self, run: Run) -> None:
        """Begin the run; nothing of it happens before ``go``."""
        self.run = run
        self._task = self._loop.create_task(run.run())

    @property
    def gone(self) -> bool:
        """True once the process is no more, for whatever reason."""
        return self.dead or self._task is None

    def go(self, points: int) -> None:
        """Turn the process until it has come to so many further points, or to its end."""
        until = self._points + points
        for _ in range(MOST_CALLBACKS):
            if self._task is None or self.dead or self._points >= until:
                return
            try:
                self._loop.step()
            except DeadlockError as exc:
                self._world.violate("stuck", f"{self.name}: {exc}")
                self.crash()
                return
            if self._task.done():
                self._end(self._task)
        self._world.violate("stuck", f"{self.name} turns in circles")
        self.crash()

    def crash(self) -> None:
        """End the process as SIGKILL would: from here on nothing that it does has an effect."""
        self.dead = True
        self._leave()

    async def pause(self) -> None:
        """A point: here the process may be ended, stopped, or overtaken."""
        await self.wait(self._world.latency())

    async def wait(self, seconds: float) -> None:
        """A point that takes its time."""
        if not self.dead:
            self._points += 1
            await asyncio.sleep(seconds)
        if self.dead:
            raise asyncio.CancelledError

    def _end(self, task: asyncio.Task[RunReport]) -> None:
        self._task = None
        try:
            self.report = task.result()
        except DatabaseConnectionError as exc:
            self.fault = exc  # the histories ask for these, and for no other error
        finally:
            self._leave()

    def _leave(self) -> None:
        if self.local:
            self._world.gone_here.add(self.name)
        self._loop.abandon()


class Port:
    """One process's access to something that all processes share."""

    def __init__(self, process: Process, faults: deque[str]) -> None:
        self.process = process
        self._faults = faults

    async def call(self, effect: Callable[[], T]) -> T:
        """Have the effect at one instant, somewhere between the asking and the answer.

        A fault that was asked for strikes before the effect, or swallows the answer after it.
        """
        await self.process.pause()
        fault = self._faults.popleft() if self._faults else ""
        if fault == "before":
            raise DatabaseConnectionError("made up: the server could not be reached")
        result = effect()
        await self.process.pause()
        if fault == "after":
            raise DatabaseConnectionError("made up: the answer was lost")
        return result
