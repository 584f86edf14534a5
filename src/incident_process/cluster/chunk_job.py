"""Processes one chunk apart from its run: with the same processor, under the lease of the chunk's own scope.

A worker claims a chunk as a run claims an operation (SPEC 6): it takes the scope's lease, sends the incidents of the
scope's outbox as they are, and then processes the accounts. So a task may run twice, at once or one after the other:
incidents that the first delivered are unchanged to the second, incidents that it only enqueued are sent under the same
ids, and its later writes are rejected.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec

from incident_process.cluster.protocol import ChunkResult, ChunkTask
from incident_process.core.clock import SourceClock, uptime
from incident_process.core.errors import DatabaseConnectionError, LeaseLostError
from incident_process.core.logs import run_fields
from incident_process.delivery.sender import SendLimits
from incident_process.pipeline.context import Parts, RunContext
from incident_process.pipeline.counters import RunCounters
from incident_process.pipeline.lease import LeaseHeartbeat, hold_lease
from incident_process.pipeline.processor import ChunkProcessor, limits
from incident_process.source.base import SelectedAccount

LOOK_SECONDS = 1.0
"""Seconds between two checks whether the chunk's lease still applies."""


async def process_chunk(
    parts: Parts, task: ChunkTask, sharing: int, begun: Callable[[ChunkProcessor], None]
) -> ChunkResult:
    """Process the task's accounts and return the result.

    ``sharing``: tasks that this process may have under way at once. ``begun`` is called with the processor, through
    which the caller can stop it.

    Raises:
        LeaseLostError: The task's run is over, or another worker has its chunk now.
        DatabaseConnectionError: Source or state cannot be reached, or the state gave no answer for as long as the
            lease lasts.
    """
    patience = parts.settings.process.lease_seconds
    begin = uptime()
    heartbeats: list[LeaseHeartbeat] = []
    with run_fields(operation=parts.settings.process.operation_name, run_id=task.run_id):
        work = asyncio.ensure_future(_process_under_lease(parts, task, sharing, begun, heartbeats.append))
    try:
        while not (await asyncio.wait({work}, timeout=LOOK_SECONDS))[0]:
            if heartbeats[0].is_valid() or heartbeats[0].lost if heartbeats else uptime() - begin < patience:
                continue
            # Its last statement may wait much longer, and another worker could process the chunk meanwhile.
            raise DatabaseConnectionError(f"the state gave a worker no answer for {patience:g} s: it is cut off")
        return work.result()
    finally:
        if not work.done():
            work.add_done_callback(_retrieve_end)
            work.cancel()


async def _process_under_lease(
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
            may_send=heartbeat.is_valid,
            scope=task.scope,
            since_id=task.since_id,
            key_name=task.key_name,
        )
        async with ChunkProcessor(context, heartbeat, counters, _limits_of(parts, task, sharing)) as processor:
            begun(processor)
            await processor.drain_own_outbox()
            if processor.sender.stopped is None:
                await processor.process(_one(task.accounts), task.as_of, task.resend)
        if heartbeat.lost:
            raise LeaseLostError(f"chunk {task.scope} of run {task.run_id} was taken by another worker")
        return ChunkResult(
            counters=counters,
            delivered=processor.sender.delivered,
            well=processor.sender.well,
            failure=processor.sender.failure,
            stopped=processor.sender.stopped,
            exhausted=processor.exhausted if len(processor.exhausted) else None,
        )


def _retrieve_end(work: "asyncio.Future[ChunkResult]") -> None:
    """Retrieve the end of abandoned work, so that asyncio does not log it as never retrieved."""
    if not work.cancelled():
        work.exception()


def _limits_of(parts: Parts, task: ChunkTask, sharing: int) -> SendLimits:
    """Return the limits of a task: its part of the cluster's connections and of its rate.

    Where the tasks of this process share a gate, each may use the connections that the others leave free.
    """
    return msgspec.structs.replace(
        limits(parts.settings.api),
        max_connections=task.max_connections * (1 if parts.gate is None else sharing),
        requests_per_second=task.requests_per_second,
        rate_is_shared=task.requests_per_second > 0,
    )


async def _one(accounts: tuple[SelectedAccount, ...]) -> AsyncIterator[list[SelectedAccount]]:
    yield list(accounts)
