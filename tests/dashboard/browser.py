"""Debian's Chromium, driven by Playwright: never a browser that a package has brought along."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.dashboard.site import Served

CHROMIUM = shutil.which("chromium")
FOREIGN_NAME = "rebound.example"


@contextmanager
def launched() -> Iterator[Browser]:
    """Start a headless browser, and end it with the block."""
    assert CHROMIUM, "the tests need Chromium: sudo apt-get install chromium"
    # A name that leads here as a hostile one can be made to; and no sandbox for root, for whom Chromium has none: it
    # opens nothing but the page under test.
    arguments = [f"--host-resolver-rules=MAP {FOREIGN_NAME} 127.0.0.1", *["--no-sandbox"] * (os.geteuid() == 0)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def sign_in(page: Page, served: Served, token: str, name: str = "Ada") -> None:
    """Open the page and sign in."""
    page.goto(served.url)
    page.get_by_label("Token").fill(token)
    page.get_by_label("Your name").fill(name)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.get_by_label("Is all well?").wait_for()


def go(page: Page, served: Served, address: str) -> None:
    """Go to a page of the dashboard and wait until it shows its content."""
    page.goto(f"{served.url}#/{address}")
    page.locator("main .stack").first.wait_for()
    expect(page.locator("main")).not_to_contain_text("Loading")
