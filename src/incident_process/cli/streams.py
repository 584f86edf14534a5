"""The standard streams as every command may count on them: open, and never the reason why its work stops.

Loaded before anything else, so it loads next to nothing itself.
"""

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Lasting(io.FileIO):
    """Where a stream's bytes go; after the first fault, nowhere, so that the command comes to its own end.

    It stands below every buffer: typer, rich and Python's own last flush write through others than ``sys.stdout``.
    """

    fault: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write some of the bytes and return how many; never raises for what the other end is like."""
        while self.fault is None:
            try:
                written = super().write(data)
            except OSError as exc:
                self.fault = exc
                break
            if written is not None:
                return written
            from select import select

            select([], [self], [])  # whoever started us wants no blocking; it is not for us to lose lines for that
        return memoryview(data).nbytes


def prepare() -> None:
    """Open the standard streams that whoever started the process has closed, and let none of them stop a command."""
    _open_closed()
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = _lasting(1, sys.stdout)
    sys.stderr = _lasting(2, sys.stderr)


def fault() -> OSError | None:
    """Return why stdout takes nothing any more; None when all is well as far as known, which a flush finds out."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.fault if isinstance(raw, _Lasting) else None


def use_utf8() -> None:
    """Let stdout be UTF-8 from now on, whatever the locale says: JSON is, by its standard."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding != "utf-8":  # setting it flushes
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def _open_closed() -> None:
    # Otherwise the next file or socket takes their number: uvloop ends a process that has one of its own below 3.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the lowest free number is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _lasting(number: int, stream: TextIO | None) -> io.TextIOWrapper:
    """Return a stream like the one that Python has made for the descriptor, or for none where that was closed."""
    made = stream if isinstance(stream, io.TextIOWrapper) else None
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(number, "wb", closefd=False)),
        encoding=made.encoding if made else "utf-8",
        errors="backslashreplace",  # as Python has it for stderr: no character is a reason to stop either
        line_buffering=made is not None and (made.line_buffering or made.write_through),  # the second: python -u
    )
