"""An account's present document beside the one last delivered, value by value, masked. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from incident_process.core.logs import MASK, PERSONAL_FIELDS
from incident_process.core.models import Record
from incident_process.document.envelope import TIMES

ENVELOPE = frozenset({"Incident_Id", *TIMES})
"""Properties that a run adds: they differ in every body without a difference of content (SPEC 4)."""

_IDENTITY = ("Product_Id", "Contact")
"""Properties that pair the items of two lists; items without one are paired by their place."""

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


class Change(StrEnum):
    """How a value differs from the delivered one."""

    SAME = "same"
    CHANGED = "changed"
    ADDED = "added"  # only the present document has it
    REMOVED = "removed"  # only the delivered document has it
    UNKNOWN = "unknown"  # the delivered body was not kept


class Line(Record, frozen=True, kw_only=True):
    """One value of the document. ``path`` leads to it; list items are named by their place, from 1."""

    path: tuple[str, ...]
    change: Change
    now: Any = None
    then: Any = None
    personal: bool = False
    envelope: bool = False

    def __repr__(self) -> str:
        """Leave the values out: they may be personal data."""
        return f"Line({'.'.join(self.path)}, {self.change})"


def lines(now: bytes, then: bytes | None, *, masked: bool) -> list[Line]:
    """Return every value of the two bodies.

    Args:
        now: The body that a run would send.
        then: The body last delivered, None where it was not kept.
        masked: Whether personal values read ``***``; a line still says whether they differ.
    """
    found = _walk((), _decode(now), _decode(then) if then is not None else None, known=then is not None)
    return [_masked(line) if masked and line.personal else line for line in found]


def _walk(path: tuple[str, ...], now: Any, then: Any, *, known: bool) -> Iterator[Line]:
    sides = [side for side in (now, then) if side is not None]
    if sides and all(isinstance(side, Mapping) for side in sides):
        names = dict.fromkeys(name for side in sides for name in side)
        for name in names:
            yield from _walk((*path, name), _item(now, name), _item(then, name), known=known)
    elif sides and all(isinstance(side, list) for side in sides) and any(sides):
        for place, (one, other) in enumerate(_paired(now or [], then or []), start=1):
            yield from _walk((*path, str(place)), one, other, known=known)
    else:
        yield Line(
            path=path,
            change=_change(now, then, known=known),
            now=_shown(now),
            then=_shown(then),
            personal=any(name in PERSONAL_FIELDS for name in path),
            envelope=path[-1] in ENVELOPE,
        )


def _item(side: Mapping[str, Any] | None, name: str) -> Any:
    return side.get(name) if side is not None else None


def _paired(now: Sequence[Any], then: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield pairs of items of one identity; removed items come at the end."""
    left = {_identity(item, place): item for place, item in enumerate(then)}
    for place, item in enumerate(now):
        yield item, left.pop(_identity(item, place), None)
    for item in left.values():
        yield None, item


def _identity(item: Any, place: int) -> tuple[str, Any]:
    if isinstance(item, Mapping):
        for name in _IDENTITY:
            if item.get(name):
                return name, (item[name], item.get("Contact_Type"))
    return "", place


def _change(now: Any, then: Any, *, known: bool) -> Change:
    if not known:
        return Change.UNKNOWN
    if then is None and now is not None:
        return Change.ADDED
    if now is None and then is not None:
        return Change.REMOVED
    return Change.SAME if now == then else Change.CHANGED


def _shown(value: Any) -> Any:
    """Return amounts as text: a browser's numbers would drop their last zero."""
    return str(value) if isinstance(value, Decimal) else value


def _masked(line: Line) -> Line:
    return msgspec.structs.replace(line, now=_hidden(line.now), then=_hidden(line.then))


def _hidden(value: Any) -> Any:
    return value if value is None or value in ("", []) else MASK
