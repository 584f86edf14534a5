"""Loads invented accounts into the configured source, to try a first run without the field's data (SPEC 7).

The rows carry a mark that no document shows: customers in LOAD_USER, payments in EVENT_REF. The command refuses tables
that have a row without the mark.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from incident_process.core.errors import ConfigurationError, DatabaseConnectionError
from incident_process.core.models import Record
from incident_process.database.connect import connect_blocking
from incident_process.database.errors import ErrorKind, at_start, explained
from incident_process.database.server_errors import meaning_of_error
from incident_process.database.sqlite_errors import meaning_of_sqlite
from incident_process.sandbox.demo.data import Population, Row, written
from incident_process.sandbox.demo.tables import declared_types
from incident_process.settings import Settings
from incident_process.settings.database_urls import MySQLTarget, SqliteTarget
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE
from incident_process.source.indexes import INDEX_ADVICE

MARK = "sample-data"
_MARKED = {CUSTOMER_TABLE: "LOAD_USER", PAYMENT_TABLE: "EVENT_REF"}
_BATCH = 500
"""Rows in one statement: with 115 values each, far below every packet limit."""
BEFORE_GAP = timedelta(minutes=1)
"""How far before the time gap payments are dated: the next run then has them in its window."""


class SampleLoad(Record, frozen=True, kw_only=True):
    """How much the command loaded, and where."""

    where: str
    accounts: int
    customers: int
    payments: int


class _Tables:
    """The two tables over a connection of the DB-API."""

    def __init__(self, connection: Any, mark: str, create: str) -> None:
        self._connection = connection
        self._mark = mark
        self._create = create

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[Sequence[Any]]:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall())

    def create_missing(self, missing: Sequence[str]) -> None:
        for table in missing:
            body = ", ".join(f"{name} {kind} NULL" for name, kind in declared_types()[table].items())
            self.ask(f"CREATE TABLE {table} ({body}){self._create}")
        for index in INDEX_ADVICE:
            if index.table in missing:
                self.ask(index.statement)

    def insert(self, table: str, rows: Iterator[Row], values: Mapping[str, str]) -> int:
        """Insert rows with these values in place of their own, and return how many."""
        columns = declared_types()[table]
        marks = ", ".join([self._mark] * len(columns))
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of the contract
        changed = {list(columns).index(name): value for name, value in values.items()}
        count = 0
        with closing(self._connection.cursor()) as cursor:
            while batch := list(islice(rows, _BATCH)):
                changed_rows = [tuple(changed.get(at, value) for at, value in enumerate(row)) for row in batch]
                cursor.executemany(sql, changed_rows)
                count += len(batch)
        return count


def load_sample(settings: Settings, accounts: int) -> SampleLoad:
    """Load customer rows and one payment of each invented account, all in one transaction.

    Raises:
        ConfigurationError: A table has rows that this command did not make, or lacks columns.
        DatabaseConnectionError: The database cannot be reached, or refuses a statement.
    """
    target = settings.source_target
    zone = settings.process.zone
    now = datetime.now(UTC) - timedelta(seconds=settings.process.time_gap_seconds) - BEFORE_GAP
    here = now.astimezone(zone).replace(tzinfo=None, microsecond=0)
    opened = _sqlite(target) if isinstance(target, SqliteTarget) else _mysql(target)
    with opened as (tables, commit, existing, where):
        found = existing()
        for table in found:
            _refuse_others(tables, table, found[table], where)
        tables.create_missing([table for table in _MARKED if table not in found])
        people, indexes = Population(), range(accounts)
        customers = tables.insert(CUSTOMER_TABLE, people.customers(indexes, here.date()), {"LOAD_USER": MARK})
        # Each load pays at its own time, so that a further load brings every account a newer payment.
        paid = {"EVENT_REF": MARK, "ACCOUNT_PAYMENT_DAT": written(here)}
        payments = tables.insert(PAYMENT_TABLE, people.payments(indexes, here), paid)
        commit()
    return SampleLoad(where=where, accounts=accounts, customers=customers, payments=payments)


def _refuse_others(tables: _Tables, table: str, columns: Sequence[str], where: str) -> None:
    missing = [name for name in declared_types()[table] if name not in columns]
    if missing:
        raise ConfigurationError(
            f"The table {table} in {where} lacks the column {missing[0]}: drop the table, and it is created whole."
        )
    mark = _MARKED[table]
    sql = f"SELECT 1 FROM {table} WHERE {mark} IS NULL OR {mark} <> '{MARK}' LIMIT 1"  # noqa: S608 - as above
    others = tables.ask(sql)
    if others:
        raise ConfigurationError(
            f"The table {table} in {where} holds rows that sample-data did not make: it loads nothing beside them. "
            "Name an empty database in [DATABASE]."
        )


_Opened = tuple[_Tables, Callable[[], None], Callable[[], dict[str, list[str]]], str]
"""The tables, the commit, what returns the columns of the existing tables, and the database in words."""


@contextmanager
def _sqlite(target: SqliteTarget) -> Iterator[_Opened]:
    where = f"the SQLite file {target.path}"
    try:
        with closing(sqlite3.connect(target.path)) as connection:
            tables = _Tables(connection, "?", "")
            connection.execute("BEGIN IMMEDIATE")

            def existing() -> dict[str, list[str]]:
                found = {
                    table: [str(row[1]).upper() for row in tables.ask(f"PRAGMA table_info({table})")]
                    for table in _MARKED
                }
                return {table: columns for table, columns in found.items() if columns}

            yield tables, connection.commit, existing, where
    except sqlite3.Error as exc:
        raise explained(DatabaseConnectionError, at_start(where), meaning_of_sqlite(exc)) from exc


@contextmanager
def _mysql(target: MySQLTarget) -> Iterator[_Opened]:
    where = f"the MySQL database {target.database} at {target.host}:{target.port}"
    with closing(connect_blocking(target, at_start(where))) as connection:
        tables = _Tables(connection, "%s", " ENGINE=InnoDB")

        def existing() -> dict[str, list[str]]:
            found: dict[str, list[str]] = {}
            for table, column in tables.ask(
                "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() "
                "AND TABLE_NAME IN (%s, %s)",
                tuple(_MARKED),
            ):
                found.setdefault(str(table), []).append(str(column).upper())
            return found

        try:
            yield tables, connection.commit, existing, where
        except Exception as exc:
            meaning = meaning_of_error(exc)
            if meaning is None:
                raise
            if meaning.kind is ErrorKind.PRIVILEGE:
                meaning = meaning.with_remedy("Grant the user CREATE, INDEX, SELECT and INSERT, for the time of trying")
            raise explained(DatabaseConnectionError, at_start(where), meaning) from exc
