"""Looks at the workers of a cluster, and at the collector of traces: what not every run has."""

import asyncio
from urllib.parse import urlsplit

from incident_process.core.errors import ConfigurationError, DeliveryIncompleteError
from incident_process.operations.doctor.finding import Finding, error, ok, warning
from incident_process.operations.doctor.receiver import CONNECT_SECONDS
from incident_process.settings import Settings


async def examine_workers(settings: Settings) -> list[Finding]:
    """Ask the workers of a scheduler what a run asks them; a cluster of this machine is not started."""
    engine = settings.engine
    if engine.scheduler is None:
        said = f"Dask is installed. That a run can start {engine.workers} worker process(es) was not tried."
        return [ok("workers", said)]
    from incident_process.app.cluster_worker import unfit
    from incident_process.cluster.dask import SILENT, WORKERLESS_SECONDS, look_at_workers

    threads, faults = await look_at_workers(settings, unfit)
    if not threads:
        return [
            error(
                "workers",
                f"{engine.scheduler} has no worker: a run ends when it has had none for {WORKERLESS_SECONDS:g} s.",
                "Start one with `dask worker`.",
                DeliveryIncompleteError.exit_status,
            )
        ]
    fit = threads.keys() - faults.keys()
    ends = DeliveryIncompleteError if SILENT in faults.values() else ConfigurationError
    remedy = (
        "Until that is corrected, runs leave this worker out."
        if fit
        else "Correct that, or start a worker that fits: while none does, a run ends with this error."
    )
    found = [
        warning("workers", f"{worker}: {fault}", remedy)
        if fit
        else error("workers", f"{worker}: {fault}", remedy, ends.exit_status)
        for worker, fault in sorted(faults.items())
    ]
    if fit:
        said = (
            f"{engine.scheduler} has {len(fit)} worker(s) that fit, with {sum(threads[one] for one in fit)} thread(s)."
        )
        found.append(ok("workers", f"{said} No chunk was tried."))
    return found


async def examine_collector(endpoint: str) -> Finding:
    """Connect to the collector of traces and hang up. A run goes on without it."""
    parts = urlsplit(endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, port)
            writer.close()
    except (OSError, ValueError) as exc:
        return warning(
            "traces",
            f"{parts.hostname}:{port} does not answer ({type(exc).__name__}): the spans of runs are lost.",
            "Correct [TRACING] endpoint, or see that the collector runs and can be reached from here.",
        )
    said = f"{parts.hostname}:{port} accepts connections. Whether it takes spans was not tried."
    return ok("traces", said)
