"""Runs the command in a process that is forked from one that has loaded it already; see ``tests.support.starter``."""

import atexit
import functools
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import msgspec

import incident_process
from tests.support.starter import MOST_BYTES, Request

_STARTER = Path(__file__).with_name("starter.py")
_FIRST = threading.Lock()
START_SECONDS = 60.0
"""How long it may take until a process is there; generous, because the test machine is shared."""


class Starter:
    """The process that forks; one for a session of tests."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(_STARTER), str(theirs.fileno())],
                env=dict(environment),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # a terminal would have other buffers, for all that is forked, too
            )

    def start(self, message: bytes, stdout: int, stderr: int) -> int:
        """Have a process forked; return the pipe that says its process id and then its exit status, a line each."""
        told, tell = os.pipe()
        try:
            socket.send_fds(self._requests, [message], [stdout, stderr, tell])
        finally:
            os.close(tell)
        return told

    def close(self) -> None:
        """Close the connection, which ends the starter."""
        self._requests.close()
        self._process.wait()


def can_run(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Return whether a forked process does the same: its interpreter would read at its start what the starter read."""
    usual = _usual()
    if any(_read_at_start(name) and value != usual.get(name) for name, value in environment.items()):
        return False
    return sum(map(len, (*arguments, *environment, *environment.values()))) < MOST_BYTES / 2


def _read_at_start(name: str) -> bool:
    return name.startswith(("PYTHON", "LC_", "LANG", "LD_"))


def _usual() -> dict[str, str]:
    package = str(Path(incident_process.__file__).parent.parent)
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or _read_at_start(name)}
    return kept | {"PYTHONPATH": package}


class Forked:
    """A process of the command, with what tests use of ``subprocess.Popen``; its streams go into files."""

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._arguments = list(arguments)
        request = Request(arguments=self._arguments, folder=str(folder), environment=dict(environment))
        with _FIRST:
            starter = _starter()
        self._files = ExitStack()
        self._stdout = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # closed by close
        self._stderr = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # as above
        told = starter.start(msgspec.json.encode(request), self._stdout.fileno(), self._stderr.fileno())
        self._process_end = self._files.enter_context(os.fdopen(told, "rb", buffering=0))
        self._said = b""
        if not self._hear(START_SECONDS, lines=1):
            raise RuntimeError("the process that starts commands is busy")
        self.pid = int(self._said.split()[0])
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while it runs."""
        if self.returncode is None and self._hear(0, lines=2):
            self.returncode = int(self._said.split()[1])
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise ``subprocess.TimeoutExpired`` when that does not come."""
        if self.returncode is None and not self._hear(timeout, lines=2):
            raise subprocess.TimeoutExpired(self._arguments, timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end, and return what it has written to stdout and stderr."""
        self.wait(timeout)
        return _text(self._stdout), _text(self._stderr)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended: its process id may be that of another one then."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Forget what it has written."""
        self._files.close()

    def _hear(self, seconds: float | None, *, lines: int) -> bool:
        """Wait until the log has this many lines of it; return whether it has."""
        until = time.monotonic() + (seconds or 0)
        while self._said.count(b"\n") < lines:
            left = None if seconds is None else max(0.0, until - time.monotonic())
            if not select.select([self._process_end], [], [], left)[0]:
                return False
            read = self._process_end.read(64)
            if not read:
                raise RuntimeError("the process that starts commands has ended: what it said is on stderr")
            self._said += read
        return True


@functools.cache
def _starter() -> Starter:
    starter = Starter(_usual())
    atexit.register(starter.close)
    return starter


def _text(file: IO[bytes]) -> str:
    """Return what was written, its ends of lines as a pipe opened for text gives them."""
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n").replace("\r", "\n")
