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
from pathlib import Path
from typing import IO

import msgspec

import incident_process
from tests.support.starter import MOST_BYTES, Request

_STARTER = Path(__file__).with_name("starter.py")
_FIRST = threading.Lock()


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
        """Hang up, which ends it."""
        self._requests.close()
        self._process.wait()


def can_run(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Return whether a forked process is the same: what an interpreter reads at its start is as the starter has it."""
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


def run(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float) -> tuple[int, str, str]:
    """Run the command to its end; return exit status, stdout and stderr, as ``subprocess.run`` would."""
    request = Request(arguments=list(arguments), folder=str(folder), environment=dict(environment))
    with _FIRST:
        starter = _starter()
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        told = starter.start(msgspec.json.encode(request), stdout.fileno(), stderr.fileno())
        with os.fdopen(told, "rb", buffering=0) as pipe:
            status = _wait(pipe, seconds)
        return status, _text(stdout), _text(stderr)


@functools.cache
def _starter() -> Starter:
    starter = Starter(_usual())
    atexit.register(starter.close)
    return starter


def _wait(pipe: IO[bytes], seconds: float) -> int:
    until = time.monotonic() + seconds
    said = b""
    while said.count(b"\n") < 2:
        if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
            if b"\n" in said:
                os.kill(int(said), signal.SIGKILL)
            raise subprocess.TimeoutExpired("incident-process", seconds)
        read = pipe.read(64)
        if not read:
            raise RuntimeError("the process that starts the command has ended: what it said is on stderr")
        said += read
    return int(said.split()[1])


def _text(file: IO[bytes]) -> str:
    """Return what was written, its ends of lines as a pipe opened for text gives them."""
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n").replace("\r", "\n")
