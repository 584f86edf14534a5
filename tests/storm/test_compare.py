"""The comparison finds what it is there for: a storm that could not fail would prove nothing."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.storm.compare import Findings, Log, Source, compare, make_oracle
from tests.support.oracle import CUSTOMER_COLUMNS, Oracle, Row

ORACLE: Oracle = make_oracle(datetime(2026, 3, 1, tzinfo=UTC), "UTC")
LOADED = "2026-02-01"


def customer(account: str, outstanding: str, load_date: str | None = LOADED) -> Row:
    made: dict[str, Any] = dict.fromkeys(CUSTOMER_COLUMNS)
    return made | {"ACCOUNT_NUM": account, "OUTSTANDING": outstanding, "LOAD_DATE": load_date}


SOURCE = Source(customers={"01": [customer("01", "10.50")], "02": [customer("02", "7.00")]}, payments={})


class Receiver:
    """A receiver's log as it comes about, request by request."""

    def __init__(self) -> None:
        self.log = Log(accepted=[], requests=[])

    def takes(self, incident_id: int, account: str, outstanding: str, run_time: str = "now", key: str = "") -> None:
        """One body is accepted, built from one row as the program would."""
        document = ORACLE.document(account, [customer(account, outstanding)], [], incident_id, run_time)
        key = key or f"{account} {outstanding}"
        body = json.dumps(document, default=_as_number).encode()
        row = {"incident_id": incident_id, "account_num": account, "idempotency_key": key, "body": body}
        self._append("accepted", row)
        self.is_asked(incident_id, key, 201)

    def is_asked(self, incident_id: int | None, key: str | None, answer: int, fault: str | None = None) -> None:
        row = {"incident_id": incident_id, "idempotency_key": key, "answer": answer, "fault": fault}
        self._append("requests", row)

    def _append(self, table: str, row: dict[str, Any]) -> None:
        rows = getattr(self.log, table)
        assert isinstance(rows, list)
        rows.append(row)

    def compared(self, source: Source = SOURCE, excused: tuple[str, ...] = ()) -> Findings:
        return compare(source, self.log, ORACLE, excused)


def _as_number(value: object) -> float:
    assert isinstance(value, Decimal)
    return float(value)


@pytest.fixture
def receiver() -> Receiver:
    """It has what the source holds, after other content of the same account before."""
    made = Receiver()
    made.takes(1, "01", "10.50", "first")
    made.takes(2, "01", "0.00", "second")
    made.takes(3, "02", "7.00", "second")
    made.is_asked(3, "02 7.00", 409)
    made.is_asked(None, None, 422)  # the empty payload
    made.takes(4, "01", "10.50", "third", key="with a nonce")
    return made


def test_nothing_is_found_where_nothing_is_wrong(receiver: Receiver) -> None:
    assert receiver.compared().all == []


def with_new_row(account: str, *rows: Row) -> Source:
    return Source(customers={**SOURCE.customers, account: rows}, payments={})


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (with_new_row("03", customer("03", "1.00")), "account 03: never accepted"),
        (with_new_row("02", customer("02", "7.01")), "account 02: (accepted last, expected) {'Arrears'"),
        (with_new_row("02", customer("02", "7.00", "2026-02-02")), "Last_Bss_Reading_Date"),
        (with_new_row("02"), "account 02: accepted, but its rows make no incident"),
    ],
)
def test_a_missed_account_is_found(receiver: Receiver, source: Source, words: str) -> None:
    found = receiver.compared(source)
    assert found.all == found.missed
    assert len(found.missed) == 1
    assert words in found.missed[0]
    account = found.missed[0].split()[1].rstrip(":")
    assert receiver.compared(source, excused=(account,)).all == []


def test_an_older_content_that_comes_last_is_a_missed_account(receiver: Receiver) -> None:
    receiver.takes(5, "01", "0.00", key="with another nonce")
    assert ["account 01" in line for line in receiver.compared().missed] == [True]


@pytest.mark.parametrize("never", [None, "0000-00-00", "2026-03-02"])
def test_rows_that_enter_no_window_make_no_incident(receiver: Receiver, never: str | None) -> None:
    assert receiver.compared(with_new_row("03", customer("03", "1.00", never))).all == []


def test_a_duplicate_is_found_whatever_its_envelope_says(receiver: Receiver) -> None:
    receiver.takes(5, "02", "7.00", "much later", key="somebody forgot")
    found = receiver.compared()
    assert found.all == found.duplicated == ["account 02: Incident_Id 5 repeats the content before it"]


def asked_for_two(receiver: Receiver) -> None:
    receiver.is_asked(3, "another content of 02", 409)


def a_key_for_two(receiver: Receiver) -> None:
    receiver.takes(5, "02", "8.00", key="02 7.00")
    receiver.takes(6, "02", "7.00", key="back again")


@pytest.mark.parametrize(
    ("plant", "words"), [(asked_for_two, "Incident_Id 3: 2 contents"), (a_key_for_two, "Idempotency-Key 02 7.00")]
)
def test_a_reused_id_is_found(receiver: Receiver, plant: Callable[[Receiver], None], words: str) -> None:
    plant(receiver)
    found = receiver.compared()
    assert found.all == found.reused
    assert len(found.reused) == 1
    assert words in found.reused[0]


def test_a_body_that_breaks_the_contract_is_found(receiver: Receiver) -> None:
    receiver.is_asked(5, "no good", 422)
    receiver.is_asked(6, "told to", 422, fault="fail_account")
    assert receiver.compared().all == ["Incident_Id 5: answered 422"]
