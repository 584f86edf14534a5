"""Says which column of the state holds what no version of this program writes there."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from incident_process.core.errors import IncidentProcessError

_Stored = TypeVar("_Stored")
_Value = TypeVar("_Value")


def intact(column: str, read: Callable[[_Stored], _Value], stored: _Stored) -> _Value:
    """Return a stored value as the program has it.

    Args:
        column: ``Table.Column``, for the message.
        read: Makes the value of what is stored.
        stored: What the database gave.

    Raises:
        IncidentProcessError: It cannot be read. The message contains nothing of it.
    """
    try:
        return read(stored)
    except (ValueError, TypeError, AttributeError, OverflowError, msgspec.MsgspecError) as exc:
        raise IncidentProcessError(
            f"The state is damaged: {column} holds a value that cannot be read ({type(stored).__name__}). "
            "Correct it, or restore the state from a backup."
        ) from exc


def whole(stored: Any) -> int:
    """Return a stored whole number; raise TypeError for anything else. MongoDB's shell writes some with a ``.0``."""
    if isinstance(stored, bool) or not isinstance(stored, int | float) or stored != int(stored):
        raise TypeError
    return int(stored)


def text(stored: Any) -> str:
    """Return a stored text; raise TypeError for anything else."""
    if not isinstance(stored, str):
        raise TypeError
    return stored


def whole_or_none(stored: Any) -> int | None:
    """Return a stored whole number, None where there is none."""
    return None if stored is None else whole(stored)


def text_or_none(stored: Any) -> str | None:
    """Return a stored text, None where there is none."""
    return None if stored is None else text(stored)
