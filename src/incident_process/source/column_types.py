"""How the source reads a column of another type than the contract's: exactly, or not at all (SPEC 2). Pure.

MySQL and MariaDB return a FLOAT with six digits, a BIT as bytes and a TIME as a duration. For most types there is a
form that returns the column's exact value; doctor and runs refuse the others.
"""

import re
from enum import StrEnum

from incident_process.source.columns import AMOUNT_COLUMNS, DATE_COLUMNS, NUMBER_COLUMNS


class Reading(StrEnum):
    """The form in which a query asks for a column."""

    PLAIN = "plain"  # as it is
    NUMBER = "number"  # as a number with all its digits
    TEXT = "text"  # as the server writes it
    NUMBER_TEXT = "number text"  # as a number with all its digits, written
    REFUSED = "refused"


_TYPE = re.compile(r"[A-Za-z0-9]+")
_SINGLE = frozenset({"FLOAT"})
_DOUBLE = frozenset({"DOUBLE", "REAL"})
_BITS = frozenset({"BIT"})
_TIMES = frozenset({"TIME"})
_BYTES = frozenset({"BINARY", "VARBINARY", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB"})
_SHAPES = frozenset(
    {"GEOMETRY", "POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON"}
    | {"GEOMETRYCOLLECTION", "GEOMCOLLECTION", "VECTOR"}
)
_NAMES = frozenset({"JSON", "UUID", "INET4", "INET6"})


def reading(name: str, declared: str) -> Reading:
    """Return how to read a MySQL column, from its name (which says what the document makes of it) and its type."""
    found = _TYPE.match(declared)
    kind = found[0].upper() if found else ""
    if kind in _SHAPES:
        return Reading.REFUSED
    if name in DATE_COLUMNS:
        return _date(kind)
    if name in AMOUNT_COLUMNS or name in NUMBER_COLUMNS:
        return _number(kind)
    return _text(kind)


def expected(name: str) -> str:
    """Return in words what type a column has to have."""
    if name in DATE_COLUMNS:
        return "a date: DATE, DATETIME, TIMESTAMP or text"
    if name in AMOUNT_COLUMNS or name in NUMBER_COLUMNS:
        return "a number, or text that is one"
    return "text, a number or a date"


def _date(kind: str) -> Reading:
    if kind in _SINGLE | _DOUBLE | _BITS | _TIMES | _NAMES | {"YEAR"}:
        return Reading.REFUSED
    return Reading.TEXT if kind in _BYTES else Reading.PLAIN


def _number(kind: str) -> Reading:
    if kind in _TIMES | _NAMES | {"DATE", "DATETIME", "TIMESTAMP"}:
        return Reading.REFUSED
    if kind in _SINGLE | _BITS:
        return Reading.NUMBER
    return Reading.TEXT if kind in _BYTES else Reading.PLAIN


def _text(kind: str) -> Reading:
    if kind in _SINGLE | _BITS:
        return Reading.NUMBER_TEXT
    return Reading.TEXT if kind in _DOUBLE | _TIMES | _NAMES else Reading.PLAIN
