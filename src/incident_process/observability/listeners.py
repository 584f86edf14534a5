"""The listeners that are no more than a function: the log line of each attempt, and the progress of a run."""

import logging
from typing import Protocol, runtime_checkable

from incident_process.core.events import AccountsDone, AccountsFound, Attempted, Events, OutcomesRecorded
from incident_process.core.logs import event, get_logger
from incident_process.core.models import DeliveryStatus
from incident_process.delivery.policy import ResponseClass

log = get_logger()


class Progress(Protocol):
    """Shows how far a run is. Called from the event loop; must not block."""

    def start(self, accounts: int) -> None:
        """Note that the survey found this many accounts."""

    def advance(self, accounts: int) -> None:
        """Note that so many more accounts have been looked at, and sent where necessary."""


@runtime_checkable
class PacedProgress(Progress, Protocol):
    """Also shows how fast incidents are delivered."""

    def delivered(self, incidents: int) -> None:
        """Note that the receiver took so many more incidents."""


def show_progress(progress: Progress, events: Events) -> None:
    """Tell a ``Progress`` how far the run is, also within a chunk: with each incident that the receiver takes."""
    told, paced = _Told(), progress if isinstance(progress, PacedProgress) else None

    def found(event: AccountsFound) -> None:
        told.under_way = told.recorded = 0
        told.is_started = True
        progress.start(event.accounts)

    def attempted(attempt: Attempted) -> None:
        if attempt.meaning == ResponseClass.DELIVERED.value and attempt.incident_id is not None:
            if paced is not None:
                paced.delivered(1)
            told.under_way += told.is_started  # what is resumed before is none of the accounts found
            progress.advance(int(told.is_started))

    def recorded(event: OutcomesRecorded) -> None:
        taken = sum(outcome.status is DeliveryStatus.DELIVERED for outcome in event.outcomes)
        taken = min(taken, told.under_way)
        told.under_way -= taken
        told.recorded += taken

    def done(event: AccountsDone) -> None:
        progress.advance(max(0, event.accounts - told.recorded))  # the outcomes of these accounts came just before
        told.recorded = 0

    events.listen(AccountsFound, found)
    events.listen(Attempted, attempted)
    events.listen(OutcomesRecorded, recorded)
    events.listen(AccountsDone, done)


class _Told:
    """The delivered incidents that a ``Progress`` was told of: those without a recorded outcome yet, and the others."""

    is_started = False
    under_way = 0
    recorded = 0


def log_attempts(events: Events) -> None:
    """Log each attempt, where the level is DEBUG."""

    def attempted(attempt: Attempted) -> None:
        if attempt.incident_id is not None:
            log.debug(
                "Incident %d: %s after %.3f s (%s).",
                attempt.incident_id,
                attempt.meaning,
                attempt.seconds,
                attempt.error or f"HTTP {attempt.status}",
                extra=event("attempted"),
            )

    if log.isEnabledFor(logging.DEBUG):
        events.listen(Attempted, attempted)
