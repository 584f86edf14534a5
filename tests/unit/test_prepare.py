"""What an account's content calls for, given the ledger: SPEC 3, 4."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from incident_process.pipeline.content import NO_CUSTOMER_DIGEST, Content, Need, content_of, need
from incident_process.records import DeliveryStatus, Known
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS
from incident_process.source.contract import AccountRows

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


def sendable() -> Content:
    content = content_of(rows(), ZONE)
    assert content is not None
    return content


def known(newest: str, status: DeliveryStatus, delivered: str | None = None) -> Known:
    return Known(delivered_digest=delivered, newest_digest=newest, newest_status=status)


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        (None, Need.ENTRY),
        (known("@", DELIVERED, "@"), Need.NOTHING),
        (known("other", DELIVERED, "other"), Need.ENTRY),
        (known("@", DEAD), Need.NOTHING),
        (known("other", DEAD), Need.ENTRY),
        (known("other", DEAD, "@"), Need.NOTHING),
        (known(NO_CUSTOMER_DIGEST, SKIPPED), Need.ENTRY),
        (known("@", PENDING), Need.NOTHING),
        (known("other", PENDING), Need.WAIT),
        (known("other", PENDING, "@"), Need.WAIT),
    ],
)
def test_content_that_can_be_sent(before: Known | None, wanted: Need) -> None:
    content = sendable()
    if before is not None:
        before = known(
            before.newest_digest.replace("@", content.digest),
            before.newest_status,
            before.delivered_digest and before.delivered_digest.replace("@", content.digest),
        )
    assert need(content, before) is wanted


def test_payments_without_a_customer_row_are_skipped_once() -> None:
    content = content_of(rows(customers=0, payments=2), ZONE)
    assert content is not None
    assert content.status is SKIPPED
    assert "no customer row" in content.error
    assert need(content, None) is Need.ENTRY
    assert need(content, known(NO_CUSTOMER_DIGEST, SKIPPED)) is Need.NOTHING
    assert need(content, known("x", DELIVERED, "x")) is Need.ENTRY


def test_an_account_without_rows_needs_nothing() -> None:
    assert content_of(rows(customers=0), ZONE) is None


def test_rows_that_make_no_document_are_a_dead_letter_until_they_change() -> None:
    content = content_of(rows(OUTSTANDING="much"), ZONE)
    mended = content_of(rows(OUTSTANDING="5"), ZONE)
    worse = content_of(rows(OUTSTANDING="more"), ZONE)
    assert content is not None
    assert mended is not None
    assert worse is not None
    assert content.status is DEAD
    assert content.draft is None
    assert "OUTSTANDING" in content.error
    assert need(content, known(content.digest, DEAD)) is Need.NOTHING
    assert need(worse, known(content.digest, DEAD)) is Need.ENTRY
    assert need(mended, known(content.digest, DEAD)) is Need.ENTRY
