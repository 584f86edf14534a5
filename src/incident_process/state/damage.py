"""Says which column of the state holds what no version of this program writes there."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from incident_process.core.errors import IncidentProcessError
from incident_process.core.models import DeliveryStatus, LedgerEntry

_Stored = TypeVar("_Stored")
_Value = TypeVar("_Value")


def intact(column: str, read: Callable[[_Stored], _Value], stored: _Stored) -> _Value:
    """Return what ``read`` makes of a stored value; ``column`` names it as ``Table.Column``.

    Raises IncidentProcessError where it cannot be read. The message contains nothing of it.
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


def or_none(read: Callable[[_Stored], _Value]) -> Callable[[_Stored | None], _Value | None]:
    """Return what reads a column that may be empty: None where nothing is stored, else as ``read`` does."""
    return lambda stored: None if stored is None else read(stored)


def ledger_entry(stored: Mapping[str, Any], number: str, instant: Callable[[Any], datetime]) -> LedgerEntry:
    """Return a stored line of ``Incident_Delivery``; ``number`` names its Incident_Id, ``instant`` reads its times."""

    def read(column: str, reader: Callable[[Any], _Value]) -> _Value:
        return intact(f"Incident_Delivery.{column}", reader, stored.get(column))

    return LedgerEntry(
        incident_id=read(number, whole),
        operation=read("Operation_name", text),
        account=read("Account_Num", text),
        digest=read("Digest", text),
        key=read("Idempotency_Key", text),
        status=read("Status", DeliveryStatus),
        attempts=read("Attempts", whole),
        runs=read("Runs", whole),
        http_status=read("Last_Http_Status", or_none(whole)),
        error=read("Last_Error", or_none(text)),
        run_id=read("Run_Id", text),
        created_at=read("Created_Dtm", instant),
        updated_at=read("Updated_Dtm", instant),
    )
