"""The log file: rotated by size, by day, or by another program (``[LOG]``)."""

import logging
import logging.handlers
import os
import stat
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Literal, cast

from incident_process.core.local_places import expand_home
from incident_process.core.safe_files import open_own, writing


def open_log_file(
    path: Path, rotation: Literal["size", "day", "none"], max_bytes: int, backups: int
) -> logging.Handler:
    """Return a handler that writes to the file; its folder must exist. ConfigurationError: it cannot be written.

    ``rotation``: ``size`` begins a new file at ``max_bytes``, ``day`` at midnight UTC; ``none`` leaves rotation to
    another program, and reopens the file after that has moved it. ``backups``: how many old files to keep, as
    ``name.1`` or ``name.2026-01-31``.
    """
    path = expand_home(path)
    with writing(f"[LOG] file {path}"):
        match rotation:
            case "size":
                return _BySize(path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8")
            case "day":
                return _ByDay(path, when="midnight", utc=True, backupCount=backups, encoding="utf-8")
            case "none":
                return _ByOthers(path, encoding="utf-8")


WIDEST_MODE = 0o640
"""Mode of the file: the owner writes, a group for logs reads, for they name accounts. A stricter umask applies."""


def _opener(path: str, flags: int) -> int:
    """Open a log file; if this user owns it, reduce its mode to ``WIDEST_MODE`` whatever it was before."""
    descriptor = open_own(path, flags, WIDEST_MODE)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) & ~WIDEST_MODE:
        with suppress(OSError):  # a file system without modes
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & WIDEST_MODE)
    return descriptor


class _SaysOnce(logging.FileHandler):
    """A handler that reports only its first fault on stderr: a full disk must not fill that too, nor end a run."""

    _said = False

    def _open(self) -> TextIOWrapper:
        """Open the file with its mode, in place of the library's method of this name."""
        opened = open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=_opener)  # noqa: SIM115  # the handler closes it
        return cast("TextIOWrapper", opened)

    def close(self) -> None:
        """Close the file; records that could not be written are lost."""
        with suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the library's name
        """Report once that a record could not be written, without the record."""
        if not self._said:
            self._said = True
            reason = sys.exc_info()[1]
            sys.stderr.write(f"WARNING:{record.name}:The log file cannot be written ({type(reason).__name__}).\n")


class _BySize(_SaysOnce, logging.handlers.RotatingFileHandler):
    pass


class _ByDay(_SaysOnce, logging.handlers.TimedRotatingFileHandler):
    pass


class _ByOthers(_SaysOnce, logging.handlers.WatchedFileHandler):
    pass
