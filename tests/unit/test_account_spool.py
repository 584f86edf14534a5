"""The merge of two tables' accounts on disk, against the same in memory."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_process.core.arguments import LONGEST_ACCOUNT
from incident_process.source.account_spool import Sighting, SurveySpool

tables = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 3))
START = datetime(2026, 1, 1, tzinfo=UTC)


def batches(table: dict[str, int], size: int) -> Iterator[list[Sighting]]:
    seen = [
        Sighting(account=name.encode(), rows=rows, newest=START + timedelta(days=rows))
        for name, rows in sorted(table.items())
    ]
    for start in range(0, len(seen), size):
        yield seen[start : start + size]


@given(tables, tables, st.integers(1, 5))
def test_merge(customers: dict[str, int], payments: dict[str, int], size: int) -> None:
    with closing(SurveySpool()) as spool:
        for batch in batches(customers, size):
            spool.customers(batch)
        for batch in batches(payments, size):
            spool.payments(batch)
        survey = spool.finish()
        for _ in range(2):
            found, position = [], 0
            while True:
                some, position = spool.selected_accounts(position, size)
                if not some:
                    break
                found += [(one.account, one.in_window) for one in some]
            expected = {
                name: customers.get(name, 0) + payments.get(name, 0) > 0 for name in sorted({*customers, *payments})
            }
            assert found == list(expected.items())
    both = [*customers.values(), *payments.values()]
    assert survey.accounts == sum(expected.values())
    assert survey.reread == len(expected) - survey.accounts
    assert sum(survey.rows.values()) == sum(both)
    assert survey.newest == (START + timedelta(days=max(both)) if both else None)


def test_a_number_that_the_ledger_has_no_room_for_is_told_and_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """MySQL would refuse the whole chunk in which such an account is, in every run."""
    longest = "\N{LATIN SMALL LETTER E WITH ACUTE}" * LONGEST_ACCOUNT
    table = {"1": 1, longest: 0, longest + "x": 1, "A" * 5000: 2}
    with closing(SurveySpool()) as spool:
        spool.customers(*batches(table, 10))
        spool.payments(*batches(table, 10))
        survey = spool.finish()
        assert [one.account for one in spool.selected_accounts(0, 10)[0]] == ["1", longest]
    assert (survey.accounts, survey.reread, survey.rows["debt_payment"]) == (1, 1, 1)
    assert "4 account number(s) can never be processed: they have more than 255 characters." in caplog.text
