"""When a run is due. Pure functions over a snapshot of source and state; all instants are by the source's clock."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from incident_process.core.models import (
    INTERRUPTED,
    UNFINISHED,
    Operation,
    Record,
    RunKind,
    RunRecord,
    RunStatus,
    Tracking,
)
from incident_process.core.window import Refusal, operation_refusal, system_date
from incident_process.settings import Settings

_REFUSED = frozenset({RunStatus.INACTIVE, RunStatus.TERMINATED})


class Snapshot(Record, frozen=True, kw_only=True):
    """Source and state at one moment.

    ``runs`` are the newest runs, newest first; ``busy``: a runner that is not known to be gone holds the lease.
    """

    now: datetime
    operation: Operation | None
    runs: Sequence[RunRecord] = ()
    busy: bool = False

    @property
    def newest(self) -> RunRecord | None:
        """The newest window run that began before now. Runs that a clock set back has left ahead do not count."""
        return next(iter(self._begun), None)

    @property
    def ended(self) -> Sequence[RunRecord]:
        """The window runs that began before now and are over, newest first."""
        return [run for run in self._begun if run.status is not RunStatus.RUNNING]

    @property
    def failures(self) -> int:
        """How many window runs in a row have failed up to now, on any host."""
        return len(list(takewhile(failed, self._begun)))

    @property
    def _begun(self) -> Sequence[RunRecord]:
        return [run for run in self.runs if run.kind is RunKind.WINDOW and run.started_at <= self.now]


class Pauses(Record, frozen=True, kw_only=True):
    """How long to wait after failures: seconds before the first new attempt, and at most."""

    first: float
    cap: float

    def after(self, failures: int, chance: float) -> float:
        """Return the seconds to wait after this many failures in a row, with ``chance`` in [0, 1) as the jitter.

        The pause doubles each time. Half of it is fixed and half is chance, so that two schedules do not retry at once.
        """
        full = min(self.cap, self.first * 2.0 ** min(failures - 1, 32))
        return full * (0.5 + 0.5 * chance)


class Timetable(Record, frozen=True, kw_only=True):
    """When runs are due where no ``Next_execution_dtm`` decides: an interval, or a line of cron in a zone."""

    interval_seconds: float
    cron: str | None = None
    zone: ZoneInfo = ZoneInfo("UTC")

    def after(self, began: datetime) -> datetime:
        """Return when the next run is due after the one that began at ``began``."""
        if self.cron is None:
            return began + timedelta(seconds=self.interval_seconds)
        from cronsim import CronSim

        return next(CronSim(self.cron, began.astimezone(self.zone))).astimezone(UTC)


class DueRules(Record, frozen=True, kw_only=True):
    """What decides beside the snapshot: settings, and the schedule's ``name``, for a jitter of its own."""

    tracking: Tracking
    operation: str
    time_gap_seconds: float
    timetable: Timetable
    pauses: Pauses
    name: str = ""

    @classmethod
    def of(cls, settings: Settings, name: str = "") -> "DueRules":
        """Return the rules of these settings."""
        process, schedule = settings.process, settings.schedule
        return cls(
            tracking=process.tracking,
            operation=process.operation_name,
            time_gap_seconds=process.time_gap_seconds,
            timetable=Timetable(interval_seconds=schedule.interval_seconds, cron=schedule.cron, zone=process.zone),
            pauses=Pauses(first=schedule.retry_seconds, cap=max(schedule.retry_seconds, schedule.retry_cap_seconds)),
            name=name,
        )


class Due(Record, frozen=True, kw_only=True):
    """When the next run is due; ``refused``: not before an operator changes the operation."""

    at: datetime
    refused: Refusal | None = None


def due(rules: DueRules, view: Snapshot) -> Due:
    """Return when the next window run is due.

    With tracking in SQL the gate decides; with tracking in MongoDB the timetable, counted from the start of the newest
    run. One run catches up on all missed ones. A failed run is due again after a pause.
    """
    at = view.now
    if rules.tracking is Tracking.SQL:
        date = system_date(view.now, rules.time_gap_seconds, rules.tracking)
        refused = operation_refusal(rules.tracking, rules.operation, view.operation, date)
        if refused is not None and refused.status in _REFUSED:
            return Due(at=view.now, refused=refused)
        if refused is not None and view.operation is not None and view.operation.next_execution is not None:
            # The gate's instant has to lie before SYSTEM_DATE, which is cut to whole seconds.
            gate = view.operation.next_execution.replace(microsecond=0) + timedelta(seconds=1)
            at = gate + timedelta(seconds=rules.time_gap_seconds)
    newest = view.newest
    if newest is None:
        return Due(at=at)
    if failed(newest):
        return Due(at=max(at, _again(rules, view, newest)))
    is_cut_off = newest.status is RunStatus.RUNNING or newest.status in UNFINISHED  # the next run resumes it at once
    if rules.tracking is Tracking.MONGO and not is_cut_off:
        at = rules.timetable.after(newest.started_at)
    return Due(at=at)


def failed(run: RunRecord) -> bool:
    """Return True for a run that failed by itself; not for one that an operator stopped."""
    return run.status in UNFINISHED and not (run.error or "").startswith(INTERRUPTED)


def _again(rules: DueRules, view: Snapshot, newest: RunRecord) -> datetime:
    # A fixed chance for this process and this run: with a new one at each poll, the shortest pause would count.
    chance = random.Random(f"{rules.name} {newest.run_id}").random()  # noqa: S311  # jitter, not a secret
    pause = timedelta(seconds=rules.pauses.after(max(1, view.failures), chance))
    return min(newest.ended_at or newest.started_at, view.now) + pause
