"""The page on rights is right: users with exactly its GRANT statements can do everything, and no more."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.support.command import Command
from tests.support.listener import listening
from tests.support.receivers import start_receiver
from tests.support.source_data import create_tables, insert_customers
from tests.support.sql_server import SqlServer

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "database-rights.md"
READER, STATE = "incident_reader", "incident_state"
PASSWORDS = {READER: "a-long-random-password", STATE: "another-long-random-password"}


def statements(text: str) -> list[str]:
    """Return the statements of the page's SQL blocks."""
    blocks = re.findall(r"^```sql\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [statement.strip() for block in blocks for statement in block.split(";") if statement.strip()]


def is_later(statement: str) -> bool:
    """Tell whether the page gives a statement for the time after ``init``."""
    return statement.startswith("REVOKE")


def run_as_admin(server: SqlServer, given: list[str]) -> None:
    with server.connect(None) as admin, admin.cursor() as cursor:
        for statement in given:
            cursor.execute(statement)


@pytest.fixture
def users(sql_server: SqlServer) -> Iterator[SqlServer]:
    """A server with the source tables in ``incident_db``, and what the page's statements make of it."""
    with sql_server.connect(None) as admin, admin.cursor() as cursor:
        cursor.execute("CREATE DATABASE incident_db")
    with closing(sql_server.connect("incident_db")) as source:
        create_tables(source, "mysql")
        insert_customers(source, [{"ACCOUNT_NUM": "0000000001", "ASSET_ID": "A1", "LOAD_DATE": "2026-01-05"}])
    run_as_admin(sql_server, [text for text in statements(PAGE.read_text(encoding="utf-8")) if not is_later(text)])
    yield sql_server
    with sql_server.connect(None) as admin, admin.cursor() as cursor:
        cursor.execute(f"DROP USER '{READER}'@'%', '{STATE}'@'%'")
        for database in ("incident_db", "incident_state"):
            cursor.execute(f"DROP DATABASE {database}")


def as_user(server: SqlServer, user: str, database: str) -> Any:
    return closing(
        pymysql.connect(
            host=server.host, port=server.port, user=user, password=PASSWORDS[user], database=database, autocommit=True
        )
    )


def test_users_with_exactly_these_rights_can_run(users: SqlServer, tmp_path: Path) -> None:
    command = Command(tmp_path)
    with start_receiver(tmp_path) as receiver, listening() as chat:
        command.configure(
            database={
                "MYSQL_HOST": users.host,
                "MYSQL_PORT": users.port,
                "MYSQL_DATABASE": "incident_db",
                "MYSQL_USER": READER,
                "MYSQL_PASSWORD": PASSWORDS[READER],
            },
            state={"url": f"mysql://{STATE}:{PASSWORDS[STATE]}@{users.host}:{users.port}/incident_state"},
            api={"api_url": receiver.url},
            process={"tracking": "sql"},
            notify={"urls": f"json://{chat.address}/"},
        )
        init = command("init")
        assert init.status == 0, init.stderr
        doctor = command("doctor", "--json")
        assert doctor.status == 0, doctor.stdout
        # The source has no indexes in the field and these connections no TLS, which is said; nothing else may be
        # wanting. Where the Python of this machine lies is no matter of rights.
        findings = [item for item in doctor.json if item["subject"] != "installation"]
        warnings = [item["finding"] for item in findings if item["level"] != "ok"]
        assert [text for text in warnings if not text.startswith(("No index on", "Without TLS"))] == []
        later = [text for text in statements(PAGE.read_text(encoding="utf-8")) if is_later(text)]
        assert len(later) == 1
        run_as_admin(users, later)
        run = command.run()
        assert (run.status, run.json["delivered"]) == (0, 1), run.stderr
        assert run.messages("WARNING") == []
        for words in (["reconcile", "--repair"], ["backfill", "--from", "2026-01-01", "--to", "2026-01-31"]):
            finished = command(*words)
            assert finished.status == 0, finished.stderr
        run_as_admin(users, [f"REVOKE INSERT, UPDATE, DELETE ON incident_state.* FROM '{STATE}'@'%'"])
        assert command("history").status == command("dead-letters", "list").status == 0, "an auditor may only read"
        run_as_admin(users, [f"GRANT INSERT, UPDATE, DELETE ON incident_state.* TO '{STATE}'@'%'"])
        assert chat.heard == []
        run_as_admin(users, ["DROP TABLE incident_db.debt_payment"])
        run_as_admin(users, ["UPDATE incident_state.Process_Operation SET Next_execution_dtm = '2020-01-01'"])
        assert command.run().status != 0
        assert len(chat.heard) == 1


def test_they_can_do_no_more(users: SqlServer) -> None:
    with as_user(users, READER, "incident_db") as source, source.cursor() as cursor:
        for statement in (
            "INSERT INTO debt_payment (AP_ACCOUNT_NUMBER) VALUES ('1')",
            "DELETE FROM debt_cust_detail",
            "CREATE TABLE other (id INT)",
        ):
            with pytest.raises(pymysql.err.OperationalError, match="denied"):
                cursor.execute(statement)
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            cursor.execute("USE incident_state")
    with as_user(users, STATE, "incident_state") as state, state.cursor() as cursor:
        cursor.execute("CREATE TABLE other (id INT)")
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            cursor.execute("DROP TABLE other")
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            cursor.execute("USE incident_db")


def test_without_process_doctor_says_so_and_a_run_warns(users: SqlServer, tmp_path: Path) -> None:
    with users.connect(None) as admin, admin.cursor() as cursor:
        cursor.execute(f"REVOKE PROCESS ON *.* FROM '{READER}'@'%'")
    command = Command(tmp_path)
    source = f"mysql://{READER}:{PASSWORDS[READER]}@{users.host}:{users.port}/incident_db"
    command.configure(
        database={"URL": source},
        state={"url": f"sqlite:///{tmp_path / 'state.db'}"},
        api={"api_url": "http://127.0.0.1:9/"},
        process={"tracking": "sql"},
    )
    findings = {item["finding"]: item["remedy"] for item in command("doctor", "--json").json}
    (remedy,) = [remedy for text, remedy in findings.items() if text.startswith("Open transactions cannot be seen")]
    assert "GRANT PROCESS" in remedy


def test_the_containers_give_the_source_user_the_same_rights() -> None:
    grants = {text for text in statements(PAGE.read_text(encoding="utf-8")) if f"TO '{READER}'" in text}
    script = (ROOT / "deploy" / "compose" / "source-user.sh").read_text(encoding="utf-8")
    assert {line.rstrip(";") for line in script.splitlines() if line.startswith("GRANT")} == grants
    assert len(grants) == 3


def test_the_tables_of_the_containers_are_ones_that_a_server_takes(sql_server: SqlServer, sql_database: str) -> None:
    text = (ROOT / "deploy" / "compose" / "source-tables.sql").read_text(encoding="utf-8")
    with sql_server.connect(sql_database) as admin, admin.cursor() as cursor:
        for statement in text.split(";"):
            if statement.strip():
                cursor.execute(statement)
        cursor.execute("SHOW TABLES")
        assert {name for (name,) in cursor.fetchall()} == {"debt_cust_detail", "debt_payment"}
