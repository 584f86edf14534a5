"""What alerts ask of the state: the present conditions, shared by all processes and hosts of an operation.

Apart from ``base.StateStore``, because alerts need it where no run can begin, and nothing else does. Two stores keep
this contract: SQL and Mongo.
"""

from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Protocol

from incident_process.core.models import Record


class Stage(StrEnum):
    """How far the alerts of a condition have come."""

    BEGINNING = "beginning"  # a process is sending the alert that it began
    STANDING = "standing"  # that alert was sent
    ENDING = "ending"  # a process is sending the alert that it is over


class AlertCondition(Record, frozen=True, kw_only=True):
    """One condition of one operation.

    ``since`` says when it began, ``claimed_at`` when a process took on its alert, both by the writing host's clock in
    whole milliseconds. ``told`` describes it in a sentence without personal data.
    """

    name: str
    stage: Stage
    since: datetime
    claimed_at: datetime
    told: str


class AlertStore(Protocol):
    """The present conditions of one operation. An asynchronous context manager.

    Raises DatabaseConnectionError when the store cannot be reached.
    """

    async def __aenter__(self) -> "AlertStore":
        """Connect, and create the table or collection of the conditions."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close the connections."""

    async def all(self) -> dict[str, AlertCondition]:
        """Return the conditions by name."""

    async def change(self, before: AlertCondition | None, after: AlertCondition | None) -> bool:
        """Compare and set: return True if the condition was as ``before`` says and is now as ``after`` says.

        None: there is no condition. Of several processes that try one change at once, one gets True and sends the
        alert.
        """
