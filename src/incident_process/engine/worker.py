"""What a worker of a cluster runs: one chunk after the other, in an event loop beside those of Dask.

A process has one home for the settings of a run: source, state and transport are opened for its first chunk, shared by
all that it works on, and closed when nothing was to be done for a while. Nothing that is raised here leaves the
process: a scheduler keeps and shows tracebacks, whose texts may hold what must not be shown.
"""

import asyncio
import functools
import threading
from collections import OrderedDict
from contextlib import AsyncExitStack

import msgspec

from incident_process.core import logs
from incident_process.core.errors import IncidentProcessError, where_raised
from incident_process.delivery.gate import Gate
from incident_process.engine.compose import make_source, open_parts
from incident_process.engine.reference import Reference
from incident_process.pipeline.chunk import work_on
from incident_process.pipeline.context import Parts
from incident_process.pipeline.helpers import ChunkDone, ChunkTask
from incident_process.pipeline.processor import Crew
from incident_process.settings import Settings

IDLE_SECONDS = 60.0
"""After so long without a chunk the connections are closed; a cluster outlives runs."""
REMEMBERED_RUNS = 32
"""Of so many runs it is remembered that they are to end."""


def run_chunk(reference: Reference, task: ChunkTask) -> ChunkDone:
    """Do one task and return what came of it, errors included; the function that the scheduler hands out."""
    from distributed import get_worker

    worker = get_worker()
    try:
        done = _home().do(reference, task, worker.state.nthreads)
    except IncidentProcessError as exc:
        done = ChunkDone.failed(exc)
    except Exception as exc:
        done = ChunkDone.failed(IncidentProcessError(f"unexpected fault of a worker: {where_raised(exc)}"))
    return msgspec.structs.replace(done, worker=worker.address)


def end_run(run_id: str, reason: str) -> None:
    """Stop the chunks of a run in this process, in good order, and do none of those that are still handed to it."""
    _home().end(run_id, reason)


class Home:
    """The event loop of this process, and what its chunks share."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rooms: list[_Room] = []
        self._crews: dict[str, set[Crew]] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()

    def do(self, reference: Reference, task: ChunkTask, sharing: int) -> ChunkDone:
        """Do the task, from a thread of the worker; errors as of ``Reference.load`` and ``work_on``."""
        settings = reference.load()
        if not logs.get_logger().handlers:  # to stderr alone: a file that is rotated is for one process
            logs.configure(settings.process.log_level, settings.process.log_format)
        return asyncio.run_coroutine_threadsafe(self._do(settings, task, sharing), self._running()).result()

    def end(self, run_id: str, reason: str) -> None:
        """Stop the run's chunks, from whatever thread."""
        self._running().call_soon_threadsafe(self._end, run_id, reason)

    async def _do(self, settings: Settings, task: ChunkTask, sharing: int) -> ChunkDone:
        if task.run_id in self._ended:
            return ChunkDone(stopped=self._ended[task.run_id])
        crews = self._crews.setdefault(task.run_id, set())
        begun: list[Crew] = []

        def show(crew: Crew) -> None:
            begun.append(crew)
            crews.add(crew)
            if task.run_id in self._ended:
                crew.sender.stop(self._ended[task.run_id])

        try:
            async with AsyncExitStack() as stack:
                room = self._room(settings)
                parts = await stack.enter_async_context(room)
                if not task.requests_per_second:  # a part of a rate is the task's own
                    parts = msgspec.structs.replace(parts, gate=room.gate(task.max_connections * sharing))
                if settings.database.replicas:
                    # How far replicas must have come is settled by a source's first reading: what another worker has
                    # read of this chunk before, perhaps later than this one's last, must not be followed by less.
                    source = await stack.enter_async_context(make_source(settings))
                    parts = msgspec.structs.replace(parts, source=source)
                return await work_on(parts, task, sharing, show)
        finally:
            crews.difference_update(begun)
            if not crews:
                self._crews.pop(task.run_id, None)

    def _end(self, run_id: str, reason: str) -> None:
        self._ended[run_id] = reason
        while len(self._ended) > REMEMBERED_RUNS:
            self._ended.popitem(last=False)
        for crew in self._crews.get(run_id, ()):
            crew.sender.stop(reason)

    def _room(self, settings: Settings) -> "_Room":
        """Return what is open, or can be opened, for these settings; one cluster may serve several operations."""
        self._rooms = [room for room in self._rooms if not room.is_empty or room.settings == settings]
        for room in self._rooms:
            if room.settings == settings:
                return room
        self._rooms.append(_Room(settings))
        return self._rooms[-1]

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                from incident_process.core.event_loop import Loop

                self._loop = Loop()
                threading.Thread(target=self._loop.run_forever, name="incident-process", daemon=True).start()
            return self._loop


class _Room:
    """Source, state and transport for one configuration: an asynchronous context manager that may be entered often."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._users = 0
        self._changing = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._parts: Parts | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._gate: Gate | None = None

    def gate(self, most: int) -> Gate:
        """Return the gate of all chunks here, with so many requests at once at most; what it finds serves the next."""
        api = self.settings.api
        if self._gate is None:
            self._gate = Gate(most, timeout_seconds=api.timeout_seconds, adaptive=api.adaptive)
        self._gate.allow(most)
        return self._gate

    @property
    def is_empty(self) -> bool:
        """True when nothing is open and nobody is about to open anything."""
        return self._parts is None and not self._users

    async def __aenter__(self) -> Parts:
        """Open what is not open; raise DatabaseConnectionError or ConfigurationError."""
        self._users += 1
        try:
            async with self._changing:
                if self._parts is None:
                    self._parts = await self._stack.enter_async_context(open_parts(self.settings))
                return self._parts
        except BaseException:
            self._users -= 1
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        """Close it if nobody comes for a while."""
        self._users -= 1
        if self._tidying is not None:
            self._tidying.cancel()
        self._tidying = asyncio.create_task(self._tidy())

    async def _tidy(self) -> None:
        await asyncio.sleep(IDLE_SECONDS)
        self._tidying = None  # from here on it is not to be cancelled
        async with self._changing:
            if not self._users:
                self._parts = self._gate = None
                await self._stack.aclose()


@functools.cache
def _home() -> Home:
    return Home()
