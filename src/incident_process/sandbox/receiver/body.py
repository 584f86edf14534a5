"""What the receiver reads of a body: the few fields it needs, and what is wrong with it, without its values."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import jsonschema_rs
import msgspec

from incident_process.document.contract import incident_schema

MAX_BODY_BYTES = 10 * 1024 * 1024
"""Bytes; the receiver rejects a larger body (413)."""

_MAX_PROBLEMS = 5  # enough to act upon; a foreign document can break every rule at once
_MAX_ID = 2**53 - 1  # above it, readers that keep numbers as doubles would confuse neighbouring ids (SPEC 5)


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What the receiver knows of a body; ``problem`` is None for a valid one, which always has an ``incident_id``.

    Its values are personal data: no message shows them.
    """

    incident_id: int | None = None
    account: str | None = None
    problem: str | None = None


class Examiner:
    """Checks bodies against ``contract/incident.schema.json``; it compiles the schema once."""

    def __init__(self) -> None:
        schema = msgspec.json.decode(incident_schema())
        # mask: the library would quote the wrong value, which may be a customer's name or address
        self._validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True, mask="the value")
        self._decode = msgspec.json.Decoder().decode

    def examine(self, body: bytes) -> Examined:
        """Return the fields that the receiver needs and, where the body breaks the contract, what is wrong."""
        if len(body) > MAX_BODY_BYTES:
            return Examined(problem=f"the body is larger than {MAX_BODY_BYTES} bytes")
        try:
            document = self._decode(body)
        except UnicodeDecodeError:
            return Examined(problem="$: the body is no JSON: it is not UTF-8")
        except msgspec.DecodeError as exc:  # its message gives the position, never the text
            return Examined(problem=f"$: the body is no JSON: {exc}")
        except RecursionError:
            return Examined(problem="$: the body is nested too deeply")
        if not isinstance(document, dict):
            return Examined(problem="$: the body must be a JSON object")
        number = _as_id(document.get("Incident_Id"))
        account = document.get("Account_Num")
        return Examined(
            incident_id=number,
            account=account if isinstance(account, str) else None,
            problem=self._problem(document, number),
        )

    def _problem(self, document: dict[str, Any], number: int | None) -> str | None:
        try:
            if not self._validator.is_valid(document):
                return _describe(list(islice(self._validator.iter_errors(document), _MAX_PROBLEMS + 1)))
        except ValueError:  # the value is nested deeper than the library goes
            return "$: the body is nested too deeply"
        if number is None:  # the schema allows null, the field's receiver does not: its 409 is about this number
            return f"$.Incident_Id: an integer from 1 to {_MAX_ID} is required"
        return None


def _as_id(value: Any) -> int | None:
    """Return a valid Incident_Id as int, None for any other value; JSON's 7.0 is the integer 7."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_ID:
        return value
    return None


def _describe(errors: Sequence[jsonschema_rs.ValidationError]) -> str:
    problems = [f"{_path(error.instance_path)}: {error.message}" for error in errors[:_MAX_PROBLEMS]]
    if len(errors) > _MAX_PROBLEMS:
        problems.append("…")
    return "; ".join(problems)


def _path(parts: Sequence[str | int]) -> str:
    """Return the place in the body: ``$.Contact_Details[0].Contact``."""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
