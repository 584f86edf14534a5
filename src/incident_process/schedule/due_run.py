"""The run that a schedule does: a window run that asks under the lease whether it is still due."""

import logging
from datetime import datetime

from incident_process.core.logs import get_logger
from incident_process.core.models import RunReport, RunStatus, iso
from incident_process.pipeline.context import Parts
from incident_process.pipeline.lease import LeaseHeartbeat
from incident_process.pipeline.run import WindowRun
from incident_process.schedule.state_poller import RUNS
from incident_process.schedule.timing import DueRules, Snapshot, due

log = get_logger()


class ScheduledRun(WindowRun):
    """A window run, unless another host did it between the look and the lease."""

    held_level = logging.INFO  # of those who share the work, all but one find it so at each run

    def __init__(self, parts: Parts, rules: DueRules) -> None:
        super().__init__(parts)
        self._rules = rules

    async def _run_leased(self, heartbeat: LeaseHeartbeat, now: datetime) -> RunReport:
        store = self._parts.store
        operation = await store.read_operation()
        # Now again: the lease may have been waited for, and a run that ended meanwhile must not seem to be ahead.
        view = Snapshot(operation=operation, runs=await store.runs(limit=RUNS), now=await self._parts.source.now())
        next_due = due(self._rules, view)
        if next_due.refused is None and next_due.at > view.now:
            self._operation = operation or self._operation
            message = f"Another runner was faster: the next run is due at {iso(next_due.at)}."
            log.info("%s", message)
            return self._report(RunStatus.NOT_DUE, message)
        return await super()._run_leased(heartbeat, now)
