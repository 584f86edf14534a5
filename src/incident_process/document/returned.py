"""Restore the content that was sent from a document as a receiver gives it back (SPEC 4, 7).

A receiver stores a body's values, not its spelling: ``102.00`` comes back as ``102.0``, ``102`` or
``{"$numberDecimal": "102.00"}``, a time as a BSON date, keys sorted, beside fields of the receiver's own. Here each
property is read by the type that the model gives it and written as the contract has it, so that its digest is that of
the content as it was sent.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import cache, lru_cache
from typing import Any, Literal, get_args, get_origin

import msgspec

from incident_process.core.errors import DataProcessingError
from incident_process.core.models import Record
from incident_process.document import incident_model
from incident_process.document.assembly import DocumentContent, digest
from incident_process.document.convert import NO_DATE, ZERO, money, stamp
from incident_process.document.envelope import encoder

PARTS = (
    "Account_Num",
    "Customer_Ref",
    "Arrears",
    "Last_Bss_Reading_Date",
    "Contact_Details",
    "Product_Details",
    "Customer_Details",
    "Account_Details",
    "Last_Actions",
)
"""The parts of the content, in the order of ``assembly.digest``."""

_MARKS = ("Arrears", "Customer_Details", "Last_Actions", "Last_Bss_Reading_Date")
"""One of these beside ``Account_Num`` makes an object a document; ``Account_Cross_Details`` has none of them."""
_ACCOUNT, _ID = "Account_Num", "Incident_Id"
_CONSTANT = frozenset(
    {
        "Create_By",
        "Equipment_Ownership",
        "Db_Cpe_Status",
        "Received_List_Cpe_Status",
        "Company_Registry_Number",
        "Customer_Type_Name",
        "Acc_Activate_Date",
        "Last_Rated_Dtm",
    }
)
"""Properties within the content's parts that are not content: empty, or a setting."""
_DIGITS_OF_MONEY = 65
"""The most digits that a MySQL DECIMAL holds."""
_DIGITS_OF_A_DOUBLE = 15
"""Digits up to which every amount survives as a double."""
_SECONDS_BELOW = 10**11
"""A time that is a number below this is seconds since 1970 (through the year 5138), above it milliseconds."""
_IDS = range(-(1 << 63), 1 << 63)
"""What a database has room for as ``Incident_Id``."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DOT_NET = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/")


class ReturnedDocument(Record, frozen=True, kw_only=True):
    """The content that one document gives back.

    Attributes:
        account: ``Account_Num``.
        incident_id: ``Incident_Id``; 0 where it is missing, no number, or too large for 64 bits, which counts as
            unreadable.
        digest: The digest of the content as it was sent; "" where a value does not fit the contract.
        as_doubles: The same digest with amounts as doubles hold them, where an amount has too many digits for a double;
            otherwise "".
        parts: A short digest of each of ``PARTS``.
        absent: Properties of the content that are missing or null; they count as empty.
        foreign: Properties that the contract does not have; they are not compared.
        unreadable: Properties whose value does not fit the contract.
    """

    account: str
    incident_id: int
    digest: str
    as_doubles: str
    parts: bytes
    absent: tuple[str, ...]
    foreign: tuple[str, ...]
    unreadable: tuple[str, ...]


def is_document(value: Any) -> bool:
    """Return whether a JSON value is an incident document."""
    return isinstance(value, Mapping) and _ACCOUNT in value and any(mark in value for mark in _MARKS)


def restore_content(document: Mapping[str, Any]) -> ReturnedDocument:
    """Restore the content of a document whose JSON was read with fractions as Decimal.

    Raises DataProcessingError where the document names no account.
    """
    reading = _Reading()
    account = document[_ACCOUNT]
    if not isinstance(account, str) or not account:
        raise DataProcessingError("Account_Num is no text: as a number it has lost its leading zeros")
    actions = reading.listed(document, "Last_Actions", incident_model.LastAction)
    if len(actions) > 1:
        reading.unreadable.append("Last_Actions")
    contacts = reading.listed(document, "Contact_Details", incident_model.Contact)
    values = [
        account,
        reading.value(document, "Customer_Ref", str),
        reading.value(document, "Arrears", Decimal),
        reading.value(document, "Last_Bss_Reading_Date", incident_model.Timestamp),
        [(item.Contact_Type, item.Contact, item.Create_Dtm) for item in contacts],
        reading.listed(document, "Product_Details", incident_model.Product),
        reading.part(document.get("Customer_Details"), incident_model.Customer, "Customer_Details"),
        reading.part(document.get("Account_Details"), incident_model.Account, "Account_Details"),
        actions[0] if actions else reading.part(None, incident_model.LastAction, "Last_Actions"),
    ]
    incident_id = _id(document.get(_ID))
    if incident_id not in _IDS:
        reading.unreadable.append(_ID)
        incident_id = 0
    reading.foreign.extend(name for name in document if name not in _names(incident_model.IncidentDocument))
    try:
        lines = encoder.encode_lines(values).split(b"\n")
    except (UnicodeEncodeError, msgspec.MsgspecError):  # half of a surrogate pair, which no sent body has
        reading.unreadable.append("a text that UTF-8 has no form for")
        lines = [b""] * len(PARTS)
    content = DocumentContent(account=account, contacts=(), values=lines)
    unreadable = tuple(dict.fromkeys(reading.unreadable))
    return ReturnedDocument(
        account=account,
        incident_id=incident_id,
        digest="" if unreadable else digest(content),
        as_doubles="" if unreadable or not reading.has_doubles else as_doubles(content),
        parts=part_digests(content),
        absent=tuple(dict.fromkeys(reading.absent)),
        foreign=tuple(dict.fromkeys(reading.foreign)),
        unreadable=unreadable,
    )


def part_digests(content: DocumentContent) -> bytes:
    """Return a short digest of each of ``PARTS``, joined: it shows where two contents differ."""
    return b"".join(hashlib.blake2b(value, digest_size=_PART_BYTES).digest() for value in content.values[: len(PARTS)])


def differing(one: bytes, other: bytes) -> list[str]:
    """Return which of ``PARTS`` differ between two ``part_digests``."""
    size = _PART_BYTES
    return [name for at, name in enumerate(PARTS) if one[at * size : at * size + size] != other[at * size :][:size]]


_PART_BYTES = 6  # of the digest of each part


def as_doubles(content: DocumentContent) -> str:
    """Return the content's digest with the amounts that a receiver has which stores doubles."""
    values = list(content.values)
    action = msgspec.json.decode(values[8], type=incident_model.LastAction)
    paid, billed = _double(action.Payment_Money), _double(action.Billed_Amount)
    action = msgspec.structs.replace(action, Payment_Money=paid, Billed_Amount=billed)
    values[2] = encoder.encode(_double(Decimal(values[2].decode())))
    values[8] = encoder.encode(action)
    return digest(DocumentContent(account=content.account, contacts=(), values=values))


def _double(amount: Decimal) -> Decimal:
    return money(repr(float(amount)))


class _Reading:
    """Reads a document's properties, and notes which are absent, foreign or unreadable."""

    def __init__(self) -> None:
        self.absent: list[str] = []
        self.foreign: list[str] = []
        self.unreadable: list[str] = []
        self.has_doubles = False

    def value(self, owner: Mapping[str, Any], name: str, declared: Any, path: str = "") -> Any:
        """Return a property as the model has it."""
        given = owner.get(name)
        if given is None:
            self.absent.append(path + name)
            return _empty(declared)
        try:
            restored = _restored(given, declared)
        except (ValueError, ArithmeticError, TypeError):
            self.unreadable.append(path + name)
            return _empty(declared)
        if declared is Decimal and len(restored.as_tuple().digits) > _DIGITS_OF_A_DOUBLE:
            self.has_doubles = self.has_doubles or _is_double(given)
        return restored

    def listed(self, owner: Mapping[str, Any], name: str, part: Any) -> list[Any]:
        """Return a list of parts; [] where it is absent or unreadable."""
        given = owner.get(name)
        if given is None:
            self.absent.append(name)
            return []
        if not isinstance(given, Sequence) or isinstance(given, str):
            self.unreadable.append(name)
            return []
        return [self.part(item, part, name) for item in given]

    def part(self, given: Any, part: Any, path: str) -> Any:
        """Return one part of the document; every property of an absent part is empty."""
        if given is None:
            self.absent.append(path)
            return part(**{name: _empty(declared) for name, declared in _fields(part)})
        if not isinstance(given, Mapping):
            self.unreadable.append(path)
            return self.part(None, part, path)
        self.foreign.extend(f"{path}.{name}" for name in given if name not in _names(part))
        return part(**{name: self._field(given, name, declared, path) for name, declared in _fields(part)})

    def _field(self, given: Mapping[str, Any], name: str, declared: Any, path: str) -> Any:
        # A property that no source row fills is not compared: a receiver may fill it in.
        return _empty(declared) if name in _CONSTANT else self.value(given, name, declared, f"{path}.")


@cache
def _fields(part: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.type) for field in msgspec.structs.fields(part))


@cache
def _names(part: Any) -> frozenset[str]:
    return frozenset(name for name, _ in _fields(part))


def _empty(declared: Any) -> Any:
    """Return a body's value for NULL (SPEC 4)."""
    if declared == incident_model.Timestamp:
        return NO_DATE
    if declared is Decimal:
        return ZERO
    return 0 if declared is int else ""


def _restored(given: Any, declared: Any) -> Any:
    """Return a value as the contract has it; raise ValueError, TypeError or ArithmeticError where it does not fit."""
    if declared == incident_model.Timestamp:
        return _timestamp(_time_of(given))
    given = _plain(given)
    if declared is Decimal:
        return money(_number(given))
    if declared is int:
        number = _number(given)
        if number != int(number):
            raise ValueError
        return int(number)
    if get_origin(declared) is Literal and given not in get_args(declared):
        raise ValueError
    return _text(given)


def _plain(given: Any) -> Any:
    """Return a number from MongoDB's extended JSON as a Decimal, any other value unchanged."""
    if isinstance(given, Mapping):
        (kind, given), *more = given.items()
        if more or kind not in {"$numberInt", "$numberLong", "$numberDouble", "$numberDecimal"}:
            raise ValueError
        return Decimal(str(given))
    return given


def _number(given: Any) -> Decimal:
    if isinstance(given, bool) or not isinstance(given, int | Decimal | str):
        raise TypeError
    number = Decimal(given)
    if not number.is_finite() or number.adjusted() > _DIGITS_OF_MONEY:
        raise ValueError
    return number


def _text(given: Any) -> str:
    if isinstance(given, str):
        return given
    if isinstance(given, int | Decimal) and not isinstance(given, bool):  # a reader that turns digits into a number
        return str(given)
    raise TypeError


def _is_double(given: Any) -> bool:
    """Return whether an amount may have been stored as a double: it equals a double's shortest form."""
    number = _number(_plain(given))
    return Decimal(repr(float(number))) == number


def _time_of(given: Any) -> str | Decimal:
    """Return a time from MongoDB's extended JSON, a number there being milliseconds, or the value as it is."""
    if isinstance(given, Mapping):
        (kind, inner), *more = given.items()
        if more or kind != "$date":
            raise ValueError
        return str(inner) if isinstance(inner, str) else f"/Date({int(_number(_plain(inner)))})/"
    return given if isinstance(given, str) else _number(given)


@lru_cache(maxsize=8192)  # many documents share few distinct times
def _timestamp(given: str | Decimal) -> str:
    if isinstance(given, Decimal):
        unit = 1000 if abs(given) < _SECONDS_BELOW else 1
        return stamp(_EPOCH + timedelta(milliseconds=int(given * unit)))
    written = given.strip()
    milliseconds = _DOT_NET.fullmatch(written)
    if milliseconds is not None:
        return stamp(_EPOCH + timedelta(milliseconds=int(milliseconds[1])))
    try:
        when = datetime.fromisoformat(written.removesuffix(" UTC"))
    except ValueError:
        when = parsedate_to_datetime(written)  # the form of dates in HTTP
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    try:
        return stamp(when.astimezone(UTC))
    except OverflowError:
        return stamp(when.replace(tzinfo=UTC))


def _id(given: Any) -> int:
    try:
        return int(_number(_plain(given)))
    except (ValueError, ArithmeticError, TypeError):
        return 0


def fraction(text: str) -> Decimal:
    """Return a fraction of JSON; NaN, which counts as unreadable, for an exponent beyond what Decimal holds."""
    try:
        return Decimal(text)
    except ArithmeticError:
        return Decimal("NaN")


def documents_in(value: Any, depth: int = 3) -> Iterator[Mapping[str, Any]]:
    """Yield the documents in a JSON value: itself, a document within an object about it, or the items of a list."""
    if is_document(value):
        yield value
    elif depth and isinstance(value, Mapping):
        for member in value.values():
            yield from documents_in(member, depth - 1)
    elif depth and isinstance(value, str) and value.lstrip().startswith("{"):  # a body that was stored as text
        with suppress(ValueError, RecursionError):
            yield from documents_in(json.loads(value, parse_float=fraction), depth - 1)
    elif depth and isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from documents_in(item, depth - 1)
