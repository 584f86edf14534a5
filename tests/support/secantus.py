"""A MongoDB-wire server for the tests: SecantusDB as a process of its own, or a real MongoDB when one is named.

MongoDB's own server cannot be had from the package registries, SecantusDB can. It is a dependency of the tests only:
the package never imports it, and whatever is written for it has to be right for MongoDB. Set
``INCIDENT_PROCESS_TEST_MONGO_URL`` to run the same tests against a real server.
"""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.support.ports import HOST, HeldPort

VARIABLE = "INCIDENT_PROCESS_TEST_MONGO_URL"
START_SECONDS = 60.0
"""How long a server may take until it answers; generous, because the test machine is shared."""


class SecantusServer:
    """One secantusd-py process over a fresh folder; it can be killed and started again over the same data."""

    def __init__(self) -> None:
        self._program = Path(sys.executable).with_name("secantusd-py")
        if not self._program.exists():
            pytest.fail("The tests need SecantusDB beside this Python: run `make setup`.", pytrace=False)
        self._folder = Path(tempfile.mkdtemp(prefix="secantus-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._held = HeldPort()
        self._port = self._held.number

    @property
    def url(self) -> str:
        """The server's address, the same after a restart.

        Without retryable writes: with them its single inserts fall to a hundred a second after some thousands.
        """
        return f"mongodb://{HOST}:{self._port}/?retryWrites=false"

    def start(self) -> None:
        """Start the server, or start it again over its data, and return when it answers."""
        command = [
            str(self._program),
            f"--host={HOST}",
            f"--port={self._port}",
            f"--storage-path={self._folder / 'data'}",
            "--cache-size=256M",
            "--log-level=WARNING",
            # Without this, acknowledged writes do not outlive a SIGKILL, even with j=true.
            "--sync-on-commit",
        ]
        # Coverage would look at each of its function calls, and then count none of them.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, env=environment
            )
        self._wait()

    def kill(self) -> None:
        """End the server as a crash would: at once, without a word to its clients."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill the server and start it again on the same port and folder."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End the server and remove its data."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        self.kill()
        self._held.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self) -> None:
        """Wait until a ping is answered."""
        assert self._process is not None
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            # A client that was refused once waits before it tries again, so each try has a client of its own.
            client: MongoClient[dict[str, Any]] = MongoClient(self.url, serverSelectionTimeoutMS=250)
            try:
                client.admin.command("ping")
            except PyMongoError:
                time.sleep(0.05)
            else:
                return
            finally:
                client.close()
        log = (self._folder / "log").read_text(errors="replace")[-3000:]
        self.kill()
        pytest.fail(f"SecantusDB did not start:\n{log}", pytrace=False)


_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[SecantusServer | None]:
    """One private server for the session; None when a server is named in the environment."""
    if os.environ.get(VARIABLE):
        yield None
        return
    server = SecantusServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mongo_url(mongo_server: SecantusServer | None) -> str:
    """The address of the session's server."""
    return mongo_server.url if mongo_server is not None else os.environ[VARIABLE]


@pytest.fixture
def mongo_database(mongo_url: str) -> Iterator[str]:
    """The name of a fresh database; somebody else's server is left as it was, the private one goes as a whole."""
    name = f"incident_test_{os.getpid()}_{next(_NUMBERS)}"
    yield name
    if VARIABLE in os.environ:
        client: MongoClient[dict[str, Any]]
        with MongoClient(mongo_url) as client:
            client.drop_database(name)
