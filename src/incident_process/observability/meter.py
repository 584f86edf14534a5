"""Feeds the metrics: thin layers around the state store and the transport of a run record what passes.

They exist only in a process with metrics on, so a run without them pays nothing. The run's own figures are taken from
its record when it is written, so that the counters add up to what ``history`` shows.
"""

import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from math import inf, nan
from pathlib import Path
from typing import Any, cast

import msgspec

from incident_process.core.clock import uptime
from incident_process.core.models import (
    DONE,
    UNFINISHED,
    Advance,
    Chunk,
    Counts,
    Lease,
    Operation,
    Outcome,
    RunKind,
    RunRecord,
    RunReport,
)
from incident_process.delivery.circuit_breaker import CircuitState
from incident_process.delivery.http.transport import Answer, MaySend, Transport, always
from incident_process.delivery.sender import Sender
from incident_process.observability.metrics import ANSWERS, CIRCUITS, OUTCOMES, Instruments
from incident_process.observability.metrics_file import TextFile
from incident_process.pipeline.context import Parts
from incident_process.state.base import StateStore

_WRITES = frozenset(
    name
    for name, member in vars(StateStore).items()
    if inspect.isfunction(member) and "lease" in inspect.signature(member).parameters
)
"""The methods that the contract fences by a lease: exactly the writes of a run."""


class Meter:
    """Keeps the metrics of a process over all of its runs."""

    def __init__(self, operation: str) -> None:
        self.instruments = Instruments(operation)
        self._counted: tuple[str, Counts] = ("", Counts())
        self._watermark: datetime | None = None
        self._clock: tuple[datetime, float] | None = None
        """The source's time, and this machine's seconds since boot when it was queried."""
        self._file: TextFile | None = None
        self._own: str | None = None
        """Id of the last run of this process."""
        self._newest: str | None = None
        """Id of the newest finished run at the last reading, of any process."""

    def attach(self, parts: Parts) -> Parts:
        """Return the parts of a run with layers that record what passes."""
        return msgspec.structs.replace(
            parts,
            store=cast("StateStore", _WatchedStore(parts.store, self)),
            transport=_WatchedTransport(parts.transport, self.instruments),
            watch=self.sending,
        )

    def sending(self, sender: Sender) -> None:
        """Show this sender's breaker and limits from now on."""

        def state() -> float:
            circuit = (
                CircuitState.OPEN if sender.broken else CircuitState.CLOSED if sender.well else CircuitState.PROBING
            )
            return float(CIRCUITS.index(circuit.value))

        shown = self.instruments
        shown.breaker.set_function(state)
        shown.in_flight.set_function(lambda: float(sender.gate.in_flight))
        shown.in_flight_limit.set_function(lambda: float(sender.gate.limit))
        shown.rate_limit.set_function(lambda: rate if (rate := sender.gate.rate.per_second) < inf else nan)

    def seen(self, now: datetime, operation: Operation | None, ended: Sequence[RunRecord] = ()) -> None:
        """Note the source's clock, the state of the operation, and the runs of other processes.

        ``ended`` are the finished window runs, newest first.
        """
        self._clock = (now, uptime())
        self.moved(operation)
        # Only a change counts: this process's last run may have failed without a record, and an older one is newest.
        if ended and ended[0].run_id != self._newest:
            self._newest = ended[0].run_id
            if self._newest != self._own:
                self._show_other_process(now, ended)

    def moved(self, operation: Operation | None) -> None:
        """Note the watermark; before the first run there is none."""
        if operation is None or operation.last_execution.year <= 1900:
            return
        self._watermark = operation.last_execution
        self.instruments.watermark_lag.set_function(self._lag)

    def progressed(self, run: RunRecord) -> None:
        """Count the increase in the figures of a run, which are totals of that run."""
        self._count(run.run_id, run.counts)

    def ended(self, kind: RunKind, report: RunReport) -> None:
        """Count a finished run."""
        shown = self.instruments
        self._own = report.run_id
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

    def _count(self, run_id: str, counts: Counts) -> None:
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


class _WatchedStore:
    """The state store with every write timed. Other methods go to the store unchanged."""

    def __init__(self, store: StateStore, meter: Meter) -> None:
        self._store = store
        self._meter = meter
        self._writes = meter.instruments.writes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in _WRITES:
            return method
        timed = self._timed(name, method)
        setattr(self, name, timed)  # Python finds it without __getattr__ from now on
        return timed

    def _timed(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        observe = self._writes.labels(name).observe

        async def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return await method(*args, **kwargs)
            finally:
                observe(time.perf_counter() - started)

        return timed

    async def read_operation(self) -> Operation | None:
        operation = await self._store.read_operation()
        self._meter.moved(operation)
        return operation

    async def acquire_lease(self, holder: str, seconds: float, *, evict: int | None = None) -> Lease:
        lease = cast(
            "Lease", await self._timed("acquire_lease", self._store.acquire_lease)(holder, seconds, evict=evict)
        )
        self._meter.instruments.lease.set(1)
        return lease

    async def release_lease(self, lease: Lease) -> None:
        self._meter.instruments.lease.set(0)
        await self._timed("release_lease", self._store.release_lease)(lease)

    async def advance(self, lease: Lease, step: Advance) -> Operation:
        operation = cast("Operation", await self._timed("advance", self._store.advance)(lease, step))
        self._meter.moved(operation)
        return operation

    async def write_run(self, lease: Lease, run: RunRecord) -> None:
        await self._timed("write_run", self._store.write_run)(lease, run)
        self._meter.progressed(run)

    async def record_outcomes(self, lease: Lease, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        await self._timed("record_outcomes", self._store.record_outcomes)(lease, chunk, outcomes)
        before = {incident.incident_id: incident.attempts for incident in chunk.incidents}
        more = (outcome.attempts - before.get(outcome.incident_id, outcome.attempts) for outcome in outcomes)
        retries = sum(attempts - 1 for attempts in more if attempts > 1)
        if retries:
            self._meter.instruments.retries.inc(retries)


class _WatchedTransport:
    """The transport with every attempt timed."""

    def __init__(self, transport: Transport, instruments: Instruments) -> None:
        self._transport = transport
        self._observe = {answer: instruments.attempts.labels(answer).observe for answer in ANSWERS}
        self._other = self._observe["other"]

    async def post(self, body: bytes, key: str | None, may_send: MaySend = always, *, fresh: bool = False) -> Answer:
        answer = await self._transport.post(body, key, may_send, fresh=fresh)
        name = "none" if answer.status is None else f"{answer.status // 100}xx"
        self._observe.get(name, self._other)(answer.seconds)
        return answer
