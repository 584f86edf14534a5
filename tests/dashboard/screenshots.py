"""The pictures of the README, from synthetic data: ``scripts/screenshots``. No personal field is unmasked in them."""

import sys
import tempfile
import threading
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.dashboard.browser import go, launched, sign_in
from tests.dashboard.site import ACCOUNTS, TOKEN, Served, Site, make_site, serving

DESK = {"width": 1280, "height": 860}
ENOUGH = 35
"""Per cent of a run under way, for a picture of it."""
PHONE = {"width": 390, "height": 844}


def main(target: Path) -> None:
    """Take all pictures into the folder."""
    target.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="incident-screenshots-") as folder,
        make_site(Path(folder), latency_ms=12, jitter_ms=90) as site,
        serving(site) as served,
        launched() as browser,
    ):
        for colours in ("light", "dark"):
            page = _page(browser, served, colours, DESK)
            _pages(page, served, site, target, colours)
            page.context.close()
            phone = _page(browser, served, colours, PHONE)
            for name, address in (("overview", ""), ("account", f"accounts/{site.changed}")):
                go(phone, served, address)
                if name == "account":
                    _look_up(phone)
                _take(phone, target / f"phone-{name}-{colours}.png")
            phone.context.close()
        site.fail()
        for colours in ("light", "dark"):
            page = _page(browser, served, colours, DESK)
            for name, address in (("trouble", ""), ("pending", "pending")):
                go(page, served, address)
                _take(page, target / f"{name}-{colours}.png")
            page.context.close()
        site.accept()
        site.replay()
        for colours in ("light", "dark"):
            page = _page(browser, served, colours, DESK)
            _under_way(page, served, site, target / f"running-{colours}.png")
            page.context.close()


def _page(browser: Browser, served: Served, colours: str, size: dict[str, int]) -> Page:
    context = browser.new_context(
        viewport={"width": size["width"], "height": size["height"]},
        color_scheme="dark" if colours == "dark" else "light",
        device_scale_factor=2 if size is PHONE else 1.5,
        reduced_motion="reduce",
    )
    page = context.new_page()
    sign_in(page, served, TOKEN)
    return page


def _pages(page: Page, served: Served, site: Site, target: Path, colours: str) -> None:
    incomplete = page.locator("a.bar[aria-label*=incomplete]").first.get_attribute("href") or ""
    addresses = {
        "overview": "",
        "run": incomplete.removeprefix("#/"),
        "account": f"accounts/{site.changed}",
        "dead-letters": "dead-letters",
        "doctor": "doctor",
    }
    for name, address in addresses.items():
        go(page, served, address)
        if name == "account":
            _look_up(page)
        if name == "dead-letters":
            for row in (0, 1, 2):
                page.get_by_label("Choose account").nth(row).check()
        _take(page, target / f"{name}-{colours}.png")


def _look_up(page: Page) -> None:
    page.get_by_role("button", name="Look it up").click()
    page.get_by_label("The document's values").wait_for()


def _under_way(page: Page, served: Served, site: Site, file: Path) -> None:
    """Take the overview while a run that may only send slowly is at work."""
    site.load_payments(*range(ACCOUNTS // 2))
    worker = threading.Thread(target=site.run, kwargs={"requests_per_second": "9"})
    worker.start()
    go(page, served, "")
    bar = page.get_by_role("progressbar")
    bar.wait_for()
    while int(bar.get_attribute("aria-valuenow") or 0) < ENOUGH:
        page.wait_for_timeout(200)
    _take(page, file)
    worker.join()


def _take(page: Page, file: Path) -> None:
    page.mouse.move(0, 0)
    page.wait_for_timeout(250)  # the fonts
    page.screenshot(path=file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
