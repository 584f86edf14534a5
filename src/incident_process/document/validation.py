"""Checks, piece by piece, that the body fits the model; a body that does not is never sent (SPEC 4).

Decoding each finished body against the model took longer than building it. So each piece is checked once, where it is
made: the body's constant rest by the model's own decoder (``envelope``), each part by the types of the model's fields
(``validate_parts``), a timestamp where it is written (``checked_timestamp``).
"""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from incident_process.core.errors import DataProcessingError
from incident_process.document import incident_model

Part = (
    incident_model.Contact
    | incident_model.Product
    | incident_model.Customer
    | incident_model.Account
    | incident_model.LastAction
)

_TIMESTAMP = re.compile(get_args(incident_model.Timestamp)[1].pattern)


def _kind(declared: Any) -> type:
    """Return the Python type that a field's value must have."""
    if get_origin(declared) is Annotated:
        return _kind(get_args(declared)[0])
    kind = type(get_args(declared)[0]) if get_origin(declared) is Literal else declared
    assert isinstance(kind, type)  # noqa: S101  # parts hold text, numbers and amounts only
    return kind


_KINDS = {part: tuple(_kind(field.type) for field in msgspec.structs.fields(part)) for part in get_args(Part)}


def validate_parts(parts: Iterable[Part], amounts: Iterable[Decimal]) -> None:
    """Raise DataProcessingError when a field of a part has another type than the model's, or an amount is not finite.

    The message names the place, never the value.
    """
    for part in parts:
        kinds = _KINDS[type(part)]
        found = tuple(map(type, msgspec.structs.astuple(part)))
        if found != kinds:
            fields = msgspec.structs.fields(part)
            wrong = next(field.name for field, kind, is_ in zip(fields, kinds, found, strict=True) if kind is not is_)
            raise contract_error(f"{type(part).__name__}.{wrong} is of another type than the model says")
    for amount in amounts:
        if not amount.is_finite():
            raise contract_error("an amount of money is no finite number")


def checked_timestamp(text: str) -> str:
    """Return the text of a timestamp if it has the model's form; raise DataProcessingError otherwise."""
    if _TIMESTAMP.search(text) is None:
        raise contract_error("a timestamp is not of the model's form")
    return text


def contract_error(why: str) -> DataProcessingError:
    """Return the error for a document that does not fit."""
    return DataProcessingError(f"the document does not fit the incident contract: {why}")
