"""What an account's content calls for, given the ledger: SPEC 3, 4."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from incident_process.core.models import DeliveryStatus, LastDelivery
from incident_process.delivery.idempotency import idempotency_key
from incident_process.pipeline import transform
from incident_process.pipeline.change_detection import (
    NO_CUSTOMER_DIGEST,
    ROWS_FORM,
    AccountContent,
    Decision,
    ResendPolicy,
    account_content,
    decide,
    rows_digest,
)
from incident_process.pipeline.transform import BuildRequest, BuildResult
from incident_process.source.base import AccountRows
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS

ZONE = ZoneInfo("UTC")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
DELIVERED, DEAD, SKIPPED, PENDING = (
    DeliveryStatus.DELIVERED,
    DeliveryStatus.DEAD,
    DeliveryStatus.SKIPPED,
    DeliveryStatus.PENDING,
)


def row(columns: tuple[str, ...], **values: Any) -> tuple[Any, ...]:
    return tuple(NOW if name == "LOAD_DATE" else values.get(name) for name in columns)


def rows(*, customers: int = 1, payments: int = 0, **values: Any) -> AccountRows:
    return AccountRows(
        account="1",
        customers=[row(CUSTOMER_COLUMNS, **values)] * customers,
        payments=[row(PAYMENT_COLUMNS)] * payments,
    )


def sendable() -> AccountContent:
    content = account_content(rows(), ZONE)
    assert content is not None
    return content


def known(newest: str, status: DeliveryStatus, delivered: str | None = None) -> LastDelivery:
    return LastDelivery(delivered_digest=delivered, newest_digest=newest, newest_status=status)


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        (None, Decision.SEND),
        (known("@", DELIVERED, "@"), Decision.SKIP),
        (known("other", DELIVERED, "other"), Decision.SEND),
        (known("@", DEAD), Decision.SKIP),
        (known("other", DEAD), Decision.SEND),
        (known("other", DEAD, "@"), Decision.SKIP),
        (known(NO_CUSTOMER_DIGEST, SKIPPED), Decision.SEND),
        (known("@", PENDING), Decision.SKIP),
        (known("other", PENDING), Decision.WAIT),
        (known("other", PENDING, "@"), Decision.WAIT),
    ],
)
def test_content_that_can_be_sent(before: LastDelivery | None, wanted: Decision) -> None:
    content = sendable()
    if before is not None:
        before = known(
            before.newest_digest.replace("@", content.digest),
            before.newest_status,
            before.delivered_digest and before.delivered_digest.replace("@", content.digest),
        )
    assert decide(content, before) is wanted


def test_payments_without_a_customer_row_are_skipped_once() -> None:
    content = account_content(rows(customers=0, payments=2), ZONE)
    assert content is not None
    assert content.status is SKIPPED
    assert "no customer row" in content.error
    assert decide(content, None) is Decision.SEND
    assert decide(content, known(NO_CUSTOMER_DIGEST, SKIPPED)) is Decision.SKIP
    assert decide(content, known("x", DELIVERED, "x")) is Decision.SEND


def test_an_account_without_rows_needs_nothing() -> None:
    assert account_content(rows(customers=0), ZONE) is None


def test_rows_that_make_no_document_are_a_dead_letter_until_they_change() -> None:
    content = account_content(rows(OUTSTANDING="much"), ZONE)
    mended = account_content(rows(OUTSTANDING="5"), ZONE)
    worse = account_content(rows(OUTSTANDING="more"), ZONE)
    assert content is not None
    assert mended is not None
    assert worse is not None
    assert content.status is DEAD
    assert content.document is None
    assert "OUTSTANDING" in content.error
    assert decide(content, known(content.digest, DEAD)) is Decision.SKIP
    assert decide(worse, known(content.digest, DEAD)) is Decision.SEND
    assert decide(mended, known(content.digest, DEAD)) is Decision.SEND


# -- rows that the ledger knows ---------------------------------------------------------------------------------------


def built(of: AccountRows, before: LastDelivery | None, resend: ResendPolicy = ResendPolicy.CHANGED) -> BuildResult:
    task = BuildRequest(accounts=["1"], as_of=NOW, known={} if before is None else {"1": before}, resend=resend)
    made = BuildResult()
    made.add(of, task, ZONE)
    return made


def known_rows(of: AccountRows, status: DeliveryStatus = DELIVERED, digest: str = "other") -> LastDelivery:
    return LastDelivery(
        delivered_digest=digest, newest_digest=digest, newest_status=status, newest_rows=rows_digest(of, ZONE)
    )


@pytest.mark.parametrize("status", [DELIVERED, DEAD, SKIPPED, PENDING])
def test_rows_that_the_newest_entry_was_made_of_are_unchanged_without_being_built(
    monkeypatch: pytest.MonkeyPatch, status: DeliveryStatus
) -> None:
    monkeypatch.setattr(transform, "account_content", lambda *_: pytest.fail("it was built"))
    made = built(rows(payments=1), known_rows(rows(payments=1), status))
    assert (made.unchanged, made.due, made.blocked) == (1, [], 0)


def test_an_entry_keeps_the_digest_of_its_rows() -> None:
    (content,) = built(rows(), None).due
    assert content.rows_digest == rows_digest(rows(), ZONE) != ""
    assert built(rows(), known("other", DELIVERED)).due, "an entry of before has none"


def test_other_rows_are_built_and_compared_by_content() -> None:
    before = known_rows(rows(payments=1), digest=sendable().digest)
    assert built(rows(), before).unchanged == 1
    assert built(rows(NIC="x"), before).due


def test_what_is_forced_is_built_whatever_its_rows() -> None:
    assert built(rows(), known_rows(rows()), ResendPolicy.ALL).due
    assert built(rows(), known_rows(rows(), DEAD), ResendPolicy.DEAD).due


VALUES: list[Any] = [None, "", "1", "1.0", 1, 2, 1.5, Decimal("1.5"), Decimal("1.50"), b"\xff", date(2026, 1, 1), NOW]


@pytest.mark.parametrize("value", VALUES[1:])
def test_each_value_of_each_row_counts(value: Any) -> None:
    plain = rows_digest(rows(payments=1), ZONE)
    found = {plain}
    for column in CUSTOMER_COLUMNS[:-1]:
        found.add(rows_digest(rows(payments=1, **{column: value}), ZONE))
    assert len(found) == len(CUSTOMER_COLUMNS)
    found.add(rows_digest(rows(payments=2), ZONE))
    found.add(rows_digest(rows(customers=2, payments=1), ZONE))
    found.add(rows_digest(rows(payments=1), ZoneInfo("Asia/Colombo")))
    assert len(found) == len(CUSTOMER_COLUMNS) + 3
    assert all(found)


@pytest.mark.parametrize("value", [2**70, "\ud800", object()])
def test_rows_without_such_a_form_are_built_each_time(value: Any) -> None:
    assert rows_digest(rows(BSS_PRODUCT_SEQ=value), ZONE) == ""
    assert BuildRequest(accounts=["1"], as_of=NOW, known={"1": known("d", DELIVERED)}).knows("1", "")
    assert built(rows(BSS_PRODUCT_SEQ=value), known("d", DELIVERED)).due


def test_rows_are_compared_with_those_of_other_releases_only_where_they_come_to_the_same() -> None:
    """If this fails, the form of the digest has changed, and ``ROWS_FORM`` has to change with it."""
    assert (ROWS_FORM, rows_digest(rows(payments=1, OUTSTANDING=Decimal("1.50")), ZONE)) == (
        2,
        "ebef00a9b0ff509107037c1f61df7536",
    )


SENT = {
    "UTC": (
        "5951dbff1ee6372afdd498ff695c2e13",
        "dafce0d3b7918441f6497cd99c6eaf221fc389d51e1ce7c65b8b069656cf2e71",
        "fd1a7d2466328f0d661271b26c62d31fefd1373e",
    ),
    "Asia/Colombo": (
        "6de9db60f8872d04cf80333cec9668b2",
        "5fcd234956f7ec86b1df350a16d1a77d335ed76f368572cda9bbe0574d3eebf1",
        "3933bddb71e2d11dd47ca72b0de03cffa2ddb778",
    ),
}
"""Of the rows below in each zone: digest of the rows, digest of the content, idempotency key, as of 2026-11-29."""


@pytest.mark.parametrize("zone", SENT)
def test_what_one_release_has_sent_counts_as_sent_in_the_next(zone: str) -> None:
    """If this fails, an upgrade sends every account again: change it knowingly or not at all."""
    shared = {
        name: f'{name.title()} "%b" \u0d9a\u0dca {at}'
        for at, name in enumerate(CUSTOMER_COLUMNS)
        if not name.endswith(("_ID", "_SEQ", "_DTM", "_DAT", "_MNY", "_BSS", "LOAD_DATE", "OUTSTANDING"))
    } | {
        "ACCOUNT_NUM": "0000000359",
        "COMPANY_NAME": None,
        "BSS_PRODUCT_SEQ": 3,
        "CUSTOMER_TYPE_ID": 2,
        "CREDIT_CLASS_ID": Decimal(4),
        "LAST_BILL_SEQ": 217,
        "ACCOUNT_EFFECTIVE_DTM_BSS": date(2018, 12, 1),
        "LAST_BILL_DTM": datetime(2026, 11, 17, 4, 5, 6, 789_000),  # noqa: DTZ001  # as a driver returns it
        "LAST_PAYMENT_DAT": "0000-00-00 00:00:00",
        "OUTSTANDING": Decimal("13213.705"),
    }
    mails = {"B": "one@example.com", "A": "two@example.com", None: "no mail"}
    paid = datetime(2026, 11, 29, 16, 34, 47)  # noqa: DTZ001  # as above
    payments = [
        row(PAYMENT_COLUMNS, ACCOUNT_PAYMENT_SEQ=seq, AP_ACCOUNT_PAYMENT_MNY=Decimal("-5.5"), ACCOUNT_PAYMENT_DAT=paid)
        for seq in (6540, 6541)
    ]
    customers = [
        row(CUSTOMER_COLUMNS, **shared | {"ASSET_ID": asset, "TECNICAL_CONTACT_EMAIL": mail})
        for asset, mail in mails.items()
    ]
    of = AccountRows(account="0000000359", customers=customers, payments=payments)
    content = account_content(of, ZoneInfo(zone))
    assert content is not None
    key = idempotency_key("Incident extraction from data lake", content.account, content.digest)
    assert (rows_digest(of, ZoneInfo(zone)), content.digest, key) == SENT[zone]
