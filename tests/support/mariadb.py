"""A private MariaDB server for the tests. One serves a whole test session; each test has a database of its own.

Tests of replicas have three more, which stand in ``mariadb_replication``.
"""

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.support.sql_server import USER, Replication, SqlServer, as_root, replicating

LOG_SIZE = "--innodb-log-file-size=48M"

MISSING = (
    "The tests need a MariaDB server of their own, and {program} is not on this machine: run `make setup-tests`, "
    "or install the package mariadb-server (`apt-get install mariadb-server`)."
)


class MariaDBServer(SqlServer):
    """A mariadbd of this machine."""

    product: ClassVar[str] = "MariaDB"
    explain: ClassVar[str] = "EXPLAIN"
    session: ClassVar[str] = "max_recursive_iterations = 1000000"

    def __init__(self, *options: str) -> None:
        self._mariadbd = _find("mariadbd")
        self._install = _find("mariadb-install-db")
        super().__init__(*options)

    def count_reads(self) -> None:
        self.ask("SET GLOBAL userstat = 1")

    def rows_read(self, database: str, table: str) -> int:
        found = self.ask(
            "SELECT ROWS_READ FROM information_schema.TABLE_STATISTICS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
            database,
            table,
        )
        return int(found[0]) if found else 0

    def change_replication(self, variable: str, value: str) -> None:
        self.ask(f"SET GLOBAL {variable} = %s", value)

    def follow(self, primary: SqlServer) -> None:
        (position,) = primary.ask("SELECT @@GLOBAL.gtid_binlog_pos")
        self.ask("SET GLOBAL gtid_slave_pos = %s", position)
        self.ask(
            "CHANGE MASTER TO MASTER_HOST = %s, MASTER_PORT = %s, MASTER_USER = %s, MASTER_PASSWORD = %s, "
            "MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1, MASTER_SSL = 0",  # from 11.4 on TLS is the default
            primary.host,
            primary.port,
            primary.user,
            primary.password,
        )
        self.ask("START SLAVE")

    def caught_up_with(self, primary: SqlServer, seconds: float = 30.0) -> bool:
        (position,) = primary.ask("SELECT @@GLOBAL.gtid_binlog_pos")
        return self.ask("SELECT MASTER_GTID_WAIT(%s, %s)", position, seconds) == (0,)

    def _program(self) -> Sequence[str]:
        return (self._mariadbd, "--no-defaults")

    def _usual(self) -> Sequence[str]:
        return (
            "--performance-schema=off",
            LOG_SIZE,
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci",
            # From 11.4 on it makes a certificate for itself; some tests read along on the wire, or want it without.
            *(() if any(option.startswith("--ssl") for option in self._options) else ("--skip-ssl",)),
        )

    def _fill_data(self) -> None:
        shutil.copytree(_template(self._install), self.data)

    def _drop_other_users(self, cursor: Any) -> None:
        cursor.execute(f"DELETE FROM mysql.global_priv WHERE user <> '{USER}' AND user <> 'mariadb.sys'")
        cursor.execute("FLUSH PRIVILEGES")


@cache
def _template(install: str) -> Path:
    """Return a data folder as MariaDB makes it; each server of this session begins with a copy."""
    folder = Path(tempfile.mkdtemp(prefix="mdb-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [
        install,
        "--no-defaults",
        f"--datadir={folder / 'data'}",
        f"--tmpdir={folder}",
        LOG_SIZE,  # else the first start of each server writes its log anew
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        *as_root(),
    ]
    made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.fail(f"mariadb-install-db failed:\n{made.stdout}{made.stderr}", pytrace=False)
    return folder / "data"


def _find(program: str) -> str:
    """Return the path of a program, also where servers live that are not on a user's PATH."""
    path = shutil.which(
        program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    )
    if path is None:
        pytest.fail(MISSING.format(program=program), pytrace=False)
    return path


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBServer]:
    """One server for the session."""
    server = MariaDBServer()
    try:
        server.create()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mariadb_replication() -> Iterator[Replication]:
    """Three servers for the session; a test that stops or kills one of them sets it right again."""
    logged = ("--log-bin=binlog", "--binlog-format=ROW", "--log-slave-updates")
    servers = [MariaDBServer(*logged, f"--server-id={number}", "--relay-log=relay") for number in (1, 2, 3)]
    with replicating(*servers) as replication:
        yield replication


@pytest.fixture
def mariadb_database(mariadb: MariaDBServer) -> Iterator[str]:
    """The name of a fresh database, dropped afterwards."""
    name = mariadb.create_database()
    yield name
    mariadb.drop_database(name)
