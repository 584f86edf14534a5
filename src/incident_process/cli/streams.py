"""The standard streams as every command may count on them. Loaded before anything else, so it loads next to nothing."""

import os
import sys


def prepare() -> None:
    """Open the standard streams that whoever started the process has closed, on nothing.

    Otherwise the next file or socket takes their number: uvloop ends a process that has one of its own below 3.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the lowest free number is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
