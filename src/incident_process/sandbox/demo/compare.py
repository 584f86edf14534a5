"""Compares the source with the receiver's own log, by code that shares nothing with the pipeline (SPEC 10).

It works out once more, in the simplest way, what an account's last document must say, from all rows of the source:
arrears, day of the newest reading, products, contacts, last payment. The receiver's file says what was accepted, in
which order. It uses neither the ledger nor the code that builds documents: these are what it checks.
"""

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from incident_process.core.models import Record

NO_DATE = "1900-01-01T00:00:00.000Z"

_ENVELOPE = {
    "Incident_Id",
    "Created_Dtm",
    "Incident_Status_Dtm",
    "Batch_Id_Tag_Dtm",
    "External_Data_Update_On",
    "Export_On",
    "Incident_Forwarded_On",
    "Rejected_Dtm",
    "updatedAt",
}
"""What a run adds to the content (SPEC 4); documents that differ only here have the same content."""

_CUSTOMERS = """
SELECT ACCOUNT_NUM AS account, ASSET_ID, PRODUCT_NAME, PROMOTION_INTEG_ID, ASSET_STATUS, TECNICAL_CONTACT_EMAIL,
    MOBILE_CONTACT, WORK_CONTACT, OUTSTANDING, LAST_PAYMENT_DAT, LAST_PAYMENT_MNY, LOAD_DATE
FROM debt_cust_detail WHERE LOAD_DATE IS NOT NULL ORDER BY ACCOUNT_NUM
"""
_PAYMENTS = """
SELECT AP_ACCOUNT_NUMBER AS account, ACCOUNT_PAYMENT_SEQ, AP_ACCOUNT_PAYMENT_MNY, ACCOUNT_PAYMENT_DAT
FROM debt_payment WHERE LOAD_DATE IS NOT NULL ORDER BY AP_ACCOUNT_NUMBER
"""
_ACCEPTED = "SELECT account_num, body FROM accepted ORDER BY seq"
_KEYS_OF_IDS = """
SELECT incident_id FROM request WHERE incident_id IS NOT NULL AND idempotency_key IS NOT NULL
GROUP BY incident_id HAVING COUNT(DISTINCT idempotency_key) > 1
"""
_ANSWERED_409 = "SELECT COUNT(*) FROM request WHERE answer = 409"

Facts = dict[str, Any]
"""What a document must say of an account, by subject."""


class Comparison(Record, frozen=True, kw_only=True):
    """The result. Each of the three lists holds one sentence for each difference, account numbers masked."""

    accounts: int
    """Accounts of the source that can make an incident."""
    waiting: int
    """Accounts that have payments but no customer row yet."""
    accepted: int
    """Incidents that the receiver has accepted."""
    known_already: int
    """Requests that the receiver answered 409: a resumed run repeated them, and the receiver stored nothing."""
    missed: list[str]
    duplicated: list[str]
    reused_ids: list[str]

    @property
    def differences(self) -> list[str]:
        """All differences; empty when the promise is kept."""
        return self.missed + self.duplicated + self.reused_ids


def compare(source: Path, receiver: Path) -> Comparison:
    """Compare a SQLite source, all of its rows, with a receiver's file.

    Raises:
        sqlite3.Error: One of the files cannot be read.
    """
    expected, waiting = _expected(source)
    last: dict[str, tuple[str, Facts]] = {}
    contents_of_id: dict[int, set[tuple[str, str]]] = {}
    accepted: Counter[str] = Counter()
    duplicated: list[str] = []
    with closing(_open(receiver)) as connection:
        for account, body in connection.execute(_ACCEPTED):
            document = json.loads(body, parse_float=Decimal)
            content = _content(document)
            if account in last and last[account][0] == content:
                duplicated.append(f"account {masked(account)}: the same content was accepted twice in succession")
            last[account] = (content, _said(document))
            contents_of_id.setdefault(document["Incident_Id"], set()).add((account, content))
            accepted[account] += 1
        keys_of_ids = [row[0] for row in connection.execute(_KEYS_OF_IDS)]
        known_already = connection.execute(_ANSWERED_409).fetchone()[0]
    reused = {number for number, contents in contents_of_id.items() if len(contents) > 1}.union(keys_of_ids)
    return Comparison(
        accounts=len(expected),
        waiting=waiting,
        accepted=accepted.total(),
        known_already=known_already,
        missed=list(_missed(expected, {account: said for account, (_, said) in last.items()})),
        duplicated=duplicated,
        reused_ids=[f"Incident_Id {number} stands for two contents" for number in sorted(reused)],
    )


def masked(account: str) -> str:
    """Return an account number with all but its last four characters hidden."""
    return "*" * (len(account) - 4) + account[-4:]


def _missed(expected: dict[str, Facts], said: dict[str, Facts]) -> Iterator[str]:
    for account, facts in expected.items():
        if account not in said:
            yield f"account {masked(account)}: nothing was accepted"
        elif wrong := [subject for subject in facts if facts[subject] != said[account][subject]]:
            yield f"account {masked(account)}: what was accepted last differs from the source in {', '.join(wrong)}"
    for account in said.keys() - expected.keys():
        yield f"account {masked(account)}: was accepted, and the source has no customer row of it"


# -- the source -------------------------------------------------------------------------------------------------------


def _expected(source: Path) -> tuple[dict[str, Facts], int]:
    """Return the facts of each account that has a customer row, and how many accounts have only payments."""
    with closing(_open(source)) as connection:
        connection.row_factory = sqlite3.Row
        payments = {
            account: max(rows, key=lambda row: (row["ACCOUNT_PAYMENT_DAT"], row["ACCOUNT_PAYMENT_SEQ"]))
            for account, rows in groupby(connection.execute(_PAYMENTS), lambda row: row["account"])
        }
        facts = {
            account: _facts(list(rows), payments.get(account))
            for account, rows in groupby(connection.execute(_CUSTOMERS), lambda row: row["account"])
        }
    return facts, len(payments.keys() - facts.keys())


def _facts(rows: list[sqlite3.Row], payment: sqlite3.Row | None) -> Facts:
    """Work out the facts of one account; rows of one asset and one load are repetitions in this data."""
    rows.sort(key=lambda row: (row["LOAD_DATE"], row["ASSET_ID"] or ""))
    current = {row["ASSET_ID"]: row for row in rows}  # the last one of each asset stays
    newest = rows[-1]
    if payment is not None:
        paid = (payment["ACCOUNT_PAYMENT_SEQ"], payment["AP_ACCOUNT_PAYMENT_MNY"], payment["ACCOUNT_PAYMENT_DAT"])
    else:
        paid = (0, newest["LAST_PAYMENT_MNY"], newest["LAST_PAYMENT_DAT"])
    contacts = {
        (kind, row[column])
        for row in current.values()
        for kind, column in (
            ("email", "TECNICAL_CONTACT_EMAIL"),
            ("mobile", "MOBILE_CONTACT"),
            ("fix", "WORK_CONTACT"),
        )
        if row[column] and (kind != "email" or "@" in row[column])
    }
    return {
        "arrears": _money(newest["OUTSTANDING"]),
        "reading date": _instant(newest["LOAD_DATE"]),
        "products": sorted(
            (asset, row["PRODUCT_NAME"] or "", row["PROMOTION_INTEG_ID"] or "", row["ASSET_STATUS"] or "")
            for asset, row in current.items()
            if asset
        ),
        "contacts": contacts,
        "last payment": (paid[0], _money(paid[1]), _instant(paid[2])),
    }


def _money(amount: float | None) -> Decimal:
    return Decimal(str(amount or 0)).quantize(Decimal("0.01"))


def _instant(text: str | None) -> str:
    """Return a date or time of the source, which is in UTC, in the form of documents."""
    if text is None:
        return NO_DATE
    day, _, time = text.partition(" ")
    return f"{day}T{(time or '00:00:00').partition('.')[0]}.{time.partition('.')[2].ljust(3, '0')[:3]}Z"


# -- the receiver's file ----------------------------------------------------------------------------------------------


def _said(document: dict[str, Any]) -> Facts:
    """Return the same facts as a document states them."""
    action = document["Last_Actions"][0]
    return {
        "arrears": document["Arrears"],
        "reading date": document["Last_Bss_Reading_Date"],
        "products": sorted(
            (product["Product_Id"], product["Product_Name"], product["Product_Label"], product["Product_Status"])
            for product in document["Product_Details"]
        ),
        "contacts": {(contact["Contact_Type"], contact["Contact"]) for contact in document["Contact_Details"]},
        "last payment": (action["Payment_Seq"], action["Payment_Money"], action["Payment_Created"]),
    }


def _content(document: dict[str, Any]) -> str:
    """Return a digest of the document without its envelope: equal where the content is equal."""
    content = {name: value for name, value in document.items() if name not in _ENVELOPE}
    crosses = content["Account_Cross_Details"]
    content["Account_Cross_Details"] = [cross | {"Incident_Id": 0} for cross in crosses]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=_number).encode()).hexdigest()


def _number(amount: Decimal) -> str:
    """Return the same text for the same amount: 10.50 and 10.5 are the same content."""
    return f"{amount.normalize():f}"


def _open(path: Path) -> sqlite3.Connection:
    """Open a file for reading only: this module must not change what it checks."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
