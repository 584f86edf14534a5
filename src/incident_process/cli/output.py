"""What commands print: JSON for programs, plain columns for people. Logs and progress go to stderr."""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any

import msgspec

from incident_process.cli import streams
from incident_process.core.logs import one_line, safe_json

SHOWN = 100
"""Lines of a list of any length that a terminal shows without --limit."""
COUNTED = 1000
"""Lines beyond those that a limit lets through that are counted, at most, where a terminal shows the list."""


def emit_json(value: Any) -> None:
    """Print one JSON value, indented."""
    emit_json_text(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def emit_json_line(value: Any) -> None:
    """Print one JSON value on one line."""
    emit_json_text(msgspec.json.encode(value).decode())


def emit_json_text(text: str) -> None:
    """Print one line of JSON text."""
    streams.use_utf8()
    sys.stdout.write(f"{safe_json(text)}\n")


class JsonListing:
    """One JSON object that begins with a list of any length, printed item by item and not held in memory.

    A context manager: whatever happens in its block, it prints one whole object.
    """

    def __init__(self, name: str) -> None:
        self.members: dict[str, Any] = {}
        """The members after the list."""
        self._name = name
        self._empty = True

    def __enter__(self) -> "JsonListing":
        emit_json_text(f'{{"{self._name}":[')
        return self

    def __exit__(self, *exc_info: object) -> None:
        rest = msgspec.json.encode(self.members).decode()[1:]
        emit_json_text(f"],{rest}" if self.members else "]}")

    def item(self, value: Any) -> None:
        """Print one more item of the list, on a line of its own."""
        emit_json_text(("" if self._empty else ",") + msgspec.json.encode(value).decode())
        self._empty = False


def emit(text: str) -> None:
    """Print one line; control characters and those that the terminal lacks appear as escapes."""
    sys.stdout.write(f"{one_line(text)}\n")


def emit_at_once(*lines: str) -> None:
    """Print a server's lines at once, also to a pipe: the starting program waits for the URL in them."""
    for line in lines:
        emit(line)
    sys.stdout.flush()


def emit_pairs(pairs: Mapping[str, Any]) -> None:
    """Print names and values, one a line, aligned."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        emit(f"{name:<{width}}  {_shown(value)}")


def is_terminal() -> bool:
    """Tell whether a person reads stdout; where a program does, lists are not cut and nothing is added to them."""
    return sys.stdout.isatty()


def emit_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Iterable[str],
    empty: str,
    most: int | None = None,
    spare: Sequence[str] = (),
    note: Callable[[Mapping[str, Any]], str | None] | None = None,
) -> None:
    """Print rows under the columns' names, aligned, and how many are beyond ``most``; without rows print ``empty``.

    Where a person reads, lines fit the width: a last column ``error`` goes below its row, those of ``spare`` are left
    out in this order, then the year of ``started``. A row's ``note`` goes below it there, and statuses have colours.
    """
    names = list(columns)
    if not rows:
        emit(empty)
        return
    cells = {name: [_cell(name, row.get(name)) for row in rows[:most]] for name in names}
    room = shutil.get_terminal_size().columns if is_terminal() else None  # a program gets all, whatever COLUMNS says
    below = room is not None and _fit(names, cells, room, spare)
    widths = {name: _wide(name, cells) for name in names}
    colours = is_terminal() and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"
    sys.stdout.write("  ".join(name.ljust(widths[name]) for name in names).rstrip() + "\n")
    for at, row in enumerate(rows[:most]):
        line = [cells[name][at].ljust(widths[name]) for name in names]
        if colours and "status" in names:
            place = names.index("status")
            line[place] = _coloured(line[place])
        sys.stdout.write("  ".join(line).rstrip() + "\n")
        if room is not None:
            _emit_below([note and note(row), row.get("error") if below else None], room)
    emit_left_out(len(rows), most)


def _fit(names: list[str], cells: dict[str, list[str]], room: int, spare: Sequence[str]) -> bool:
    """Take out of ``names`` what has no room; return whether the errors go below their rows."""
    below, dropped = False, iter(spare)
    while sum(_wide(name, cells) + 2 for name in names) - 2 > room:
        if names[-1] == "error":
            below = bool(names.pop())
        elif (name := next(dropped, None)) is None:
            cells["started"] = [cell[5:] for cell in cells.get("started", ())]
            break
        elif name in names:
            names.remove(name)
    return below


def _wide(name: str, cells: Mapping[str, Sequence[str]]) -> int:
    return max(len(name), *map(len, cells[name]))


def _emit_below(texts: Iterable[Any], room: int) -> None:
    for text in texts:
        for part in wrap(_shown(text), max(20, room - 4)) if text else ():
            sys.stdout.write(f"    {part}\n")


_COLOURS = {
    **dict.fromkeys(("completed", "delivered", "ok"), 32),  # green
    **dict.fromkeys(("incomplete", "pending", "locked", "running", "warning"), 33),  # yellow
    **dict.fromkeys(("failed", "dead", "inactive", "terminated", "error"), 31),  # red
}
_FRACTION = re.compile(r"(\d\d:\d\d:\d\d)\.\d+Z")


def _coloured(status: str) -> str:
    colour = _COLOURS.get(status.rstrip())
    return status if colour is None else f"\x1b[{colour}m{status}\x1b[0m"


def _cell(name: str, value: Any) -> str:
    """Return a value as a table shows it: a run's or an incident's time without parts of a second."""
    return _FRACTION.sub(r"\1Z", _shown(value)) if name in {"started", "ended", "created", "updated"} else _shown(value)


def emit_left_out(count: int, most: int | None) -> None:
    """Say on a terminal how many of so many lines are beyond ``most``, if any are."""
    if most is not None and count > most and is_terminal():
        left = count - most
        emit(f"... and {'at least ' if left == COUNTED else ''}{left:,} more: --limit N")


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items()) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return one_line(str(value))
