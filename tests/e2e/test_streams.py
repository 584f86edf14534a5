"""The standard streams as shells, pipes, disks and terminals have them: none of them stops a command (SPEC 7)."""

import pytest

from tests.e2e.conftest import MakeSite, Site, day


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """Three accounts before the first run."""
    made = make_site()
    made.prepare()
    made.customers(*({"ACCOUNT_NUM": f"{n:010d}", "ASSET_ID": "A1", "LOAD_DATE": day(5)} for n in range(3)))
    return made


# -- closed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_stops_nothing(site: Site, closed: str) -> None:
    finished = site.command("run", "--json", by=("sh", "-c", f'exec "$@" {closed}', "sh"))
    assert finished.status == 0, finished.stderr
    assert len(site.accepted()) == 3
    if " >&-" not in f" {closed}":
        assert finished.json["delivered"] == 3
    if "2>&-" not in closed:
        assert "Successfully sent data to API." in finished.messages("INFO")
