"""One large load of one LOAD_DATE, killed in the middle (SPEC 3, 6, 10)."""

from collections import Counter
from contextlib import closing
from typing import Any

from tests.e2e.conftest import MakeSite, Site, day
from tests.support.command import KILLED

ROWS = 100_000
ACCOUNTS = 12_500
"""Eight rows each, in pairs of equal ones and with four assets: 100,000 rows, and bodies that fit the test's time."""
CHUNK = 1_700
"""Shares no factor with the accounts: the last chunk is a part of one."""


def given_one_load(site: Site) -> None:
    """Insert all rows with one statement, so that they appear at once and in no useful order."""
    with closing(site.source.connect()) as connection:
        cursor: Any = connection.cursor()
        cursor.execute(
            "INSERT INTO debt_cust_detail (ACCOUNT_NUM, ASSET_ID, OUTSTANDING, LOAD_DATE) "
            f"SELECT LPAD(seq * 7919 % {ACCOUNTS}, 10, '0'), CONCAT('A', seq DIV {ACCOUNTS} % 4), 7.25, '{day(2)}' "
            f"FROM seq_1_to_{ROWS}"
        )
        cursor.execute("CREATE INDEX account ON debt_cust_detail (ACCOUNT_NUM, ASSET_ID, LOAD_DATE)")
        cursor.close()


def test_a_hundred_thousand_rows_of_one_load_date_killed_in_the_middle(make_site: MakeSite) -> None:
    """Case 3: equal LOAD_DATEs over the edges of chunks, two crashes on the way, every account accepted once."""
    site = make_site("mariadb", "mariadb")
    site.command.configure(process={"chunk_accounts": CHUNK}, api={"send_empty": "off"})
    site.prepare()
    given_one_load(site)
    assert site.command.run({"INCIDENT_PROCESS_FAULT": "recorded:2"}).status == KILLED
    assert site.command.run({"INCIDENT_PROCESS_FAULT": "posted:3"}).status == KILLED
    before = len(site.accepted())
    assert 2 * CHUNK < before < ACCOUNTS, "killed in the middle"
    report = site.run()
    assert (report["status"], report["rows"]["debt_cust_detail"]) == ("completed", ROWS)
    assert (report["accounts"], report["dead"], report["pending"]) == (ACCOUNTS, 0, 0)
    times = Counter(row["account_num"] for row in site.accepted())
    assert len(times) == ACCOUNTS
    assert set(times.values()) == {1}
    site.make_due()
    again = site.run()
    assert (again["status"], again["delivered"]) == ("no_data", 0)
