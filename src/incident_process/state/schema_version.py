"""The form of a state, and the forms that this version of the program works on (SPEC 6).

Only ``init`` brings a state up to date. Every change of the form raises ``CURRENT``; it also raises ``NEEDS`` to the
same number where a program that does not know the change would harm the state, or be harmed by it.

====== ================================================================================================
number what came with it
====== ================================================================================================
1      the state of 0.1.0, which notes no number
2      what is known of each operation: the name of its keys, its source, its receiver (SQL: two tables)
3      what ``prune`` keeps of deliveries that it deletes (SQL: a column of ``Incident_Delivery``)
====== ================================================================================================
"""

from collections.abc import Sequence
from typing import Any

from incident_process.core.errors import ConfigurationError
from incident_process.core.models import Record
from incident_process.state.damage import intact, whole

CURRENT = 3
NEEDS = 3


class Version(Record, frozen=True, kw_only=True):
    """The form that a state declares. ``needs``: the lowest ``CURRENT`` of a program that may work on it."""

    number: int
    needs: int


def stored(number: Any, needs: Any) -> Version:
    """Return what a state declares; raise IncidentProcessError where that is damaged."""
    return Version(
        number=intact("Incident_State_Version.Version", whole, number),
        needs=intact("Incident_State_Version.Needs", whole, needs),
    )


def require(version: Version | None, place: str) -> None:
    """Raise ConfigurationError for a state that this version of the program would harm; None is one of 0.1.0."""
    if version is not None and version.needs > CURRENT:
        raise ConfigurationError(
            f"The state in {place} was brought up to date by a newer version of this program (schema "
            f"{version.number}, for programs of schema {version.needs} or newer; this one knows {CURRENT}). Nothing "
            "was read or changed. Install that version here, or put back a copy of the state from before."
        )


def outdated(place: str, version: Version | None, lacking: Sequence[str]) -> ConfigurationError:
    """Return the error for a state that ``init`` has to bring up to date; ``lacking`` names what is missing."""
    number = 1 if version is None else version.number
    missing = f" It lacks {', '.join(lacking)}." if lacking else ""
    return ConfigurationError(
        f"The state in {place} is of an earlier form (schema {number}; this version needs {CURRENT}).{missing} Nothing "
        "was changed. Stop the runs of the earlier version, then run 'incident-process init' with this one."
    )
