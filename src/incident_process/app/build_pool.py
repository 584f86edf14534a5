"""Processes beside this one that read and build, so that sending does not wait for them (docs/performance.md)."""

import asyncio
import os
import pickle
import socket
import subprocess
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec

from incident_process.app.frames import BUFFER_BYTES, read_frame, write_frame
from incident_process.core import safe_path
from incident_process.core.logs import event, get_logger
from incident_process.pipeline.transform import BuildRequest, BuildResult, DocumentBuilder, LocalBuilder
from incident_process.settings import Settings
from incident_process.source.base import Source

log = get_logger()

FEW_ACCOUNTS = 2000
"""Accounts up to which a run is over before another process has started."""
MOST_PROCESSES = 3
"""Processes, at most, where the setting names no number: one process cannot send more than these can build."""
ENOUGH_WAITING = 2
"""Requests that keep a process busy: it builds one while the database reads the rows of the other."""
QUIET = 0.1
"""Share of accounts that need an incident below which this process sends little, and has time to build too."""
PATIENCE_SECONDS = 300.0
"""Seconds that a process may take to start, and to answer. A frozen one never answers; a slow one is dropped too, for a
request may safely be built twice."""
END_SECONDS = 5.0
"""Seconds that a process has to end by itself before it is killed."""


def building_processes(settings: Settings) -> int:
    """Return how many processes build documents for a run over many accounts."""
    if settings.engine.engine != "local":
        return 0  # a cluster has many workers anyway
    configured = settings.process.builders
    return min(len(os.sched_getaffinity(0)) - 1, MOST_PROCESSES) if configured is None else configured


@asynccontextmanager
async def open_builder(settings: Settings, source: Source) -> AsyncIterator[DocumentBuilder]:
    """Provide a builder as ``[PROCESS] build_processes`` says; its processes end with the block.

    On a cluster, coordinator and workers build for themselves.
    """
    local = LocalBuilder(source, settings.process.zone)
    count = building_processes(settings)
    if count == 0:
        yield local
        return
    builders = BuildPool(settings, local, count, at_once=settings.process.builders is not None)
    try:
        yield builders
    finally:
        await builders.close()


class BuildPool:
    """A ``DocumentBuilder`` that hands requests to processes, and builds those itself that no process answers."""

    def __init__(self, settings: Settings, local: LocalBuilder, count: int, *, at_once: bool) -> None:
        self._settings = settings
        self._local = local
        self._count = count
        self._at_once = at_once
        self._starting: list[asyncio.Task[None]] = []
        self._processes: list[BuildProcess] = []
        self._quiet = False
        self._here = asyncio.Lock()
        """Locked while this process builds beside the others: one request at a time, for it has to send too."""

    @property
    def prefetch_limit(self) -> int:
        """One request for each process, and one more so that none of them waits.

        In quiet times as many as keep all of them busy, and one for this process. Prefetched results take memory, but
        not then: most accounts need no incident.
        """
        if not self._processes:
            return 0
        return ENOUGH_WAITING * len(self._processes) + 1 if self._quiet else len(self._processes) + 1

    def warm_up(self, accounts: int) -> None:
        """Start the processes if there are enough accounts; until they are ready, this process builds."""
        if accounts > FEW_ACCOUNTS:
            self._start_all()

    async def build(self, task: BuildRequest) -> BuildResult:
        """Build one request where the least is queued."""
        if self._at_once:
            self._start_all()
            await asyncio.wait(self._starting)
        built = await self._build(task)
        self._quiet = len(built.due) < QUIET * len(task.accounts)
        return built

    async def close(self) -> None:
        """End the processes."""
        for starting in self._starting:
            starting.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*(process.close() for process in self._processes))

    async def _build(self, task: BuildRequest) -> BuildResult:
        if self._processes:
            process = min(self._processes, key=lambda each: each.waiting)
            if self._quiet and process.waiting >= ENOUGH_WAITING and not self._here.locked():
                async with self._here:
                    return await self._local.build(task)
            built = await process.build(task)
            if built is not None:
                return built
            self._drop(process)
        return await self._local.build(task)

    def _start_all(self) -> None:
        if not self._starting:
            self._starting = [asyncio.create_task(self._start()) for _ in range(self._count)]

    async def _start(self) -> None:
        process = BuildProcess(self._settings)
        try:
            ready = await process.start()
        except BaseException:
            await process.close()
            raise
        if ready:
            self._processes.append(process)
        else:
            log.warning(
                "A process for building could not be started: its work is done by the run's own process.",
                extra=event("build_process_not_started"),
            )
            await process.close()

    def _drop(self, process: "BuildProcess") -> None:
        if process.gone and process in self._processes:
            self._processes.remove(process)
            log.warning(
                "A process for building has ended: its work is done by the run's own process.",
                extra=event("build_process_ended"),
            )
            self._starting.append(asyncio.create_task(process.close()))


class BuildProcess:
    """One build process, seen from the run's process. It answers requests in the order in which it gets them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._answers: deque[asyncio.Future[bytes | None]] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(BuildResult).decode
        self.gone = False

    @property
    def waiting(self) -> int:
        """Requests that it has not answered yet."""
        return len(self._answers)

    async def start(self) -> bool:
        """Start the process; return whether it runs and has connected to the source."""
        ours, theirs = socket.socketpair()
        try:
            self._process = _spawn(theirs)
        except OSError:
            ours.close()
            return False
        finally:
            theirs.close()
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=BUFFER_BYTES)
        write_frame(self._writer, pickle.dumps(self._settings))
        ready = None
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                ready = await read_frame(reader)
        if ready is None:
            return False
        self._reading = asyncio.create_task(self._read(reader))
        return True

    async def build(self, task: BuildRequest) -> BuildResult | None:
        """Return the result; None where the process failed at the request, has ended, or does not answer."""
        if self.gone or self._writer is None:
            return None
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        write_frame(self._writer, self._encode(task))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                encoded = await answer
        except TimeoutError:
            self._kill()
            return None
        return self._decode(encoded) if encoded else None

    async def close(self) -> None:
        """End the process: first by closing its socket, then by killing it."""
        self.gone = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
        process = self._process
        if process is not None:
            try:
                await asyncio.to_thread(process.wait, END_SECONDS)
            except subprocess.TimeoutExpired:
                self._kill()
                await asyncio.to_thread(process.wait)

    def _kill(self) -> None:
        self.gone = True
        if self._process is not None:
            self._process.kill()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while (answer := await read_frame(reader)) is not None:
            waiting = self._answers.popleft()
            if not waiting.done():  # its task was cancelled
                waiting.set_result(answer)
        self.gone = True
        while self._answers:
            waiting = self._answers.popleft()
            if not waiting.done():
                waiting.set_result(None)


def _spawn(theirs: socket.socket) -> "subprocess.Popen[bytes]":
    number, null = theirs.fileno(), subprocess.DEVNULL
    command = safe_path.command("incident_process.app.build_worker", str(number))
    # It gets this interpreter, this package, nothing of the current folder, and of the caller only the socket's end.
    return subprocess.Popen(command, pass_fds=(number,), stdin=null, stdout=null, stderr=null)  # noqa: S603
