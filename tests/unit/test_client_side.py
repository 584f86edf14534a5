"""Rows that are read all and picked here: the same rows that the database would pick."""

from datetime import date, datetime
from typing import Any

import pytest

from incident_process.source.client_side import (
    AGAIN,
    FEW,
    StrategySelector,
    current,
    make_a_range,
    newest_payments,
)
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS
from incident_process.source.load_date import Kind


def row(asset: str | None, loaded: date | str, name: str = "") -> tuple[Any, ...]:
    values = {"ACCOUNT_NUM": "1", "ASSET_ID": asset, "PRODUCT_NAME": name, "LOAD_DATE": loaded}
    return tuple(values.get(column) for column in CUSTOMER_COLUMNS)


OLD, NEW = date(2026, 1, 1), date(2026, 1, 2)


def test_the_newest_rows_of_each_asset_stay_and_null_is_one() -> None:
    rows = [row("A", OLD), row("A", NEW), row("B", OLD), row(None, OLD), row(None, NEW), row("", OLD), row("a", OLD)]
    kept = [row("A", NEW), row("B", OLD), row(None, NEW), row("", OLD), row("a", OLD)]
    assert sorted(current(rows), key=repr) == sorted(kept, key=repr)


def test_of_equal_rows_one_stays_and_of_different_ones_of_a_date_all() -> None:
    rows = [row("A", NEW, "x"), row("A", NEW, "y"), row("A", NEW, "x"), row("A", OLD, "z")]
    assert current(rows) == [row("A", NEW, "x"), row("A", NEW, "y")]


@pytest.mark.parametrize(("odd", "newer"), [("2026-01-00", False), ("2026-02-30", True)])
def test_a_date_that_python_has_not_came_as_text_and_is_ordered_among_the_others(odd: str, newer: bool) -> None:
    assert current([row("A", OLD), row("A", odd)]) == [row("A", odd if newer else OLD)]


def payment(paid: datetime | str | None, seq: int = 1) -> tuple[Any, ...]:
    values = {"AP_ACCOUNT_NUMBER": "1", "ACCOUNT_PAYMENT_DAT": paid, "ACCOUNT_PAYMENT_SEQ": seq, "LOAD_DATE": NEW}
    return tuple(values.get(column) for column in PAYMENT_COLUMNS)


EARLIER, LATER = datetime(2026, 1, 1, 8), datetime(2026, 1, 1, 8, 0, 0, 500_000)  # noqa: DTZ001  # as columns hold them


def test_of_payments_those_of_the_newest_date_stay() -> None:
    rows = [payment(EARLIER, 3), payment(LATER, 1), payment(None, 9), payment(LATER, 2), payment(LATER, 1)]
    assert newest_payments(rows, Kind.DATETIME) == [payment(LATER, 1), payment(LATER, 2)]


@pytest.mark.parametrize("none", [None, "0000-00-00 00:00:00", datetime(1899, 12, 31)])  # noqa: DTZ001  # as above
def test_what_is_no_date_of_payment_counts_only_where_there_is_no_other(none: datetime | str | None) -> None:
    assert newest_payments([payment(none, 5), payment(EARLIER)], Kind.DATETIME) == [payment(EARLIER)]
    assert newest_payments([payment(none, 5), payment(None, 6)], Kind.DATETIME) == [payment(none, 5), payment(None, 6)]


def test_too_much_read_in_vain_leaves_the_picking_to_the_server_for_a_while() -> None:
    many, choice = ["1"] * FEW, StrategySelector()
    assert choice.all_rows(many)
    choice.read(100, 100, 50, as_range=False)
    assert choice.all_rows(many)
    choice.read(100, 100, 30, as_range=False)
    for _ in range(AGAIN):
        assert not choice.all_rows(many)
        choice.picked()
    assert choice.all_rows(many)
    choice.read(1000, 1000, 100, as_range=True)  # a deep history shows in a range as well
    assert not choice.all_rows(many)
    assert choice.as_range(many)


@pytest.mark.parametrize("as_range", [False, True])
def test_more_rows_than_are_worth_reading_leave_the_picking_to_the_server_for_a_while(as_range: bool) -> None:
    many, choice = ["1"] * FEW, StrategySelector()
    choice.read_too_many(801, 700, as_range=as_range)
    assert not choice.all_rows(many)
    assert choice.as_range(many)


@pytest.mark.parametrize("too_many", [False, True])
def test_a_range_with_the_rows_of_many_others_is_not_asked_for_again_for_a_while(too_many: bool) -> None:
    many, choice = ["1"] * FEW, StrategySelector()
    if too_many:
        choice.read_too_many(801, 600, as_range=True)
    else:
        choice.read(100, 80, 80, as_range=True)
    assert choice.all_rows(many)
    for _ in range(AGAIN):
        assert not choice.as_range(many)
        choice.read(100, 100, 100, as_range=False)
    assert choice.as_range(many)


def test_only_numbers_of_one_length_make_a_range() -> None:
    """In other collations than that of bytes, letters, blanks and shorter numbers may lie elsewhere."""
    assert make_a_range(["0001", "0500", "9999"])
    for odd in ("123", "12345", "12a4", "12 4", "\u0661\u0662\u0663\u0664", "12\u00b24"):
        assert not make_a_range(["0001", odd])


def test_of_few_accounts_the_server_always_picks() -> None:
    assert not StrategySelector().all_rows(["1"] * (FEW - 1))
