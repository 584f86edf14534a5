"""Encrypted connections to MySQL and MariaDB: which certificates pass, and what is said of those that do not."""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from incident_process.core.errors import DatabaseConnectionError
from incident_process.settings.database_urls import MySQLTarget, Tls, Verify
from incident_process.source.mysql import MySQLSource
from incident_process.state.sql import SqlStateStore
from tests.support.authority import Authority
from tests.support.mariadb import MariaDBServer
from tests.support.mysql import MySQLServer
from tests.support.source_data import create_tables
from tests.support.sql_server import SqlServer

UTC = ZoneInfo("UTC")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("the database's authority")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[MariaDBServer]:
    """A server whose certificate names 127.0.0.1, and which takes encrypted connections alone."""
    folder = tmp_path_factory.mktemp("tls")
    authority.server(folder, "127.0.0.1")
    authority.write(folder / "ca.pem")
    folder.chmod(0o755)
    folder.parent.chmod(0o755)
    pem = folder / "server.pem"
    pem.chmod(0o644)
    server = MariaDBServer(f"--ssl-cert={pem}", f"--ssl-key={pem}", f"--ssl-ca={folder / 'ca.pem'}")
    try:
        server.create()
        server.ask("CREATE USER 'guarded'@'%' IDENTIFIED BY 'a-long-random-password' REQUIRE SSL")
        server.ask("GRANT ALL ON *.* TO 'guarded'@'%'")
        yield server
    finally:
        server.stop()


async def connect(server: SqlServer, database: str, tls: Tls | None) -> None:
    """Connect as the source and as the state do."""
    target = MySQLTarget(
        host=server.host,
        port=server.port,
        user=server.user,
        password=SecretStr(server.password),
        database=database,
        tls=tls,
    )
    async with SqlStateStore(target, "an operation", UTC):
        pass
    async with MySQLSource(target, UTC) as source:
        await source.now()


def attempt(server: SqlServer, tls: Tls | None) -> str:
    """Return what is said of an attempt to connect; nothing where it succeeds."""
    database = server.create_database()
    error = None
    try:
        with server.connect(database) as connection:
            create_tables(connection, "mysql")
        asyncio.run(connect(server, database, tls))
    except DatabaseConnectionError as exc:
        error = exc
    finally:
        server.drop_database(database)
    if error is None:
        return ""
    assert "whether the server runs" not in str(error)
    assert error.remedy
    return str(error)


def test_mysqls_own_certificates_are_checked_by_their_authority(mysql: MySQLServer, tmp_path: Path) -> None:
    own = tmp_path / "ca.pem"
    own.write_bytes((mysql.data / "ca.pem").read_bytes())
    assert attempt(mysql, Tls(ca=own, verify="ca")) == ""
    assert attempt(mysql, Tls(verify="off")) == ""
    refused = attempt(mysql, Tls(ca=own))
    assert "the encrypted connection (TLS) failed: " in refused
    assert "MYSQL_SSL_VERIFY = ca" in refused
    foreign = Authority("somebody else's").write(tmp_path / "foreign.pem")
    for verify in ("ca", "on"):
        refused = attempt(mysql, Tls(ca=foreign, verify=verify))
        assert "the encrypted connection (TLS) failed: " in refused
        assert "MYSQL_SSL_CA" in refused


def test_a_certificate_that_names_the_host_is_checked_whole(
    named: MariaDBServer, authority: Authority, tmp_path: Path
) -> None:
    ca = authority.write(tmp_path / "ca.pem")
    checks: tuple[Verify, ...] = ("on", "ca")
    for verify in checks:
        assert attempt(named, Tls(ca=ca, verify=verify)) == ""
    assert "the encrypted connection (TLS) failed: " in attempt(named, Tls())


def test_a_host_that_the_certificate_does_not_name(named: MariaDBServer, authority: Authority, tmp_path: Path) -> None:
    ca = authority.write(tmp_path / "ca.pem")
    target = MySQLTarget(
        host="localhost", port=named.port, user="u", password=SecretStr("p"), database="d", tls=Tls(ca=ca)
    )

    async def enter() -> None:
        async with SqlStateStore(target, "an operation", UTC):
            pass

    with pytest.raises(DatabaseConnectionError) as caught:
        asyncio.run(enter())
    assert "Hostname mismatch" in str(caught.value)
    assert "correct MYSQL_HOST, or set [DATABASE] MYSQL_SSL_VERIFY = ca" in caught.value.remedy


def test_a_server_without_tls_is_told_so(mariadb: MariaDBServer) -> None:
    refused = attempt(mariadb, Tls(verify="off"))
    assert "the encrypted connection (TLS) failed" in refused
    assert "See that the server offers TLS" in refused


def test_a_server_that_wants_tls_names_keys_that_are_then_taken(mysql: MySQLServer) -> None:
    mysql.ask("SET GLOBAL require_secure_transport = ON")
    try:
        with pytest.raises(DatabaseConnectionError) as caught:
            asyncio.run(connect(mysql, "mysql", None))
    finally:
        # Over TLS: the server takes nothing else now.
        subprocess.run([sys.executable, "-c", _LIFT, str(mysql.port), mysql.user, mysql.password], check=True)
    assert "takes encrypted connections alone (error 3159)" in str(caught.value)
    for key in ("MYSQL_SSL = on", "MYSQL_SSL_CA", "MYSQL_SSL_VERIFY = ca"):
        assert key in caught.value.remedy


_LIFT = """
import pymysql, ssl, sys
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
port, user, password = sys.argv[1:]
with pymysql.connect(host="127.0.0.1", port=int(port), user=user, password=password, ssl=context) as connection:
    connection.cursor().execute("SET GLOBAL require_secure_transport = OFF")
"""


def test_strictness_of_newer_pythons_is_not_asked_of_an_authority_of_ones_own(
    authority: Authority, tmp_path: Path
) -> None:
    ca = authority.write(tmp_path / "ca.pem")
    checks: tuple[Verify, ...] = ("on", "ca")
    for verify in checks:
        context = Tls(ca=ca, verify=verify).context()
        assert not context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.verify_mode is ssl.CERT_REQUIRED
