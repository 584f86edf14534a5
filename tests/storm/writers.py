"""The source's writers at work: threads, each with a connection of its own, that outlive the server's death."""

import contextlib
import threading
from collections import Counter
from itertools import chain
from typing import Any

import pymysql

from tests.storm.plan import SitePlan
from tests.storm.writing import GRID_SECONDS, Change, Stamp, Transaction, transactions
from tests.support.sql_server import SqlServer

LOCK_WAIT_SECONDS = 3
GONE_SECONDS = 0.2
ZONE_MINUTES = {"UTC": 0, "Asia/Colombo": 330}
_NEVER = {
    "null": "NULL",
    "zero": "'0000-00-00'",
    "future": "UTC_TIMESTAMP(6) + INTERVAL 2 DAY",
}
_ACCOUNT = {"debt_cust_detail": "ACCOUNT_NUM", "debt_payment": "AP_ACCOUNT_NUMBER"}


class Writer:
    """One writer; ``write`` goes on until ``stop`` is set, and commits what is open then."""

    def __init__(self, server: SqlServer, database: str, plan: tuple[int, int, SitePlan]) -> None:
        seed, number, site = plan
        self._server = server
        self._database = database
        self._transactions = transactions(seed, number, site)
        self._minutes = ZONE_MINUTES[site.zone]
        self._connection: pymysql.connections.Connection[Any] | None = None
        self.beyond: set[str] = set()
        """Accounts with rows that no lookback reaches: ``reconcile`` has to find them."""
        self.done: Counter[str] = Counter()

    def write(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                transaction = next(self._transactions)
                stop.wait(transaction.rest)
                self._write(transaction, stop)
        finally:
            self._leave()

    def _write(self, transaction: Transaction, stop: threading.Event) -> None:
        if transaction.beyond:
            # Before it is tried: an answer that is lost says nothing about the commit.
            self.beyond |= {change.account for change in transaction.changes}
        try:
            connection = self._connected()
            connection.begin()
            with connection.cursor() as cursor:
                for change in transaction.changes:
                    cursor.execute(*self._statement(change))
                    stop.wait(transaction.hold / len(transaction.changes))
            if transaction.commit:
                connection.commit()
            else:
                connection.rollback()
            self.done["transactions" if transaction.commit else "rolled back"] += 1
        except (pymysql.err.OperationalError, pymysql.err.InterfaceError, OSError):
            # A lock that was not to be had, a deadlock, or the server is gone: this transaction did not happen, unless
            # it was the commit's answer that was lost. What counts in the end is what the database holds.
            self.done["given up"] += 1
            self._leave()
            stop.wait(GONE_SECONDS)

    def _statement(self, change: Change) -> tuple[str, tuple[Any, ...]]:
        table, account = change.table, _ACCOUNT[change.table]
        load_date = self._load_date(change.stamp)
        names = list(change.values)
        if change.kind == "insert":
            marks = ", ".join(["%s"] * len(names))
            sql = f"INSERT INTO {table} ({', '.join(names)}, LOAD_DATE) VALUES ({marks}, {load_date})"
            return sql, tuple(change.values.values())
        if change.kind == "repeat":
            return f"INSERT INTO {table} SELECT * FROM {table} WHERE {account} = %s LIMIT 1", (change.account,)
        key = [account, *(["ASSET_ID"] if "ASSET_ID" in names else [])]
        changed = [name for name in names if name not in key]
        sets = ", ".join(f"{name} = %s" for name in changed)
        where = " AND ".join(f"{name} <=> %s" for name in key)
        values = tuple(change.values[name] for name in chain(changed, key))
        # A zero date, a NULL or one that is yet to come stays what it is: such a row must not enter a window now.
        processable = "LOAD_DATE > '1971-01-01' AND LOAD_DATE < UTC_TIMESTAMP() + INTERVAL 1 DAY"
        return f"UPDATE {table} SET {sets}, LOAD_DATE = {load_date} WHERE {where} AND {processable}", values

    def _load_date(self, stamp: Stamp) -> str:
        """The database's own clock, shown as a clock of the site's zone shows it."""
        if stamp.never is not None:
            return _NEVER[stamp.never]
        now = f"FROM_UNIXTIME(UNIX_TIMESTAMP() DIV {GRID_SECONDS} * {GRID_SECONDS})" if stamp.grid else "NOW(6)"
        return f"{now} + INTERVAL {self._minutes} MINUTE - INTERVAL {stamp.back} SECOND"

    def _connected(self) -> "pymysql.connections.Connection[Any]":
        if self._connection is None:
            connection = self._server.connect(self._database)
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION time_zone = '+00:00'")
                # As MySQL comes, but with the zero dates that old tables hold.
                cursor.execute("SET SESSION sql_mode = 'STRICT_TRANS_TABLES'")
                # Tables without keys: at the default level an update would lock every row that it looks at.
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}")
            self._connection = connection
        return self._connection

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(pymysql.MySQLError, OSError):
                connection.close()
