"""What the parts of one run share."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING

from incident_process.core.clock import SourceClock
from incident_process.core.crash_points import FaultPoints
from incident_process.core.models import Lease, Record
from incident_process.delivery.gate import Gate
from incident_process.delivery.http.transport import Transport
from incident_process.delivery.sender import Sender
from incident_process.pipeline.progress import Progress
from incident_process.pipeline.transform import Builder
from incident_process.settings import Settings
from incident_process.source.base import Source
from incident_process.state.base import StateStore

if TYPE_CHECKING:
    from incident_process.pipeline.helpers import Team  # which is told of runs, whose context this is


def _nobody(_: Sender) -> None:
    """Watch no sender."""


class Parts(Record, frozen=True, kw_only=True):
    """What a run works with, opened and closed by the composition root.

    ``builder`` reads accounts and builds their contents, in this process or in others. ``watch`` is shown the sender of
    the run, for whoever wants to know how its circuit breaker stands. ``gate`` is one that several senders share; None:
    the sender of the run has its own. ``helpers`` calls those together who work on the
    chunks; None: this process does.
    """

    settings: Settings
    source: Source
    builder: Builder
    store: StateStore
    transport: Transport
    faults: FaultPoints
    progress: Progress
    watch: Callable[[Sender], None] = _nobody
    gate: Gate | None = None
    helpers: "Callable[[], AbstractAsyncContextManager[Team]] | None" = None


class RunContext(Record, frozen=True, kw_only=True):
    """One run under its lease. ``started_at`` is the source's time, and the time in the documents' envelope.

    ``scope``: of one chunk, which has a lease and an outbox of its own (``state.base``); None for the run itself.
    ``since_id``: every Incident_Id of this run is above it, where a forced run may go over a chunk twice.
    """

    parts: Parts
    lease: Lease
    clock: SourceClock
    run_id: str
    started_at: datetime
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
