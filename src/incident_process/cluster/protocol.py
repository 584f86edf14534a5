"""What the coordinator and its workers exchange: tasks, results, and the interface of a pool of workers.

A task holds what only the coordinator knows: which accounts, as of when, under which scope and epoch. Everything else
(databases, receiver, credentials) a worker takes from its own configuration. Tasks and results are plain records, so of
a worker's error only the sentence for the operator travels.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

import msgspec

from incident_process.core import errors
from incident_process.core.errors import DeliveryIncompleteError, IncidentProcessError
from incident_process.core.models import Record
from incident_process.pipeline.change_detection import ResendPolicy
from incident_process.pipeline.counters import RunCounters
from incident_process.pipeline.deliver import ExhaustedIncidents
from incident_process.source.base import SelectedAccount


class WorkerPoolLostError(DeliveryIncompleteError):
    """The workers can do nothing more in this run; nothing is lost, the next run resumes."""


class ChunkTask(Record, frozen=True, kw_only=True):
    """One chunk: accounts to process under the lease of a scope (``state.base``).

    ``requests_per_second`` is the task's share of the setting, 0 where there is no limit. ``since_id`` and
    ``key_name``: as in ``RunContext``.
    """

    run_id: str
    scope: int
    epoch: int
    started_at: datetime
    as_of: datetime
    resend: ResendPolicy
    accounts: tuple[SelectedAccount, ...]
    requests_per_second: float = 0.0
    max_connections: int = 1
    since_id: int | None = None
    key_name: str = ""

    def __repr__(self) -> str:
        """Leave the accounts out: schedulers log and show the tasks that they hand out."""
        return f"ChunkTask({self.run_id}, scope {self.scope}, {len(self.accounts)} accounts)"


class ChunkResult(Record, frozen=True, kw_only=True):
    """The result of a task.

    ``worker`` is the address of the worker. ``counters`` are its figures. ``delivered``, ``well`` and ``failure`` are
    its sender's evidence on the service, ``stopped`` why the sender stopped early. With ``error``, the name of a class
    and a sentence, the rest says how far the task came.
    """

    worker: str = ""
    counters: RunCounters = msgspec.field(default_factory=RunCounters)
    delivered: int = 0
    well: bool = True
    failure: str | None = None
    stopped: str | None = None
    exhausted: ExhaustedIncidents | None = None
    error: tuple[str, str] | None = None

    @classmethod
    def failed(cls, error: IncidentProcessError) -> "ChunkResult":
        """Return the result of a task that an error ended: the class that callers know it by, and its sentence."""
        name = next(known.__name__ for known in type(error).__mro__ if known.__name__ in _KNOWN)
        return cls(error=(name, str(error)))

    def fault(self) -> IncidentProcessError | None:
        """Return the error that ended the task, for the caller to raise; None where there was none."""
        return None if self.error is None else _KNOWN[self.error[0]](self.error[1])


class WorkerPool(Protocol):
    """The workers of a cluster. All methods but ``end`` raise WorkerPoolLostError once the workers are lost."""

    async def slots(self) -> int:
        """Return how many chunks the workers can process at once, now."""

    async def run(self, task: ChunkTask, avoid: Collection[str]) -> ChunkResult:
        """Have a worker process the task, one outside of ``avoid`` if there is any."""

    async def end(self, run_id: str, reason: str, *, begun: bool = True) -> None:
        """Stop the run's tasks in good order: those under way record what they know, others do nothing.

        ``begun`` False: those under way go on to their end.
        It applies to the workers that it reaches, and may be repeated; it raises nothing.
        """


_KNOWN = {
    name: found
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, IncidentProcessError) and "__init__" not in vars(found)
}
"""The errors that are made of a message alone, by their names."""
