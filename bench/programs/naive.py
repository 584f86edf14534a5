"""The naive way, written anew: ``naive.py HOST PORT USER DATABASE URL BODY INDEXED ACCOUNT...``.

For each account a new connection and ``SELECT *`` for its customer rows, another one for its payments, and a new HTTP
connection for the POST. The document is a ready body with the account's newest values put in: the way's own cost is
what is of interest; its seconds, without start and end, are printed. With INDEXED ``no`` the tables are read as they
are in the field, without an index.
"""

import http.client
import json
import os
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql
from pymysql.cursors import DictCursor

from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE
from incident_process.source.indexes import INDEX_ADVICE


def rows(server: dict[str, Any], table: str, column: str, account: str, *, indexed: bool) -> list[dict[str, Any]]:
    """Return all rows of an account, newest first, over a connection of their own."""
    ignored = ", ".join(one.name for one in INDEX_ADVICE if one.table == table)
    hint = "" if indexed else f"IGNORE INDEX ({ignored})"
    connection = pymysql.connect(**server, cursorclass=DictCursor)
    try:
        with connection.cursor() as cursor:
            query = f"SELECT * FROM {table} {hint} WHERE {column} = %s ORDER BY LOAD_DATE DESC"  # noqa: S608 - fixed names
            cursor.execute(query, (account,))
            return list(cursor.fetchall())
    finally:
        connection.close()


def post(url: str, body: dict[str, Any]) -> int:
    """Post over a connection of its own; return the status."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request("POST", parts.path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def main() -> None:
    """Send each account, one after the other."""
    host, port, user, database, url, file, indexed, *accounts = sys.argv[1:]
    server = {
        "host": host,
        "port": int(port),
        "user": user,
        "database": database,
        "password": os.environ["BENCH_PASSWORD"],
    }
    body = json.loads(Path(file).read_bytes())
    began = time.perf_counter()
    for account in accounts:
        customers = rows(server, CUSTOMER_TABLE, "ACCOUNT_NUM", account, indexed=indexed == "yes")
        payments = rows(server, PAYMENT_TABLE, "AP_ACCOUNT_NUMBER", account, indexed=indexed == "yes")
        body["Account_Num"] = account
        body["Arrears"] = float(customers[0]["OUTSTANDING"])
        body["Product_Details"] = [body["Product_Details"][0] | {"Product_Id": one["ASSET_ID"]} for one in customers]
        body["Last_Actions"][0]["Payment_Money"] = float(payments[0]["AP_ACCOUNT_PAYMENT_MNY"])
        status = post(url, body)
        if status != 201:
            raise SystemExit(f"the receiver answered {status}")
    sys.stdout.write(f"{time.perf_counter() - began}\n")


if __name__ == "__main__":
    main()
