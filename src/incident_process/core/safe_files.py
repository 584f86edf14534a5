"""Files where other users of the machine can reach: locks that they cannot hold, names that they cannot guess.

A lock that others may read is one that they may take (``flock`` asks for no right to write), a temporary name that can
be guessed is one that a link may stand under, and a named pipe under any name makes whoever opens it wait for ever. So
locks belong to their user alone and are waited for a few seconds at most, temporary files are new ones under names that
chance draws, and what is read back has to be a file.
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

T = TypeVar("T")

LOCK_SECONDS = 5.0
"""How long a lock is waited for; what is done under one takes milliseconds."""
_POLL_SECONDS = 0.02
_PLAIN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Follow no link, and do not wait for the other end of a pipe."""


@contextmanager
def locked(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold a lock file of this user's own while the block runs; it stays, for no other user to read.

    Raises:
        OSError: The file cannot be opened, is none, or belongs to somebody else.
        TimeoutError: Another process holds it; a kind of OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _PLAIN, 0o600)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, f"its lock {path.name} is not a file of this user: remove it")
        if stat.S_IMODE(found.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
        _take(descriptor, path.name, seconds)
        yield
    finally:
        os.close(descriptor)


def read_plain(path: Path, most: int) -> bytes:
    """Return what a file holds.

    Raises:
        OSError: It cannot be read, is a link or no file, or holds more than ``most`` bytes.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | _PLAIN), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, f"{path.name} is no file")
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"{path.name} holds more than {most} bytes")
    return content


def replace(path: Path, content: bytes, mode: int) -> None:
    """Put a file in place in one step, whatever the umask; a link under its name is replaced, not followed.

    Raises:
        OSError: The folder cannot be written to, or the file that is there belongs to somebody else.
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


def sweep(path: Path) -> None:
    """Remove what processes of this user that were killed in ``replace`` have left; call it under their lock."""
    for left in path.parent.glob(f".{path.name}.*.new"):
        with suppress(OSError):
            if left.lstat().st_uid == os.geteuid():
                left.unlink()


def open_to_others(path: Path) -> str | None:
    """Return what every user of the machine can do with a file: ``read`` or ``write``, None where it is out of reach.

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


async def aside(work: Callable[[], T], seconds: float) -> T:
    """Do blocking work in a thread of its own, which holds up nobody where it hangs.

    Raises TimeoutError when it takes longer; the work itself is not ended by that.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def told(result: T | None, error: BaseException | None) -> None:
        if answer.done():  # nobody waits any more
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # None only where T is None

    def target() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as exc:  # raised again where it is waited for
            error = exc
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(told, result, error)

    # A daemon: the interpreter's end does not wait for it, as it would for a thread of the loop's own pool.
    threading.Thread(target=target, name="incident-process-aside", daemon=True).start()
    async with asyncio.timeout(seconds):
        return await answer


def private(path: str, flags: int) -> int:
    """Open a file for ``open(..., opener=private)``: where it is new, for its owner alone."""
    return os.open(path, flags, 0o600)


def _take(descriptor: int, name: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                told = f"another process has held its lock {name} for {seconds:g} s"
                raise TimeoutError(errno.ETIMEDOUT, told) from None
            time.sleep(_POLL_SECONDS)
        else:
            return
