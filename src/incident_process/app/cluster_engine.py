"""What makes a run's processor over a cluster. Not in ``factory``, which a cluster's worker uses."""

from functools import partial

from incident_process.pipeline.context import MakeProcessor
from incident_process.settings import Settings


def make_processor(settings: Settings) -> MakeProcessor | None:
    """Return what makes a run's processor over a cluster; None where the run's own process does all.

    Raises ConfigurationError when the engine of the settings is not installed.
    """
    if settings.engine.engine == "local":
        return None
    from incident_process.app.cluster_worker import end_run, run_chunk, unfit
    from incident_process.cluster.coordinator import ClusterProcessor
    from incident_process.cluster.dask import dask_pool

    return partial(ClusterProcessor, pool=partial(dask_pool, settings, run_chunk, end_run, unfit))
