"""What a process needs of its own machine, told in words where it is missing.

A home folder, temporary space, and an installation that its user can reach.
"""

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


_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""What systemd's ``ProtectHome=yes`` hides from a service."""
_LINKS = 40
"""So many links in a row the kernel follows."""


def installation() -> tuple[Path, ...]:
    """Return the environment, and what of it has to be reached to start this program: interpreter, library, package."""
    return Path(sys.prefix), Path(sys.executable), Path(os.__file__), Path(__file__)


def closed_to_others(path: Path) -> Path | None:
    """Return the file or folder that keeps users who are neither its owner nor of its group from using a path.

    They have to enter every folder on the way, those of links too, and to execute or read what is at its end. None
    where nothing does. Access lists beyond the mode are not looked at.
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
    """Return the folder of homes that the way to a path leads through, None where it leads through none."""
    return next((home for place in _way(path) for home in _HOMES if place.is_relative_to(home)), None)


def _way(path: Path) -> Iterator[Path]:
    """Yield every folder that is entered on the way to a path, as the kernel goes it, and what is at its end."""
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
