"""What a process needs of its own machine: a home folder and temporary space, told in words where they are missing."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from incident_process.errors import ConfigurationError, LocalResourceError

_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PREFIX = "incident-process-"
"""How the names of temporary files and folders begin."""


def expanded(path: Path) -> Path:
    """Return the path with ``~`` as the user's home; raise ConfigurationError where that cannot be found."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigurationError(f"{path}: no home folder is known for its ~: {_REMEDY}.") from None


def require_home(what: str) -> None:
    """Raise ConfigurationError where this user has no home folder; ``what`` says what would be kept in it."""
    if not os.path.isabs(os.path.expanduser("~")):  # noqa: PTH111, PTH117 - what platformdirs asks, without a RuntimeError
        raise ConfigurationError(f"No home folder is known for this user, where {what} would be: {_REMEDY}.")


_REMEDY = "set HOME, or name the file by its whole path (the configuration: --config FILE)"


@contextmanager
def temporary_space() -> Iterator[None]:
    """Within it temporary files are made or written; raises LocalResourceError where there is no room for them."""
    try:
        yield
    except OSError as exc:
        raise _lacking(exc) from exc


def temporary_file() -> IO[bytes]:
    """Return a file that exists only as long as it is open; raise LocalResourceError where there is no room for it."""
    with temporary_space():
        return tempfile.TemporaryFile(prefix=PREFIX)


def _lacking(exc: OSError) -> LocalResourceError:
    if exc.errno in (errno.EMFILE, errno.ENFILE):
        return LocalResourceError(
            "This process may open no further file: raise its limit (ulimit -n, LimitNOFILE= of its unit) to 1024 or "
            "more."
        )
    folder = tempfile.tempdir or os.environ.get("TMPDIR") or "the temporary folder"
    if exc.errno in _SPACE:
        return LocalResourceError(
            f"Temporary space is used up ({folder}): free some, or set TMPDIR to a folder with more. "
            "The next run resumes."
        )
    return LocalResourceError(
        f"No temporary file can be written ({exc.strerror or 'no folder for it'}): set TMPDIR to a folder that is "
        "there and that this user may write to."
    )
