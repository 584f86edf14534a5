"""What alerts ask of the state: which conditions stand, shared by all processes and hosts that work on an operation.

Apart from ``contract.StateStore``, because it is needed where a run could not even begin, and by nobody who has no
alerts configured. Two stores keep this contract, beside the state's own: SQL and Mongo.
"""

from datetime import datetime
from enum import StrEnum
from types import TracebackType
from typing import Protocol

from incident_process.core.models import Record


class Stage(StrEnum):
    """How far the telling of a condition has come."""

    BEGINNING = "beginning"  # somebody has taken it on to tell that it began
    STANDING = "standing"  # it was told that it began
    ENDING = "ending"  # somebody has taken it on to tell that it is over


class AlertCondition(Record, frozen=True, kw_only=True):
    """One condition of one operation.

    ``since`` and ``claimed_at`` are by the clock of the machine that wrote them, in whole milliseconds: when it began,
    and when somebody took on the telling. ``told`` is what is known of it: a sentence without personal data.
    """

    name: str
    stage: Stage
    since: datetime
    claimed_at: datetime
    told: str


class AlertStore(Protocol):
    """The standing conditions of one operation. An asynchronous context manager.

    Raises DatabaseConnectionError when the store cannot be reached.
    """

    async def __aenter__(self) -> "AlertStore":
        """Connect, and create what the conditions are kept in."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close the connections."""
        ...

    async def all(self) -> dict[str, AlertCondition]:
        """Return the conditions by name."""
        ...

    async def change(self, before: AlertCondition | None, after: AlertCondition | None) -> bool:
        """Compare and set: return True if the condition was as ``before`` says and is now as ``after`` says.

        None: there is none. Of several that try the same change at once one gets True, so one of them tells it.
        """
        ...
