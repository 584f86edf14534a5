"""The run of a schedule: a window run that checks under the lease whether it is still due."""

import logging

from incident_process.core.models import NO_PRUNE, RunStatus, iso
from incident_process.core.window import Refusal
from incident_process.pipeline.context import Parts
from incident_process.pipeline.plans import WindowPlan
from incident_process.pipeline.run import Run
from incident_process.schedule.state_poller import RUNS
from incident_process.schedule.timing import DueRules, Snapshot, due


def scheduled_run(parts: Parts, rules: DueRules) -> Run:
    """Return a window run, unless another host did it between the poll and the lease."""

    async def refusal() -> Refusal | None:
        # The clock is read again: after a wait for the lease, a run that ended meanwhile must not seem to be ahead.
        operation, runs = await parts.store.read_operation(), await parts.store.runs(search=NO_PRUNE, limit=RUNS)
        view = Snapshot(operation=operation, runs=runs, now=await parts.source.now())
        next_due = due(rules, view)
        if next_due.refused is not None or next_due.at <= view.now:
            return None
        message = f"Another runner was faster: the next run is due at {iso(next_due.at)}."
        return Refusal(status=RunStatus.NOT_DUE, message=message)

    # Each run finds all schedules but one with the lease held.
    return Run(parts, WindowPlan(parts, refusal=refusal, held_level=logging.INFO))
