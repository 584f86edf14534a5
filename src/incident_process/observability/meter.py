"""Feeds the metrics from the events of runs.

The run's own figures are taken from its record when it is written, so that the counters add up to what ``history``
shows.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import nan
from pathlib import Path

from incident_process.core.clock import uptime
from incident_process.core.events import (
    Advanced,
    Attempted,
    Events,
    LeaseChanged,
    OutcomesRecorded,
    RunRecorded,
    SendingStarted,
    StateWritten,
)
from incident_process.core.models import DONE, UNFINISHED, Counts, Operation, RunKind, RunRecord, RunReport
from incident_process.observability.metrics import ANSWERS, CIRCUITS, OUTCOMES, Instruments
from incident_process.observability.metrics_file import TextFile
from incident_process.observability.state_figures import StateFigures


class Meter:
    """Keeps the metrics of a process over all of its runs."""

    def __init__(self, operation: str) -> None:
        self.instruments = Instruments(operation)
        self.state = StateFigures(self.instruments)
        self._counted: tuple[str, Counts] = ("", Counts())
        self._watermark: datetime | None = None
        self._clock: tuple[datetime, float] | None = None
        """The source's time, and this machine's seconds since boot when it was queried."""
        self._file: TextFile | None = None
        self._own: str | None = None
        """Id of the last run of this process."""
        self._newest: str | None = None
        """Id of the newest finished run at the last reading, of any process."""

    def listen(self, events: Events) -> None:
        """Count what a run tells from now on."""
        shown = self.instruments
        attempts = {answer: shown.attempts.labels(answer).observe for answer in ANSWERS}

        def attempted(event: Attempted) -> None:
            name = "none" if event.status is None else f"{event.status // 100}xx"
            attempts.get(name, attempts["other"])(event.seconds)

        events.listen(Attempted, attempted)
        events.listen(StateWritten, lambda event: shown.writes.labels(event.step).observe(event.seconds))
        events.listen(LeaseChanged, lambda event: shown.lease.set(event.held))
        events.listen(SendingStarted, self._show_sending)
        events.listen(OutcomesRecorded, self._count_retries)
        events.listen(RunRecorded, lambda event: self._count(event.run.run_id, event.run.counts))
        events.listen(Advanced, lambda event: self._move(event.operation.last_execution))

    def seen(self, now: datetime, operation: Operation | None, ended: Sequence[RunRecord] = ()) -> None:
        """Note the source's clock, the state of the operation, and the runs of other processes.

        ``ended`` are the finished window runs, newest first.
        """
        self._clock = (now, uptime())
        if operation is not None:
            self._move(operation.last_execution)
        # Only a change counts: this process's last run may have failed without a record, and an older one is newest.
        if ended and ended[0].run_id != self._newest:
            self._newest = ended[0].run_id
            if self._newest != self._own:
                self._show_other_process(now, ended)

    def ended(self, kind: RunKind, report: RunReport) -> None:
        """Count a finished run."""
        shown = self.instruments
        self._own = report.run_id
        self._move(report.last_execution)
        if report.run_id is not None:
            self._count(report.run_id, report.counts)
        shown.runs.labels(kind.value, report.status.value).inc()
        if report.status in DONE | UNFINISHED:
            shown.last_duration.set(report.seconds)
            shown.last_end.set(datetime.now(UTC).timestamp())
        if kind is RunKind.WINDOW and report.status in DONE | UNFINISHED:
            shown.last_success.set(report.status in DONE)
        if kind is RunKind.WINDOW and report.status in DONE and report.window is not None:
            shown.processed_until.set(report.window.end.timestamp())
        shown.lease.set(0)

    async def write(self, path: Path) -> None:
        """Update the file for the textfile collector; raise OSError when it cannot be written."""
        if self._file is None or self._file.path != path:
            self._file = TextFile(path, self.instruments)
        await self._file.update()

    def _show_sending(self, event: SendingStarted) -> None:
        """Show this sender's breaker and limits from now on."""
        shown, now = self.instruments, event.sending
        shown.breaker.set_function(lambda: float(CIRCUITS.index(event.circuit())))
        shown.in_flight.set_function(lambda: float(now().in_flight))
        shown.in_flight_limit.set_function(lambda: float(now().limit))
        shown.rate_limit.set_function(lambda: nan if (rate := now().per_second) is None else rate)

    def _count_retries(self, event: OutcomesRecorded) -> None:
        before = {incident.incident_id: incident.attempts for incident in event.chunk.incidents}
        more = (outcome.attempts - before.get(outcome.incident_id, outcome.attempts) for outcome in event.outcomes)
        retries = sum(attempts - 1 for attempts in more if attempts > 1)
        if retries:
            self.instruments.retries.inc(retries)

    def _move(self, watermark: datetime) -> None:
        """Note the watermark; before the first run there is none."""
        if watermark.year > 1900:
            self._watermark = watermark
            self.instruments.watermark_lag.set_function(self._lag)

    def _count(self, run_id: str, counts: Counts) -> None:
        """Count the increase in the figures of a run, which are totals of that run."""
        before = self._counted[1] if self._counted[0] == run_id else Counts()
        self._counted = (run_id, counts)
        for outcome in OUTCOMES:
            more = getattr(counts, outcome) - getattr(before, outcome)
            if more > 0:
                self.instruments.incidents.labels(outcome).inc(more)
        self.instruments.pending.set(counts.pending)

    def _show_other_process(self, now: datetime, ended: Sequence[RunRecord]) -> None:
        """Show the last run by its record, where another process did it; the counters stay this process's own."""
        shown, last = self.instruments, ended[0]
        shown.pending.set(last.counts.pending)
        shown.last_success.set(last.status in DONE)
        if last.ended_at is not None:
            shown.last_duration.set((last.ended_at - last.started_at).total_seconds())
            # The record has the source's clock; last_end is compared with this machine's.
            shown.last_end.set((datetime.now(UTC) - (now - last.ended_at)).timestamp())
        until = next((run.window.end for run in ended if run.status in DONE and run.window is not None), None)
        if until is not None:
            shown.processed_until.set(until.timestamp())

    def _lag(self) -> float:
        if self._watermark is None or self._clock is None:
            return float("nan")
        now, asked = self._clock
        return (now - self._watermark).total_seconds() + uptime() - asked
