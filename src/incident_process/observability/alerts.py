"""Sends alerts to the addresses of ``[NOTIFY] urls``. Any fault here is a warning, never a failed run."""

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError, IncidentProcessError
from incident_process.core.events import Events
from incident_process.core.logs import event, get_logger, one_line
from incident_process.core.models import NO_PRUNE, RunKind, RunRecord, RunReport, RunStatus
from incident_process.observability.alert_conditions import (
    TITLES,
    AlertStep,
    ConditionName,
    Found,
    found_by,
    is_told,
    lag_found,
    step,
)
from incident_process.observability.local_alerts import LocalAlerts
from incident_process.pipeline.context import Parts
from incident_process.settings import Settings
from incident_process.state.alert_store import AlertCondition, AlertStore, Stage

log = get_logger()

RUNS = 50
"""Newest runs that are searched for the last processed window."""


class Notifier:
    """Sends the alerts of one operation.

    Args:
        settings: With ``[NOTIFY] urls`` set.
        conditions: Makes the store of conditions beside the state, not yet connected.
    """

    name = "alerts"

    def __init__(self, settings: Settings, conditions: Callable[[], AlertStore]) -> None:
        self._settings = settings
        self._conditions = conditions
        self._operation = settings.process.operation_name
        self._local = LocalAlerts(self._operation)
        self._all_sent: dict[str, bool] = {}
        """By condition, whether it holds, where every alert of it has been sent."""

    def listen(self, events: Events) -> None:
        """Nothing of a run is told before its end."""

    async def ended(self, kind: RunKind, report: RunReport, parts: Parts | None) -> None:
        """Send what a finished run has found; ``parts`` is None where it could not begin."""
        found = found_by(kind, report)
        limit = self._settings.notify.lag_seconds
        if limit and parts is not None and report.status is not RunStatus.FAILED:
            found |= lag_found(await parts.store.runs(search=NO_PRUNE, limit=RUNS), await parts.source.now(), limit)
        await self.tell(found)

    async def between_runs(self, runs: Sequence[RunRecord], now: datetime) -> None:
        """Send what a schedule has found between two runs."""
        await self._changed({ConditionName.SIGHT: None, **lag_found(runs, now, self._settings.notify.lag_seconds)})

    async def unreachable(self, reason: str) -> None:
        """Send that a schedule can no longer read source or state."""
        await self._changed({ConditionName.SIGHT: reason})

    async def _changed(self, found: Found) -> None:
        """Send what was found between runs, unless the last finding was the same and its alert was sent."""
        if all(self._all_sent.get(name) == (said is not None) for name, said in found.items()):
            return
        try:
            await self.tell(found)
        except Exception as exc:  # Apprise's, or the state is away: the schedule goes on
            log.warning(
                "An alert could not be told: %s",
                exc if isinstance(exc, IncidentProcessError) else type(exc).__name__,
                extra=event("alert_failed"),
            )

    async def tell(self, found: Mapping[str, str | None]) -> None:
        """Compare what was found with what was sent, and send the difference."""
        if not found:
            return
        for name in found:
            self._all_sent.pop(name, None)
        async with AsyncExitStack() as stack:
            store: AlertStore
            try:
                store = await stack.enter_async_context(self._conditions())
                if not self._local.is_empty():
                    await _move(self._local, store)
            except (DatabaseConnectionError, ConfigurationError):
                store = await stack.enter_async_context(self._local)
            known = await store.all()
            now = datetime.now(UTC)
            for name, said in found.items():
                due = step(name, said, known.get(name), now)
                if await self._take(store, due) if due is not None else is_told(known.get(name)):
                    self._all_sent[name] = said is not None

    async def _take(self, store: AlertStore, due: AlertStep) -> bool:
        """Make the change, send its alert, and note that it was sent; return whether nothing is left to do."""
        if not await store.change(due.before, due.after):
            return False
        if due.telling is None or due.after is None:
            return True
        if not await self._send(due.after, over=due.telling is Stage.ENDING):
            log.warning(
                "An alert could not be sent (%s); it is tried again later.",
                TITLES[ConditionName(due.after.name)],
                extra=event("alert_not_sent"),
            )
            return False
        return await store.change(due.after, due.settled)

    async def _send(self, condition: AlertCondition, *, over: bool) -> bool:
        from incident_process.observability.alert_sending import send

        title = f"{'Over' if over else 'Alert'}: {TITLES[ConditionName(condition.name)]} ({self._operation})"
        since = f"{condition.since:%Y-%m-%dT%H:%M:%SZ}"
        lines = [f"It began at {since}: {condition.told}" if over else condition.told]
        lines += [f"Operation: {self._operation}", f"Host: {socket.gethostname()}"]
        addresses = [address.get_secret_value() for address in self._settings.notify.urls]
        return await send(addresses, title, "\n".join(map(one_line, lines)), good=over)


async def _move(local: LocalAlerts, store: AlertStore) -> None:
    """Move the conditions that this machine noted while the state was away into the state."""
    for condition in (await local.all()).values():
        await store.change(None, condition)
        await local.change(condition, None)
