"""Every metric: its name, its meaning, its labels. Dashboards and alert rules depend on them.

All names begin with ``incident_process_``; times are seconds, instants seconds since 1970.
"""

from collections.abc import Iterator
from importlib.metadata import version
from math import isnan, nan

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from incident_process.core.models import RunKind, RunStatus

PREFIX = "incident_process_"

ATTEMPT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
WRITE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

OUTCOMES = ("delivered", "unchanged", "skipped", "dead")
"""Outcomes of an account in a run; pending is a gauge of its own instead."""

ANSWERS = ("2xx", "3xx", "4xx", "5xx", "other", "none")
"""Classes of answers to an attempt; none: there was no answer."""

CIRCUITS = ("closed", "probing", "open")
"""The circuit breaker's states in the order of their figures."""

MOST_DEAD = 10_000
"""Open dead letters that are counted at most: one reading finds them, and nobody works through more."""

OF_STATE = frozenset(
    PREFIX + name for name in ("pending_incidents", "dead_letters_open", "ledger_deliveries", "state_bytes")
)
"""Names of the gauges that are read from the state (``state_figures``)."""


class Instruments(Collector):
    """The metrics of one process in their own registry; each has the label ``operation`` beside its own."""

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.registry = CollectorRegistry()
        self.watermark_lag = self._gauge(
            "watermark_lag_seconds",
            "Source's clock less Last_execution_dtm, as `status` shows it; absent before it runs",
        )
        self.processed_until = self._gauge(
            "processed_until_timestamp_seconds", "End of the newest processed window, with or without new data"
        )
        self.incidents = self._counter("incidents", "Accounts by what became of them", "outcome")
        self.pending = self._gauge("pending_incidents", "Incidents without an outcome, when last looked at")
        self.dead_letters = self._gauge(
            "dead_letters_open", f"Dead letters that no later incident of their account follows; {MOST_DEAD} at most"
        )
        self.ledger = Gauge(
            PREFIX + "ledger_deliveries", "Incidents in the ledger", ("status",), registry=self.registry
        )
        self.state_bytes = self._gauge(
            "state_bytes", "About the bytes of the state; SQLite: of its file, MongoDB: of its database"
        )
        self.build = Gauge(PREFIX + "build_info", "1, with the program's version", ("version",), registry=self.registry)
        self.runs = self._counter("runs", "Runs by kind and by how they ended", "kind", "status")
        self.last_duration = self._gauge("last_run_duration_seconds", "Seconds that the last run took")
        self.last_end = self._gauge("last_run_end_timestamp_seconds", "When the last run ended")
        self.last_success = self._gauge(
            "last_run_success", "1 when the last window run neither failed nor stayed incomplete"
        )
        self.attempts = self._histogram("attempt_seconds", "Seconds of one POST", ATTEMPT_SECONDS, "answer")
        self.retries = self._counter("retries", "Attempts beyond the first of an incident within a run")
        self.breaker = self._gauge(
            "breaker_state", "Circuit breaker: " + ", ".join(f"{at} {name}" for at, name in enumerate(CIRCUITS))
        )
        self.in_flight = self._gauge("requests_in_flight", "Requests that wait for an answer")
        self.in_flight_limit = self._gauge(
            "requests_in_flight_limit", "Requests that may wait, by the receiver's answers; max_connections at most"
        )
        self.rate_limit = self._gauge(
            "requests_per_second_limit",
            "Requests a second that the receiver takes; absent until it has rejected one for its rate",
        )
        self.lease = self._gauge("lease_held", "1 while this process holds the operation's lease")
        self.writes = self._histogram("state_write_seconds", "Seconds of one write to the state", WRITE_SECONDS, "step")
        self.build.labels(version("incident-process")).set(1)
        self.breaker.set(0)
        self.lease.set(0)
        for outcome in OUTCOMES:  # a series that begins with its first event hides that event from rate()
            self.incidents.labels(outcome)
        for status in RunStatus:
            if status is not RunStatus.RUNNING:
                self.runs.labels(RunKind.WINDOW.value, status.value)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics without values that were never set, and without the creation times of series."""
        for family in self.registry.collect():
            family.samples = [
                item._replace(labels={**item.labels, "operation": self.operation})
                for item in family.samples
                if not (item.name.endswith("_created") or isnan(item.value))
            ]
            if family.samples:
                yield family

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        gauge = Gauge(PREFIX + name, meaning, registry=self.registry)
        gauge.set(nan)  # unknown, which is not 0
        return gauge

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], label: str) -> Histogram:
        return Histogram(PREFIX + name, meaning, (label,), buckets=buckets, registry=self.registry)
