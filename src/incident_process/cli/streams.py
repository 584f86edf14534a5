"""Keeps the standard streams open, and keeps their faults from stopping a command.

The command imports this module first, so it imports next to nothing itself.
"""

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _FaultTolerantFile(io.FileIO):
    """A stream's descriptor. After the first fault it drops all bytes, so that the command finishes.

    It is below every buffer: typer, rich and Python's own last flush do not write through ``sys.stdout``.
    """

    fault: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write some of the bytes and return how many; never raise OSError."""
        while self.fault is None:
            try:
                written = super().write(data)
            except OSError as exc:
                self.fault = exc
                break
            if written is not None:
                return written
            from select import select

            select([], [self], [])  # the descriptor is non-blocking; wait rather than lose lines
        return memoryview(data).nbytes


def prepare() -> None:
    """Open the standard streams that the starting program has closed, and make all of them tolerate faults."""
    _open_closed()
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = _tolerant(1, sys.stdout)
    sys.stderr = _tolerant(2, sys.stderr)


def fault() -> OSError | None:
    """Return the error of stdout, None where it has had none; flush before, to find out."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.fault if isinstance(raw, _FaultTolerantFile) else None


def use_utf8() -> None:
    """Make stdout UTF-8 in any locale: JSON is UTF-8 by its standard."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding != "utf-8":  # reconfigure flushes
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


def _open_closed() -> None:
    # Otherwise the next file or socket gets such a number, and uvloop ends a process that has one of its own below 3.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the lowest free number is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _tolerant(number: int, stream: TextIO | None) -> io.TextIOWrapper:
    """Return a fault-tolerant stream for a descriptor, like Python's own (None: the descriptor was closed)."""
    made = stream if isinstance(stream, io.TextIOWrapper) else None
    return io.TextIOWrapper(
        io.BufferedWriter(_FaultTolerantFile(number, "wb", closefd=False)),
        encoding=made.encoding if made else "utf-8",
        errors="backslashreplace",  # as Python does for stderr: no character stops a command
        line_buffering=made is not None and (made.line_buffering or made.write_through),  # the second: python -u
    )
