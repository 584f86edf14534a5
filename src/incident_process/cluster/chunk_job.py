"""What is done with one chunk that is worked on apart from its run: the same processor, under the lease of its scope.

A chunk is claimed as an operation is (SPEC 6): whoever takes its lease first sends what the scope's outbox holds, as it
was written, and then goes over the accounts. So a task may run twice, at once or one after the other: what the first
has delivered is unchanged to the second, what it has only written down is sent under the same ids, and what it still
would write is refused.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

import msgspec

from incident_process.cluster.protocol import ChunkResult, ChunkTask
from incident_process.core.clock import SourceClock, uptime
from incident_process.core.errors import DatabaseConnectionError, LeaseLostError
from incident_process.delivery.sender import SendLimits
from incident_process.pipeline.context import Parts, RunContext
from incident_process.pipeline.counters import RunCounters
from incident_process.pipeline.lease import LeaseHeartbeat, hold_lease
from incident_process.pipeline.processor import ChunkProcessor, limits
from incident_process.source.base import SelectedAccount

LOOK_SECONDS = 1.0
"""So often it is looked whether the lease of the chunk still holds."""


async def process_chunk(
    parts: Parts, task: ChunkTask, sharing: int, begun: Callable[[ChunkProcessor], None]
) -> ChunkResult:
    """Do the task and return what came of it.

    Args:
        parts: What this worker works with.
        task: What to do.
        sharing: How many tasks this process may have under way at once.
        begun: Is shown the processor, through which it can be stopped.

    Raises:
        LeaseLostError: The task belongs to a run that is over, or somebody else does it now.
        DatabaseConnectionError: Source or state cannot be reached, or the state has been silent for as long as the
            lease lasts.
    """
    patience = parts.settings.process.lease_seconds
    begin = uptime()
    heartbeats: list[LeaseHeartbeat] = []
    work = asyncio.ensure_future(_claimed(parts, task, sharing, begun, heartbeats.append))
    try:
        while not (await asyncio.wait({work}, timeout=LOOK_SECONDS))[0]:
            if heartbeats[0].is_valid() or heartbeats[0].lost if heartbeats else uptime() - begin < patience:
                continue
            # Its last statement may wait much longer for an answer, and somebody else could do the chunk.
            raise DatabaseConnectionError(f"the state gave a worker no answer for {patience:g} s: it is cut off")
        return work.result()
    finally:
        if not work.done():
            work.add_done_callback(_note_nothing)
            work.cancel()


async def _claimed(
    parts: Parts,
    task: ChunkTask,
    sharing: int,
    begun: Callable[[ChunkProcessor], None],
    claimed: Callable[[LeaseHeartbeat], None],
) -> ChunkResult:
    state = await parts.store.lease_state()
    if state is None or state.token != task.epoch or not state.holder:
        raise LeaseLostError(f"run {task.run_id}, to which a chunk belonged, is over")
    counters = RunCounters()
    scoped = parts.store.scoped(task.scope, task.epoch)
    async with hold_lease(scoped, parts.settings.process.lease_seconds) as heartbeat:
        claimed(heartbeat)
        context = RunContext(
            parts=msgspec.structs.replace(parts, store=scoped),
            lease=heartbeat.lease,
            clock=SourceClock(await parts.source.now()),
            run_id=task.run_id,
            started_at=task.started_at,
            scope=task.scope,
            since_id=task.since_id,
            key_name=task.key_name,
        )
        async with ChunkProcessor(context, heartbeat, counters, _allowed(parts, task, sharing)) as processor:
            begun(processor)
            await processor.drain_own_outbox()
            if processor.sender.stopped is None:
                await processor.process(_one(task.accounts), task.as_of, task.resend)
        if heartbeat.lost:
            raise LeaseLostError(f"chunk {task.scope} of run {task.run_id} was taken by another worker")
        return ChunkResult(
            counts=dict(counters.by_status),
            unchanged=counters.unchanged,
            resumed=counters.resumed,
            blocked=counters.blocked,
            no_longer_in_source=counters.no_longer_in_source,
            waiting=counters.waiting,
            delivered=processor.sender.delivered,
            well=processor.sender.well,
            failure=processor.sender.failure,
            stopped=processor.sender.stopped,
            exhausted=processor.exhausted if len(processor.exhausted) else None,
        )


def _note_nothing(work: "asyncio.Future[ChunkResult]") -> None:
    """Take note of how abandoned work ended, so that nobody complains that nobody did."""
    if not work.cancelled():
        work.exception()


def counters_of(done: ChunkResult) -> RunCounters:
    """Return the figures of a chunk as those of a run are kept."""
    counters = RunCounters()
    counters.by_status = Counter(done.counts)
    counters.unchanged, counters.resumed = done.unchanged, done.resumed
    counters.blocked, counters.no_longer_in_source = done.blocked, done.no_longer_in_source
    counters.waiting = dict(done.waiting)
    return counters


def _allowed(parts: Parts, task: ChunkTask, sharing: int) -> SendLimits:
    """Return how hard a task may try: its part of the cluster's connections and of its rate.

    Where the tasks of this process share a gate, each may use what the others do not need.
    """
    return msgspec.structs.replace(
        limits(parts.settings.api),
        max_connections=task.max_connections * (1 if parts.gate is None else sharing),
        requests_per_second=task.requests_per_second,
        rate_is_shared=task.requests_per_second > 0,
    )


async def _one(accounts: tuple[SelectedAccount, ...]) -> AsyncIterator[list[SelectedAccount]]:
    yield list(accounts)
