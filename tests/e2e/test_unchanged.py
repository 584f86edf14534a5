"""An account whose rows are those of its newest entry is unchanged without being built anew; others are built."""

import pytest

from tests.e2e.conftest import MakeSite, day


@pytest.mark.parametrize("source", ["sqlite", "mariadb"])
@pytest.mark.parametrize("tracking", ["sqlite", "mariadb"])
def test_rows_are_compared_first_and_content_where_they_differ(make_site: MakeSite, source: str, tracking: str) -> None:
    """Shown by a ledger whose digests of contents were spoilt: they count only where rows are built."""
    site = make_site(source, tracking)
    site.command.configure(process={"lookback_seconds": 864000})
    site.customers(*({"ACCOUNT_NUM": f"{n}", "ASSET_ID": "A", "LOAD_DATE": day(3)} for n in range(4)))
    site.payments(
        *(
            {
                "AP_ACCOUNT_NUMBER": f"{n}",
                "ACCOUNT_PAYMENT_SEQ": 1,
                "ACCOUNT_PAYMENT_DAT": f"{day(4)} 09:00:00",
                "LOAD_DATE": f"{day(4)} 10:00:00",
            }
            for n in range(4)
        )
    )
    site.prepare()
    assert site.run()["delivered"] == 4
    assert site.state is not None
    site.state.sql("UPDATE Incident_Delivery SET Digest = 'spoilt'")
    site.make_due()
    report = site.run()
    assert (report["delivered"], report["unchanged"]) == (0, 4)
    # As an older release left it.
    site.state.sql("UPDATE Incident_Delivery SET Rows_Digest = '' WHERE Account_Num = '1'")
    site.customers({"ACCOUNT_NUM": "2", "ASSET_ID": "B", "LOAD_DATE": day(2)})
    site.make_due()
    report = site.run()
    assert (report["delivered"], report["unchanged"]) == (2, 2)
    site.make_due()
    assert site.run()["unchanged"] == 4
    # What reconcile finds it also repairs, whatever is said of the rows.
    assert site.command("reconcile").status == 4
    assert site.command("reconcile", "--repair").status == 0
    assert site.command("reconcile").status == 0
    assert len(site.accepted()) == 4 + 2 + 2
