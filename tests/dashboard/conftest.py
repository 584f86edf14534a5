"""One site for each module, and a dashboard in front of it."""

from collections.abc import Iterator

import pytest

from tests.dashboard.site import Served, Site, make_site, serving


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Source, receiver and state with runs, dead letters and an account that has changed since."""
    with make_site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Served]:
    """The command ``dashboard``, with both tokens set."""
    with serving(site) as running:
        yield running
