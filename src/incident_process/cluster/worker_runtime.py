"""What a worker of a cluster runs: one chunk after the other, in an event loop beside those of Dask.

For the settings of a run a process opens source, state and transport once, for its first chunk; all its chunks share
them, and it closes them when it was idle for a while. No exception leaves the process: a scheduler keeps and shows
tracebacks, whose texts may hold secrets.
"""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import msgspec

from incident_process.cluster.chunk_job import process_chunk
from incident_process.cluster.protocol import ChunkResult, ChunkTask
from incident_process.cluster.settings_reference import Reference
from incident_process.core import logs
from incident_process.delivery.gate import Gate
from incident_process.pipeline.context import Parts
from incident_process.pipeline.processor import ChunkProcessor
from incident_process.settings import Settings
from incident_process.source.base import Source

OpenParts = Callable[[Settings], AbstractAsyncContextManager[Parts]]

IDLE_SECONDS = 60.0
"""Seconds without a chunk after which the connections are closed; a cluster outlives runs."""
REMEMBERED_RUNS = 32
"""Runs of which the worker remembers that they must end."""


class WorkerRuntime:
    """The event loop of this process, and the parts that its chunks share.

    Args:
        open_parts: Opens source, state and transport as the settings say.
        make_source: Makes a source alone, not yet connected.
    """

    def __init__(self, open_parts: OpenParts, make_source: Callable[[Settings], Source]) -> None:
        self._open_parts = open_parts
        self._make_source = make_source
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened: list[_OpenParts] = []
        self._processors: dict[str, set[ChunkProcessor]] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()

    def do(self, reference: Reference, task: ChunkTask, sharing: int) -> ChunkResult:
        """Process the task, from a thread of the worker; raise as ``Reference.load`` and ``process_chunk`` do."""
        settings = reference.load()
        if not logs.get_logger().handlers:  # to stderr only: one process must own a file that is rotated
            process = settings.process
            logs.configure(process.log_level, process.log_format, operation=process.operation_name)
        return asyncio.run_coroutine_threadsafe(self._do(settings, task, sharing), self._running()).result()

    def end(self, run_id: str, reason: str, *, begun: bool) -> None:
        """Begin no further chunk of the run, and stop those that are ``begun``; any thread may call it."""
        self._running().call_soon_threadsafe(self._end, run_id, reason, begun)

    async def _do(self, settings: Settings, task: ChunkTask, sharing: int) -> ChunkResult:
        if task.run_id in self._ended:
            return ChunkResult(stopped=self._ended[task.run_id])
        processors = self._processors.setdefault(task.run_id, set())
        begun: list[ChunkProcessor] = []

        def show(processor: ChunkProcessor) -> None:
            begun.append(processor)
            processors.add(processor)
            if task.run_id in self._ended:
                processor.sender.stop(self._ended[task.run_id])

        try:
            async with AsyncExitStack() as stack:
                opened = self._opened_for(settings)
                parts = await stack.enter_async_context(opened)
                if not task.requests_per_second:  # a share of a rate belongs to its task alone
                    parts = msgspec.structs.replace(parts, gate=opened.gate(task.max_connections * sharing))
                if settings.database.replicas:
                    # A source's first reading decides how far replicas must have come. Another worker may have read
                    # this chunk before, and later than this worker's last reading: this one must not read less.
                    source = await stack.enter_async_context(self._make_source(settings))
                    parts = msgspec.structs.replace(parts, source=source)
                return await process_chunk(parts, task, sharing, show)
        finally:
            processors.difference_update(begun)
            if not processors:
                self._processors.pop(task.run_id, None)

    def _end(self, run_id: str, reason: str, begun: bool) -> None:  # call_soon knows no keywords
        self._ended[run_id] = reason
        while len(self._ended) > REMEMBERED_RUNS:
            self._ended.popitem(last=False)
        for processor in self._processors.get(run_id, ()) if begun else ():
            processor.sender.stop(reason)

    def _opened_for(self, settings: Settings) -> "_OpenParts":
        """Return the open parts, or parts to open, for these settings; one cluster may serve several operations."""
        self._opened = [each for each in self._opened if not each.is_empty or each.settings == settings]
        for each in self._opened:
            if each.settings == settings:
                return each
        self._opened.append(_OpenParts(settings, self._open_parts))
        return self._opened[-1]

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                from incident_process.core.event_loop import Loop

                self._loop = Loop()
                threading.Thread(target=self._loop.run_forever, name="incident-process", daemon=True).start()
            return self._loop


class _OpenParts:
    """Source, state and transport for one configuration: a reusable asynchronous context manager."""

    def __init__(self, settings: Settings, open_parts: OpenParts) -> None:
        self.settings = settings
        self._open = open_parts
        self._users = 0
        self._changing = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._parts: Parts | None = None
        self._closing: asyncio.Task[None] | None = None
        self._gate: Gate | None = None

    def gate(self, most: int) -> Gate:
        """Return the gate of all chunks here, for ``most`` requests at once at most; it keeps what it has learned."""
        api = self.settings.api
        if self._gate is None:
            self._gate = Gate(most, timeout_seconds=api.timeout_seconds, adaptive=api.adaptive)
        self._gate.allow(most)
        return self._gate

    @property
    def is_empty(self) -> bool:
        """True when nothing is open or about to be opened."""
        return self._parts is None and not self._users

    async def __aenter__(self) -> Parts:
        """Open the parts if they are closed; raise DatabaseConnectionError or ConfigurationError."""
        self._users += 1
        try:
            async with self._changing:
                if self._parts is None:
                    self._parts = await self._stack.enter_async_context(self._open(self.settings))
                return self._parts
        except BaseException:
            self._users -= 1
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the parts after ``IDLE_SECONDS`` without a user."""
        self._users -= 1
        if self._closing is not None:
            self._closing.cancel()
        self._closing = asyncio.create_task(self._close_when_idle())

    async def _close_when_idle(self) -> None:
        await asyncio.sleep(IDLE_SECONDS)
        self._closing = None  # from here on no caller may cancel it
        async with self._changing:
            if not self._users:
                self._parts = self._gate = None
                await self._stack.aclose()
