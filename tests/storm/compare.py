"""The source against the receiver's own log, by code that shares nothing with the program (SPEC 10).

What each account has to end with is computed by ``tests.support.oracle`` from the rows as the server holds them.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pymysql
from pymysql.constants import FIELD_TYPE
from pymysql.converters import encoders

from tests.support.oracle import CUSTOMER_COLUMNS, ENVELOPE, Oracle, Row
from tests.support.sql_server import SqlServer

SCHEMA = Path(__file__).parents[2] / "src" / "incident_process" / "document" / "contract" / "incident.schema.json"
PAYMENT_COLUMNS = (
    "AP_ACCOUNT_NUMBER",
    "ACCOUNT_PAYMENT_SEQ",
    "AP_ACCOUNT_PAYMENT_MNY",
    "ACCOUNT_PAYMENT_DAT",
    "LOAD_DATE",
)
_WHOLE = (FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.LONG, FIELD_TYPE.INT24, FIELD_TYPE.LONGLONG)
_AS_WRITTEN: dict[Any, Any] = {**encoders, **dict.fromkeys(_WHOLE, int)}
"""Values as the oracle takes them: whole numbers as int, all else, dates and money too, as the server writes it."""

Content = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The rows of both tables, by account."""

    customers: Mapping[str, Sequence[Row]]
    payments: Mapping[str, Sequence[Row]]


@dataclass(frozen=True, kw_only=True)
class Log:
    """The receiver's file: what it accepted, and all requests, each in order."""

    accepted: Sequence[Mapping[str, Any]]
    requests: Sequence[Mapping[str, Any]]


@dataclass(kw_only=True)
class Findings:
    """What differs, a line for each; all empty is what SPEC 10 promises."""

    missed: list[str] = field(default_factory=list)
    """Accounts whose last accepted content is not their final one."""
    duplicated: list[str] = field(default_factory=list)
    """Contents that were accepted twice in succession."""
    reused: list[str] = field(default_factory=list)
    """Incident_Ids that stand for two contents, and keys that do."""
    turned_away: list[str] = field(default_factory=list)
    """Bodies that broke the contract."""
    dead: list[str] = field(default_factory=list)
    """Healthy accounts that became dead letters: the receiver has refused none of them for what it is."""

    @property
    def all(self) -> list[str]:
        return self.missed + self.duplicated + self.reused + self.turned_away + self.dead


def compare(source: Source, log: Log, oracle: Oracle, excused: Iterable[str] = ()) -> Findings:
    """Return what differs; accounts that are ``excused`` may be missed."""
    found = Findings()
    last: dict[str, Content] = {}
    for row in log.accepted:
        body = json.loads(row["body"], parse_float=Decimal)
        account, content = body["Account_Num"], content_of(body)
        if last.get(account) == content:
            found.duplicated.append(
                f"account {account}: Incident_Id {row['incident_id']} repeats the content before it"
            )
        last[account] = content
    _find_missed(found, source, last, oracle, set(excused))
    _find_reused(found, log)
    for request in log.requests:
        if request["answer"] in {413, 422} and request["fault"] is None and request["incident_id"] is not None:
            found.turned_away.append(f"Incident_Id {request['incident_id']}: answered {request['answer']}")
    return found


def healthy_dead(letters: Iterable[Mapping[str, Any]], log: Log) -> list[str]:
    """Return the dead letters of accounts that the receiver has refused at no time for what they are."""
    refused = {request["account_num"] for request in log.requests if request["fault"] in {"refuse", "fail_account"}}
    return [
        f"account {letter['account']}: a dead letter, and never refused: {letter['error']}"
        for letter in letters
        if letter["account"] not in refused
    ]


def _find_missed(
    found: Findings, source: Source, last: Mapping[str, Content], oracle: Oracle, excused: set[str]
) -> None:
    for account in sorted((source.customers.keys() | source.payments.keys() | last.keys()) - excused):
        rows, payments = source.customers.get(account, ()), source.payments.get(account, ())
        document = oracle.document(account, rows, payments, 0, "")
        expected = None if document is None else content_of(document)
        if last.get(account) == expected:
            continue
        if expected is None:
            found.missed.append(f"account {account}: accepted, but its rows make no incident")
        elif account not in last:
            found.missed.append(f"account {account}: never accepted; its rows: {_dates(rows)}")
        else:
            differ = {
                name: (last[account].get(name), expected.get(name))
                for name in expected
                if last[account].get(name) != expected[name]
            }
            found.missed.append(f"account {account}: (accepted last, expected) {differ}; its rows: {_dates(rows)}")


def _find_reused(found: Findings, log: Log) -> None:
    # Most requests leave no body behind. A key stands for one content, which is shown for those that do.
    of_key: dict[str, Content] = {}
    for row in log.accepted:
        content = content_of(json.loads(row["body"], parse_float=Decimal))
        if of_key.setdefault(row["idempotency_key"], content) != content:
            found.reused.append(f"Idempotency-Key {row['idempotency_key']}: two contents")
    keys: dict[int, set[str]] = {}
    for request in log.requests:
        if request["incident_id"] is not None:
            keys.setdefault(request["incident_id"], set()).add(request["idempotency_key"])
    found.reused += [
        f"Incident_Id {number}: {len(of_one)} contents" for number, of_one in keys.items() if len(of_one) > 1
    ]


def content_of(body: Mapping[str, Any]) -> Content:
    """Return a body without its envelope (SPEC 4)."""
    content = {name: value for name, value in body.items() if name not in {*ENVELOPE, "Incident_Id"}}
    content["Account_Cross_Details"] = [
        {name: value for name, value in cross.items() if name != "Incident_Id"}
        for cross in content["Account_Cross_Details"]
    ]
    return content


def _dates(rows: Sequence[Row]) -> str:
    return ", ".join(sorted(f"{row['LOAD_DATE']} {row['ASSET_ID']} {row['OUTSTANDING']}" for row in rows))


def make_oracle(end: datetime, zone: str) -> Oracle:
    """Return the oracle for a site in this zone, with windows that end at ``end``."""
    return Oracle(json.loads(SCHEMA.read_text("utf-8")), end, ZoneInfo(zone))


def read_source(server: SqlServer, database: str) -> Source:
    """Read both tables whole."""
    connection = pymysql.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=database,
        charset="utf8mb4",
        conv=_AS_WRITTEN,
        init_command="SET SESSION time_zone = '+00:00'",
    )
    with connection, connection.cursor() as cursor:
        customers = _read(cursor, "debt_cust_detail", "ACCOUNT_NUM", (*CUSTOMER_COLUMNS, "LOAD_DATE"))
        payments = _read(cursor, "debt_payment", "AP_ACCOUNT_NUMBER", PAYMENT_COLUMNS)
    return Source(customers=customers, payments=payments)


def _read(cursor: Any, table: str, account: str, columns: Sequence[str]) -> dict[str, list[Row]]:
    cursor.execute(f"SELECT {', '.join(columns)} FROM {table}")
    rows: dict[str, list[Row]] = {}
    for values in cursor.fetchall():
        row = dict(zip(columns, values, strict=True))
        rows.setdefault(row[account], []).append(row)
    return rows


def read_log(file: Path) -> Log:
    """Read the receiver's file, whoever still has it open."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        accepted = [dict(row) for row in connection.execute("SELECT * FROM accepted ORDER BY seq")]
        requests = [dict(row) for row in connection.execute("SELECT * FROM request ORDER BY seq")]
    return Log(accepted=accepted, requests=requests)
