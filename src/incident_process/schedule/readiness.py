"""Whether this process is ready: it can reach source and state, and the last run did not fail."""

from typing import Any

from incident_process.core.clock import uptime
from incident_process.core.models import RunRecord, iso
from incident_process.schedule.timing import Due, Snapshot, failed

POLLS = 3
"""Pauses between two polls without a successful one after which source and state count as out of reach."""


class Readiness:
    """What ``/readyz`` answers from. It asks no database, so any rate of requests is harmless."""

    def __init__(self) -> None:
        self.running = False
        self.patience_seconds = 60.0
        self._seen_at: float | None = None
        self._error: str | None = "no look at source and state yet"
        self._fault: tuple[str, RunRecord | None] | None = None
        """The fault that ended this process's last run, and the newest run known then."""
        self._newest: RunRecord | None = None
        """The newest run that is over, on any host."""
        self._due: Due | None = None

    def seen(self, view: Snapshot, due: Due) -> None:
        """Note a successful poll of source and state."""
        self._seen_at = uptime()
        self._error = None
        self._newest = next(iter(view.ended), None)
        if self._fault is not None and (self._newest != self._fault[1] or due.at > view.now):
            self._fault = None  # a run has ended since, or none is overdue
        self._due = due

    def unseen(self, error: str) -> None:
        """Note a failed poll of source and state."""
        self._error = error

    def ended(self, fault: str | None) -> None:
        """Note the end of a run of this process, with the fault that ended it, if any."""
        self._fault = None if fault is None else (fault, self._newest)

    def reasons(self) -> list[str]:
        """Return why the process is not ready; nothing when it is."""
        found = []
        if self._error is not None:
            found.append(self._error)
        elif not self.running and self._seen_at is not None and uptime() - self._seen_at > self.patience_seconds:
            found.append(f"the last look at source and state is {uptime() - self._seen_at:.0f} s ago")
        if self._fault is not None:
            found.append(f"the last run failed: {self._fault[0]}")
        elif self._newest is not None and failed(self._newest):
            found.append(f"the last run is {self._newest.status.value}: {self._newest.error or 'no reason was noted'}")
        if self._due is not None and self._due.refused is not None:
            found.append(self._due.refused.message)
        return found

    def report(self) -> dict[str, Any]:
        """Return what ``/readyz`` shows."""
        reasons = self.reasons()
        next_due = self._due.at if self._due is not None and self._due.refused is None else None
        return {
            "ready": not reasons,
            "reasons": reasons,
            "running": self.running,
            "next_run_due": iso(next_due) if next_due is not None else None,
        }
