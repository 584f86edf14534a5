"""The servers of MongoDB's wire protocol for the tests, and their fixtures.

The package registries do not carry MongoDB's own server. ``make test`` starts SecantusDB;
``make test-documentdb`` starts DocumentDB, a second implementation. Set ``INCIDENT_PROCESS_TEST_MONGO_URL`` to run
the same tests on a server of yours. The package imports none of them, and whatever is written for it has to be right
for MongoDB.
"""

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.support.ports import HOST, HeldPort

VARIABLE = "INCIDENT_PROCESS_TEST_MONGO_URL"
KIND = "TEST_MONGO_SERVER"
"""Names the server to start: ``secantus`` (as without it) or ``documentdb``."""

START_SECONDS = 60.0
"""How long a server may take until it answers; generous, because the test machine is shared."""


class MongoServer(ABC):
    """One server over fresh data; it can be killed and started again over the same data, on the same port."""

    product: ClassVar[str]
    """Its name for people."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="mongo-"))
        self._process: subprocess.Popen[bytes] | None = None
        """The process that answers on the port."""
        self._held = HeldPort()
        self._port = self._held.number

    @property
    def url(self) -> str:
        """The server's address, the same after a restart.

        Without retryable writes: SecantusDB's single inserts fall to a hundred a second with them after some thousands,
        and the gateway of the tests to DocumentDB does not keep what it answered to which write.
        """
        return f"mongodb://{HOST}:{self._port}/?retryWrites=false"

    @property
    def pid(self) -> int | None:
        """The process that uses the server's processor time; None where there are several."""
        return self._process.pid if self._process is not None else None

    @abstractmethod
    def start(self) -> None:
        """Start the server, or start it again over its data, and return when it answers."""

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
        self.kill()
        self._held.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, command: list[str]) -> "subprocess.Popen[bytes]":
        """Start a process of the server, whose words go to its log."""
        # Coverage would look at each of its function calls, and then count none of them.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, env=environment
            )

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
        self._fail()

    def _fail(self) -> None:
        """End what runs of the server, and fail with the end of its log."""
        log = (self._folder / "log").read_text(errors="replace")[-3000:]
        self.kill()
        pytest.fail(f"{self.product} did not start:\n{log}", pytrace=False)


def make_mongo_server(kind: str | None = None) -> MongoServer:
    """Return a server, not started yet: "secantus", "documentdb" or, without a kind, the one that the tests run on."""
    kind = kind or os.environ.get(KIND, "secantus")
    if kind == "documentdb":
        from tests.support.documentdb import DocumentDBServer

        return DocumentDBServer()
    from tests.support.secantus import SecantusServer

    return SecantusServer()


_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[MongoServer | None]:
    """One private server for the session; None when a server is named in the environment."""
    if os.environ.get(VARIABLE):
        yield None
        return
    server = make_mongo_server()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mongo_url(mongo_server: MongoServer | None) -> str:
    """The address of the session's server."""
    return mongo_server.url if mongo_server is not None else os.environ[VARIABLE]


@pytest.fixture
def mongo_database(mongo_url: str) -> Iterator[str]:
    """The name of a fresh database; a shared server stays as it was, the private one is removed as a whole."""
    name = f"incident_test_{os.getpid()}_{next(_NUMBERS)}"
    yield name
    if VARIABLE in os.environ:
        client: MongoClient[dict[str, Any]]
        with MongoClient(mongo_url) as client:
            client.drop_database(name)
