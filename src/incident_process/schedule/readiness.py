"""Whether this process is ready: source and state within reach, and the last run not failed."""

from typing import Any

from incident_process.core.clock import uptime
from incident_process.core.models import RunRecord, iso
from incident_process.schedule.timing import Due, Snapshot, failed

LOOKS = 3
"""So many times as long as the pause between two looks, without one that succeeded, is out of reach."""


class Readiness:
    """What ``/readyz`` answers from; it asks nobody, so it may be asked as often as somebody likes."""

    def __init__(self) -> None:
        self.running = False
        self.patience_seconds = 60.0
        self._seen_at: float | None = None
        self._error: str | None = "no look at source and state yet"
        self._fault: tuple[str, RunRecord | None] | None = None
        """What ended the last run of this process, and the newest run that was known then."""
        self._newest: RunRecord | None = None
        """The newest that is over: of one that is at work, here or elsewhere, nobody knows yet how it ends."""
        self._due: Due | None = None

    def seen(self, view: Snapshot, due: Due) -> None:
        """Note that source and state were read."""
        self._seen_at = uptime()
        self._error = None
        self._newest = next(iter(view.ended), None)
        if self._fault is not None and (self._newest != self._fault[1] or due.at > view.now):
            self._fault = None  # there has been a run since, or nothing was left undone
        self._due = due

    def unseen(self, error: str) -> None:
        """Note that source or state could not be read."""
        self._error = error

    def ended(self, fault: str | None) -> None:
        """Note that a run of this process is over, with the fault that ended it, if any."""
        self._fault = None if fault is None else (fault, self._newest)

    def reasons(self) -> list[str]:
        """Return why it is not ready; nothing when it is."""
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
