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
"""Callbacks of one ``go`` at most. A run needs some hundreds; more means that it turns in circles."""


class Run(Protocol):
    """A run of the pipeline, of any kind."""

    async def run(self) -> RunReport:
        """Run it to its end."""
        ...

    def request_stop(self, reason: str) -> None:
        """Ask the run to record what is under way and to end."""
        ...


class Process:
    """A runner that the test steps from one *point* to the next. A point lies before and after each effect.

    ``local``: on the same machine as the others, which therefore see when it is gone.
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
        """Create the run's task; ``go`` begins it."""
        self.run = run
        self._task = self._loop.create_task(run.run())

    @property
    def gone(self) -> bool:
        """True once the process has ended or was killed."""
        return self.dead or self._task is None

    def go(self, points: int) -> None:
        """Step the process through this many points, or to its end."""
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
        """Kill the process as SIGKILL does: nothing that it does from now on has an effect."""
        self.dead = True
        self._leave()

    async def pause(self) -> None:
        """Pass a point: here the test may kill or stop the process, or let another overtake it."""
        await self.wait(self._world.latency())

    async def wait(self, seconds: float) -> None:
        """Pass a point that takes this many seconds."""
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
            self.fault = exc  # histories inject these, and no other error
        finally:
            self._leave()

    def _leave(self) -> None:
        if self.local:
            self._world.gone_here.add(self.name)
        self._loop.abandon()


class Port:
    """One process's access to something shared."""

    def __init__(self, process: Process, faults: deque[str]) -> None:
        self.process = process
        self._faults = faults

    async def call(self, effect: Callable[[], T]) -> T:
        """Do the effect at one instant between request and answer.

        An injected fault strikes before the effect, or loses the answer after it.
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
