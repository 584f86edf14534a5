"""A private MySQL server for the tests, out of the tree that ``make setup-tests`` unpacks from Debian sid.

Debian's stable releases carry MariaDB only. Where the tree is missing, the tests that need MySQL are skipped with the
sentence that says why. The server keeps its default settings but for those that every server of the tests has.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.support.sql_server import Replication, SqlServer, as_root, replicating
from tests.support.unpacked import require, tree_of

TREE = tree_of("mysql")
TEMPLATE = TREE.with_name("template")
"""A data folder as MySQL makes it (three seconds); each server begins with a copy (a tenth of one)."""


class MySQLServer(SqlServer):
    """A mysqld of the unpacked tree, which runs with the tree's own C library."""

    product: ClassVar[str] = "MySQL"
    explain: ClassVar[str] = "EXPLAIN FORMAT=TRADITIONAL"  # else it answers with a tree of text
    # MariaDB's default modes: the tests write zero dates, as the loaders of the field do.
    session: ClassVar[str] = (
        "sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', "
        "cte_max_recursion_depth = 1000000"
    )

    def __init__(self, *options: str) -> None:
        require("mysql", "MySQL", "make setup-tests")
        super().__init__(*options)

    def count_reads(self) -> None:
        """It always does."""

    def rows_read(self, database: str, table: str) -> int:
        found = self.ask(
            "SELECT COUNT_FETCH FROM performance_schema.table_io_waits_summary_by_table "
            "WHERE OBJECT_SCHEMA = %s AND OBJECT_NAME = %s",
            database,
            table,
        )
        return int(found[0]) if found else 0

    def change_replication(self, variable: str, value: str) -> None:
        if not variable.startswith("replicate_"):
            self.ask(f"SET GLOBAL {variable} = %s", value)
            return
        names = [f"'{name}'" if "wild" in variable else name for name in value.split(",") if name]
        self.ask(f"CHANGE REPLICATION FILTER {variable.upper()} = ({', '.join(names)})")

    def follow(self, primary: SqlServer) -> None:
        (position,) = primary.ask("SELECT @@GLOBAL.gtid_executed")
        self.ask("RESET BINARY LOGS AND GTIDS")
        self.ask("SET GLOBAL gtid_purged = %s", position)
        self.ask(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = %s, SOURCE_PORT = %s, SOURCE_USER = %s, SOURCE_PASSWORD = %s, "
            "SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_CONNECT_RETRY = 1",
            primary.host,
            primary.port,
            primary.user,
            primary.password,
        )
        self.ask("START REPLICA")

    def caught_up_with(self, primary: SqlServer, seconds: float = 30.0) -> bool:
        (position,) = primary.ask("SELECT @@GLOBAL.gtid_executed")
        return self.ask("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", position, seconds) == (0,)

    def _program(self) -> Sequence[str]:
        return _mysqld()

    def _usual(self) -> Sequence[str]:
        return ("--mysqlx=OFF", "--innodb-redo-log-capacity=96M")

    def _fill_data(self) -> None:
        shutil.copytree(_template(), self.data)

    def _drop_other_users(self, cursor: Any) -> None:
        cursor.execute("DROP USER root@localhost")


@cache
def _mysqld() -> tuple[str, ...]:
    """Return the program, started by the tree's own loader: this machine's C library is older than the one it needs."""
    (libraries,) = (TREE / "usr" / "lib").glob("*-linux-gnu")
    (loader,) = libraries.glob("ld-linux*.so.*")
    return (
        str(loader),
        "--library-path",
        str(libraries),
        str(TREE / "usr" / "sbin" / "mysqld"),
        "--no-defaults",
        f"--basedir={TREE / 'usr'}",
        f"--lc-messages-dir={TREE / 'usr' / 'share' / 'mysql'}",
        f"--character-sets-dir={TREE / 'usr' / 'share' / 'mysql' / 'charsets'}",
        f"--plugin-dir={TREE / 'usr' / 'lib' / 'mysql' / 'plugin'}",
        "--secure-file-priv=",
    )


def _template() -> Path:
    """Return the data folder to copy; made aside and renamed, so that it is whole or not there."""
    if not TEMPLATE.exists():
        with tempfile.TemporaryDirectory(prefix="template-", dir=TREE.parent) as aside:
            made = Path(aside) / "data"
            command = [*_mysqld(), f"--datadir={made}", "--initialize-insecure", "--innodb-redo-log-capacity=8M"]
            done = subprocess.run(
                [*command, *as_root()], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if done.returncode:
                pytest.fail(f"mysqld --initialize-insecure failed:\n{done.stdout}{done.stderr}", pytrace=False)
            (made / "auto.cnf").unlink()  # the server's identity, which each copy makes for itself
            try:
                made.replace(TEMPLATE)
            except OSError:  # it is not empty, where another worker was faster
                if not TEMPLATE.exists():
                    raise
    return TEMPLATE


@pytest.fixture(scope="session")
def mysql() -> Iterator[MySQLServer]:
    """One server for the session, started when the first test asks for it."""
    server = MySQLServer()
    try:
        server.create()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mysql_replication() -> Iterator[Replication]:
    """Three servers for the session, as MariaDB's; they log by default, and their replicas what they apply."""
    logged = ("--log-bin=binlog", "--gtid-mode=ON", "--enforce-gtid-consistency=ON")
    servers = [MySQLServer(*logged, f"--server-id={number}", "--relay-log=relay") for number in (1, 2, 3)]
    with replicating(*servers) as replication:
        yield replication


@pytest.fixture
def mysql_database(mysql: MySQLServer) -> Iterator[str]:
    """The name of a fresh database, dropped afterwards."""
    name = mysql.create_database()
    yield name
    mysql.drop_database(name)
