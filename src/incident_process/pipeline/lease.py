"""Takes the lease, keeps it while a run is at work, and knows when it can no longer be relied on (SPEC 6)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from incident_process.core.clock import uptime
from incident_process.core.errors import DatabaseConnectionError, LeaseHeldError, LeaseLostError
from incident_process.core.events import NOBODY, Events, LeaseChanged
from incident_process.core.logs import event, get_logger
from incident_process.core.models import Lease
from incident_process.core.process_identity import Runner
from incident_process.state.base import RunState

log = get_logger()

RENEWALS = 3
"""Renewals in the lifetime of a lease. One may fail; after two in a row it expires before the third."""


class LeaseHeartbeat:
    """An asynchronous context manager around a lease: renews it while the block runs.

    ``is_valid()`` is asked before every request. It says no as soon as a successor may have taken over: by a clock that
    goes on while the process is stopped or the machine sleeps, so a runner that wakes up late posts nothing.
    """

    def __init__(self, store: RunState, lease: Lease, taken_at: float, events: Events = NOBODY) -> None:
        self.lease = lease
        self.lost = False
        self._over = False
        self._store = store
        self._events = events
        self._confirmed = taken_at

    async def __aenter__(self) -> "LeaseHeartbeat":
        """Start renewing."""
        self._task = asyncio.create_task(self._renew())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop renewing. The lease itself is released by whoever took it."""
        self._over = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def is_valid(self) -> bool:
        """Return True while no other runner can have taken the lease."""
        return not self.lost and uptime() - self._confirmed < self.lease.seconds

    async def _renew(self) -> None:
        # Asked, too: asyncio.wait_for of Python 3.11, which drivers use, can lose a cancellation, and a heartbeat that
        # went on after its run would keep everybody else out for good.
        while not (self.lost or self._over):
            await asyncio.sleep(self.lease.seconds / RENEWALS)
            asked = uptime()
            try:
                await self._events.timed(self._store.renew_lease, self.lease)
                self._confirmed = asked
            except LeaseLostError:
                self.lost = True
            except DatabaseConnectionError as exc:
                log.warning("The lease could not be renewed, trying again: %s", exc, extra=event("lease_not_renewed"))


@asynccontextmanager
async def hold_lease(store: RunState, seconds: float, events: Events = NOBODY) -> AsyncIterator[LeaseHeartbeat]:
    """Hold the operation's lease while the block runs.

    The lease of a process of this machine that no longer exists is taken over at once: to wait until it expires would
    protect nobody. Raises LeaseHeldError when somebody else holds it.
    """
    holder = str(Runner.this())
    taken_at = uptime()  # before the question: the lease may have begun at any moment since
    try:
        lease = await events.timed(store.acquire_lease, holder, seconds)
    except LeaseHeldError as held:
        other = Runner.parse(held.holder)
        if other is None or not other.is_gone():
            raise
        log.warning(
            "The process that held the lease (%s, pid %d) is gone: taking over.",
            other.host,
            other.pid,
            extra=event("lease_taken_over", host=other.host, pid=other.pid),
        )
        taken_at = uptime()
        lease = await events.timed(store.acquire_lease, holder, seconds, evict=held.token)
    events.emit(LeaseChanged, held=True)
    if uptime() - taken_at > seconds / RENEWALS:
        # It was waited for: what a stopped runner had locked. Much of it may be over, or all.
        taken_at = uptime()
        await events.timed(store.renew_lease, lease)
    try:
        async with LeaseHeartbeat(store, lease, taken_at, events) as heartbeat:
            yield heartbeat
    finally:
        events.emit(LeaseChanged, held=False)
        try:
            await events.timed(store.release_lease, lease)
        except DatabaseConnectionError as exc:
            log.warning(
                "The lease could not be freed and will expire by itself: %s", exc, extra=event("lease_not_freed")
            )
