"""Everything that can go wrong, grouped by what the caller can do about it.

    IncidentProcessError                 the base: catch this to catch them all
     ├── ConfigurationError              fix the configuration, then start again      (exit 2)
     │    └── APIConfigError             … the part of it that names the receiver
     ├── DatabaseConnectionError         try later: source or state cannot be reached (exit 3)
     ├── LocalResourceError              make room on this machine: temporary space, files (exit 1)
     ├── DeliveryIncompleteError         try later: the next run resumes              (exit 4)
     ├── LeaseHeldError                  try later: another runner is at work         (exit 5)
     ├── LeaseLostError                  stop: another runner has taken over          (exit 5)
     ├── OperationRefusedError           inactive or past its end date                (exit 6)
     ├── DataProcessingError             park the record: its rows make no valid document
     └── IncidentCreationError           one incident could not be made or delivered

Driver errors are translated where the driver is called, ``from exc``; above that line only this tree is known.
Messages are shown to operators and written to the audit trail: they never hold a password, a token, or a value of a
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
    """What would be right, where it is known apart from the message, whose last sentence it then is."""
    report: "RunReport | None" = None
    """How far the run had come that the error ended, where there was one."""


class ConfigurationError(IncidentProcessError):
    """A setting is wrong or missing. The message names section, key, problem and remedy."""

    exit_status = 2


class APIConfigError(ConfigurationError):
    """The receiver's address is missing or is no HTTP URL."""


class DatabaseConnectionError(IncidentProcessError):
    """The source or the state store cannot be reached, or gave up in the middle of a statement."""

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
        """Let it travel between processes: it is made of other arguments than its message."""
        return type(self), (self.holder, self.token, self.expires_at)


class LeaseLostError(IncidentProcessError):
    """This runner's fencing token is no longer the newest: whatever it still had to write belongs to its successor."""

    exit_status = 5


class OperationRefusedError(IncidentProcessError):
    """The operation has no row (inactive) or is past its end date (terminated)."""

    exit_status = 6


class DataProcessingError(IncidentProcessError):
    """The rows of one account make no document that fits the contract."""


class IncidentCreationError(IncidentProcessError):
    """One incident could not be created or was turned away by the receiver."""


def where_raised(exc: BaseException) -> str:
    """Name the error's class and the line that raised it; its text may hold values of rows."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(exc).__name__}{place}"
