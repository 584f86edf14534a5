"""The commands before the first run: ``config show``, ``config check``, ``sample-data``, ``--version``, ``-h``."""

import time
from pathlib import Path

import pytest

import incident_process
from incident_process.sandbox.receiver import INCIDENT_PATH
from tests.support.command import Command, Finished
from tests.support.receivers import start_receiver
from tests.support.source_data import create_tables, insert_customers
from tests.support.sql_server import SqlServer

SECRET = "a-secret-of-the-test"


def good(finished: Finished) -> Finished:
    assert finished.status == 0, finished.stderr
    return finished


def values(finished: Finished) -> dict[str, tuple[str | None, str]]:
    return {f"[{one['section']}] {one['key']}": (one["value"], one["origin"]) for one in finished.json["keys"]}


def test_config_show_names_values_and_where_they_come_from(command: Command) -> None:
    command.write(
        "[DATABASE]\nMYSQL_HOST = db\n; a comment\nMYSQL_DATABASE = d\nMYSQL_USER = u\n"
        f"MYSQL_PASSWORD = {SECRET}\n\n[API]\napi_url = https://receiver.example/x?key={SECRET}\n"
        f"headers = X-Client: {SECRET}\n\n  timeout_seconds: {SECRET}\nmax_attempts = 7\n"
        f"[PROCESS]\ntracking = sql\n[STATE]\nurl = mysql://u:{SECRET},x@h/d\n"
    )
    env = {"INCIDENT_PROCESS__PROCESS__CHUNK_ACCOUNTS": "50", "INCIDENT_PROCESS__API__BEARER_TOKEN": SECRET}
    shown = good(command("config", "show", "--json", env=env))
    file = "config/databaseConfig.ini"
    assert shown.json["config"] == file
    found = values(shown)
    assert found["[DATABASE] MYSQL_HOST"] == ("db", f"{file}, line 2")
    assert found["[DATABASE] MYSQL_PASSWORD"] == ("********", f"{file}, line 6")
    assert found["[API] api_url"] == ("https://receiver.example/x?********", f"{file}, line 9")
    assert found["[API] headers"] == ("X-Client: ********, timeout_seconds: ********", f"{file}, line 10")
    assert found["[API] timeout_seconds"] == ("30", "default")
    assert found["[API] max_attempts"] == ("7", f"{file}, line 13")
    assert found["[API] bearer_token"] == (
        "********",
        "environment variable INCIDENT_PROCESS__API__BEARER_TOKEN",
    )
    assert found["[STATE] url"] == ("mysql://u:********@h/d", f"{file}, line 17")
    variable = "environment variable INCIDENT_PROCESS__PROCESS__CHUNK_ACCOUNTS"
    assert found["[PROCESS] chunk_accounts"] == ("50", variable)
    text = good(command("config", "show", env=env))
    assert "[API] max_attempts" in text.stdout
    assert SECRET not in f"{shown}{text}"


def test_config_check_looks_at_the_file_alone(command: Command) -> None:
    right = (
        "[DATABASE]\nURL = mysql://u:p@127.0.0.1:9/d\n[API]\napi_url = http://127.0.0.1:9/x\n"
        "[PROCESS]\ntracking = sql\n"
    )
    command.write(right)
    assert "complete" in good(command("config", "check")).stdout, "it connects to nothing"
    command.write(right.replace("127.0.0.1:9/x", "").replace("sql", "files"))
    wrong = command("config", "check")
    assert wrong.status == 2
    assert "[API] api_url" in wrong.stderr
    assert "[PROCESS] tracking has a wrong value 'files': it must be mongo or sql" in wrong.stderr
    elsewhere = command.folder / "other.ini"
    elsewhere.write_text(right.replace("mysql://u:p@127.0.0.1:9/d", "sqlite:///no.db"))
    said = f"The configuration is {elsewhere}."
    assert said in command("run", "--config", "other.ini").messages("INFO")
    assert said not in good(command("config", "check", "--config", "other.ini")).stderr


def test_alert_addresses_are_checked_with_the_configuration(command: Command) -> None:
    command.configure(
        database={"URL": "sqlite:///a.db"},
        api={"api_url": "http://127.0.0.1:9/x"},
        process={"tracking": "sql"},
        notify={"urls": f"nonsense://{SECRET} json://127.0.0.1:9/{SECRET}"},
    )
    wrong = command("config", "check")
    assert wrong.status == 2
    assert "Address 1 of [NOTIFY] urls is none that Apprise understands." in wrong.stderr
    assert "Address 2" not in wrong.stderr
    found = command("doctor", "--test-alert", "--json")
    alerts = [one["finding"] for one in found.json if one["subject"] == "alerts"]
    assert alerts[1] == "Address 2 of [NOTIFY] urls did not take the test alert."
    assert SECRET not in f"{wrong}{found}"


def test_version_and_short_help_work_everywhere(command: Command) -> None:
    assert good(command("--version")).stdout == f"incident-process {incident_process.__version__}\n"
    for arguments in ((), ("run",), ("dead-letters", "list"), ("config", "show")):
        assert good(command(*arguments, "-h")).stdout.startswith("Usage: ")
    wrong = command("deliveries", "--status", "sent")
    assert wrong.status == 2
    assert "Invalid value for '--status': 'sent' is not one of 'pending', 'delivered'," in wrong.stderr


def test_sample_data_makes_a_first_run_possible(command: Command, tmp_path: Path) -> None:
    with start_receiver(tmp_path) as receiver:
        command.configure(
            database={"URL": "sqlite:///source.db"}, api={"api_url": receiver.url}, process={"tracking": "sql"}
        )
        made = good(command("sample-data", "--accounts", "20", "--json")).json
        assert (made["accounts"], made["payments"]) == (20, 20)
        assert made["customers"] >= 20
        assert good(command("sample-data", "--accounts", "1")).stdout.endswith("Next: incident-process init\n")
        good(command("init"))
        first = good(command.run()).json
        assert (first["status"], first["delivered"], first["dead"]) == ("completed", 20, 0)
        time.sleep(1.1)  # a payment's date has whole seconds
        further = good(command("sample-data", "--accounts", "5")).stdout
        assert further.startswith("Loaded ")
        assert further.endswith("Next: incident-process run --now\n")
        second = good(command("run", "--now", "--json")).json
        assert (second["status"], second["delivered"]) == ("completed", 5)


def test_sample_data_goes_into_a_server_and_beside_nobodys_rows(
    command: Command, sql_server: SqlServer, sql_database: str
) -> None:
    command.configure(
        database={"URL": sql_server.url(sql_database)},
        api={"api_url": f"http://127.0.0.1:9{INCIDENT_PATH}"},
        process={"tracking": "sql"},
    )
    assert good(command("sample-data", "--accounts", "7", "--json")).json["accounts"] == 7
    with sql_server.connect(sql_database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(DISTINCT ACCOUNT_NUM) FROM debt_cust_detail")
        assert cursor.fetchone() == (7,)
        insert_customers(connection, [{"ACCOUNT_NUM": "0000000001", "LOAD_DATE": "2026-01-01"}])
        connection.commit()
        refused = command("sample-data")
        assert refused.status == 2
        assert "debt_cust_detail" in refused.stderr
        assert "holds rows that sample-data did not make" in refused.stderr
        cursor.execute("SELECT COUNT(DISTINCT ACCOUNT_NUM) FROM debt_cust_detail")
        assert cursor.fetchone() == (8,)


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/source.db", "mysql://u:p@127.0.0.1:9/d"])
def test_sample_data_without_a_database_is_one_sentence(command: Command, url: str) -> None:
    command.configure(database={"URL": url}, api={"api_url": "http://127.0.0.1:9/x"}, process={"tracking": "sql"})
    refused = command("sample-data")
    assert refused.status == 3
    assert "Traceback" not in refused.stderr


def test_sample_data_loads_all_or_nothing(command: Command, sql_server: SqlServer, sql_database: str) -> None:
    """A table of the field's that lacks a column of the contract is left as it is."""
    with sql_server.connect(sql_database) as connection, connection.cursor() as cursor:
        create_tables(connection, "mysql")
        cursor.execute("ALTER TABLE debt_payment DROP COLUMN EVENT_REF")
        command.configure(
            database={"URL": sql_server.url(sql_database)},
            api={"api_url": "http://127.0.0.1:9/x"},
            process={"tracking": "sql"},
        )
        refused = command("sample-data")
        assert refused.status == 2
        assert "lacks the column EVENT_REF" in refused.stderr
        cursor.execute("SELECT COUNT(*) FROM debt_cust_detail")
        assert cursor.fetchone() == (0,)
