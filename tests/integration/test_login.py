"""On a connection without TLS, no login is used that sends the password as it is to whoever answers on the port."""

import asyncio
import socket
from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from incident_process.core.errors import DatabaseConnectionError
from incident_process.database import connect
from incident_process.database.connect import connect_blocking
from incident_process.operations.doctor import Level
from incident_process.settings.database_urls import MySQLTarget
from incident_process.source.mysql import MySQLSource
from incident_process.state.sql import SqlStateStore
from tests.integration.test_doctor import findings
from tests.support.rogue_mysql import rogue_server
from tests.support.source_data import create_tables
from tests.support.sql_server import SqlServer

PASSWORD = "a-long-random-password"
NATIVE = "mysql_native_password"


def target_at(port: int) -> MySQLTarget:
    return MySQLTarget(host="127.0.0.1", port=port, user="u", password=SecretStr(PASSWORD), database="d")


def source_at(port: int) -> None:
    async def enter() -> None:
        async with MySQLSource(target_at(port)):
            pass

    asyncio.run(enter())


def state_at(port: int) -> None:
    async def enter() -> None:
        async with SqlStateStore(target_at(port), "an operation", ZoneInfo("UTC")):
            pass

    asyncio.run(enter())


def script_at(port: int) -> None:
    connect_blocking(target_at(port), "the database").close()


@pytest.mark.parametrize(
    ("greets", "asks"),
    [
        (NATIVE, "mysql_clear_password"),
        (NATIVE, "dialog"),
        (NATIVE, "mysql_old_password"),
        ("caching_sha2_password", "mysql_clear_password"),
    ],
)
@pytest.mark.parametrize("at", [source_at, state_at, script_at])
def test_a_login_that_gives_the_password_away_is_refused(at: Callable[[int], None], greets: str, asks: str) -> None:
    with rogue_server(greets, asks) as rogue, pytest.raises(DatabaseConnectionError) as caught:
        at(rogue.port)
    assert rogue.answers == []
    assert f"the password in a form that it can read ({asks}), and the connection is not encrypted" in str(caught.value)
    assert "Set [DATABASE] MYSQL_SSL = on" in caught.value.remedy
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("answer", [b"\xfb/etc/passwd", b"\xff"])
@pytest.mark.parametrize("at", [source_at, state_at, script_at])
def test_who_lets_in_and_answers_what_no_server_does_gets_no_file_and_ends_in_a_sentence(
    at: Callable[[int], None], answer: bytes
) -> None:
    """The first answer asks for a file of this machine, as LOAD DATA LOCAL does."""
    with rogue_server(NATIVE, answer=answer) as rogue, pytest.raises(DatabaseConnectionError) as caught:
        at(rogue.port)
    assert "does not speak MySQL's protocol" in str(caught.value)
    assert all(given[:1] == b"\x01" for given in rogue.answers), "nothing but a goodbye"


def test_a_server_that_says_nothing_holds_no_script_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DatabaseConnectionError):
        script_at(silent.getsockname()[1])


def test_the_doctor_says_what_a_connection_without_tls_gives_away(sql_server: SqlServer, sql_database: str) -> None:
    with sql_server.connect(sql_database) as connection:
        create_tables(connection, "mysql")
    sql_server.ask(f"CREATE USER 'told'@'%' IDENTIFIED BY '{PASSWORD}'")  # who begins with the full login
    try:
        sql_server.ask(f"GRANT ALL ON {sql_database}.* TO 'told'@'%'")
        url = f"mysql://told:{PASSWORD}@{sql_server.host}:{sql_server.port}/{sql_database}"
        found = findings("http://127.0.0.1:9/x", url, url)
    finally:
        sql_server.ask("DROP USER 'told'@'%'")
    (told,) = (one for one in found if "Without TLS" in one.finding)
    assert (told.subject, told.level) == ("source", Level.OK), "the server is on this host, and source and state on it"
    assert "can learn the password" in told.finding
