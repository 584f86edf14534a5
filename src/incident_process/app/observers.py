"""The observers of a run: metrics, alerts, traces. Each is loaded only where the settings ask for it.

They listen to the run's events and may not change what it does: any fault of theirs is a warning.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from incident_process.core.errors import IncidentProcessError
from incident_process.core.events import Events
from incident_process.core.logs import event, get_logger
from incident_process.core.models import RunKind, RunReport, RunStatus, failed_report
from incident_process.core.safe_files import writing
from incident_process.pipeline.context import Parts
from incident_process.settings import Settings

if TYPE_CHECKING:
    from incident_process.observability.alerts import Notifier
    from incident_process.observability.meter import Meter

log = get_logger()


class Observer(Protocol):
    """Observes one run, or many one after the other."""

    name: str
    """For messages: what is missing where the observer fails."""

    def listen(self, events: Events) -> None:
        """Listen to what the run tells."""

    async def ended(self, kind: RunKind, report: RunReport, parts: Parts | None) -> None:
        """Note the end of a run; ``parts`` is None where it could not begin."""


class Observers:
    """All observers of one run, and the guard against their faults."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def listen(self, events: Events) -> None:
        """Let each observer listen to the run."""
        for observer in self._observers:
            observer.listen(events)

    async def ended(self, kind: RunKind, report: RunReport, parts: Parts | None) -> None:
        """Tell each observer how the run ended."""
        for observer in self._observers:
            try:
                await observer.ended(kind, report, parts)
            except Exception as exc:  # an observer's fault must not fail a finished run
                text = str(exc) if isinstance(exc, IncidentProcessError) else type(exc).__name__
                log.warning(
                    "The end of the run could not be noted in the %s: %s",
                    observer.name,
                    text,
                    extra=event("observer_failed", observer=observer.name),
                )

    async def failed(self, kind: RunKind, error: BaseException, parts: Parts | None) -> None:
        """Tell each observer that a fault ended the run; only a fault of this package is told in its own words."""
        said = str(error) if isinstance(error, IncidentProcessError) else f"unexpected fault: {type(error).__name__}"
        await self.ended(kind, getattr(error, "report", None) or failed_report(said), parts)


def observers_for(settings: Settings, meter: "Meter | None" = None, notifier: "Notifier | None" = None) -> Observers:
    """Return the observers that the settings ask for; raise ConfigurationError as ``require`` does.

    ``meter`` and ``notifier``: those of a process that has many runs; None makes new ones.
    """
    require(settings)
    observers: list[Observer] = []
    if settings.tracing.endpoint:
        from incident_process.observability.tracing import TraceObserver

        observers.append(TraceObserver(settings))
    if meter is not None or settings.metrics.textfile is not None:
        observers.append(_Metered(meter or make_meter(settings), settings.metrics.textfile))
    if settings.notify.urls:
        observers.append(notifier or make_notifier(settings))
    return Observers(observers)


def require(settings: Settings) -> None:
    """Raise ConfigurationError when the settings ask for what is not installed, or for TLS without certificates."""
    if settings.tracing.endpoint:
        import incident_process.observability.tracing  # noqa: F401
    if settings.engine.engine == "dask":
        from incident_process.cluster.dask import require_certificates

        require_certificates(settings)


def make_meter(settings: Settings) -> "Meter":
    """Return metrics in which nothing has been counted."""
    from incident_process.observability.meter import Meter

    return Meter(settings.process.operation_name)


def make_notifier(settings: Settings) -> "Notifier":
    """Return the notifier of the operation's conditions."""
    from incident_process.app.factory import make_conditions
    from incident_process.observability.alerts import Notifier

    return Notifier(settings, lambda: make_conditions(settings))


class _Metered:
    """Metrics, and the file that every run updates."""

    name = "metrics"

    def __init__(self, meter: "Meter", textfile: Path | None) -> None:
        self._meter = meter
        self._textfile = textfile

    def listen(self, events: Events) -> None:
        self._meter.listen(events)

    async def ended(self, kind: RunKind, report: RunReport, parts: Parts | None) -> None:
        if parts is not None and report.status is not RunStatus.FAILED:
            self._meter.seen(await parts.source.now(), None)
        self._meter.ended(kind, report)
        if self._textfile is not None:
            await self._meter.state.refresh(parts.store if parts is not None else None)
            with writing(f"[METRICS] textfile {self._textfile}"):
                await self._meter.write(self._textfile)
