"""Every error of the package, grouped by what the caller can do about it.

    IncidentProcessError                 the base: catch this to catch them all
     ├── ConfigurationError              fix the configuration, then start again      (exit 2)
     │    └── APIConfigError             … the part of it that names the receiver
     ├── DatabaseConnectionError         try later: source or state cannot be reached (exit 3)
     ├── LocalResourceError              make room on this machine: temporary space, files (exit 1)
     ├── DeliveryIncompleteError         try later: the next run resumes              (exit 4)
     ├── LeaseHeldError                  try later: another runner is at work         (exit 5)
     ├── LeaseLostError                  stop: another runner has taken over          (exit 5)
     ├── OperationRefusedError           inactive or past its end date                (exit 6)
     ├── DataProcessingError             park the account: its rows make no valid document
     └── IncidentCreationError           one incident could not be made or delivered

The code that calls a driver translates its errors, with ``from exc``; code above it knows only this tree.
Operators read the messages, and the audit trail keeps them: they never hold a password, a token, or a value of a
personal field.
"""

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from incident_process.core.models import RunReport


class IncidentProcessError(Exception):
    """The base of every error that this package raises on purpose."""

    exit_status = 1
    remedy: str = ""
    """What the operator should do, where it is known apart from the message; it is then the message's last sentence."""
    report: "RunReport | None" = None
    """How far the run had come when the error ended it; None where there was no run."""


class ConfigurationError(IncidentProcessError):
    """A setting is wrong or missing. The message names section, key, problem and remedy."""

    exit_status = 2


class APIConfigError(ConfigurationError):
    """The receiver's address is missing or is not an HTTP URL."""


class DatabaseConnectionError(IncidentProcessError):
    """The source or the state store cannot be reached, or failed in the middle of a statement."""

    exit_status = 3


class LocalResourceError(IncidentProcessError):
    """This machine lacks what a run needs: temporary space, open files. The next run resumes."""


class DeliveryIncompleteError(IncidentProcessError):
    """Something is still pending; nothing is lost, the next run resumes."""

    exit_status = 4


class LeaseHeldError(IncidentProcessError):
    """Another runner holds the operation's lease."""

    exit_status = 5

    def __init__(self, holder: str, token: int, expires_at: datetime) -> None:
        super().__init__(f"another runner ({holder}) holds the lease until {expires_at:%Y-%m-%dT%H:%M:%SZ}")
        self.holder = holder
        self.token = token
        self.expires_at = expires_at

    def __reduce__(self) -> tuple[type["LeaseHeldError"], tuple[str, int, datetime]]:
        """Let pickle rebuild the error from its own arguments: they differ from its message."""
        return type(self), (self.holder, self.token, self.expires_at)


class LeaseLostError(IncidentProcessError):
    """This runner's fencing token is no longer the newest: its successor does the writes that are left."""

    exit_status = 5


class OperationRefusedError(IncidentProcessError):
    """The operation has no row (inactive) or is past its end date (terminated)."""

    exit_status = 6


class DataProcessingError(IncidentProcessError):
    """The rows of one account make no document that fits the contract (SPEC 4)."""


class IncidentCreationError(IncidentProcessError):
    """One incident could not be created, or the receiver rejected it."""


def where_raised(exc: BaseException) -> str:
    """Name the error's class and the line that raised it, not its text: that may hold values of rows."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(exc).__name__}{place}"
