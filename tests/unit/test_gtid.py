"""What is read out of a server's answers about its replication; the servers themselves are asked in test_replicas."""

import pytest

from incident_process.source.gtid import filters_of, without_owners

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


@pytest.mark.parametrize(
    ("owned", "expected"),
    [
        ("", ""),
        (f"{UUID}:7#12", f"{UUID}:7"),
        (f"{UUID}:7#12:8#130,\n{UUID[:-1]}0:1#4", f"{UUID}:7:8,\n{UUID[:-1]}0:1"),
    ],
)
def test_owned_transactions_become_a_set(owned: str, expected: str) -> None:
    assert without_owners(owned) == expected


@pytest.mark.parametrize(
    ("name", "value", "counts"),
    [
        ("replicate_do_db", "", False),
        ("replicate_do_db", None, False),
        ("replicate_do_db", "incident_db", True),
        ("replicate_ignore_db", "mysql", True),  # with statements in the log, the default database decides
        ("replicate_ignore_table", "mysql.plugin,mysql.rds_monitor", False),  # as hosted servers have it
        ("replicate_ignore_table", "mysql.plugin,incident_db.debt_payment", True),
        ("replicate_wild_ignore_table", "sys.%", False),
        ("replicate_wild_ignore_table", "%.%", True),
        ("replicate_do_table", "mysql.plugin", True),
        ("replicate_ignore_domain_ids", "3", True),
        ("replicate_rewrite_db", "(a,b)", True),
        ("master_host", "primary", False),
    ],
)
def test_which_filters_may_cost_rows(name: str, value: str | None, counts: bool) -> None:
    assert filters_of({name: value}) == ([name] if counts else [])
