"""What happens in a run: frozen records, and ``Events``, which hands them to those who listen.

The code that does a thing emits its event. Log, progress, metrics and traces listen (``observability``); a listener
changes nothing of the run. An event that nobody listens to is not built.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

from incident_process.core.logs import event, get_logger
from incident_process.core.models import Chunk, Operation, Outcome, RunRecord, Sending

log = get_logger()

Figures = ParamSpec("Figures")
Kind = TypeVar("Kind")
Result = TypeVar("Result")


class LeaseChanged(NamedTuple):
    """The run has taken the operation's lease, or is about to free it."""

    held: bool


class StateWritten(NamedTuple):
    """A write to the state has ended, well or not. ``step`` is its method of ``state.base``."""

    step: str
    seconds: float


class RunRecorded(NamedTuple):
    """The run's record was written, while the run is at work or at its end."""

    run: RunRecord


class AccountsFound(NamedTuple):
    """The run knows how many accounts it has to look at."""

    accounts: int


class AccountsDone(NamedTuple):
    """So many more accounts have been looked at, and sent where necessary."""

    accounts: int


class SendingStarted(NamedTuple):
    """The run's sender is ready. The functions return how it stands whenever they are called."""

    circuit: Callable[[], str]
    sending: Callable[[], Sending]


class ChunkHeld(NamedTuple):
    """A chunk is about to be enqueued, was read from the outbox, or has an incident under another Incident_Id."""

    chunk: Chunk
    resumed: bool


class OutcomesRecorded(NamedTuple):
    """Outcomes of incidents of a chunk were written; ``chunk`` is as it was before."""

    chunk: Chunk
    outcomes: Sequence[Outcome]


class AttemptStarted(NamedTuple):
    """An incident is about to be posted, by the task that emits this."""

    incident_id: int


class Attempted(NamedTuple):
    """A post has ended. ``status`` is None where there was no answer, and ``error`` then says why.

    ``incident_id`` is None for an empty payload; ``meaning`` is what the answer comes to.
    """

    incident_id: int | None
    status: int | None
    error: str | None
    seconds: float
    meaning: str


class Advanced(NamedTuple):
    """The run has moved the operation on."""

    operation: Operation


class Events:
    """The events of one run. Listeners hear them in the task that emits them, and must not block."""

    def __init__(self) -> None:
        self._listeners: dict[object, list[Callable[[Any], None]]] = {}

    def listen(self, kind: type[Kind], hear: Callable[[Kind], None]) -> None:
        """Call ``hear`` with each event of the kind from now on."""
        self._listeners.setdefault(kind, []).append(hear)

    def emit(self, kind: Callable[Figures, object], /, *args: Figures.args, **figures: Figures.kwargs) -> None:
        """Build the event of these figures for its listeners; where there is none, do nothing."""
        listeners = self._listeners.get(kind)
        if not listeners:
            return
        happened = kind(*args, **figures)
        for hear in tuple(listeners):
            try:
                hear(happened)
            except Exception as exc:  # the run goes on without this listener
                listeners.remove(hear)
                of, why = type(happened).__name__, type(exc).__name__
                log.warning("A listener to %s failed and hears no more: %s", of, why, extra=event("listener_failed"))

    async def timed(
        self, write: Callable[Figures, Awaitable[Result]], /, *args: Figures.args, **more: Figures.kwargs
    ) -> Result:
        """Do a write to the state, and tell its time."""
        began = time.perf_counter()
        try:
            return await write(*args, **more)
        finally:
            self.emit(StateWritten, write.__name__, time.perf_counter() - began)


NOBODY = Events()
"""Events that nobody hears."""
