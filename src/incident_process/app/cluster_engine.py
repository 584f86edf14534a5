"""What makes a run's processor over a cluster. Not in ``factory``, which a cluster's worker uses."""

from collections.abc import Callable
from functools import partial

from incident_process.pipeline.context import Processor, RunContext
from incident_process.pipeline.counters import RunCounters
from incident_process.pipeline.lease import LeaseHeartbeat
from incident_process.settings import Settings


def make_processor(settings: Settings) -> Callable[[RunContext, LeaseHeartbeat, RunCounters], Processor] | None:
    """Return what makes a run's processor over a cluster; None where the run's own process does all.

    Raises ConfigurationError when the engine of the settings is not installed.
    """
    if settings.engine.engine == "local":
        return None
    from incident_process.app.cluster_worker import end_run, run_chunk, unfit
    from incident_process.cluster.coordinator import ClusterProcessor
    from incident_process.cluster.dask import dask_pool

    return partial(ClusterProcessor, pool=partial(dask_pool, settings, run_chunk, end_run, unfit))
