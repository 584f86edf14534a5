"""What commands print: JSON for programs, plain columns for people. Logs and progress go to stderr."""

import sys
from collections.abc import Iterable, Mapping, Sequence
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


def emit_pairs(pairs: Mapping[str, Any]) -> None:
    """Print names and values, one a line, aligned."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        emit(f"{name:<{width}}  {_shown(value)}")


def is_terminal() -> bool:
    """Tell whether a person reads stdout; where a program does, lists are not cut and nothing is added to them."""
    return sys.stdout.isatty()


def emit_table(rows: Sequence[Mapping[str, Any]], columns: Iterable[str], empty: str, most: int | None = None) -> None:
    """Print rows under the columns' names, aligned, and how many are beyond ``most``; without rows print ``empty``."""
    names = list(columns)
    if not rows:
        emit(empty)
        return
    cells = [[_shown(row.get(name)) for name in names] for row in rows[:most]]
    widths = [max(len(name), *(len(line[at]) for line in cells)) for at, name in enumerate(names)]
    for line in (names, *cells):
        emit("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    emit_left_out(len(rows), most)


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
