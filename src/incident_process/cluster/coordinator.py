"""A processor that hands its chunks out to workers, adds up their results, and ends as one (SPEC 6).

The run itself still does the rest: it drains the outboxes of earlier runs, decides on incidents that used up their
attempts, and so decides whether the watermark may move. Only ``process`` differs from that of one process.

One task after the other uses a scope, so their number need not grow with the window: the fencing token, not the number,
tells two tasks apart. No task gets a scope with exhausted incidents before the end.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from incident_process.cluster.protocol import ChunkResult, ChunkTask, WorkerPool, WorkerPoolLostError
from incident_process.core.errors import DatabaseConnectionError, IncidentProcessError, LeaseLostError
from incident_process.core.events import AccountsDone
from incident_process.core.logs import event, get_logger
from incident_process.core.window import id_floor
from incident_process.delivery.sender import broken
from incident_process.pipeline.change_detection import ResendPolicy
from incident_process.pipeline.context import RunContext
from incident_process.pipeline.counters import RunCounters
from incident_process.pipeline.lease import LeaseHeartbeat
from incident_process.pipeline.processor import ChunkProcessor
from incident_process.source.base import SelectedAccount

log = get_logger()

QUEUED = 2
"""Tasks handed out for each that can run, so that no worker waits for the next one."""
SPARE = 4
"""Scopes for each of these: further ones can be opened only while no task runs, and workers may join."""
FAILING = 2
"""Chunks in a row, without a success after, that end amid failures across accounts: then the service fails. The breaker
of one chunk may see too few accounts to tell."""
ATTEMPTS = 3
"""Workers that may fail at one chunk for want of a database before the run fails."""
AVOID_SECONDS = 60.0
"""Seconds for which such a worker gets a task only if there is no other."""
LOOK_SECONDS = 0.25
"""Seconds between two checks whether the run must end."""
END_SECONDS = 15.0
"""Seconds that stopped tasks may take to end, beyond the time of one request."""
TELL_SECONDS = 2.0
"""Seconds between two repetitions of the request to stop: a worker may have begun a task meanwhile."""


class ClusterProcessor(ChunkProcessor):
    """``ChunkProcessor`` over a pool of workers. Its own sender sends the incidents that the run itself has to send."""

    _elsewhere = 0
    _failing = 0
    _failure_elsewhere: str | None = None
    _begun = 0

    def __init__(
        self,
        context: RunContext,
        heartbeat: LeaseHeartbeat,
        counters: RunCounters,
        pool: Callable[[], AbstractAsyncContextManager[WorkerPool]],
    ) -> None:
        super().__init__(context, heartbeat, counters)
        self._pool = pool
        self._begun_at: dict[int, int] = {}
        """By scope, the position of its last task in the order of their beginnings."""
        self._left_before: dict[int, int] = {}
        """By scope with exhausted incidents, the number of tasks that had begun when they became known."""

    async def process(
        self, lists: AsyncIterator[list[SelectedAccount]], as_of: datetime, resend: ResendPolicy = ResendPolicy.CHANGED
    ) -> None:
        """Have the workers process list after list of accounts, until the lists or the run end.

        Raises a worker's error as the worker raised it, once no task is under way any more.
        """
        first = await anext(lists, None)
        if first is None or self.sender.stopped is not None:
            return
        since = None
        if resend is ResendPolicy.ALL:
            floor = id_floor(self._context.clock.now())
            since = await self._events.timed(self._parts.store.reserve_ids, self._context.lease, 1, floor)
        try:
            async with self._pool() as pool:
                tasks = _Tasks(self, pool, as_of, resend, since)
                await tasks.process_all(first, lists)
        except WorkerPoolLostError as exc:
            self.sender.stop(str(exc))

    @property
    def _delivered(self) -> int:
        return self.sender.delivered + self._elsewhere

    @property
    def _well(self) -> bool:
        return self.sender.well and not self._failing

    @property
    def _failure(self) -> str | None:
        return self._failure_elsewhere or self.sender.failure

    @property
    def is_over(self) -> bool:
        """True when tasks under way must end too."""
        if not self._heartbeat.is_valid():
            self.sender.stop("the lease was lost")
        return self.is_stopped

    @property
    def finishing(self) -> str | None:
        """Why tasks that no worker has begun are left to the next run, None where they are not."""
        return self._enough

    @property
    def may_begin(self) -> bool:
        """True while a further task may be handed out; checked before each."""
        return not (self.is_over or self._is_enough())

    def begin(self, task: ChunkTask) -> None:
        """Note that a task is handed out."""
        self._begun += 1
        self._begun_at[task.scope] = self._begun

    def add(self, task: ChunkTask, done: ChunkResult) -> None:
        """Add the result of a task to the figures of the run."""
        self._counters.add(done.counters)
        if done.counters.by_status:
            self._announce()
        self._elsewhere += done.delivered
        if done.delivered:
            self._overtake(self._begun_at[task.scope])
        if done.exhausted is not None:
            self._of_scopes[task.scope] = done.exhausted
            self._left_before[task.scope] = self._begun
        if not done.well:
            self._failing += 1
            self._failure_elsewhere = done.failure
        elif done.delivered:
            self._failing = 0
        if done.stopped is not None and done.stopped == self.finishing:
            self._is_enough()  # the worker did not begin it
        elif done.stopped is not None:
            # One breaker stops all: what it has seen, the other tasks are about to see.
            self.sender.stop(done.stopped)
        elif self._failing >= FAILING:
            self.sender.stop(broken(self._failure))
        if done.error is None and done.stopped is None:
            self._events.emit(AccountsDone, len(task.accounts))

    def _overtake(self, begun: int) -> None:
        """Mark the exhausted incidents that were known before the start of a task that delivered something."""
        before = [left for scope, left in self._of_scopes.items() if self._left_before.get(scope, 0) < begun]
        for left in (self._deliverer.hand_over(), *before):
            for exhausted in left:
                exhausted.mark.overtaken = True


class _Tasks:
    """The tasks of one run that are under way."""

    def __init__(
        self, processor: ClusterProcessor, pool: WorkerPool, as_of: datetime, resend: ResendPolicy, since: int | None
    ) -> None:
        self._processor = processor
        self._context = processor.context
        self._pool = pool
        self._as_of = as_of
        self._resend = resend
        self._since = since
        self._rate = self._context.parts.settings.api.requests_per_second
        self._connections = self._context.parts.settings.api.max_connections
        self._connections_each = 1
        """The part of the connections that the next task gets."""
        self._share = self._spent = 0.0
        """Requests a second that the next task gets, and that the tasks under way have."""
        self._count = 0
        self._free: deque[int] = deque()
        self._under_way: dict[asyncio.Task[ChunkResult], ChunkTask] = {}
        self._without_database: dict[str, float] = {}
        """Workers that failed for want of a database, and the loop's time in seconds when they did."""
        self._fault: Exception | None = None
        self._is_finishing = False

    async def process_all(self, first: list[SelectedAccount], lists: AsyncIterator[list[SelectedAccount]]) -> None:
        """Hand out a task for each list, and wait for all of them."""
        try:
            touched: list[SelectedAccount] | None = first
            while touched is not None and await self._has_room():
                await self._begin(touched)
                touched = await anext(lists, None)
            while self._under_way and not self._is_over:
                await self._collect()
            if self._under_way and not isinstance(self._fault, WorkerPoolLostError):
                await self._end()
        finally:
            if self._under_way:
                await self._tell()  # whatever ended this run: the next run does the rest
                for future in self._under_way:
                    future.cancel()
                await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._fault is not None:
            raise self._fault

    @property
    def _is_over(self) -> bool:
        return self._fault is not None or self._processor.is_over

    async def _has_room(self) -> bool:
        """Wait until a further task may begin; return False when none may in this run."""
        while self._fault is None and self._processor.may_begin:
            slots = await self._pool.slots()
            # Tasks that share a limit do not queue: the next task needs its part at once.
            most = min(slots, self._connections) if self._rate or slots > self._connections else slots * QUEUED
            self._connections_each = max(1, self._connections // max(1, slots))
            self._share = self._rate / max(1, slots)
            in_rate = self._spent + self._share <= self._rate * (1 + 1e-9)
            if slots and in_rate and len(self._under_way) < most:
                if self._free and most <= self._count:
                    return True
                if not self._under_way:
                    await self._open_scopes(most * SPARE)
                    return True
            await self._collect()
        return False

    async def _open_scopes(self, more: int) -> None:
        """Open further scopes, only while no task runs: a task would lose its scope's lease."""
        while True:
            begin = self._count
            self._count += more
            # A task would send exhausted incidents once more if it got their scope.
            parts = self._context.parts
            waiting = set(await parts.events.timed(parts.store.open_scopes, self._context.lease, self._count))
            self._free.extend(scope for scope in range(begin, self._count) if scope not in waiting)
            if self._free:
                return

    async def _begin(self, touched: list[SelectedAccount]) -> None:
        self._spent += self._share
        task = ChunkTask(
            run_id=self._context.run_id,
            scope=self._free.popleft(),
            epoch=self._context.lease.token,
            started_at=self._context.started_at,
            as_of=self._as_of,
            resend=self._resend,
            accounts=tuple(touched),
            requests_per_second=self._share,
            max_connections=self._connections_each,
            since_id=self._since,
            key_name=self._context.key_name,
        )
        self._processor.begin(task)
        self._under_way[asyncio.create_task(self._done(task))] = task

    async def _done(self, task: ChunkTask) -> ChunkResult:
        """Have a worker process the task, and another one where only the worker cannot reach a database."""
        for attempt in range(1, ATTEMPTS + 1):
            now = asyncio.get_running_loop().time()
            avoid = {worker for worker, failed in self._without_database.items() if now - failed < AVOID_SECONDS}
            done = await self._pool.run(task, avoid)
            fault = done.fault()
            if not isinstance(fault, DatabaseConnectionError | LeaseLostError) or attempt == ATTEMPTS or self._is_over:
                break
            await self._context.parts.source.now()
            await self._context.parts.store.lease_state()
            log.warning(
                "A worker could not do its chunk, another one is asked: %s", fault, extra=event("chunk_handed_on")
            )
            self._without_database[done.worker] = asyncio.get_running_loop().time()
        return done

    async def _collect(self) -> None:
        """Wait a moment for tasks to end, and add their results."""
        if self._processor.finishing is not None and not self._is_finishing:
            self._is_finishing = True
            await self._pool.end(self._context.run_id, self._processor.finishing, begun=False)
        if not self._under_way:
            await asyncio.sleep(LOOK_SECONDS)
            return
        ended, _ = await asyncio.wait(self._under_way, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for future in ended:
            task = self._under_way.pop(future)
            self._spent -= task.requests_per_second
            try:
                done = future.result()
            except Exception as exc:
                self._note_fault(exc)
                continue
            self._processor.add(task, done)
            fault = done.fault()
            if fault is not None:
                self._note_fault(fault)
            elif done.exhausted is None:
                self._free.append(task.scope)

    async def _end(self) -> None:
        """Ask the workers to stop, and wait for that as long as it can reasonably take."""
        loop = asyncio.get_running_loop()
        seconds = self._context.parts.settings.api.timeout_seconds + END_SECONDS
        until, told_at = loop.time() + seconds, -TELL_SECONDS
        while self._under_way and loop.time() < until:
            if loop.time() - told_at >= TELL_SECONDS:
                told_at = loop.time()
                await self._tell()
            await self._collect()
        if self._under_way:
            log.warning(
                "%d chunk(s) did not end in time: the next run resumes them.",
                len(self._under_way),
                extra=event("chunks_abandoned", chunks=len(self._under_way)),
            )

    async def _tell(self) -> None:
        await self._pool.end(self._context.run_id, self._processor.sender.stopped or "the run failed elsewhere")

    def _note_fault(self, fault: Exception) -> None:
        """Note the first fault; a chunk's fault says more than the loss of the pool."""
        if isinstance(fault, WorkerPoolLostError) and isinstance(self._fault, IncidentProcessError):
            return
        if self._fault is None or isinstance(self._fault, WorkerPoolLostError):
            self._fault = fault
