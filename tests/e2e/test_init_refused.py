"""``init`` on servers that let it do a part only: all is made or nothing, and the message says the way out (SPEC 6)."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.e2e.conftest import OPERATION, Site, day, own_server, site_of_a_user
from tests.support.command import Command
from tests.support.mariadb import MariaDBServer
from tests.support.mysql import MySQLServer
from tests.support.receivers import ReceiverHandle
from tests.support.sql_server import SqlServer

PRODUCTS: dict[str, type[SqlServer]] = {"mariadb": MariaDBServer, "mysql": MySQLServer}
KEY_REQUIRED = {"MariaDB": "innodb_force_primary_key", "MySQL": "sql_require_primary_key"}
TEAM = (
    "Process_Operation_Sequence",
    "created_dtm",
    "Operation_name",
    "execution_duration",
    "Next_execution_dtm",
    "Last_execution_dtm",
    "end_dtm",
)


@pytest.fixture(scope="module", params=sorted(PRODUCTS))
def server(request: pytest.FixtureRequest) -> Iterator[SqlServer]:
    with own_server(PRODUCTS[request.param]("--log-bin=binlog", "--binlog-format=STATEMENT")) as made:
        yield made


@pytest.fixture
def site(server: SqlServer, command: Command, receiver: ReceiverHandle) -> Iterator[Site]:
    with site_of_a_user(server, command, receiver) as made:
        yield made


def tables(site: Site) -> set[str]:
    return {str(name).lower() for (name,) in site.source.sql("SHOW TABLES")} - {"debt_cust_detail", "debt_payment"}


def test_a_server_that_logs_statements_leaves_nothing_half_made(site: Site, server: SqlServer) -> None:
    refused = site.command("init")
    assert refused.status == 3, refused.stderr
    assert "binlog_format = STATEMENT" in refused.stderr
    assert "Set binlog_format = ROW or MIXED at the server" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert tables(site) == set()
    server.ask("SET GLOBAL binlog_format = 'MIXED'")
    try:
        made = site.command("init")
        assert made.status == 0, made.stderr
        assert site.run()["status"] == "no_data"
    finally:
        server.ask("SET GLOBAL binlog_format = 'STATEMENT'")


def test_a_server_that_asks_for_keys_gets_one_that_nobody_sees(site: Site, server: SqlServer) -> None:
    server.ask("SET GLOBAL binlog_format = 'ROW'")
    server.ask(f"SET GLOBAL {KEY_REQUIRED[server.product]} = 1")
    try:
        made = site.command("init")
        assert made.status == 0, made.stderr
        site.customers({"ACCOUNT_NUM": "0000000001", "ASSET_ID": "A", "LOAD_DATE": day(3)})
        assert site.run()["delivered"] == 1
        assert site.command("doctor").status == 0
    finally:
        server.ask(f"SET GLOBAL {KEY_REQUIRED[server.product]} = 0")
        server.ask("SET GLOBAL binlog_format = 'STATEMENT'")
    # What another program of the team does: no name of a column, and as many values as the contract has columns.
    with closing(site.source.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM Process_Operation")
        assert tuple(column[0] for column in cursor.description) == TEAM
        (row,) = cursor.fetchall()
        cursor.execute("INSERT INTO Process_Operation VALUES (7, NOW(), 'another', 60, NOW(), NOW(), NULL)")
        cursor.execute("SELECT * FROM Process_Operation WHERE Operation_name = 'another'")
        (other,) = cursor.fetchall()
    assert (row[0], row[2], other[0], len(other)) == (1, OPERATION, 7, len(TEAM))


def test_what_may_be_created_in_part_only_is_taken_back(site: Site, server: SqlServer) -> None:
    """A user who may create some of the tables, and the others not."""
    server.ask("SET GLOBAL binlog_format = 'ROW'")
    server.ask("CREATE USER partly@'%' IDENTIFIED BY 'synthetic'")
    try:
        name = site.source.url.rpartition("/")[2]
        server.ask(f"GRANT SELECT, INSERT, UPDATE, DELETE, DROP ON {name}.* TO partly@'%'")
        server.ask(f"GRANT CREATE ON {name}.Process_Operation_Lease TO partly@'%'")
        server.ask(f"GRANT CREATE ON {name}.Process_Operation_Scope TO partly@'%'")
        url = f"mysql://partly:synthetic@{server.host}:{server.port}/{name}"
        refused = site.command("init", env={"INCIDENT_PROCESS__DATABASE__URL": url})
        assert refused.status == 3, refused.stderr
        assert "CREATE" in refused.stderr
        assert tables(site) == set()
    finally:
        server.ask("DROP USER partly@'%'")
        server.ask("SET GLOBAL binlog_format = 'STATEMENT'")
