"""A connection to a SQLite file, over the standard library, in one worker thread: under the source and the state."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError

T = TypeVar("T")
P = ParamSpec("P")
Step = Callable[[sqlite3.Connection], None]

FILE_ERRORS = (OSError, sqlite3.Error)
"""What creating, reading and writing a file raises."""


class FileConnection:
    """One connection of ``sqlite3`` and the thread that it lives in; its errors are those of ``sqlite3``.

    The thread does one thing after the other, so what a cancelled task has left in it ends before the next step.

    Args:
        name: The thread's.
        set_up: The first step of a new connection, in the thread.
        before_closing: The last step of a connection, in the thread; an error in it ends it.
    """

    def __init__(self, name: str, set_up: Step, before_closing: Step | None = None) -> None:
        self._name = name
        self._set_up = set_up
        self._before_closing = before_closing
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for calls in its thread; OperationalError when there is none."""
        if self._connection is None:
            raise sqlite3.OperationalError("the file is closed")
        return self._connection

    async def open(self, database: str | Path, busy_seconds: float) -> None:
        """Open a file that a path or a URI names; its statements wait so many seconds for a lock."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=self._name)
        await self.call(self._open, database, busy_seconds)

    async def call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a call returns in the thread."""
        if self._thread is None:
            raise sqlite3.OperationalError("the file is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: call(*args, **kwargs))

    def interrupt(self) -> None:
        """End the statement that is under way; nothing happens when there is none."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.interrupt()

    async def close(self) -> None:
        """Close after all that was begun in the thread, and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._shut)
            thread.shutdown()

    def drop(self) -> None:
        """End the statement that is under way, and close, in the thread and without waiting for it."""
        self.interrupt()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(self._shut)
            thread.shutdown(wait=False)

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _open(self, database: str | Path, busy_seconds: float) -> None:
        self._connection = sqlite3.connect(
            database,
            uri=True,
            timeout=busy_seconds,
            isolation_level=None,  # transactions are begun and ended by statements, not by the driver
            check_same_thread=False,  # interrupt() comes from the event loop's thread
        )
        try:
            self._set_up(self._connection)
        except BaseException:
            self._shut()
            raise

    def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                if self._before_closing is not None:
                    self._before_closing(connection)
            with suppress(sqlite3.Error):
                connection.close()


def back_up(path: Path, file: Path) -> int:
    """Copy the state's file, also while it is in use, and check the copy; return its size in bytes.

    Raises ConfigurationError where the copy cannot be made, DatabaseConnectionError where it fails; none is left then.
    """
    if not path.is_file():
        raise DatabaseConnectionError(f"The state's SQLite file {path} is not there: correct [STATE] url.")
    try:
        file.touch(mode=0o600, exist_ok=False)  # it holds unsent bodies: personal data
    except OSError as exc:
        raise ConfigurationError(
            f"{file} cannot be made ({exc.strerror}): name a file that is not there, in a folder that you may write to."
        ) from exc
    try:
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as state_file,
            closing(sqlite3.connect(file)) as copied,
        ):
            state_file.backup(copied)
            found = copied.execute("PRAGMA quick_check").fetchone()[0]
        if found != "ok":
            raise DatabaseConnectionError(f"SQLite file {path}: the copy is damaged, and so may be the state.")
    except (sqlite3.Error, DatabaseConnectionError) as exc:
        file.unlink(missing_ok=True)
        if isinstance(exc, DatabaseConnectionError):
            raise
        raise DatabaseConnectionError(f"SQLite file {path} could not be copied ({type(exc).__name__}: {exc}).") from exc
    return file.stat().st_size
