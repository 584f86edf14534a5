"""``doctor``: each finding with its remedy, and no change anywhere (SPEC 7)."""

import asyncio
import socket
import sqlite3
import tempfile
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from incident_process.core.process_identity import Runner
from incident_process.operations.doctor import Finding, Level, examine
from incident_process.operations.doctor.state import unencrypted
from incident_process.settings import Settings
from incident_process.settings.database_urls import parse_target
from incident_process.source.indexes import INDEX_ADVICE
from incident_process.state.sql import SqlStateStore
from tests.support.authority import Authority
from tests.support.described import serving
from tests.support.fastapi_documents import PATH, contract, document
from tests.support.receivers import start_receiver
from tests.support.source_data import create_tables, insert_customers, insert_payments
from tests.support.sql_server import SqlServer


def findings(
    api_url: str,
    database: str,
    state: str,
    ca_file: Path | None = None,
    more: dict[str, dict[str, Any]] | None = None,
    **process: Any,
) -> list[Finding]:
    settings = Settings.model_validate(
        {
            "database": {"url": database},
            "state": {"url": state},
            "api": {"api_url": api_url, "ca_file": ca_file},
            "process": {"tracking": "sql", **process},
            **(more or {}),
        }
    )
    return asyncio.run(examine(settings))


def about(found: list[Finding], subject: str, level: Level) -> list[Finding]:
    return [finding for finding in found if finding.subject == subject and finding.level is level]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    path = tmp_path / "source.db"
    connection = sqlite3.connect(path)
    create_tables(connection, "sqlite")
    insert_customers(connection, [{"ACCOUNT_NUM": "1", "LOAD_DATE": "2026-01-01"}, {"ACCOUNT_NUM": "2"}])
    insert_payments(connection, [{"LOAD_DATE": "2026-01-01 00:00:00"}])
    connection.commit()
    connection.close()
    return f"sqlite:///{path}"


def test_a_source_as_in_the_field_gets_its_indexes_advised(sqlite_url: str, tmp_path: Path) -> None:
    with start_receiver(tmp_path) as receiver:
        found = findings(receiver.url, sqlite_url, f"sqlite:///{tmp_path}/state.db")
    remedies = {finding.remedy.rstrip(";") for finding in found}
    assert {advice.statement for advice in INDEX_ADVICE} <= remedies
    assert "1 row(s) can never" in about(found, "debt_cust_detail", Level.WARNING)[-1].finding
    assert "1 row(s) can never" in about(found, "debt_payment", Level.WARNING)[-1].finding
    assert "DATETIME" in about(found, "debt_payment", Level.OK)[0].finding
    (operation,) = about(found, "operation", Level.ERROR)
    assert operation.exit_status == 6
    assert operation.finding.endswith("Process_Operation has no row of that name.")
    assert operation.remedy == "Create it with 'incident-process init', or correct [PROCESS] operation_name."
    assert about(found, "deliveries", Level.OK)
    assert about(found, "receiver", Level.OK)


def test_a_watermark_that_was_set_ahead_of_the_clock_is_a_warning(sqlite_url: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection, connection:
        connection.execute(
            "CREATE TABLE Process_Operation (Process_Operation_Sequence INT, Operation_name TEXT, "
            "execution_duration INT, Next_execution_dtm DATETIME, Last_execution_dtm DATETIME, end_dtm DATETIME)"
        )
        connection.execute(
            "INSERT INTO Process_Operation VALUES (7, 'op', 60, '2026-01-01 00:00:00', '2999-01-01 00:00:00', NULL)"
        )
    found = findings("http://127.0.0.1:9/", sqlite_url, f"sqlite:///{tmp_path}/state.db", operation_name="op")
    (operation,) = about(found, "operation", Level.WARNING)
    assert "2999-01-01T00:00:00Z, which is still to come" in operation.finding
    assert "Last_execution_dtm" in operation.remedy


def test_connections_are_tried_as_many_as_a_run_opens(sql_server: SqlServer, sql_database: str) -> None:
    with sql_server.connect(sql_database) as connection:
        create_tables(connection, "mysql")
    url = sql_server.url(sql_database)
    assert about(findings("http://127.0.0.1:9/x", url, url), "connections", Level.OK)
    sql_server.ask("CREATE USER 'few'@'%' IDENTIFIED BY 'a-long-random-password' WITH MAX_USER_CONNECTIONS 3")
    sql_server.ask(f"GRANT ALL ON {sql_database}.* TO 'few'@'%'")
    try:
        url = f"mysql://few:a-long-random-password@{sql_server.host}:{sql_server.port}/{sql_database}"
        (finding,) = about(findings("http://127.0.0.1:9/x", url, url), "connections", Level.ERROR)
    finally:
        sql_server.ask("DROP USER 'few'@'%'")
    assert finding.exit_status == 3
    assert "MAX_USER_CONNECTIONS" in finding.remedy


def test_temporary_space_is_looked_at(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = f"sqlite:///{tmp_path}/state.db"
    assert about(findings("http://127.0.0.1:9/x", sqlite_url, state), "temporary space", Level.OK)
    monkeypatch.setattr("incident_process.operations.doctor.files.LEAST_SPACE", 1 << 60)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    (finding,) = about(findings("http://127.0.0.1:9/x", sqlite_url, state), "temporary space", Level.ERROR)
    assert "set TMPDIR" in f"{finding.finding} {finding.remedy}"


def test_a_collector_of_traces_and_a_cluster(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what was not tried; a run goes on without its collector."""
    state = f"sqlite:///{tmp_path}/state.db"

    def look(port: int) -> list[Finding]:
        tracing = {"endpoint": f"http://127.0.0.1:{port}/v1/traces"}
        return findings("http://127.0.0.1:9/", sqlite_url, state, more={"tracing": tracing, "engine": dask})

    dask = {"engine": "dask", "workers": 3}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = look(port)
    (traces,) = about(found, "traces", Level.OK)
    assert "accepts connections. Whether it takes spans was not tried." in traces.finding
    (workers,) = about(found, "workers", Level.OK)
    assert "start 3 worker process(es) was not tried" in workers.finding
    (away,) = about(look(port), "traces", Level.WARNING)
    assert "does not answer (ConnectionRefusedError)" in away.finding
    assert "[TRACING] endpoint" in away.remedy

    monkeypatch.setattr("incident_process.cluster.dask.CONNECT_SECONDS", 0.5)
    nowhere, dask = "mysql://u:p@127.0.0.1:9/d", {"engine": "dask", "scheduler": "tcp://127.0.0.1:9"}
    (lost,) = about(findings("http://127.0.0.1:9/", nowhere, nowhere, more={"engine": dask}), "workers", Level.ERROR)
    assert "tcp://127.0.0.1:9 cannot be reached" in lost.finding
    assert lost.exit_status == 4


def test_rows_that_are_still_to_come_are_a_warning(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "source.db")) as connection:
        create_tables(connection, "sqlite")
        insert_customers(connection, [{"ACCOUNT_NUM": "1", "LOAD_DATE": day} for day in ("2998-01-01", "2999-01-02")])
    found = findings("http://127.0.0.1:9/", f"sqlite:///{tmp_path}/source.db", f"sqlite:///{tmp_path}/state.db")
    (finding,) = [one for one in about(found, "debt_cust_detail", Level.WARNING) if "still to come" in one.finding]
    assert finding.finding.startswith("2 row(s) of debt_cust_detail have a LOAD_DATE that is still to come")
    assert "the last of them 2999-01-02T00:00:00Z: they wait until then." in finding.finding
    assert finding.remedy.startswith("If they are not meant to, [PROCESS] source_timezone = UTC is not the zone")


NOBODY = (None, "", "   ")
NO_DATE_ON_A_SERVER = (None, "0000-00-00", "1890-01-01")
NO_DATE = {
    "mariadb": NO_DATE_ON_A_SERVER,
    "mysql": NO_DATE_ON_A_SERVER,
    "sqlite": (None, "", "garbage", "0000-00-00", "20/11/2026", "1890-01-01"),
}


@pytest.mark.parametrize("product", NO_DATE)
@pytest.mark.parametrize("kind", ["date", "datetime", "timestamp"])
def test_the_statement_that_doctor_shows_finds_the_rows_that_it_counts(
    product: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    connection: Any
    dialect = "sqlite" if product == "sqlite" else "mysql"
    if dialect == "sqlite":
        url, connection = f"sqlite:///{tmp_path}/s.db", sqlite3.connect(tmp_path / "s.db")
    else:
        server, name = request.getfixturevalue(product), request.getfixturevalue(f"{product}_database")
        url, connection = server.url(name), server.connect(name)
    with closing(connection), closing(connection.cursor()) as cursor:
        create_tables(connection, dialect, customer_type=kind, payment_type=kind)
        if dialect == "mysql":
            cursor.execute("SET sql_mode = ''")  # as the loaders of zero dates have it
        rows = [
            ("1", "2026-01-01"),
            *(("2", at) for at in NO_DATE[product]),
            *((account, "2026-01-01") for account in NOBODY),
        ]
        insert_customers(connection, [{"ACCOUNT_NUM": account, "LOAD_DATE": at} for account, at in rows])
        insert_payments(connection, [{"AP_ACCOUNT_NUMBER": account, "LOAD_DATE": at} for account, at in rows])
        if dialect == "mysql":
            cursor.execute("SET sql_mode = DEFAULT, time_zone = '+05:30'")  # as an operator's client may have it
        found = findings("http://127.0.0.1:9/x", url, f"sqlite:///{tmp_path}/state.db")
        for table in ("debt_cust_detail", "debt_payment"):
            (finding,) = [one for one in about(found, table, Level.WARNING) if "can never" in one.finding]
            assert finding.finding.startswith(f"{len(rows) - 1} row(s)")
            cursor.execute(finding.remedy[finding.remedy.index("SELECT") :])
            assert len(cursor.fetchall()) == len(rows) - 1


def test_what_is_advised_is_what_doctor_looks_for(sql_server: SqlServer, sql_database: str) -> None:
    with sql_server.connect(sql_database) as connection:
        create_tables(connection, "mysql")
        with connection.cursor() as cursor:
            for advice in INDEX_ADVICE:
                cursor.execute(advice.statement)
    url = sql_server.url(sql_database)
    found = findings("http://127.0.0.1:9/x", url, url)
    assert [finding for finding in found if finding.level is Level.WARNING] == []
    (told,) = [one for one in found if one.finding.startswith("Without TLS, another user of this host")]
    assert (told.subject, told.level) == ("source", Level.OK), "source and state are on one server"
    assert about(found, "source", Level.OK)
    assert about(found, "clock", Level.OK)
    (receiver,) = about(found, "receiver", Level.ERROR)
    assert "127.0.0.1:9" in receiver.finding
    assert receiver.remedy


def test_a_user_without_process_is_told_what_it_costs(sql_server: SqlServer, sql_database: str) -> None:
    with sql_server.connect(sql_database) as connection, connection.cursor() as cursor:
        create_tables(connection, "mysql")
        cursor.execute("CREATE USER 'plain'@'%' IDENTIFIED BY 'synthetic'")
        cursor.execute(f"GRANT ALL ON {sql_database}.* TO 'plain'@'%'")
        url = f"mysql://plain:synthetic@127.0.0.1:{sql_server.port}/{sql_database}"
        found = findings("http://127.0.0.1:9/x", url, url)
        cursor.execute("DROP USER 'plain'@'%'")
    assert any("GRANT PROCESS" in finding.remedy for finding in about(found, "source", Level.WARNING))


def test_a_database_that_is_down_is_an_error_and_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    found = findings("http://127.0.0.1:9/x", "mysql://u:secret@127.0.0.1:9/db", f"sqlite:///{tmp_path}/state.db")
    (source,) = about(found, "source", Level.ERROR)
    assert source.exit_status == 3
    assert "secret" not in f"{found}"
    assert about(found, "state", Level.OK)
    assert about(found, "lease", Level.OK)
    both = findings("http://127.0.0.1:9/x", "mysql://u:secret@127.0.0.1:9/db", "mysql://u:secret@127.0.0.1:9/db")
    (state,) = about(both, "state", Level.ERROR)
    assert state.finding.startswith("The state's database db at 127.0.0.1:9: it cannot be reached")


@pytest.mark.parametrize(
    ("started", "level", "said"),
    [(None, Level.OK, ": a run is on."), ("1", Level.WARNING, ", but that process is gone: the run was killed.")],
)
def test_the_lease_of_a_killed_run_is_not_taken_for_a_run_at_work(
    sqlite_url: str, tmp_path: Path, started: str | None, level: Level, said: str
) -> None:
    state, this = f"sqlite:///{tmp_path}/state.db", Runner.this()
    holder = msgspec.structs.replace(this, started=started or this.started)

    async def take() -> None:
        async with SqlStateStore(state, "op", ZoneInfo("UTC")) as store:
            await store.prepare()
            await store.acquire_lease(str(holder), 60)

    asyncio.run(take())
    found = findings("http://127.0.0.1:9/x", sqlite_url, state, operation_name="op")
    (lease,) = about(found, "lease", level)
    assert lease.finding.endswith(said)
    assert ("incident-process run --now" in lease.remedy) == bool(started)


def test_a_receiver_is_looked_at_with_tls_where_a_run_would_speak_it(sqlite_url: str, tmp_path: Path) -> None:
    own, other = Authority("own"), Authority("other")
    ca_file = own.write(tmp_path / "ca.pem")

    def look(api_url: str, ca_file: Path | None) -> Finding:
        found = findings(api_url, sqlite_url, f"sqlite:///{tmp_path}/state.db", ca_file)
        (finding,) = [one for one in found if one.subject == "receiver"]
        return finding

    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = own.server(tmp_path, "127.0.0.1").wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        assert look(f"https://127.0.0.1:{port}/", ca_file).level is Level.OK
        for unknown in (None, other.write(tmp_path / "other.pem")):
            found = look(f"https://127.0.0.1:{port}/", unknown)
            assert (found.level, found.exit_status) == (Level.ERROR, 4)
            assert "no TLS comes about" in found.finding
            assert "unable to get local issuer certificate" in found.finding
            assert "[API] ca_file" in found.remedy
        server.shutdown()
    with start_receiver(tmp_path) as receiver:
        assert look(receiver.url.replace("http:", "https:"), None).level is Level.ERROR


def test_a_remedy_does_not_send_to_a_server_that_has_answered(
    sql_server: SqlServer, sql_database: str, sqlite_url: str
) -> None:
    wrong = f"mysql://nobody:wrong@{sql_server.host}:{sql_server.port}/{sql_database}"
    for subject, found in (
        ("source", findings("http://127.0.0.1:9/x", wrong, wrong)),
        ("state", findings("http://127.0.0.1:9/x", sqlite_url, wrong)),
    ):
        (finding,) = about(found, subject, Level.ERROR)
        assert finding.remedy == "Check user and password, and from which hosts the user may connect."
    away = findings("http://127.0.0.1:9/x", "mysql://u:p@127.0.0.1:9/db", "mysql://u:p@127.0.0.1:9/db")
    remedies = {finding.remedy for subject in ("source", "state") for finding in about(away, subject, Level.ERROR)}
    assert remedies == {"Check host and port, and whether the server runs."}


def found_of_state(server: SqlServer, database: str, source: str, rights: str) -> Finding:
    """Return the one error of a state whose user has these rights on it."""
    with server.connect(None) as admin, admin.cursor() as cursor:
        cursor.execute("CREATE USER 'limited'@'%' IDENTIFIED BY 'a-long-random-password'")
        cursor.execute(f"GRANT {rights} ON {database}.* TO 'limited'@'%'")
        try:
            state = f"mysql://limited:a-long-random-password@{server.host}:{server.port}/{database}"
            (finding,) = about(findings("http://127.0.0.1:9/x", source, state), "state", Level.ERROR)
        finally:
            cursor.execute("DROP USER 'limited'@'%'")
    return finding


def test_a_state_that_may_only_be_read_is_an_error(sql_server: SqlServer, sql_database: str, sqlite_url: str) -> None:
    state = sql_server.url(sql_database)
    assert about(findings("http://127.0.0.1:9/x", sqlite_url, state), "state", Level.OK)
    finding = found_of_state(sql_server, sql_database, sqlite_url, "SELECT")
    assert finding.exit_status == 3
    assert "lacks a privilege on a table" in finding.finding
    assert finding.remedy.startswith("Grant SELECT, INSERT, UPDATE and DELETE")


def test_an_empty_state_without_the_right_to_create_is_told_the_right(
    sql_server: SqlServer, sql_database: str, sqlite_url: str
) -> None:
    finding = found_of_state(sql_server, sql_database, sqlite_url, "SELECT, INSERT, UPDATE, DELETE")
    assert "CREATE, ALTER and INDEX" in finding.remedy


def test_a_receiver_without_a_description_is_not_spoken_of(sqlite_url: str, tmp_path: Path) -> None:
    with start_receiver(tmp_path) as receiver:
        found = findings(receiver.url, sqlite_url, f"sqlite:///{tmp_path}/state.db")
        assert receiver.requests() == [], "nothing was sent to it"
    (accepts,) = [finding for finding in found if finding.subject == "receiver"]
    assert accepts.finding.endswith("accepts connections; path and credentials were not tried.")
    nowhere = findings("http://no-such-host.invalid/x", sqlite_url, f"sqlite:///{tmp_path}/state.db")
    (unknown,) = [finding for finding in nowhere if finding.subject == "receiver"]
    assert unknown.finding.startswith("The name no-such-host.invalid does not resolve (")
    assert not [finding for finding in found if finding.subject == "receiver's contract"]


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({}, Level.OK, "asks for what the contract sends"),
        ({"Note": ({"type": "string"}, False)}, Level.OK, "unknown here and optional: Note."),
        ({"Drc_Code": ({"type": "string"}, True)}, Level.WARNING, "required and never sent: Drc_Code."),
        (
            {"Arrears": ({"type": "integer"}, True)},
            Level.WARNING,
            "of another type: Arrears (number here, integer there).",
        ),
        ({"Arrears": (None, False)}, Level.WARNING, "sent and missing there: Arrears."),
    ],
)
def test_a_description_that_drifts_from_the_contract_is_found_before_the_first_422(
    sqlite_url: str, tmp_path: Path, change: dict[str, Any], level: Level, said: str
) -> None:
    schema = contract()
    for name, (described, is_required) in change.items():
        schema["properties"].pop(name, None)
        schema["required"] = [one for one in schema["required"] if one != name] + [name] * is_required
        if described is not None:
            schema["properties"][name] = described
    with serving() as site:
        site.publish("/openapi.json", document(schema))
        found = findings(site.origin + PATH, sqlite_url, f"sqlite:///{tmp_path}/state.db")
        assert {method for method, _, _ in site.asked} == {"GET"}
    (finding,) = about(found, "receiver's contract", level)
    assert said in finding.finding
    assert bool(finding.remedy) == (level is Level.WARNING)


def test_a_description_of_other_addresses_is_told(sqlite_url: str, tmp_path: Path) -> None:
    with serving() as site:
        site.publish("/openapi.json", document(path="/Request_Incident"))
        found = findings(site.origin + PATH, sqlite_url, f"sqlite:///{tmp_path}/state.db")
    (finding,) = about(found, "receiver's contract", Level.WARNING)
    assert f"has no POST to {PATH}; it has /Request_Incident." in finding.finding


def test_a_password_without_tls_is_a_warning_for_each_server_that_is_elsewhere() -> None:
    targets = {
        name: parse_target(f"mysql://u:p@{host}/{name}", None)
        for name, host in {"source": "db.example", "state": "DB.example:3306", "third": "other.example"}.items()
    }
    found = unencrypted(targets)
    assert [(one.subject, one.level) for one in found] == [("source", Level.WARNING), ("third", Level.WARNING)]
    assert all("whoever answers" in one.finding and "MYSQL_SSL = on" in one.remedy for one in found)
