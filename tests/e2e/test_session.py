"""The session is the program's (SPEC 2): whatever server options and ``init_connect`` have made of it, all is sent.

Each product has a server of its own here, whose options are set to everything at once that would change, lose or block
something. Source and state are both there, under an ordinary user.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from incident_process import ConfigurationError, get_mysql_connection
from tests.e2e.conftest import Site, day, own_server, site_of_a_user
from tests.support.command import Command
from tests.support.mariadb import MariaDBServer
from tests.support.mysql import MySQLServer
from tests.support.proxy import TcpProxy
from tests.support.receivers import ReceiverHandle
from tests.support.sessions import PASSWORD, WAYS, hostile
from tests.support.sql_server import SqlServer

PRODUCTS: dict[str, Callable[[], SqlServer]] = {
    "mariadb": MariaDBServer,
    # Without TLS, which pymysql takes where it is offered, so that a proxy can see what is said.
    "mysql": lambda: MySQLServer("--tls-version="),
}

NAME = "කමල් පෙරේරා"
STREET = "Straße 1"
ACCOUNTS = ("0000000001", "0000000002", "0000000003", "0000000004", "0000001", "ü-0001", "ලංකා-1")
ALIKE = "0000000003"


@pytest.fixture(scope="module", params=sorted(PRODUCTS))
def server(request: pytest.FixtureRequest) -> Iterator[SqlServer]:
    """A server whose options a test may change: one of its own, for each product."""
    with own_server(PRODUCTS[request.param]()) as made:
        yield made


@pytest.fixture
def site(server: SqlServer, command: Command, receiver: ReceiverHandle) -> Iterator[Site]:
    """Source and state in one database of that server, with accounts whose text is of the whole world."""
    with site_of_a_user(server, command, receiver, payment_type="timestamp(3)", lookback_seconds=864_000) as made:
        for account in ACCOUNTS:
            # Several products and contacts each, so that grouping and joining have something to do.
            products = [{"ASSET_ID": f"A{number}", "LOAD_DATE": day(5 - number % 3)} for number in range(4)]
            person = {"ACCOUNT_NUM": account, "CONTACT_PERSON": NAME, "ASSET_ADDRESS": STREET, "OUTSTANDING": "10.25"}
            made.customers(*(person | product for product in products))
            made.payments(
                {"AP_ACCOUNT_NUMBER": account, "ACCOUNT_PAYMENT_SEQ": 1, "LOAD_DATE": f"{day(4)} 10:00:00.125"}
            )
        yield made


@pytest.mark.parametrize("way", WAYS)
def test_all_is_sent_once_as_it_is_whatever_the_sessions_are_set_to(
    site: Site, server: SqlServer, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.prepare()
    with hostile(server, way):
        first = site.run()
        made = site.command("doctor", "--json")
        again = site.command("run", "--now", "--json")
        reconciled = site.command("reconcile", "--json")
        read = rows_of_a_script(site, monkeypatch)
    assert (first["status"], first["delivered"], first["pending"]) == ("completed", len(ACCOUNTS), 0)
    assert first["rows"] == {"debt_cust_detail": 4 * len(ACCOUNTS), "debt_payment": len(ACCOUNTS)}
    assert [finding for finding in made.json if finding["level"] == "error"] == [], made.json
    bodies = {row["account_num"]: json.loads(row["body"]) for row in site.accepted()}
    assert sorted(bodies) == sorted(ACCOUNTS)
    assert len(site.accepted()) == len(ACCOUNTS)
    for body in bodies.values():
        assert body["Customer_Details"]["Customer_Name"] == NAME
        assert body["Customer_Details"]["Full_Address"] == STREET
        assert [product["Product_Id"] for product in body["Product_Details"]] == ["A0", "A1", "A2", "A3"]
        assert body["Last_Actions"][0]["Payment_Seq"] == 1
    assert again.status == 0, again.stderr
    assert (again.json["status"], again.json["delivered"], again.json["unchanged"]) == ("no_data", 0, len(ACCOUNTS))
    found = reconciled.json
    assert (reconciled.status, found["accounts"], found["missing"], found["stale"]) == (0, len(ACCOUNTS), 0, 0)
    operation = site.operation()
    assert operation["Process_Operation_Sequence"] == 1
    assert f"{operation['Last_execution_dtm']:%Y-%m-%dT%H:%M:%S}" == first["last_execution_dtm"][:19]
    assert sorted(read) == sorted((account, NAME) for account in ACCOUNTS for _ in range(4))


def rows_of_a_script(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Read all customers as a script of the team does, and write something that it then takes back."""
    monkeypatch.setenv("INCIDENT_PROCESS_CONFIG", str(site.command.config))
    with closing(get_mysql_connection()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ACCOUNT_NUM, CONTACT_PERSON FROM debt_cust_detail")
        rows = [(str(account), str(name)) for account, name in cursor.fetchall()]
        cursor.execute("UPDATE debt_cust_detail SET NIC = 'x'")
        connection.rollback()
        cursor.execute("SELECT COUNT(*) FROM debt_cust_detail WHERE NIC IS NOT NULL")
        assert cursor.fetchone() == (0,)
    return rows


UNLIMITED = b"sql_select_limit = 18446744073709551615"
TWO_ROWS = b"sql_select_limit = 00000000000000000002"


def test_a_session_that_cannot_be_set_is_told_before_a_row_is_read(site: Site, server: SqlServer) -> None:
    """A proxy that keeps its own limit, and says that all is well: before the source, and before the state."""
    site.prepare()
    straight = site.source.url
    with TcpProxy(server.port) as proxy:
        proxy.rewrite(UNLIMITED, TWO_ROWS)
        behind = straight.replace(f":{server.port}/", f":{proxy.port}/")
        site.command.configure(database={"URL": behind}, state={"url": straight})
        of_source = site.command.run()
        checked = site.command("doctor")
        site.command.configure(database={"URL": straight}, state={"url": behind})
        of_state = site.command.run()
    for finished in (of_source, of_state):
        assert finished.status == 2, finished.stderr
        assert finished.stderr.count("sql_select_limit is 2 and has to be no limit") == 1
        assert "Let the user set it at the server, and in the rules of a proxy before it" in finished.stderr
        assert "Traceback" not in finished.stderr
        assert PASSWORD not in finished.stderr
    assert "sql_select_limit is 2" in checked.stdout + checked.stderr
    assert site.requests() == []


def test_a_script_is_told_when_its_session_cannot_be_set(
    site: Site, server: SqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TcpProxy(server.port) as proxy:
        proxy.rewrite(b"NAMES utf8mb4 COLLATE utf8mb4_general_ci", b"NAMES latin1  COLLATE latin1_general_ci ")
        site.command.configure(database={"URL": site.source.url.replace(f":{server.port}/", f":{proxy.port}/")})
        monkeypatch.setenv("INCIDENT_PROCESS_CONFIG", str(site.command.config))
        with pytest.raises(ConfigurationError, match="character_set_client is latin1 and has to be utf8mb4"):
            get_mysql_connection()


def test_a_time_out_that_a_proxy_keeps_to_itself_is_told_and_passed_over(site: Site, server: SqlServer) -> None:
    site.prepare()
    with TcpProxy(server.port) as proxy:
        proxy.rewrite(b"SESSION wait_timeout = 60", b"SESSION wait_timeout = 99")
        site.command.configure(
            state={"url": site.source.url.replace(f":{server.port}/", f":{proxy.port}/")},
        )
        finished = site.finish()
    assert finished.json["delivered"] == len(ACCOUNTS)
    (told,) = [line for line in finished.messages("WARNING") if "time-outs" in line]
    assert "wait_timeout stays 99" in told
