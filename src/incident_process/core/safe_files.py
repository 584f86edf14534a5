"""Files where other users of the machine can reach: locks that they cannot hold, names that they cannot guess.

Who may read a lock may take it (``flock`` asks for no permission to write). Under a temporary name that can be guessed
another user may place a link. Whoever opens a named pipe waits for ever. So a lock belongs to its user alone and is
waited for a few seconds at most, temporary files are new and have random names, and only a regular file is read.
"""

import asyncio
import errno
import fcntl
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from incident_process.core.errors import ConfigurationError

T = TypeVar("T")

LOCK_SECONDS = 5.0
"""Seconds to wait for a lock; the work under one takes milliseconds."""
_POLL_SECONDS = 0.02
"""Seconds between two attempts to take a lock."""
_PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Flags: follow no link, and do not wait for the other end of a pipe."""


@contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold a lock file of this user while the block runs; the file stays, and no other user can read it.

    Raises:
    OSError: The file cannot be opened, is not a regular file, or belongs to another user.
        TimeoutError: Another process holds it; a kind of OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _PLAIN, 0o600)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, f"its lock {path.name} is not a file of this user: remove it")
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
        _take(descriptor, path.name, seconds)
        yield
    finally:
        os.close(descriptor)


def read_plain(path: Path, most: int) -> bytes:
    """Return a file's content.

    Raises:
    OSError: It cannot be read, is a link or not a regular file, or holds more than ``most`` bytes.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | _PLAIN), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, f"{path.name} is no file")
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"{path.name} holds more than {most} bytes")
    return content


def replace(path: Path, content: bytes, mode: int) -> None:
    """Put a file in place in one step, with its mode whatever the umask; replace a link under its name, not its target.

    Raises:
    OSError: The folder cannot be written to, or the file there belongs to another user.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of this user's processes that were killed in ``replace``; call it under their lock."""
    for left in path.parent.glob(f".{path.name}.*.new"):
        with suppress(OSError):
            if left.lstat().st_uid == os.geteuid():
                left.unlink()


def open_to_others(path: Path) -> str | None:
    """Return what every user of the machine can do with a file: ``read``, ``write``, or None where it is out of reach.

    A folder above it that others may not enter keeps them out, whatever the file's own mode.
    """
    try:
        real = path.resolve()
        mode = real.stat().st_mode
        if any(not folder.stat().st_mode & stat.S_IXOTH for folder in real.parents):
            return None
    except OSError:
        return None
    return "write" if mode & stat.S_IWOTH else "read" if mode & stat.S_IROTH else None


async def in_own_thread(work: Callable[[], T], seconds: float) -> T:
    """Do blocking work in its own thread; if it hangs, it holds up nothing else.

    Raises TimeoutError when it takes longer than ``seconds``; the work itself goes on.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if answer.done():  # the caller has stopped waiting
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # None only where T is None

    def target() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as exc:  # the caller raises it again
            error = exc
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(deliver, result, error)

    # A daemon: the interpreter's end waits for a thread of the loop's own pool, but not for this one.
    threading.Thread(target=target, name="incident-process-aside", daemon=True).start()
    async with asyncio.timeout(seconds):
        return await answer


@contextmanager
def writing(file: str) -> Iterator[None]:
    """Make a ConfigurationError, which names the file so, of an OSError of the block that writes it."""
    try:
        yield
    except OSError as exc:
        raise ConfigurationError(
            f"{file} cannot be written ({exc.strerror}): name a file in a folder that you may write to."
        ) from exc


def private_opener(path: str, flags: int) -> int:
    """Open a file for ``open(..., opener=private_opener)``: a new file is for its owner alone; see ``open_own``."""
    return open_own(path, flags, 0o600)


def open_own(path: str, flags: int, mode: int) -> int:
    """Open a file to write to it, as ``os.open`` does, but neither another user's nor a pipe that nobody reads.

    What this user or root has set stays in use: a link, a device, ``/dev/stdout``, a pipe with a reader.

    Raises:
    OSError: It cannot be opened, or another user has put something there; see ``refuse_planted``.
    """
    refuse_planted(Path(path))
    # Not followed where there was no link just now, and emptied only once it is known whose it is.
    kept = flags & ~os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, kept if Path(path).is_symlink() else kept | os.O_NOFOLLOW, mode)
    try:
        status = os.fstat(descriptor)
        if status.st_uid not in _trusted() and _is_shared(Path(path).parent) and stat.S_ISREG(status.st_mode):
            raise _planted(Path(path), "a file", status.st_uid)
        os.set_blocking(descriptor, True)
        if flags & os.O_TRUNC and stat.S_ISREG(status.st_mode):
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def refuse_planted(path: Path) -> None:
    """Raise PermissionError where another user than this one and root has put something under this name.

    Only in a folder that every user may write to: whoever owns another folder was chosen with it. A link is followed
    to its end, each of its steps looked at in the same way.
    """
    for _ in range(_MOST_LINKS):
        try:
            found = path.lstat()
            shared = _is_shared(path.parent)
        except OSError:  # nothing is there, or nothing that can be reached: whoever opens it says so
            return
        is_link = stat.S_ISLNK(found.st_mode)
        if shared and found.st_uid not in _trusted():
            kind = "a link" if is_link else "a file" if stat.S_ISREG(found.st_mode) else "a pipe or the like"
            raise _planted(path, kind, found.st_uid)
        if not is_link:
            return
        if shared and not path.parent.stat().st_mode & stat.S_ISVTX:
            raise PermissionError(errno.EPERM, f"{path} is a link that every user of this host can replace")
        path = path.parent / path.readlink()


def refuse_planted_database(path: Path) -> None:
    """Raise PermissionError as ``refuse_planted``, also for the files that SQLite keeps beside a file and believes."""
    refuse_planted(path)
    for beside in ("-wal", "-shm", "-journal"):
        refuse_planted(Path(f"{os.path.realpath(path)}{beside}"))


_MOST_LINKS = 40
"""Links in a row that are looked at; the system itself follows no more."""


def _trusted() -> set[int]:
    return {os.geteuid(), 0}


def _is_shared(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IWOTH)


def _planted(path: Path, kind: str, owner: int) -> PermissionError:
    return PermissionError(errno.EPERM, f"{path} is {kind} of another user (uid {owner}) in a folder for all")


def _take(descriptor: int, name: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                reason = f"another process has held its lock {name} for {seconds:g} s"
                raise TimeoutError(errno.ETIMEDOUT, reason) from None
            time.sleep(_POLL_SECONDS)
        else:
            return
