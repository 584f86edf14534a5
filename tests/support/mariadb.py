"""A private MariaDB server for the tests: real, on a free port of this machine, with a data folder of its own.

Nothing of a server that is already there is touched: no option file is read, no port, socket or folder is shared.
One server serves a whole test session; every test that asks for ``mariadb_database`` gets a database of its own.
Tests of replicas have three more, which stand in ``replication``.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pymysql
import pytest

USER = "tester"
HOST = "127.0.0.1"
START_SECONDS = 60.0
"""How long a server may take until it answers; generous, because the test machine is shared."""

MISSING = (
    "The tests need a MariaDB server of their own, and {program} is not on this machine: run `make setup-tests`, "
    "or install the package mariadb-server (`apt-get install mariadb-server`)."
)


class MariaDBServer:
    """One mariadbd process over a fresh data folder; it can be killed and started again over the same data.

    ``options`` are given to the server as they are, after its usual ones.
    """

    def __init__(self, *options: str) -> None:
        self._options = options
        self._mariadbd = _find("mariadbd")
        self._install = _find("mariadb-install-db")
        # Not pytest's folder: the path of a Unix socket may hold 107 characters only.
        self._folder = Path(tempfile.mkdtemp(prefix="mdb-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self.host = HOST
        self.port = _free_port()
        self.user = USER
        self.password = secrets.token_hex(8)

    @property
    def pid(self) -> int:
        """The server's process id, for tests that stop it in their own way."""
        assert self._process is not None
        return self._process.pid

    def create(self) -> None:
        """Make the data folder, start the server and leave one user in it, who has a password and every right."""
        self._run_install()
        self.start()
        root = pymysql.connect(unix_socket=str(self._folder / "s"), user="root", autocommit=True)
        with root, root.cursor() as cursor:
            cursor.execute(f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{self.password}'")
            cursor.execute(f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'%' WITH GRANT OPTION")
            cursor.execute(f"DELETE FROM mysql.global_priv WHERE user <> '{USER}' AND user <> 'mariadb.sys'")
            cursor.execute("FLUSH PRIVILEGES")

    def start(self, *options: str) -> None:
        """Start the server, or start it again over its data, and return when it answers; options are for this time."""
        command = [
            self._mariadbd,
            "--no-defaults",
            f"--datadir={self._folder / 'data'}",
            f"--tmpdir={self._folder}",  # servers that share one clear each other's files away at their start
            f"--socket={self._folder / 's'}",
            f"--pid-file={self._folder / 'pid'}",
            f"--bind-address={HOST}",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--performance-schema=off",
            "--innodb-buffer-pool-size=96M",
            "--innodb-log-file-size=48M",
            # The file system's cache outlives a killed process: that is the crash that the tests make.
            "--innodb-flush-log-at-trx-commit=2",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci",
            *self._options,
            *options,
            *_as_root(),
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
        """End the server and remove its data."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

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
        )

    def url(self, database: str) -> str:
        """Return the address of a database in the form that the configuration takes."""
        return f"mysql://{self.user}:{self.password}@{self.host}:{self.port}/{database}"

    def ask(self, statement: str, *values: Any) -> tuple[Any, ...]:
        """Run one statement outside of any database and return its first row, nothing where there is none."""
        with self.connect(None) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return tuple(cursor.fetchone() or ())

    def follow(self, primary: "MariaDBServer") -> None:
        """Become a replica of another server, by GTID, from where that one is now."""
        (position,) = primary.ask("SELECT @@GLOBAL.gtid_binlog_pos")
        self.ask("SET GLOBAL gtid_slave_pos = %s", position)
        self.ask(
            "CHANGE MASTER TO MASTER_HOST = %s, MASTER_PORT = %s, MASTER_USER = %s, MASTER_PASSWORD = %s, "
            "MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
            primary.host,
            primary.port,
            primary.user,
            primary.password,
        )
        self.ask("START SLAVE")

    def caught_up_with(self, primary: "MariaDBServer", seconds: float = 30.0) -> bool:
        """Wait until everything that the primary has written is here, too; return whether it is."""
        (position,) = primary.ask("SELECT @@GLOBAL.gtid_binlog_pos")
        return self.ask("SELECT MASTER_GTID_WAIT(%s, %s)", position, seconds) == (0,)

    def _run_install(self) -> None:
        command = [
            self._install,
            "--no-defaults",
            f"--datadir={self._folder / 'data'}",
            f"--tmpdir={self._folder}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *_as_root(),
        ]
        made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.fail(f"mariadb-install-db failed:\n{made.stdout}{made.stderr}", pytrace=False)

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
        pytest.fail(f"The private MariaDB server did not start:\n{log}", pytrace=False)


def _find(program: str) -> str:
    """Return the path of a program, also where servers live that are not on a user's PATH."""
    path = shutil.which(
        program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    )
    if path is None:
        pytest.fail(MISSING.format(program=program), pytrace=False)
    return path


def _as_root() -> list[str]:
    """Mariadbd refuses to run as root unless it is told to."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBServer]:
    """One server for the session."""
    server = MariaDBServer()
    try:
        server.create()
        yield server
    finally:
        server.stop()


class Replication(NamedTuple):
    """A primary and its two replicas, which follow it by GTID."""

    primary: MariaDBServer
    replicas: tuple[MariaDBServer, MariaDBServer]


@pytest.fixture(scope="session")
def replication() -> Iterator[Replication]:
    """Three servers for the session; a test that stops or kills one of them sets it right again."""
    logged = ("--log-bin=binlog", "--binlog-format=ROW", "--log-slave-updates")
    servers = [MariaDBServer(*logged, f"--server-id={number}", "--relay-log=relay") for number in (1, 2, 3)]
    primary, *replicas = servers
    try:
        for server in servers:
            server.create()
        for replica in replicas:
            replica.follow(primary)
        yield Replication(primary, (replicas[0], replicas[1]))
    finally:
        for server in servers:
            server.stop()


@pytest.fixture
def mariadb_database(mariadb: MariaDBServer) -> Iterator[str]:
    """The name of a fresh database, dropped afterwards."""
    name = mariadb.create_database()
    yield name
    mariadb.drop_database(name)
