"""The two source tables in a SQLite file: all 115 + 10 columns as the field declares them (SPEC 2)."""

import csv
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import cache
from importlib.resources import files
from pathlib import Path

from incident_process.document import contract
from incident_process.source.indexes import INDEX_ADVICE

Value = str | int | None
"""A row's value, which the drivers of SQLite and MySQL bind unchanged. Money and dates are text."""


@cache
def declared_types() -> dict[str, dict[str, str]]:
    """Return, per table, the type of each column, in the order of the columns (``contract/source_columns.csv``)."""
    tables: dict[str, dict[str, str]] = {}
    text = files(contract).joinpath("source_columns.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        tables.setdefault(row["table"], {})[row["column"]] = row["type"]
    return tables


def create_sqlite(path: Path) -> None:
    """Create both tables in a SQLite file, with the indexes that ``source.indexes`` advises.

    Raises:
        sqlite3.OperationalError: The file cannot be written, or has one of the tables already.
    """
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, columns in declared_types().items():
            body = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            connection.execute(f"CREATE TABLE {table} ({body})")
        for index in INDEX_ADVICE:
            connection.execute(index.statement)


def insert(connection: sqlite3.Connection, table: str, rows: Iterable[Sequence[Value]]) -> int:
    """Insert whole rows, in the order of the table's columns, in one transaction; return how many.

    It takes the rows one by one, so memory does not grow with their number.
    """
    marks = ", ".join("?" * len(declared_types()[table]))
    with connection:
        return connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows).rowcount  # noqa: S608
