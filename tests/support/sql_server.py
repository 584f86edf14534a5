"""What the private SQL servers of the tests have in common: real ones, on free ports of this machine, with own folders.

Nothing of a server that is already there is touched: no option file is read, no port, socket or folder is shared.
``mariadb`` and ``mysql`` have the products; a test about what each of them must do asks for ``sql_server``.
"""

import contextlib
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pymysql
import pytest
from pydantic import SecretStr

from incident_process.settings.database_urls import MySQLTarget
from tests.support.ports import HOST, HeldPort

USER = "tester"
START_SECONDS = 60.0
"""How long a server may take until it answers; generous, because the test machine is shared."""


class SqlServer(ABC):
    """One server process over a fresh data folder; it can be killed and started again over the same data.

    ``options`` are given to the server as they are, after its usual ones.
    """

    product: ClassVar[str]
    """Its name for people."""

    explain: ClassVar[str]
    """The words that ask for the plan of a statement as a table."""

    session: ClassVar[str]
    """What ``connect`` sets for each of the tests' own connections."""

    def __init__(self, *options: str) -> None:
        self._options = options
        # Not pytest's folder: the path of a Unix socket may hold 107 characters only.
        self._folder = Path(tempfile.mkdtemp(prefix="mdb-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self.host = HOST
        self._port = HeldPort()
        self.port = self._port.number
        self.user = USER
        self.password = secrets.token_hex(8)

    @property
    def pid(self) -> int:
        """The server's process id, for tests that stop it in their own way."""
        assert self._process is not None
        return self._process.pid

    @property
    def data(self) -> Path:
        """The server's data folder, with the certificates that it makes where it does."""
        return self._folder / "data"

    def create(self) -> None:
        """Make the data folder, start the server and leave one user in it, who has a password and every right."""
        self._fill_data()
        self.start()
        root = pymysql.connect(unix_socket=str(self._folder / "s"), user="root", autocommit=True)
        with root, root.cursor() as cursor:
            cursor.execute(f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{self.password}'")
            cursor.execute(f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'%' WITH GRANT OPTION")
            self._drop_other_users(cursor)

    def start(self, *options: str) -> None:
        """Start the server, or start it again over its data, and return when it answers; options are for this time."""
        command = [
            *self._program(),
            f"--datadir={self.data}",
            f"--tmpdir={self._folder}",  # servers that share one clear each other's files away at their start
            f"--socket={self._folder / 's'}",
            f"--pid-file={self._folder / 'pid'}",
            f"--bind-address={HOST}",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--innodb-buffer-pool-size=96M",
            # The file system's cache outlives a killed process: that is the crash that the tests make.
            "--innodb-flush-log-at-trx-commit=2",
            *self._usual(),
            *self._options,
            *options,
            *as_root(),
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait()

    def kill(self) -> None:
        """End the server as a crash would: at once, without a word to its clients."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End the server and remove its data; do not wait until it has shut down in order."""
        self.kill()
        self._port.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def target(self, database: str, user: str = "", password: str = "") -> MySQLTarget:
        """Return a database of it as the program's settings name it."""
        secret = SecretStr(password or self.password)
        return MySQLTarget(host=self.host, port=self.port, user=user or self.user, password=secret, database=database)

    def create_database(self) -> str:
        """Create an empty database and return its name."""
        name = f"incident_{os.getpid()}_{next(self._numbers)}"
        with self.connect(None) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whatever still holds it."""
        with self.connect(None) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")

    def connect(self, database: str | None) -> "pymysql.connections.Connection[Any]":
        """Return a connection that commits each statement by itself."""
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=database,
            charset="utf8mb4",
            autocommit=True,
            init_command=f"SET SESSION {self.session}",
        )

    def url(self, database: str) -> str:
        """Return the address of a database in the form that the configuration takes."""
        return f"mysql://{self.user}:{self.password}@{self.host}:{self.port}/{database}"

    def ask(self, statement: str, *values: Any) -> tuple[Any, ...]:
        """Run one statement outside of any database and return its first row, nothing where there is none."""
        with self.connect(None) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return tuple(cursor.fetchone() or ())

    @abstractmethod
    def count_reads(self) -> None:
        """Have the server count what ``rows_read`` returns, where it does not do so by itself."""

    @abstractmethod
    def rows_read(self, database: str, table: str) -> int:
        """Return how many rows of a table the server has read so far."""

    @abstractmethod
    def change_replication(self, variable: str, value: str) -> None:
        """Set one of the variables of replication, filters among them, while replication stands still."""

    @abstractmethod
    def follow(self, primary: Any) -> None:
        """Become a replica of another server of this product, by GTID, from where that one is now."""

    @abstractmethod
    def caught_up_with(self, primary: Any, seconds: float = 30.0) -> bool:
        """Wait until everything that the primary has written is here, too; return whether it is."""

    @abstractmethod
    def _program(self) -> Sequence[str]:
        """Return the server's program with what it needs to find its own files."""

    @abstractmethod
    def _usual(self) -> Sequence[str]:
        """Return the options that only this product has."""

    @abstractmethod
    def _fill_data(self) -> None:
        """Make the data folder with the product's own tables and a user ``root`` without a password."""

    @abstractmethod
    def _drop_other_users(self, cursor: Any) -> None:
        """Leave ``USER`` alone in a server that has just been made."""

    def _wait(self) -> None:
        """Wait until the server says hello on its port."""
        assert self._process is not None
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            # A server that listens but has not finished starting sends nothing yet.
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1.0) as hello:
                if hello.recv(1):
                    return
            time.sleep(0.05)
        log = (self._folder / "log").read_text(errors="replace")[-3000:]
        self.kill()
        pytest.fail(f"The private {self.product} server did not start:\n{log}", pytrace=False)


@contextlib.contextmanager
def replicating(*servers: SqlServer) -> Iterator["Replication"]:
    """Start three servers that log with GTIDs; the second and the third follow the first."""
    primary, first, second = servers
    try:
        for server in servers:
            server.create()
        first.follow(primary)
        second.follow(primary)
        yield Replication(primary, (first, second))
    finally:
        for server in servers:
            server.stop()


class Replication(NamedTuple):
    """A primary and its two replicas, which follow it by GTID."""

    primary: SqlServer
    replicas: tuple[SqlServer, SqlServer]


def numbers(first: int, last: int) -> str:
    """Return the text of a FROM clause that yields the numbers of a range as a column ``seq``, on each product."""
    return (
        f"(WITH RECURSIVE numbers (seq) AS (SELECT {first} UNION ALL SELECT seq + 1 FROM numbers WHERE seq < {last}) "
        "SELECT seq FROM numbers)"
    )


def as_root() -> list[str]:
    """Return the option without which neither product's server runs as root."""
    return ["--user=root"] if os.geteuid() == 0 else []


@pytest.fixture(params=["mariadb", "mysql"])
def sql_server(request: pytest.FixtureRequest) -> SqlServer:
    """Each product's server in turn."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, SqlServer)
    return server


@pytest.fixture
def sql_database(sql_server: SqlServer) -> Iterator[str]:
    """The name of a fresh database on it, dropped afterwards."""
    name = sql_server.create_database()
    yield name
    sql_server.drop_database(name)
