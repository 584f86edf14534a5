"""Those who look on while a run is at work: metrics, alerts, traces. Each is loaded only where the settings ask for it.

They see what the run does and may not change it: whatever goes wrong with them is a warning.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from incident_process.core.errors import ConfigurationError, IncidentProcessError
from incident_process.core.logs import get_logger
from incident_process.core.models import RunKind, RunReport, RunStatus, failed_report
from incident_process.pipeline.context import Parts
from incident_process.settings import Settings

if TYPE_CHECKING:
    from incident_process.observability.alerts import Notifier
    from incident_process.observability.meter import Meter

log = get_logger()


class Observer(Protocol):
    """Looks on while one run is at work, or many one after the other."""

    name: str
    """For people: what is wanting where it fails."""

    def attach(self, parts: Parts) -> Parts:
        """Return the parts with which the run is to work."""
        ...

    async def ended(self, kind: RunKind, report: RunReport, parts: Parts | None) -> None:
        """Take note of the end of a run; ``parts`` None: it could not even begin."""
        ...


class Observers:
    """All watchers of one run, and the guard against their faults."""

    def __init__(self, watchers: Sequence[Observer]) -> None:
        self._watchers = watchers

    def attach(self, parts: Parts) -> Parts:
        """Let each watcher stand between the run and its parts."""
        for watcher in self._watchers:
            parts = watcher.attach(parts)
        return parts

    async def ended(self, kind: RunKind, report: RunReport, parts: Parts | None) -> None:
        """Tell each watcher how the run ended."""
        for watcher in self._watchers:
            try:
                await watcher.ended(kind, report, parts)
            except Exception as exc:  # a run that is done must not fail for want of a spectator
                told = str(exc) if isinstance(exc, IncidentProcessError) else type(exc).__name__
                log.warning("The end of the run could not be noted in the %s: %s", watcher.name, told)

    async def failed(self, kind: RunKind, error: BaseException, parts: Parts | None) -> None:
        """Tell each watcher that the run ended in a fault."""
        if self._watchers:
            await self.ended(kind, getattr(error, "report", None) or _failed(error), parts)


def observers_for(settings: Settings, meter: "Meter | None" = None, notifier: "Notifier | None" = None) -> Observers:
    """Return those whom the settings ask for.

    Args:
        settings: Those of the run.
        meter: The metrics of a process that has many runs; a single run has its own.
        notifier: The same for alerts.

    Raises:
        ConfigurationError: Something that they need is not installed.
    """
    watchers: list[Observer] = []
    if settings.tracing.endpoint:
        from incident_process.observability.tracing import TraceObserver

        watchers.append(TraceObserver(settings))  # the innermost: it hands the trace to the transport itself
    if meter is not None or settings.metrics.textfile is not None:
        watchers.append(_Metered(meter or make_meter(settings), settings.metrics.textfile))
    if settings.notify.urls:
        watchers.append(_Notified(notifier or make_notifier(settings)))
    return Observers(watchers)


def require(settings: Settings) -> None:
    """Raise ConfigurationError when something that the settings ask for is not installed."""
    if settings.tracing.endpoint:
        import incident_process.observability.tracing
    if settings.engine.engine == "dask":
        import incident_process.cluster.dask  # noqa: F401


def make_meter(settings: Settings) -> "Meter":
    """Return metrics that nothing has been counted in."""
    from incident_process.observability.meter import Meter

    return Meter(settings.process.operation_name)


def make_notifier(settings: Settings) -> "Notifier":
    """Return who tells the conditions of the operation."""
    from incident_process.app.factory import make_conditions
    from incident_process.observability.alerts import Notifier

    return Notifier(settings, lambda: make_conditions(settings))


class _Metered:
    """Metrics, and the file that every run brings up to date."""

    name = "metrics"

    def __init__(self, meter: "Meter", textfile: Path | None) -> None:
        self._meter = meter
        self._textfile = textfile

    def attach(self, parts: Parts) -> Parts:
        return self._meter.attach(parts)

    async def ended(self, kind: RunKind, report: RunReport, parts: Parts | None) -> None:
        if parts is not None and report.status is not RunStatus.FAILED:
            self._meter.seen(await parts.source.now(), None)
        self._meter.ended(kind, report)
        if self._textfile is not None:
            try:
                await self._meter.write(self._textfile)
            except OSError as exc:
                msg = f"[METRICS] textfile {self._textfile} cannot be written ({exc.strerror})"
                raise ConfigurationError(msg) from exc


class _Notified:
    """Alerts."""

    name = "alerts"

    def __init__(self, notifier: "Notifier") -> None:
        self._notifier = notifier

    def attach(self, parts: Parts) -> Parts:
        return parts

    async def ended(self, kind: RunKind, report: RunReport, parts: Parts | None) -> None:
        await self._notifier.ended(kind, report, parts)


def _failed(error: BaseException) -> RunReport:
    """Report a run that a fault ended before it could report itself; only messages of our own are repeated."""
    return failed_report(
        str(error) if isinstance(error, IncidentProcessError) else f"unexpected fault: {type(error).__name__}"
    )
