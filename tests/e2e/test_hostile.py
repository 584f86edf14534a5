"""2,000 accounts of hostile rows, from MariaDB to the receiver, against the schema and the oracle (SPEC 2, 4)."""

import json
import random
import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import pytest

from tests.e2e.conftest import MakeSite, Site
from tests.support.oracle import CUSTOMER_COLUMNS, ENVELOPE, Oracle
from tests.support.source_data import insert_customers, insert_payments

PAYMENTS_ONLY = 60
SCHEMA: dict[str, Any] = json.loads(
    files("incident_process.document.contract").joinpath("incident.schema.json").read_text("utf-8")
)

NASTY = (
    "",
    " ",
    "None",
    "NULL",
    'O\'Brien "the" `one`',
    "'; DROP TABLE debt_payment; --",
    "back\\slash \\' and %s %(name)s {0} $1 ?",
    "tab\tnew\nline\r\x01\x00end",
    "😀🏳️‍🌈 \U0001f9d1\U0001f3fd‍\U0001f680",
    "ශ්‍රී ලංකා தமிழ் عربى",
    "e\u0301 é ß İ \u0131 ﬁ \u2028\u2029\ufeff",
    "trailing  ",
    "<script>alert(1)</script>&amp;",
)
MONEY = (
    "0.00",
    "-0.01",
    "-123456.70",
    "0.10",
    "9999999999999999.99",
    "-9999999999999999.99",
    "1234567890123456.05",
    "5.00",
)
PAID = ("0.00", "-9999999999999.99", "9999999999999.99", "0.05", "12.30", "-1.00")
ZERO_DATES = ("0000-00-00", "2026-00-10", "2026-03-00")
WIDTHS = {
    "PROMOTION_INTEG_ID": 30, "OSS_SERVICE_ABBREVIATION": 20, "PRODUCT_NAME": 100, "ASSET_STATUS": 30,
    "CONTACT_PERSON": 100, "ASSET_ADDRESS": 300, "CUSTOMER_TYPE_CAT": 30, "CUSTOMER_TYPE": 30,
    "ACCOUNT_STATUS_BSS": 2, "NIC": 20, "ZIP_CODE": 30, "CITY": 50, "PROVINCE": 50, "EMAIL": 350,
    "DAYTIME_CONTACT_TEL": 20, "MOBILE_CONTACT_TEL": 20, "CUSTOMER_SEGMENT_ID": 20, "BILLING_CENTER_NAME": 30,
    "COMPANY_NAME": 100, "CREDIT_CLASS_NAME": 60, "CUSTOMER_REF": 30, "TECNICAL_CONTACT_EMAIL": 350,
    "MOBILE_CONTACT": 40, "WORK_CONTACT": 40,
}  # fmt: skip
NUMBERS = ("BSS_PRODUCT_SEQ", "CUSTOMER_TYPE_ID", "LAST_BILL_SEQ", "CREDIT_CLASS_ID")
TWINS = ("Case-1", "case-1", "acc\u00e9nt", "accent", "trail", "trail ", "000123", "00123", "123", "١٢٣")
"""Different accounts that one collation or another holds to be equal."""


class Hostile:
    """Rows of so many accounts, made by a seed. ``digits`` None: LOAD_DATE is a DATE; 6: a DATETIME(6)."""

    def __init__(self, seed: int, accounts: int, digits: int | None) -> None:
        self._chance = random.Random(seed)
        self._digits = digits
        self._today = datetime.now(UTC).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
        self.newest = self._loaded(1)
        self.customers: list[dict[str, Any]] = []
        self.payments: list[dict[str, Any]] = []
        self.payments_only = [f"P{number:08d}" for number in range(PAYMENTS_ONLY)]
        self.accounts = [*TWINS, *(f"{number:010d}" for number in range(accounts - len(TWINS)))]
        for account in self.accounts:
            self._account(account)
        for account in self.payments_only:
            self._payments(account, 1 + self._chance.randrange(3))
        self.hopeless = self._hopeless_rows()
        self._chance.shuffle(self.customers)
        self._chance.shuffle(self.payments)

    def customer(self, account: str, asset: str | None, load_date: str) -> dict[str, Any]:
        """A row in which each column is NULL, nasty or plain."""
        chance = self._chance
        row: dict[str, Any] = dict.fromkeys(CUSTOMER_COLUMNS)
        row |= {"ACCOUNT_NUM": account, "ASSET_ID": asset, "LOAD_DATE": load_date}
        if chance.random() < 0.1:
            return row  # all NULL
        row |= {name: self._text(width) for name, width in WIDTHS.items()}
        row |= {name: chance.choice((None, 0, 1, -1, 2147483647, -2147483648, 4)) for name in NUMBERS}
        row |= {name: chance.choice((None, *MONEY)) for name in ("OUTSTANDING", "LAST_PAYMENT_MNY")}
        for name in ("ACCOUNT_EFFECTIVE_DTM_BSS", "LAST_BILL_DTM", "LAST_PAYMENT_DAT"):
            row[name] = chance.choice((None, *ZERO_DATES, "1970-01-01", "2024-02-29", "9999-12-31", "1000-01-01"))
        row["TECNICAL_CONTACT_EMAIL"] = chance.choice((None, "", "no-mail", "a@example.org", "b'\"@example.org", "@"))
        row["MOBILE_CONTACT"] = chance.choice((None, "", "0770000001", "0770000002", "+94 77 000 0003"))
        row["WORK_CONTACT"] = chance.choice((None, "", "0110000001", "0770000001"))
        return row

    def _account(self, account: str) -> None:
        chance = self._chance
        assets = chance.choice(
            ((None,), ("",), ("A1",), ("A1", "a1"), ("0001", "1", None), ("B2", "A10", "A9", "", "ä"))
        )
        for asset in assets:
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                # Few different dates, so that many rows of one asset and of several share theirs.
                row = self.customer(account, asset, self._loaded(chance.choice((1, 2, 2, 30))))
                self.customers += [row] * chance.choice((1, 1, 1, 2))
        if chance.random() < 0.2:
            self.customers.append(self.customer(account, assets[0], self._loaded(-2)))  # dated in the future
        self._payments(account, chance.choice((0, 0, 1, 2, 5)))

    def _payments(self, account: str, count: int) -> None:
        chance = self._chance
        dates = [None, "0000-00-00 00:00:00", "2026-01-05 10:00:00", "2026-01-05 10:00:01", "2025-12-31 23:59:59"]
        some = chance.sample(dates, 2)  # few, so that ties are many
        for _ in range(count):
            row = {
                "AP_ACCOUNT_NUMBER": account,
                "ACCOUNT_PAYMENT_SEQ": chance.choice((None, 1, 2, 2147483647)),
                "AP_ACCOUNT_PAYMENT_MNY": chance.choice((None, *PAID)),
                "ACCOUNT_PAYMENT_DAT": chance.choice(some),
                "LOAD_DATE": self._loaded(chance.choice((1, 3)), time=True),
            }
            self.payments += [row] * chance.choice((1, 1, 2))
        if chance.random() < 0.1:
            late = {
                "ACCOUNT_PAYMENT_SEQ": 9,
                "AP_ACCOUNT_PAYMENT_MNY": "77.00",
                "ACCOUNT_PAYMENT_DAT": "2026-02-01 00:00:00",
            }
            self.payments.append({"AP_ACCOUNT_NUMBER": account, **late, "LOAD_DATE": self._loaded(-3, time=True)})

    def _hopeless_rows(self) -> dict[str, int]:
        """Rows that can never enter a window, of accounts that have others and of accounts that have none."""
        zero = "0000-00-00" if self._digits is None else "0000-00-00 00:00:00"
        dateless: dict[str, str | None] = {self.accounts[0]: zero, "only-zero": zero, "only-null": None}
        for account, date in dateless.items():
            self.customers.append(self.customer(account, "A1", self.newest) | {"LOAD_DATE": date})
        for nobody in (None, "", "  "):
            self.customers.append(self.customer("", "A1", self.newest) | {"ACCOUNT_NUM": nobody})
        blank = {
            "ACCOUNT_PAYMENT_SEQ": 1,
            "AP_ACCOUNT_PAYMENT_MNY": "1.00",
            "ACCOUNT_PAYMENT_DAT": "2026-03-01 00:00:00",
        }
        for payer, loaded in (
            (self.accounts[1], None),
            (self.accounts[2], "0000-00-00 00:00:00"),
            (None, self._loaded(1, time=True)),
        ):
            self.payments.append({"AP_ACCOUNT_NUMBER": payer, **blank, "LOAD_DATE": loaded})
        return {"debt_cust_detail": 6, "debt_payment": 3}

    def _loaded(self, days_ago: int, *, time: bool = False) -> str:
        moment = self._today - timedelta(days=days_ago)
        if self._digits is None and not time:
            return f"{moment:%Y-%m-%d}"
        part = timedelta(hours=3) if days_ago else timedelta()
        if self._digits and days_ago == 2:
            part += timedelta(microseconds=self._chance.choice((0, 1, 999_999)))
        text = f"{moment + part:%Y-%m-%d %H:%M:%S.%f}"
        return text if self._digits else text[:19]

    def _text(self, width: int) -> str | None:
        kind = self._chance.random()
        if kind < 0.2:
            return None
        if kind < 0.5:
            return self._chance.choice(NASTY)[:width]
        if kind < 0.6:
            return (self._chance.choice(NASTY[4:]) * width)[:width]  # to its last character
        return f"plain {self._chance.randrange(5)}"[:width]


def insert(site: Site, customers: list[dict[str, Any]], payments: list[dict[str, Any]]) -> None:
    with closing(site.source.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = ''")  # lets zero dates in, as the field's servers do
        insert_customers(connection, customers)
        insert_payments(connection, payments)


def written(value: Any) -> Any:
    """Decimals as they are written: 5.00 and 5.0 are equal, but not the same."""
    if isinstance(value, dict):
        return {name: written(item) for name, item in value.items()}
    if isinstance(value, list):
        return [written(item) for item in value]
    return f"number {value}" if isinstance(value, Decimal) else value


@pytest.mark.parametrize(
    ("server", "accounts", "digits", "zone"),
    [("mariadb", 2000, None, "UTC"), ("mariadb", 1000, 6, "Asia/Colombo"), ("mysql", 500, 6, "Asia/Colombo")],
    ids=["DATE-UTC", "DATETIME6-Colombo", "MySQL-DATETIME6-Colombo"],
)
def test_hostile_rows(make_site: MakeSite, server: str, accounts: int, digits: int | None, zone: str) -> None:
    types = {} if digits is None else {"customer_type": "datetime(6)", "payment_type": "datetime(6)"}
    site = make_site(server, "sqlite", **types)
    site.prepare()
    # The lookback reaches over the rows' last days, so the second run reads many accounts again.
    site.command.configure(process={"source_timezone": zone, "chunk_accounts": 300, "lookback_seconds": 5 * 86_400})
    hostile = Hostile(2026, accounts, digits)
    insert(site, hostile.customers, hostile.payments)

    finished = site.finish()
    report = finished.json
    oracle = Oracle(SCHEMA, datetime.fromisoformat(report["window"]["end"]), ZoneInfo(zone))
    assert report["accounts"] == accounts + PAYMENTS_ONLY
    assert (report["delivered"], report["skipped"], report["dead"], report["pending"]) == (
        accounts,
        PAYMENTS_ONLY,
        0,
        0,
    )
    assert report["rows"] == {
        "debt_cust_detail": sum(
            bool((r["ACCOUNT_NUM"] or "").strip()) and oracle.in_time(r) for r in hostile.customers
        ),
        "debt_payment": sum(bool(r["AP_ACCOUNT_NUMBER"]) and oracle.in_time(r) for r in hostile.payments),
    }
    for table, rows in hostile.hopeless.items():
        assert any(line.startswith(f"{rows} row(s) of {table} can never be") for line in finished.messages("WARNING"))
    check_bodies(site, oracle, hostile, hostile.accounts)

    skipped = site.deliveries("--status", "skipped", "--limit", "1000")
    assert sorted(entry["account"] for entry in skipped) == hostile.payments_only
    assert {entry["error"] for entry in skipped} == {"the account has payments but no customer row yet"}

    # A second run looks at the same rows and sends nothing.
    site.make_due()
    sent = len(site.accepted())
    again = site.run()
    assert (again["status"], again["delivered"], again["skipped"], again["dead"]) == ("no_data", 0, 0, 0)
    assert again["reread"] == again["unchanged"] > 0
    assert len(site.accepted()) == sent

    # Their customer rows arrive late, of a day that is past already.
    arrived = hostile.payments_only[: PAYMENTS_ONLY // 2]
    late = [hostile.customer(account, "A1", hostile.newest) for account in arrived]
    insert(site, late, [])
    hostile.customers += late
    site.make_due()
    assert site.run()["delivered"] == len(arrived)
    check_bodies(site, oracle, hostile, arrived, since=sent)


def check_bodies(site: Site, oracle: Oracle, hostile: Hostile, accounts: list[str], since: int = 0) -> None:
    """After ``since`` others, exactly these were accepted, once each, each body valid and as the oracle computes it."""
    validator = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    by_account: dict[Any, list[dict[str, Any]]] = {}
    for row in hostile.customers:
        by_account.setdefault(row["ACCOUNT_NUM"], []).append(row)
    payments: dict[Any, list[dict[str, Any]]] = {}
    for row in hostile.payments:
        payments.setdefault(row["AP_ACCOUNT_NUMBER"], []).append(row)
    seen = []
    for row in site.accepted()[since:]:
        body = json.loads(row["body"], parse_float=Decimal)
        validator.validate(body)
        account, run_time = body["Account_Num"], body["Created_Dtm"]
        expected = oracle.document(
            account, by_account[account], payments.get(account, []), row["incident_id"], run_time
        )
        assert written(body) == written(expected)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", run_time)
        assert abs(datetime.fromisoformat(run_time) - datetime.now(UTC)) < timedelta(minutes=10)
        assert all(body[name] == run_time for name in ENVELOPE)
        seen.append(account)
    assert sorted(seen) == sorted(accounts)
