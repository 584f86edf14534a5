"""Columns of types that the field's contract does not have: read exactly, or refused by a sentence (SPEC 2)."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from incident_process.core.errors import ConfigurationError
from incident_process.document.assembly import build_content, build_document
from incident_process.operations.doctor import Level
from incident_process.source.base import AccountRows
from incident_process.source.columns import CUSTOMER_COLUMNS
from tests.integration.test_doctor import about, findings
from tests.integration.test_source import mysql_source
from tests.support.mariadb import MariaDBServer
from tests.support.source_data import create_tables, insert_customers, insert_payments
from tests.support.sql_server import SqlServer

ACCOUNT = "0000000001"
AS_OF = datetime(2026, 2, 1, tzinfo=UTC)
ZONE = ZoneInfo("UTC")


def rows_of(server: SqlServer, database: str, types: Mapping[str, str], values: Mapping[str, Any]) -> AccountRows:
    """Return the account's rows, read from tables with these types and values, by either way of picking them."""
    with server.connect(database) as connection:
        create_tables(connection, "mysql", more_types=types)
        loaded = {"LOAD_DATE": "2026-01-01"}
        customer = {name: value for name, value in values.items() if "AP_ACCOUNT" not in name}
        payment = {name: value for name, value in values.items() if "AP_ACCOUNT" in name}
        insert_customers(connection, [{"ACCOUNT_NUM": ACCOUNT, **loaded, **customer}])
        if payment:
            insert_payments(connection, [{"AP_ACCOUNT_NUMBER": ACCOUNT, **loaded, **payment}])
        connection.commit()

    async def read(accounts: Sequence[str]) -> list[AccountRows]:
        async with mysql_source(server, database) as source:
            return await source.read(accounts, AS_OF)

    return asyncio.run(read([ACCOUNT]))[0]


def content(server: SqlServer, database: str, types: Mapping[str, str], values: Mapping[str, Any]) -> Any:
    rows = rows_of(server, database, types, values)
    made = build_document(build_content(rows.account, rows.customers, rows.payments, ZONE), 1, AS_OF, "tests")
    return msgspec.to_builtins(made, builtin_types=(Decimal,))


@pytest.mark.parametrize(
    ("column", "kind", "stored", "written"),
    [
        ("OUTSTANDING", "FLOAT", "123456.78", ("123456.78", "Arrears")),
        ("OUTSTANDING", "FLOAT(10,2)", "1234567.89", ("1234567.88", "Arrears")),  # the nearest that it can hold
        ("OUTSTANDING", "DOUBLE", "123456789.12", ("123456789.12", "Arrears")),
        ("LAST_PAYMENT_MNY", "FLOAT", "98765.43", ("98765.43", "Last_Actions", 0, "Payment_Money")),
        ("AP_ACCOUNT_PAYMENT_MNY", "FLOAT", "87654.32", ("87654.32", "Last_Actions", 0, "Payment_Money")),
        ("CREDIT_CLASS_ID", "BIT(8)", 5, ("5", "Account_Details", "Credit_Class_Id")),
        ("CUSTOMER_TYPE_ID", "FLOAT", "12345678", ("12345678", "Customer_Details", "Customer_Type_Id")),
        ("CREDIT_CLASS_ID", "VARBINARY(9)", "17", ("17", "Account_Details", "Credit_Class_Id")),
        ("ACCOUNT_STATUS_BSS", "BIT(1)", 1, ("1", "Account_Details", "Account_Status")),
        ("ACCOUNT_STATUS_BSS", "BIT(64)", 2**64 - 1, (str(2**64 - 1), "Account_Details", "Account_Status")),
        ("ZIP_CODE", "FLOAT", "1234567", ("1234567", "Customer_Details", "Zip_Code")),
        ("ZIP_CODE", "DOUBLE", "10100", ("10100", "Customer_Details", "Zip_Code")),
        ("NIC", "TIME", "34:05:06", ("34:05:06", "Customer_Details", "Nic")),
        ("NIC", "TIME", "-01:02:03", ("-01:02:03", "Customer_Details", "Nic")),
        ("NIC", "YEAR", 1999, ("1999", "Customer_Details", "Nic")),
        ("NIC", "VARBINARY(20)", "පෙරේරා"[:4], ("පෙරේරා"[:4], "Customer_Details", "Nic")),
        (
            "LAST_BILL_DTM",
            "VARBINARY(20)",
            "2026-01-05",
            ("2026-01-05T00:00:00.000Z", "Last_Actions", 0, "Billed_Created"),
        ),
    ],
)
def test_a_value_is_read_as_its_column_holds_it(
    sql_server: SqlServer, sql_database: str, column: str, kind: str, stored: Any, written: Sequence[Any]
) -> None:
    found: Any = content(sql_server, sql_database, {column: kind}, {column: stored})
    shown, *place = written
    for step in place:
        found = found[step]
    assert str(found) == shown


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("OUTSTANDING", "TIME"),
        ("OUTSTANDING", "DATETIME"),
        ("CREDIT_CLASS_ID", "DATE"),
        ("LAST_BILL_DTM", "TIME"),
        ("LAST_BILL_DTM", "FLOAT"),
        ("LAST_PAYMENT_DAT", "YEAR"),
        ("NIC", "POINT"),
        ("ASSET_ID", "GEOMETRY"),
    ],
)
def test_a_type_that_cannot_be_read_is_refused_by_run_and_doctor_alike(
    sql_server: SqlServer, sql_database: str, column: str, kind: str
) -> None:
    with sql_server.connect(sql_database) as connection:
        create_tables(connection, "mysql", more_types={column: kind})

    async def enter() -> None:
        async with mysql_source(sql_server, sql_database):
            pass

    with pytest.raises(ConfigurationError) as caught:
        asyncio.run(enter())
    said = f"the column {column} of the table debt_cust_detail is of type {kind.lower()}"
    assert said in str(caught.value)
    assert "; it has to be " in str(caught.value)
    url = sql_server.url(sql_database)
    (finding,) = about(findings("http://127.0.0.1:9/x", url, url), "source", Level.ERROR)
    assert said in finding.finding
    assert finding.exit_status == 2


def test_a_version_is_not_believed() -> None:
    """A proxy gives a version of its own: here MariaDB's server says that it is MySQL."""
    server = MariaDBServer("--version=8.0.36")
    try:
        server.create()
        assert server.ask("SELECT VERSION()") == ("8.0.36",)
        database = server.create_database()
        rows = rows_of(server, database, {}, {"ASSET_ID": "A1", "NIC": "පෙරේරා"})
    finally:
        server.stop()
    assert [row[CUSTOMER_COLUMNS.index("NIC")] for row in rows.customers] == ["පෙරේරා"]
