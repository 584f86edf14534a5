"""Every error that a server answers with is told in words with a remedy, alike for source and state (SPEC 7).

The server itself raises each number here, out of a view of the source or a trigger of the state.
"""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from incident_process.core.errors import DatabaseConnectionError, IncidentProcessError
from incident_process.database.errors import ErrorKind, TransientDatabaseError
from incident_process.database.server_errors import masked, meaning_of, meaning_of_error
from incident_process.operations.doctor import Level
from incident_process.settings.database_urls import MySQLTarget
from incident_process.source.mysql import MySQLSource
from incident_process.state.sql import SqlStateStore
from tests.integration.test_doctor import about, findings
from tests.support.mariadb import MariaDBServer
from tests.support.source_data import create_tables, insert_customers

SEEN = (
    *(3, 126, 1040, 1153, 1158, 1159, 1173, 1175, 1184, 1226, 1273, 1275, 1290, 1317, 1644, 1792, 1820, 1862, 1969),
    *(3024, 3032, 3118, 3159, 3750, 4031, 4151),
)
"""The numbers that servers and proxies were seen to answer with."""
OTHERS = (1205, 1213, 1836, 1927, 3101, 1665)
UNKNOWN = 31234
NAME, ACCOUNT = "Perera", "0712345678"
SECRET = f"Bad value '{NAME}' of account {ACCOUNT}"
WORDS = re.compile(r"[a-z]{2,} [a-z]{2,} ")


@pytest.fixture
def raising(mariadb: MariaDBServer, mariadb_database: str) -> Iterator[Any]:
    """Yield what lets the source's payments, and each new lease of the state, raise a number."""
    connection = mariadb.connect(mariadb_database)
    create_tables(connection, "mysql")
    insert_customers(connection, [{"ACCOUNT_NUM": "1", "LOAD_DATE": "2026-01-01"}])

    async def make_state() -> None:
        async with SqlStateStore(mariadb.url(mariadb_database), "an operation", ZoneInfo("UTC")) as store:
            await store.prepare()

    asyncio.run(make_state())
    signal = f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = wanted, MESSAGE_TEXT = \"{SECRET}\""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE fault (number INT)")
        cursor.execute("INSERT INTO fault VALUES (0)")
        cursor.execute(
            "CREATE FUNCTION raise_fault() RETURNS INT NOT DETERMINISTIC READS SQL DATA BEGIN DECLARE wanted INT; "
            f"SELECT number INTO wanted FROM fault; IF wanted > 0 THEN {signal}; END IF; RETURN 1; END"
        )
        cursor.execute("RENAME TABLE debt_cust_detail TO customers")
        cursor.execute("SHOW COLUMNS FROM customers")
        columns = [str(column[0]) for column in cursor.fetchall()]
        # In the column that is always looked at: of two conditions a server may look at one alone.
        expressions = ["IF(raise_fault() = 1, LOAD_DATE, NULL) LOAD_DATE" if c == "LOAD_DATE" else c for c in columns]
        cursor.execute(f"CREATE VIEW debt_cust_detail AS SELECT {', '.join(expressions)} FROM customers")
        cursor.execute(
            "CREATE TRIGGER raise_fault BEFORE INSERT ON Process_Operation_Lease FOR EACH ROW "
            "SET @raised = raise_fault()"
        )

    def choose(number: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE fault SET number = %s", (number,))

    yield choose
    connection.close()


def told(error: IncidentProcessError, number: int) -> str:
    """Return the message, which has words, the number once, a remedy, and nothing of a value."""
    message = str(error)
    assert WORDS.search(message), message
    assert message.count(f"(error {number})") == 1, message
    assert error.remedy, message
    assert message.endswith(error.remedy), message
    assert NAME not in message, message
    assert ACCOUNT not in message, message
    assert "says what to correct" not in message
    return message


async def of_source(server: MariaDBServer, database: str) -> IncidentProcessError:
    source = MySQLSource(server.target(database))
    with pytest.raises(IncidentProcessError) as caught:
        async with source:
            await source.excluded()
    return caught.value


async def of_state(server: MariaDBServer, database: str) -> IncidentProcessError:
    with pytest.raises(IncidentProcessError) as caught:
        async with SqlStateStore(server.url(database), "an operation", ZoneInfo("UTC")) as store:
            await store.acquire_lease("a host", 60)
    return caught.value


def test_each_number_has_words_and_a_remedy_alike_for_source_and_state(
    raising: Any, mariadb: MariaDBServer, mariadb_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is tried again is tried again without the pauses here: the number is the same each time.
    monkeypatch.setattr("incident_process.source.sql.ATTEMPTS", 1)
    monkeypatch.setattr("incident_process.state.sql.database._RETRY_ATTEMPTS", 1)
    monkeypatch.setattr("incident_process.state.sql.store._BLOCKED_SECONDS", 0.0)
    for number in (*SEEN, *OTHERS):
        raising(number)
        source = asyncio.run(of_source(mariadb, mariadb_database))
        state = asyncio.run(of_state(mariadb, mariadb_database))
        # For both it may pass, or for neither.
        assert isinstance(source, TransientDatabaseError) is isinstance(state, TransientDatabaseError), number
        assert isinstance(state, DatabaseConnectionError), number
        assert source.remedy == state.remedy, number
        assert meaning_of(number).words.partition("(")[0] in told(source, number)
        assert meaning_of(number).words.partition("(")[0] in told(state, number)


def test_a_number_that_nobody_foresaw_shows_what_the_server_says_without_values(
    raising: Any, mariadb: MariaDBServer, mariadb_database: str
) -> None:
    raising(UNKNOWN)
    for error in (
        asyncio.run(of_source(mariadb, mariadb_database)),
        asyncio.run(of_state(mariadb, mariadb_database)),
    ):
        assert "saying: Bad value '…' of account …" in told(error, UNKNOWN)


def test_the_doctor_has_a_remedy_of_its_own_for_each_number(
    raising: Any, mariadb: MariaDBServer, mariadb_database: str
) -> None:
    raising(3024)
    url = mariadb.url(mariadb_database)
    (finding,) = about(findings("http://127.0.0.1:9/x", url, url), "source", Level.ERROR)
    assert finding.remedy.startswith("Lift the limit on statements' time")
    assert finding.remedy not in finding.finding


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Duplicate entry 'O'Brien' for key 'name'", "Duplicate entry '…'"),
        ('Incorrect value "x" here', "Incorrect value '…' here"),
        ("Mail of a.perera@example.com, 200212345678V", "Mail of … …V"),
        ("a\nforged line", "a forged line"),
        ("word " * 100, ("word " * 100)[:199] + "…"),
    ],
)
def test_a_servers_message_is_shown_without_values(message: str, shown: str) -> None:
    assert masked(message) == shown


@pytest.mark.parametrize(
    ("option", "kind"),
    [("--read-only", ErrorKind.UNAVAILABLE), ("--super-read-only", ErrorKind.UNAVAILABLE)]
    + [(f"--{name}", ErrorKind.SETTING) for name in ("skip-grant-tables", "secure-file-priv", "skip-networking")],
)
def test_an_option_that_forbids_a_statement_is_named(option: str, kind: ErrorKind) -> None:
    message = f"The MySQL server is running with the {option} option so it cannot execute this statement"
    meaning = meaning_of(1290, message)
    assert meaning.kind is kind
    assert f"option {option}," in meaning.words


@contextmanager
def answering(words: bytes) -> Iterator[int]:
    """Yield the port of a server that says these words to whoever connects, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(words)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n",
        b"\x05\x00\x00\x00\x0a8.0\x00",
        b"\x4a\x00\x00\x00\x0a" + b"\xff" * 0x49,
        b"\x00" * 64,
    ],
)
def test_a_port_that_is_no_mysql_servers_is_one_sentence(words: bytes) -> None:
    async def source_at(port: int) -> None:
        target = MySQLTarget(host="127.0.0.1", port=port, user="u", password=SecretStr("p"), database="d")
        async with MySQLSource(target):
            pass

    async def state_at(port: int) -> None:
        async with SqlStateStore(f"mysql://u:p@127.0.0.1:{port}/d", "an operation", ZoneInfo("UTC")):
            pass

    with answering(words) as port:
        for connect in (source_at, state_at):
            with pytest.raises(DatabaseConnectionError) as caught:
                asyncio.run(connect(port))
            assert f"127.0.0.1:{port}" in str(caught.value)
            assert caught.value.remedy


def test_an_error_of_something_else_is_left_to_those_who_know_it() -> None:
    assert meaning_of_error(ValueError("x")) is None
    assert meaning_of_error(RuntimeError("x")) is None
