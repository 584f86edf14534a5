"""The two source tables as they are in the field, all 115 + 10 columns, on MariaDB or SQLite, and rows for them.

Rows are given as dictionaries of the columns that matter to a test; every other column is NULL, as it may be in the
field. Works with connections of ``pymysql`` and of ``sqlite3``.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE

Row = Mapping[str, Any]


@cache
def source_columns() -> dict[str, dict[str, str]]:
    """Return, per table, the columns in their order with their types, from the contract's file."""
    tables: dict[str, dict[str, str]] = {}
    text = files("incident_process.document.contract").joinpath("source_columns.csv").read_text("utf-8")
    for row in csv.DictReader(text.splitlines()):
        tables.setdefault(row["table"], {})[row["column"]] = row["type"]
    return tables


def create_tables(
    connection: Any,
    dialect: str,
    customer_type: str = "date",
    payment_type: str = "datetime",
    account_type: str | None = None,
    more_types: Mapping[str, str] | None = None,
) -> None:
    """Create both tables, without key or index as in the field, with LOAD_DATE of the given types.

    ``dialect`` is "mysql" or "sqlite". ``account_type`` replaces the type of both account columns, for instance to
    give them a collation, ``more_types`` those of the columns that it names.
    """
    load_dates = {CUSTOMER_TABLE: customer_type, PAYMENT_TABLE: payment_type}
    for table, columns in source_columns().items():
        types = dict(columns) | {"LOAD_DATE": load_dates[table]}
        if account_type is not None:
            types["ACCOUNT_NUM" if table == CUSTOMER_TABLE else "AP_ACCOUNT_NUMBER"] = account_type
        types |= {name: kind for name, kind in (more_types or {}).items() if name in types}
        # Without NULL, MySQL makes a TIMESTAMP column NOT NULL and gives it a default of its own.
        body = ", ".join(f"{name} {kind} NULL" for name, kind in types.items())
        _execute(connection, f"CREATE TABLE {table} ({body})" + (" ENGINE=InnoDB" if dialect == "mysql" else ""))
    connection.commit()


def insert_customers(connection: Any, rows: Sequence[Row]) -> None:
    """Insert customer rows in one transaction."""
    _insert(connection, CUSTOMER_TABLE, rows)


def insert_payments(connection: Any, rows: Sequence[Row]) -> None:
    """Insert payment rows in one transaction."""
    _insert(connection, PAYMENT_TABLE, rows)


def _insert(connection: Any, table: str, rows: Sequence[Row]) -> None:
    if not rows:
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    mark = "?" if type(connection).__module__.startswith("sqlite3") else "%s"
    marks = ", ".join([mark] * len(names))
    values: Iterable[tuple[Any, ...]] = (tuple(row.get(name) for name in names) for row in rows)
    cursor = connection.cursor()
    try:
        cursor.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", list(values))
    finally:
        cursor.close()
    connection.commit()


def _execute(connection: Any, statement: str) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
    finally:
        cursor.close()
