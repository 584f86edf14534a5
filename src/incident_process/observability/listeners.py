"""The listeners that are no more than a function: the log line of each attempt, and the progress of a run."""

import logging
from typing import Protocol

from incident_process.core.events import AccountsDone, AccountsFound, Attempted, Events
from incident_process.core.logs import event, get_logger

log = get_logger()


class Progress(Protocol):
    """Shows how far a run is. Called from the event loop; must not block."""

    def start(self, accounts: int) -> None:
        """Note that the survey found this many accounts."""
        ...

    def advance(self, accounts: int) -> None:
        """Note that so many more accounts have been looked at, and sent where necessary."""
        ...


def show_progress(progress: Progress, events: Events) -> None:
    """Tell a ``Progress`` how far the run is."""
    events.listen(AccountsFound, lambda found: progress.start(found.accounts))
    events.listen(AccountsDone, lambda done: progress.advance(done.accounts))


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
