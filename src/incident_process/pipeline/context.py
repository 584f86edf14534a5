"""What the parts of one run share."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Protocol, Self

from incident_process.core.clock import SourceClock
from incident_process.core.crash_points import CrashPoints
from incident_process.core.events import Events
from incident_process.core.models import Lease, Record, Sending
from incident_process.delivery.gate import Gate
from incident_process.delivery.http.transport import MaySend, Transport
from incident_process.pipeline.change_detection import ResendPolicy
from incident_process.pipeline.counters import RunCounters
from incident_process.pipeline.lease import LeaseHeartbeat
from incident_process.pipeline.transform import DocumentBuilder
from incident_process.settings import Settings
from incident_process.source.base import SelectedAccount, Source
from incident_process.state.base import RunState


class Processor(Protocol):
    """Drains outboxes and goes over accounts, in this process or over a cluster: an asynchronous context manager."""

    async def __aenter__(self) -> Self:
        """Start sending."""

    async def __aexit__(self, *exc_info: object) -> None:
        """End sending."""

    @property
    def is_stopped(self) -> bool:
        """True when nothing more is sent in this run."""

    @property
    def sending(self) -> Sending:
        """How requests go out just now."""

    def stop(self, reason: str) -> None:
        """Send nothing more; what is under way is recorded, the rest stays pending."""

    def finish(self, reason: str) -> None:
        """Begin no further chunk; those that are begun are sent to their end."""

    async def drain_outboxes(self) -> None:
        """Send what earlier runs left in the outboxes."""

    async def claim_outboxes(self) -> None:
        """Fence who may still work for an earlier run, and leave what those runs left."""

    async def process(
        self, lists: AsyncIterator[list[SelectedAccount]], as_of: datetime, resend: ResendPolicy = ResendPolicy.CHANGED
    ) -> None:
        """Prepare list after list of accounts and send what they need."""

    async def resolve_exhausted(self) -> None:
        """Decide on the incidents that were not taken."""

    def report_unfinished(self) -> str | None:
        """Log and return why the run is incomplete, None when everything has its outcome; raises LeaseLostError."""


class Parts(Record, frozen=True, kw_only=True):
    """What a run works with, opened and closed by the composition root.

    ``builder`` reads accounts and builds their contents, in this process or in others. ``events`` tells observers what
    happens. ``gate`` is one that several senders share; None: the sender of the run has its own. ``processor`` makes
    what drains outboxes and goes over accounts, where that is not this process alone.
    """

    settings: Settings
    source: Source
    builder: DocumentBuilder
    store: RunState
    transport: Transport
    faults: CrashPoints
    events: Events
    gate: Gate | None = None
    processor: "MakeProcessor | None" = None


class RunContext(Record, frozen=True, kw_only=True):
    """One run under its lease. ``started_at`` is the source's time, and the time in the documents' envelope.

    ``scope``: of one chunk, which has a lease and an outbox of its own (``state.base``); None for the run itself.
    ``may_send``: whether the lease still applies, asked before each request.
    ``since_id``: every Incident_Id of this run is above it, where a forced run may go over a chunk twice.
    """

    parts: Parts
    lease: Lease
    clock: SourceClock
    run_id: str
    started_at: datetime
    may_send: MaySend
    scope: int | None = None
    since_id: int | None = None
    key_name: str = ""
    """With which idempotency keys are made, where it is not the operation's name: it was renamed since."""

    @property
    def chunk_prefix(self) -> str:
        """What the ids of this context's chunks begin with: of no other one, also where a chunk is gone over again."""
        if self.scope is None:
            return self.run_id
        return f"{self.run_id}-{self.scope:06d}-{self.lease.token:016d}"


MakeProcessor = Callable[[RunContext, LeaseHeartbeat, RunCounters], Processor]
"""Makes the processor of a run under its lease."""
