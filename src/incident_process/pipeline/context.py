"""What the parts of one run share."""

from collections.abc import Callable
from datetime import datetime

from incident_process.delivery.sender import Sender
from incident_process.delivery.transport import Transport
from incident_process.faults import FaultPoints
from incident_process.pipeline.build import Builder
from incident_process.pipeline.clock import SourceClock
from incident_process.pipeline.progress import Progress
from incident_process.records import Lease, Record
from incident_process.settings import Settings
from incident_process.source.contract import Source
from incident_process.state.contract import StateStore


def _nobody(_: Sender) -> None:
    """Watch no sender."""


class Parts(Record, frozen=True, kw_only=True):
    """What a run works with, opened and closed by the composition root.

    ``builder`` reads accounts and builds their contents, in this process or in others. ``watch`` is shown the sender of
    the run, for whoever wants to know how its circuit breaker stands.
    """

    settings: Settings
    source: Source
    builder: Builder
    store: StateStore
    transport: Transport
    faults: FaultPoints
    progress: Progress
    watch: Callable[[Sender], None] = _nobody


class RunContext(Record, frozen=True, kw_only=True):
    """One run under its lease. ``started_at`` is the source's time, and the time in the documents' envelope."""

    parts: Parts
    lease: Lease
    clock: SourceClock
    run_id: str
    started_at: datetime
