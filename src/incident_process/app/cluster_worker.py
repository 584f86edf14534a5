"""The functions that a scheduler hands out and a worker of a cluster loads by name.

No exception leaves the process: a scheduler keeps and shows tracebacks, whose texts may hold secrets.
"""

import functools

import msgspec

from incident_process.app.factory import make_source, open_parts
from incident_process.cluster.protocol import ChunkResult, ChunkTask
from incident_process.cluster.settings_reference import Reference
from incident_process.cluster.worker_runtime import WorkerRuntime
from incident_process.core.errors import IncidentProcessError, where_raised


def run_chunk(reference: Reference, task: ChunkTask) -> ChunkResult:
    """Process one task and return its result, errors included; the scheduler hands this function out."""
    from distributed import get_worker

    worker = get_worker()
    try:
        done = _runtime().do(reference, task, worker.state.nthreads)
    except IncidentProcessError as exc:
        done = ChunkResult.failed(exc)
    except Exception as exc:
        done = ChunkResult.failed(IncidentProcessError(f"unexpected fault of a worker: {where_raised(exc)}"))
    return msgspec.structs.replace(done, worker=worker.address)


def end_run(run_id: str, reason: str, begun: bool) -> None:  # the scheduler passes it on by position
    """Process no further chunk of a run in this process; with ``begun``, stop those under way in good order too."""
    _runtime().end(run_id, reason, begun=begun)


def unfit(reference: Reference) -> str | None:
    """Return why this process must not work for a run; None where its program and settings are the run's."""
    try:
        reference.load()
    except IncidentProcessError as exc:
        return str(exc)
    except Exception as exc:
        return f"a worker cannot read its settings: {where_raised(exc)}"
    return None


@functools.cache
def _runtime() -> WorkerRuntime:
    return WorkerRuntime(open_parts, make_source)
