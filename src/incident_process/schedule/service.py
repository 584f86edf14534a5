"""The schedule itself: poll, run when a run is due, wait; and again, until an operator ends it."""

import asyncio
import os
import random
import socket
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from incident_process.app.factory import make_store
from incident_process.app.observers import make_meter, make_notifier, observers_for, require
from incident_process.core.errors import ConfigurationError, DatabaseConnectionError, IncidentProcessError
from incident_process.core.logs import connection_error_message, event, get_logger
from incident_process.core.models import DONE, iso
from incident_process.core.version import __version__
from incident_process.schedule.health_endpoints import HttpServer, app
from incident_process.schedule.readiness import POLLS, Readiness
from incident_process.schedule.run_executor import RunExecutor
from incident_process.schedule.signal_requests import SignalRequests, first, give_up
from incident_process.schedule.state_poller import StatePoller
from incident_process.schedule.timing import Due, DueRules, Snapshot, due
from incident_process.settings import Settings

if TYPE_CHECKING:
    from incident_process.observability.alerts import Notifier
    from incident_process.observability.meter import Meter

log = get_logger()

AT_ONCE = 0.2
"""Seconds until the poll after a successful run, which learns when the next one is due."""
LEAST_WAIT = 0.05
"""Seconds between two polls at least: clocks differ in their last digits."""
STOP_SECONDS = 10
"""Seconds that a cancelled poll may take to end."""


class Scheduler:
    """One schedule: ``serve`` returns when it was asked to end.

    Args:
        settings: The configuration to begin with.
        read: Reads the configuration again, for SIGHUP; raises ConfigurationError.
        accept: Puts a new configuration into use outside the schedule: the log.
    """

    def __init__(self, settings: Settings, read: Callable[[], Settings], accept: Callable[[Settings], None]) -> None:
        self._read = read
        self._accept = accept
        self._readiness = Readiness()
        self._meter: Meter | None = None
        self._notifier: Notifier | None = None
        self._http: HttpServer | None = None
        self._requests = SignalRequests()
        self._failures = 0
        """Polls and runs in a row that ended in a fault; the state counts the runs that have a record."""
        self._blind = False
        self._refused: str | None = None
        self._announced: datetime | None = None
        self._chance = random.Random()  # noqa: S311  # jitter, not a secret
        require(settings)
        self._use(settings)

    async def serve(self) -> None:
        """Stay up until SIGTERM or SIGINT; then finish the chunk, release the lease, and return.

        Raises:
            ConfigurationError: The address of ``[SCHEDULE] http_port`` cannot be had.
        """
        with self._requests as requests:
            self._http = self._listen()
            log.info(
                "The schedule of operation '%s' is at work (incident-process %s).",
                self._settings.process.operation_name,
                __version__,
                extra=event("schedule_started", version=__version__),
            )
            try:
                while not requests.end.is_set():
                    try:
                        pause = await self._turn()
                    except Exception as exc:  # of any kind: the next poll may succeed, and the schedule has to stay up
                        pause = await self._out_of_sight(exc)
                    if not requests.end.is_set() and not requests.reread:
                        await first(None, requests.any, pause)  # by the monotonic clock
                    requests.any.clear()
            finally:
                await self._poller.close()
                if self._http is not None:
                    await self._http.stop()
            log.info(
                "The schedule has ended: %s.", requests.reason, extra=event("schedule_ended", reason=requests.reason)
            )

    async def _turn(self) -> float:
        """Poll, and run if a run is due; return the seconds until the next turn."""
        if self._requests.reread:
            await self._reload()
        poll = self._settings.schedule.poll_seconds
        view = await self._snapshot()
        if view is None:
            return 0
        next_due = due(self._rules, view)
        await self._note(view, next_due)
        if next_due.refused is not None:
            if self._refused == next_due.refused.message:
                return poll
            self._refused = next_due.refused.message  # one run logs the refusal and tells the observers
        else:
            self._refused = None
            wait = (next_due.at - view.now).total_seconds()
            if wait > 0:
                self._announce(next_due)
                return min(poll, max(LEAST_WAIT, wait))
            if view.busy:
                return poll
        return await self._work()

    async def _snapshot(self) -> Snapshot | None:
        """Return the snapshot of a poll, None where the schedule is to end before."""
        poll = asyncio.ensure_future(self._poller.poll())
        await first(poll, self._requests.end, None)
        if poll.done():
            return poll.result()
        await give_up(poll, STOP_SECONDS)
        return None

    async def _work(self) -> float:
        """Do a run; return the seconds until the next turn."""
        readiness = self._readiness
        readiness.running = True
        ended = await RunExecutor(self._settings, self._rules, self._requests).work(
            lambda: observers_for(self._settings, self._meter, self._notifier)
        )
        readiness.running = False
        readiness.ended(ended.fault)
        if ended.fault is not None:
            self._failures += 1
            return self._pause()
        self._failures = 0
        good = ended.report is not None and ended.report.status in DONE
        return min(self._settings.schedule.poll_seconds, AT_ONCE) if good else self._settings.schedule.poll_seconds

    async def _note(self, view: Snapshot, next_due: Due) -> None:
        """Pass a snapshot on to readiness, metrics and alerts."""
        if self._blind:
            self._blind, self._failures = False, 0
            log.info("Source and state are within reach again.", extra=event("databases_reached"))
        self._readiness.seen(view, next_due)
        if self._meter is not None:
            self._meter.seen(view.now, view.operation, view.ended)
        if self._notifier is not None:
            await self._notifier.between_runs(view.runs, view.now)

    async def _out_of_sight(self, exc: Exception) -> float:
        """Log and report that a poll failed; return the seconds to wait."""
        told = str(exc) if isinstance(exc, IncidentProcessError) else f"unexpected fault: {type(exc).__name__}"
        log.debug("Traceback:", exc_info=exc, extra=event("traceback"))
        log.error(
            "%s",
            connection_error_message(told) if isinstance(exc, DatabaseConnectionError) else told,
            extra=event("schedule_failing"),
        )
        self._blind = True
        self._failures += 1
        self._readiness.unseen(told)
        if self._notifier is not None and self._failures > 1:  # a single failure may be a server's restart
            await self._notifier.unreachable(told)
        return self._pause()

    def _pause(self) -> float:
        return self._rules.pauses.after(self._failures, self._chance.random())

    def _announce(self, next_due: Due) -> None:
        if self._announced != next_due.at:
            self._announced = next_due.at
            log.info("The next run is due at %s.", iso(next_due.at), extra=event("next_run_due", due=iso(next_due.at)))

    # -- configuration --------------------------------------------------------------------------------------------

    def _use(self, settings: Settings) -> None:
        schedule = settings.schedule
        self._settings = settings
        self._rules = DueRules.of(settings, f"{socket.gethostname()}/{os.getpid()}")
        self._poller = StatePoller(settings)
        self._notifier = make_notifier(settings) if settings.notify.urls else None
        self._readiness.patience_seconds = max(60.0, POLLS * schedule.poll_seconds)
        if schedule.http_port or settings.metrics.textfile is not None:
            self._meter = self._meter or make_meter(settings)
            self._meter.instruments.operation = settings.process.operation_name

    def _listen(self) -> HttpServer | None:
        schedule = self._settings.schedule
        if not schedule.http_port:
            return None
        server = HttpServer(schedule.http_host, schedule.http_port, app(self._readiness, self._metrics))
        server.start()
        return server

    async def _metrics(self) -> bytes:
        assert self._meter is not None  # noqa: S101  # for the type checker: there is one where there is a port
        return await self._meter.state.scraped(lambda: make_store(self._settings))

    async def _reload(self) -> None:
        """Put the configuration into use as it is now; where it is wrong, log that and keep the old one."""
        self._requests.reread = False
        try:
            settings = self._read()
            require(settings)
            self._accept(settings)
        except ConfigurationError as exc:
            for line in str(exc).splitlines():
                log.error("%s", line, extra=event("configuration_rejected"))
            log.error("The configuration was not taken into use: the old one stays.", extra=event("configuration_kept"))
            return
        before = self._settings.schedule
        await self._poller.close()
        self._use(settings)
        self._failures, self._announced, self._refused = 0, None, None
        if (before.http_host, before.http_port) != (settings.schedule.http_host, settings.schedule.http_port):
            await self._rebind()
        log.info("The configuration was read anew.", extra=event("configuration_reloaded"))

    async def _rebind(self) -> None:
        if self._http is not None:
            await self._http.stop()
            self._http = None
        try:
            self._http = self._listen()
        except ConfigurationError as exc:
            log.error("%s", exc, extra=event("schedule_failed"))
