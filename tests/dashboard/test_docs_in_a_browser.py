"""The documentation site in a browser, its pages opened as files: the search finds, the colours are the dashboard's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.sync_api import Browser, Page, expect

from tests.dashboard.browser import launched
from tests.support.docs_site import build


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as started:
        yield started


@pytest.fixture
def page(browser: Browser, site: Path) -> Iterator[Page]:
    with browser.new_context(offline=True) as context:
        page = context.new_page()
        page.goto((site / "index.html").as_uri())
        yield page


def test_the_search_finds_a_setting_where_the_pages_are_files(page: Page) -> None:
    page.get_by_role("textbox", name="Search").click()
    page.keyboard.type("breaker_failures")
    found = page.locator(".md-search-result__item").first
    expect(found).to_contain_text("breaker_failures")
    found.get_by_role("link").filter(has_text="breaker_failures").first.click()
    expect(page.get_by_role("heading", name="[API] breaker_failures")).to_be_in_viewport()
    assert page.url.startswith("file://")


def test_the_next_page_and_the_one_before_are_a_click_away(page: Page) -> None:
    page.get_by_role("link", name="Next: Tutorial").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("The first delivered incident")
    page.get_by_role("link", name="Previous: Overview").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Time-Gapped Incident Processing System")


@pytest.mark.parametrize(
    ("scheme", "ground", "text", "link"),
    [
        ("light", "rgb(255, 255, 255)", "rgb(22, 32, 43)", "rgb(29, 78, 137)"),
        ("dark", "rgb(21, 28, 36)", "rgb(231, 236, 242)", "rgb(143, 184, 240)"),
    ],
)
def test_the_colours_are_those_of_the_dashboard(
    browser: Browser, site: Path, scheme: str, ground: str, text: str, link: str
) -> None:
    with browser.new_context(color_scheme=scheme, offline=True) as context:  # type: ignore[arg-type]  # one of two
        page = context.new_page()
        page.goto((site / "how-to" / "woken.html").as_uri())
        expect(page.locator("body")).to_have_css("background-color", ground)
        expect(page.locator("article p").first).to_have_css("color", text)
        expect(page.locator("article p a").first).to_have_css("color", link)
        found = Axe().run(page, options={"runOnly": ["color-contrast"]}).response
        assert found["passes"], "the page has texts to look at"
        assert found["violations"] == []
