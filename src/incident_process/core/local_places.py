"""What a process needs of its machine: a home folder, temporary space, an installation that its user can reach."""

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from incident_process.core.errors import ConfigurationError, LocalResourceError

_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PREFIX = "incident-process-"
"""The prefix of the names of temporary files and folders."""


def expand_home(path: Path) -> Path:
    """Return the path with ``~`` as the user's home; raise ConfigurationError where no home is known."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigurationError(f"{path}: no home folder is known for its ~: {_REMEDY}.") from None


def require_home(what: str) -> None:
    """Raise ConfigurationError where this user has no home folder; ``what`` names what the program keeps there."""
    if not os.path.isabs(os.path.expanduser("~")):  # noqa: PTH111, PTH117 - what platformdirs asks, without a RuntimeError
        raise ConfigurationError(f"No home folder is known for this user, where {what} would be: {_REMEDY}.")


_REMEDY = "set HOME, or name the file by its whole path (the configuration: --config FILE)"


@contextmanager
def temporary_space() -> Iterator[None]:
    """Translate an OSError of the block, which makes or writes temporary files, into LocalResourceError."""
    try:
        yield
    except OSError as exc:
        raise _lacking(exc) from exc


def temporary_file() -> IO[bytes]:
    """Return a file that exists only while it is open; raise LocalResourceError where there is no room for it."""
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


_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""Folders that systemd's ``ProtectHome=yes`` hides from a service."""
_LINKS = 40
"""Links in a row that the kernel follows, at most."""


def installation() -> tuple[Path, ...]:
    """Return the paths that a user must reach to start this program: environment, interpreter, library, package."""
    return Path(sys.prefix), Path(sys.executable), Path(os.__file__), Path(__file__)


def closed_to_others(path: Path) -> Path | None:
    """Return the file or folder that keeps users other than its owner and group from using a path, or None.

    They need to enter every folder on the way, also those of links, and to execute or read the path itself. Access
    lists beyond the mode are not checked.
    """
    try:
        way = list(_way(path))
        for place in way:
            mode = place.stat().st_mode
            wanted = stat.S_IXOTH if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else stat.S_IROTH
            if not mode & wanted:
                return place
    except OSError:
        return path
    return None


def hidden_home(path: Path) -> Path | None:
    """Return the folder of homes through which the way to a path leads; None where it leads through none."""
    return next((home for place in _way(path) for home in _HOMES if place.is_relative_to(home)), None)


def _way(path: Path) -> Iterator[Path]:
    """Yield each folder that the kernel enters on the way to a path, links resolved, and then the path's own target."""
    here, left, links = Path("/"), list(reversed(path.absolute().parts[1:])), 0
    while left:
        part = left.pop()
        if part == "..":
            here = here.parent
            continue
        if (here / part).is_symlink() and links < _LINKS:
            target, links = (here / part).readlink(), links + 1
            here = Path("/") if target.is_absolute() else here
            left += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            continue
        here /= part
        yield here
