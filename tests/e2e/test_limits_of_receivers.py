"""The installed command before receivers that limit the rate, or work on a few at a time (SPEC 5), over real HTTP."""

from collections import Counter
from typing import Any

import pytest

from tests.e2e.conftest import MakeSite, Site, day


def site_with(make_site: MakeSite, accounts: int, **api: Any) -> Site:
    site = make_site()
    site.command.configure(api=api)
    site.prepare()
    site.customers(
        *({"ACCOUNT_NUM": f"{number:010d}", "ASSET_ID": "A1", "LOAD_DATE": day(5)} for number in range(accounts))
    )
    return site


def answers(site: Site) -> Counter[int]:
    return Counter(row["answer"] for row in site.requests())


@pytest.mark.parametrize(
    ("status", "asked", "kind"),
    [(429, None, "second"), (503, "0", "sliding"), (429, "1", "second"), (503, None, "bucket")],
    ids=["429", "503-retry-after-0", "429-retry-after-1", "503-bucket"],
)
def test_20_a_second_get_20_a_second_in_one_run(make_site: MakeSite, status: int, asked: str | None, kind: str) -> None:
    site = site_with(make_site, 300)
    site.receiver.control(rate_limit=20, rate_kind=kind, rate_burst=20, rate_status=status, rate_retry_after=asked)
    report = site.run()
    site.receiver.calm()
    assert (report["status"], report["delivered"], report["dead"], report["pending"]) == ("completed", 300, 0, 0)
    assert report["seconds"] <= 1.3 * 15
    said = answers(site)
    assert said.keys() == {201, status}
    assert said[status] <= 100, "most of these were under way with the first"


def test_one_worker_that_takes_a_second_has_nothing_time_out(make_site: MakeSite) -> None:
    site = site_with(make_site, 15, timeout_seconds=5)
    site.receiver.control(workers=1, work_ms=1000)
    report = site.run()
    site.receiver.calm()
    assert (report["status"], report["delivered"]) == ("completed", 15)
    assert answers(site) == {201: 15}, "no attempt was made twice"
    assert report["seconds"] <= 25


def test_a_queue_is_filled_only_where_adaptive_is_off(make_site: MakeSite) -> None:
    turned_away = {}
    for adaptive in ("on", "off"):
        site = site_with(make_site, 300, adaptive=adaptive, max_attempts=50)
        site.receiver.control(workers=4, work_ms=20, queue=20)
        report = site.run()
        site.receiver.calm()
        assert (report["status"], report["delivered"], report["dead"]) == ("completed", 300, 0)
        turned_away[adaptive] = answers(site)[503]
    assert turned_away["on"] == 0
    assert turned_away["off"] > 0
