"""The page as people use it: headless Chromium walks through it on synthetic data, in both colours and on a phone.

The tests that make the state another one stand at the end: those before them look at the site as it was made.
"""

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from incident_process import __version__
from tests.dashboard.browser import FOREIGN_NAME, go, launched, sign_in
from tests.dashboard.client import Client
from tests.dashboard.site import TOKEN, UNMASK_TOKEN, Served, Site

PAGES = {
    "overview": "",
    "runs": "runs",
    "run": "run",
    "accounts": "accounts",
    "account": "account",
    "pending": "pending",
    "dead letters": "dead-letters",
    "doctor": "doctor",
}
PATIENCE_MS = 10_000
expect.set_options(timeout=PATIENCE_MS)
COLOURS = ("light", "dark")
ASK = """(address) => fetch(address, {headers: {"X-CSRF-Token": localStorage.getItem("session-token")}})
  .then((answer) => answer.json())"""
"""Asks for something as the page does."""
LONG = "X" * 255
"""An account number as long as one may be."""


@pytest.fixture(scope="module")
def browser(served: Served) -> Iterator[Browser]:
    with launched() as running:
        yield running


@pytest.fixture(scope="module", params=COLOURS)
def page(request: pytest.FixtureRequest, browser: Browser, served: Served) -> Iterator[Page]:
    """A page that has signed in, in each of the colours; the browser may have nothing to complain of at its end."""
    context = opened(browser, request.param)
    found = context.new_page()
    complaints = complaints_of(found)
    sign_in(found, served, TOKEN)
    yield found
    context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def desk(browser: Browser, served: Served) -> Iterator[Page]:
    """A page that has signed in, where the colours do not matter."""
    context = opened(browser)
    found = context.new_page()
    complaints = complaints_of(found)
    sign_in(found, served, TOKEN)
    yield found
    context.close()
    assert complaints == []


def opened(browser: Browser, colours: Any = "light", **options: Any) -> BrowserContext:
    context = browser.new_context(color_scheme=colours, reduced_motion="reduce", **options)
    context.set_default_timeout(PATIENCE_MS)
    return context


def complaints_of(page: Page) -> list[str]:
    """Collect what the browser finds wrong: scripts that fail, policies that are broken, files that are missing."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on(
        "console",
        lambda message: found.append(message.text) if message.type in {"error", "warning"} else None,
    )
    return found


def accessible(page: Page) -> None:
    violations = Axe().run(page).response["violations"]
    assert [
        (item["id"], item["nodes"][0]["html"]) for item in violations if item["impact"] in {"serious", "critical"}
    ] == []


def in_all_sizes(page: Page) -> None:
    """Look at what is shown in both colours, on a desk and on a phone."""
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        for colours in COLOURS:
            page.emulate_media(color_scheme=colours)  # type: ignore[arg-type]  # one of two words
            accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@contextmanager
def listening(requests: list[Message], cookie: str) -> Iterator[int]:
    """Serve a page on another port that keeps the headers of every request, and sets a cookie with every answer."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.headers)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Set-Cookie", cookie)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def address_of(name: str, page: Page, served: Served, site: Site) -> str:
    if name == "run":
        go(page, served, "runs")
        return (page.get_by_role("table").get_by_role("link").nth(2).get_attribute("href") or "").removeprefix("#/")
    return f"accounts/{site.changed}" if name == "account" else PAGES[name]


@pytest.mark.parametrize("name", PAGES)
def test_each_page_shows_its_subject_and_is_accessible(page: Page, served: Served, site: Site, name: str) -> None:
    go(page, served, address_of(name, page, served, site))
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    if name == "account":
        page.get_by_role("button", name="Look it up").click()
        expect(page.get_by_label("The document's values")).to_contain_text("Arrears")
    expected = {
        "overview": "11 dead letters are open",
        "runs": "Incomplete",
        "run": "Further accounts of the lookback",
        "accounts": "Written last",
        "account": "Its content has changed since the last delivery",
        "pending": "No incident is pending.",
        "dead letters": "HTTP 422 Unprocessable Entity",
        "doctor": "CREATE INDEX debt_payment_account",
    }
    expect(page.locator("main")).to_contain_text(expected[name])
    foot = page.locator(".page-foot")
    expect(foot).to_contain_text(f"incident-process {__version__}Configuration: {site.config}")
    expect(foot).to_contain_text(re.compile(r"^As of \d\d:\d\d:\d\d UTC"))
    accessible(page)


def test_the_colours_are_the_system_s_until_they_are_switched(page: Page, served: Served) -> None:
    go(page, served, "")
    root = page.locator("html")
    before = root.get_attribute("data-theme")
    other = {"light": "dark", "dark": "light"}[before or ""]
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name=f"{other.title()} colours").click()
    expect(root).to_have_attribute("data-theme", other)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
    page.reload()
    expect(root).to_have_attribute("data-theme", other)
    page.get_by_role("button", name=f"{before} colours").click()


def test_runs_are_filtered_and_the_address_keeps_the_filter(desk: Page, served: Served) -> None:
    go(desk, served, "runs")
    desk.get_by_label("Status").select_option("incomplete")
    rows = desk.get_by_role("table").get_by_role("row")
    expect(rows).to_have_count(2)
    assert desk.url.endswith("#/runs?status=incomplete")
    desk.reload()
    expect(rows).to_have_count(2)
    desk.get_by_role("searchbox").fill("no such text")
    desk.keyboard.press("Enter")
    expect(desk.locator("main")).to_contain_text("No run that fits.")
    desk.get_by_role("searchbox").fill("CIRCUIT")
    desk.keyboard.press("Enter")
    expect(rows).to_have_count(2)
    today = datetime.now(UTC).date()
    desk.get_by_label("From (UTC)").fill(str(today - timedelta(days=2)))
    desk.get_by_label("To (UTC)").fill(str(today - timedelta(days=2)))
    desk.keyboard.press("Tab")
    expect(desk.locator("main")).to_contain_text("No run that fits.")
    desk.get_by_label("To (UTC)").fill(str(today))
    desk.keyboard.press("Tab")
    expect(rows).to_have_count(2)
    desk.get_by_role("table").get_by_role("link").click()
    expect(desk.locator("main")).to_contain_text("The receiver fails across accounts (circuit breaker)")
    expect(desk.get_by_role("img", name=re.compile("Run of"))).to_be_visible()


def test_older_runs_are_on_a_further_page(desk: Page, served: Served) -> None:
    go(desk, served, "runs")
    first = desk.get_by_role("table").get_by_role("link").first
    newest = first.inner_text()
    desk.get_by_role("link", name="Older").click()
    expect(first).not_to_have_text(newest)
    desk.get_by_role("link", name="Newer").click()
    expect(first).to_have_text(newest)


def test_an_account_is_searched_by_how_it_begins(desk: Page, served: Served, site: Site) -> None:
    go(desk, served, "accounts")
    desk.get_by_role("searchbox").fill(site.changed[:5])
    desk.keyboard.press("Enter")
    desk.get_by_role("link", name=site.changed).click()
    expect(desk.get_by_role("heading", level=1)).to_have_text(site.changed)
    expect(desk.get_by_role("table", name="Incidents").get_by_role("row")).to_have_count(3)


def test_a_dead_letter_s_page_says_that_it_has_to_be_replayed(desk: Page, served: Served, site: Site) -> None:
    go(desk, served, f"accounts/{site.refused[422][0]}")
    desk.get_by_role("button", name="Look it up").click()
    expect(desk.locator("main")).to_contain_text("It was rejected with this content: replay it.")


@pytest.mark.parametrize(
    ("comparison", "said"),
    [
        ("pending", "It waits for an outcome: the next run resumes it."),
        ("waiting", "an earlier incident waits for an outcome"),
        ("unfit", "Its rows make no document now; what was delivered stands."),
    ],
)
def test_what_a_run_would_do_is_said(desk: Page, served: Served, site: Site, comparison: str, said: str) -> None:
    def answer(route: Route) -> None:
        found = route.fetch()
        route.fulfill(response=found, json={**found.json(), "comparison": comparison})

    desk.route("**/api/document?*", answer)
    go(desk, served, f"accounts/{site.changed}")
    desk.get_by_role("button", name=re.compile("^Look")).click()
    expect(desk.locator("main")).to_contain_text(said)
    desk.unroute("**/api/document?*")


def test_an_address_that_was_cut_says_so(desk: Page, served: Served) -> None:
    go(desk, served, "doctor")
    desk.evaluate("location.hash = '#/accounts/%E0%A4%A'")
    expect(desk.locator("main")).to_contain_text("There is nothing at this address.")
    expect(desk.get_by_role("heading", level=1)).to_have_text("Not found")
    go(desk, served, "accounts")
    expect(desk.locator("main")).to_contain_text("Written last")


def test_an_unknown_address_says_so(desk: Page, served: Served) -> None:
    for address in ("nowhere", "doctor/1"):
        go(desk, served, address)
        expect(desk.locator("main")).to_contain_text("There is nothing at this address.")
        expect(desk.get_by_role("heading", level=1)).to_have_text("Not found")


def test_each_card_of_the_overview_says_as_of_when(desk: Page, served: Served) -> None:
    go(desk, served, "")
    for card in ("Who is at work", "Last 37 runs", "How long runs take", "How long a delivery takes", "The ledger"):
        found = desk.locator(".card", has=desk.get_by_role("heading", name=card, exact=True))
        expect(found).to_contain_text(re.compile(r"as of \d\d:\d\d:\d\d UTC"))
    expect(desk.get_by_label("Is all well?")).to_contain_text(
        re.compile(r"As of \d\d:\d\d:\d\d UTC; the last run ended")
    )
    expect(desk.locator(".card", has_text="Who is at work")).to_contain_text("Nobody: the lease is free.")


def test_the_reader_s_own_time_stands_beside_utc(browser: Browser, served: Served) -> None:
    context = opened(browser, timezone_id="Asia/Colombo")
    page = context.new_page()
    sign_in(page, served, TOKEN)
    now = datetime.now(UTC)
    expect(page.locator(".page-foot")).to_contain_text(re.compile(r"UTC, \d\d:\d\d here|UTC, \d+ \w+, \d\d:\d\d here"))
    go(page, served, "runs")
    newest = page.get_by_role("table").get_by_role("link").first
    found = datetime.fromisoformat(newest.locator("time").get_attribute("datetime") or "")
    assert now - timedelta(minutes=30) < found <= now
    expect(newest.locator(".here")).to_contain_text(f"{found + timedelta(hours=5, minutes=30):%H:%M} here")
    context.close()


def test_a_run_is_one_row_on_a_phone_and_says_how_it_ended(browser: Browser, served: Served) -> None:
    context = opened(browser, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page = context.new_page()
    sign_in(page, served, TOKEN)
    go(page, served, "runs")
    rows = page.get_by_role("table").locator("tbody tr")
    for row in (rows.first, rows.nth(5)):
        box = row.bounding_box()
        assert box is not None
        assert box["height"] < 50
        expect(row.locator(".chip")).to_be_visible()
        expect(row.get_by_role("link")).to_be_visible()
    in_all_sizes(page)
    context.close()


def test_the_verdict_turns_grey_when_the_server_does_not_answer(browser: Browser, served: Served) -> None:
    """The browser is cut off; then the server hangs, and the page's clock goes on."""
    context = opened(browser)
    page = context.new_page()
    page.clock.install()
    sign_in(page, served, TOKEN)
    verdict, icon = page.get_by_label("Is all well?"), page.locator("link[rel=icon]")
    expect(page).to_have_title("Overview · Incident processing")
    ground = verdict.evaluate("element => getComputedStyle(element).backgroundColor")

    def grey() -> None:
        expect(verdict).to_contain_text(re.compile(r"Not known: there is no answer since \d\d:\d\d:\d\d UTC"))
        expect(verdict).to_contain_text("Then it was: 11 dead letters are open")
        expect(verdict).to_have_class("verdict unknown")
        assert verdict.evaluate("element => getComputedStyle(element).backgroundColor") != ground
        expect(page).to_have_title(re.compile(r"^\? as of \d\d:\d\d UTC · Overview"))
        expect(icon).to_have_attribute("href", "/static/icon-unknown.svg")
        # Chromium without a window shows no icon: but it has it, without the server.
        assert page.evaluate("fetch('/static/icon-unknown.svg').then((answer) => answer.ok)")
        expect(page.locator(".page-foot")).to_contain_text("no newer answer")

    def as_before() -> None:
        expect(verdict).to_have_class("verdict attention")
        expect(page).to_have_title("Overview · Incident processing")
        expect(icon).to_have_attribute("href", "/static/icon.svg")

    context.set_offline(True)
    page.clock.fast_forward(4_000)
    grey()
    context.set_offline(False)
    page.clock.fast_forward(6_000)
    as_before()
    os.kill(served.pid, signal.SIGSTOP)
    try:
        page.clock.fast_forward(4_000)
        page.clock.fast_forward(20_000)
        grey()
    finally:
        os.kill(served.pid, signal.SIGCONT)
    page.clock.fast_forward(6_000)
    as_before()
    context.close()


def test_empty_properties_of_a_document_are_folded(desk: Page, served: Served, site: Site) -> None:
    go(desk, served, f"accounts/{site.changed}")
    desk.get_by_role("button", name="Look it up").click()
    desk.get_by_label("Only what differs").uncheck()
    values = desk.get_by_label("The document's values")
    expect(values).to_contain_text(re.compile(r"\d+ empty"))
    expect(values.locator("td", has_text=re.compile("^(empty|not there)$"))).to_have_count(0)


def test_the_chart_is_walked_with_the_keyboard(desk: Page, served: Served) -> None:
    go(desk, served, "")
    last = desk.locator("a.bar").last
    last.focus()
    desk.keyboard.press("ArrowLeft")
    label = desk.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label == desk.locator("a.bar").nth(-2).get_attribute("aria-label")
    expect(desk.locator(".tip")).to_be_visible()
    desk.keyboard.press("Enter")
    expect(desk.get_by_role("heading", level=1)).to_contain_text("run of")


PLACES = """chart => [chart, ...chart.querySelectorAll("text")].map((element) => {
  const { left, right, top, bottom } = element.getBoundingClientRect();
  return { text: element.textContent, left, right, top, bottom };
})"""
"""Where a chart and its labels are, all at one moment."""
COLUMNS = """chart => [...chart.querySelectorAll("a.bar .hit")].map((bar) => bar.getBoundingClientRect().toJSON())"""
BARS = """chart => [...chart.querySelectorAll("rect")].map((bar) => bar.getBoundingClientRect().toJSON())"""


@pytest.mark.parametrize("width", [1280, 900, 360])
@pytest.mark.parametrize("bands", [1, 5, 7, 12])
@pytest.mark.parametrize("highest", [0, 3])
def test_no_label_of_the_latencies_lies_over_another(
    desk: Page, served: Served, width: int, bands: int, highest: int
) -> None:
    def answer(route: Route) -> None:
        content = (found := route.fetch()).json()
        for place, band in enumerate(content["latency"]["bands"]):
            band["count"] = (place == highest) * 24_000 + 900 + place if place < bands else 0
        route.fulfill(response=found, json=content)

    before = desk.viewport_size
    desk.set_viewport_size({"width": width, "height": 900})
    desk.route("**/api/overview", answer)
    go(desk, served, "runs")
    go(desk, served, "")
    chart = desk.get_by_role("img", name=re.compile("Deliveries by how long they took"))
    expect(chart.locator("text").filter(has_text="≤").first).to_be_visible()
    frame, *boxes = chart.evaluate(PLACES)
    bars = chart.evaluate(BARS)
    desk.unroute("**/api/overview")
    assert before is not None
    desk.set_viewport_size(before)
    # Each label stands below the middle of a bar.
    for box in boxes:
        middle = (box["left"] + box["right"]) / 2
        assert min(abs(middle - (bar["left"] + bar["right"]) / 2) for bar in bars) < 1.5, box
    if highest < bands:
        assert ("≤ 50 ms", "≤ 100 ms", "≤ 250 ms", "≤ 500 ms")[highest] in [box["text"] for box in boxes]
    for place, one in enumerate(boxes):
        assert frame["left"] - 1 <= one["left"] < one["right"] <= frame["right"] + 1
        for other in boxes[:place]:
            beside = one["left"] >= other["right"] or other["left"] >= one["right"]
            assert beside or one["top"] >= other["bottom"] or other["top"] >= one["bottom"], (one, other)


def test_a_failed_run_has_a_mark_and_the_next_one_is_reckoned(desk: Page, served: Served) -> None:
    def answer(route: Route) -> None:
        content = (found := route.fetch()).json()
        content["runs"][3] |= {"status": "failed"}
        content["status"] |= {"tracking": "mongo", "next_run": "2027-03-01T08:40:15Z"}
        route.fulfill(response=found, json=content)

    desk.route("**/api/overview", answer)
    go(desk, served, "runs")
    go(desk, served, "")
    expect(desk.locator("a.bar .failed")).to_have_count(1)
    expect(desk.locator("a.bar", has=desk.locator(".failed"))).to_have_attribute("aria-label", re.compile(", failed: "))
    expect(desk.locator(".legend")).to_contain_text("failed run")
    expect(desk.locator(".figures")).to_contain_text("1 Mar 2027, 08:40 UTC, by [SCHEDULE]")
    chart = desk.get_by_role("group", name=re.compile("^The last"))
    columns = chart.evaluate(COLUMNS)
    labels = [box for box in chart.evaluate(PLACES)[1:] if ":" in box["text"]]
    assert len(labels) > 3
    for box in labels:
        middle = (box["left"] + box["right"]) / 2
        assert min(abs(middle - (column["left"] + column["right"]) / 2) for column in columns) < 1.5, box
    desk.unroute("**/api/overview")


def test_an_outcome_can_be_left_out_of_the_chart(desk: Page, served: Served) -> None:
    go(desk, served, "")
    parts = desk.locator(".chart .part.c-delivered")
    assert parts.count() > 10
    button = desk.get_by_role("button", name="delivered")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(parts).to_have_count(0)
    button.click()
    expect(parts).not_to_have_count(0)


def test_the_page_can_be_reached_by_keyboard_alone(desk: Page, served: Served) -> None:
    go(desk, served, "doctor")
    desk.reload()
    expect(desk.get_by_role("heading", level=1)).to_have_text("Doctor")
    seen = []
    for _ in range(9):
        desk.keyboard.press("Tab")
        seen.append(desk.evaluate("document.activeElement.textContent.trim()"))
    assert seen[0] == "Skip to the content"
    assert [text for text in seen if text in {"Overview", "Runs", "Accounts", "Doctor"}] == [
        "Overview",
        "Runs",
        "Accounts",
        "Doctor",
    ]


def test_nothing_is_wider_than_a_phone(browser: Browser, served: Served, site: Site) -> None:
    context = opened(browser, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page = context.new_page()
    sign_in(page, served, TOKEN)
    for name in PAGES:
        go(page, served, address_of(name, page, served, site))
        if name == "account":
            page.get_by_role("button", name="Look it up").click()
            page.get_by_label("The document's values").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
    expect(page.get_by_role("link", name="Doctor")).to_be_in_viewport()
    context.close()


def test_nothing_is_wider_than_a_window_however_long_the_account_numbers(desk: Page, served: Served) -> None:
    before = desk.viewport_size
    assert before is not None
    for address in ("runs", "accounts", "dead-letters", f"accounts/{LONG}"):
        go(desk, served, address)
        desk.evaluate("(long) => document.querySelectorAll('.account').forEach((a) => { a.textContent = long; })", LONG)
        for width in (770, 990, 1000, 1280):
            desk.set_viewport_size({"width": width, "height": before["height"]})
            assert desk.evaluate("document.documentElement.scrollWidth") <= width, address
    desk.set_viewport_size(before)


def test_without_the_token_there_is_only_the_way_in(browser: Browser, served: Served) -> None:
    context = opened(browser)
    page = context.new_page()
    page.goto(f"{served.url}#/dead-letters")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("Token").fill("not the right token")
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("This token is wrong")
    expect(page.locator("main")).not_to_contain_text("HTTP 422")
    context.close()


def test_a_foreign_name_that_leads_here_is_refused(browser: Browser, served: Served) -> None:
    context = opened(browser)
    page = context.new_page()
    port = served.url.rstrip("/").rpartition(":")[2]
    answer = page.goto(f"http://{FOREIGN_NAME}:{port}/")
    assert answer is not None
    assert answer.status == 400
    expect(page.locator("body")).to_contain_text("This page is not known by that name")
    context.close()


def test_another_site_cannot_use_the_session(browser: Browser, served: Served, site: Site) -> None:
    """A form on another site, sent by a browser that has signed in: same machine, another origin."""
    context = opened(browser)
    page = context.new_page()
    sign_in(page, served, TOKEN)
    requests = len(site.receiver.requests())
    evil = context.new_page()
    evil.goto(site.receiver.base + "/healthz")
    status = evil.evaluate(
        """async (address) => {
          const form = document.createElement("form");
          form.method = "post"; form.action = address; form.enctype = "text/plain"; form.target = "sent";
          const field = document.createElement("input");
          field.name = '{"accounts":["0"],"x":"'; field.value = '"}';
          form.append(field);
          const frame = document.createElement("iframe"); frame.name = "sent";
          document.body.append(frame, form);
          form.submit();
          return fetch(address, {method: "POST", credentials: "include", body: "{}",
            headers: {"Content-Type": "application/json"}}).then((answer) => answer.status, () => "forbidden");
        }""",
        f"{served.url}api/replay",
    )
    assert status == "forbidden", "the browser itself stops what another origin may not send"
    evil.wait_for_timeout(300)
    expect(page.locator("main")).not_to_contain_text("Replay by")
    assert page.evaluate(ASK, "/api/own-run") == {"state": "none"}
    assert len(site.receiver.requests()) == requests
    context.close()


def test_a_server_on_another_port_gets_nothing_from_the_browser(browser: Browser, served: Served, site: Site) -> None:
    """Another user of this machine: the browser hands it the cookie, which is worth nothing, and takes one from it."""
    context = opened(browser)
    page = context.new_page()
    sign_in(page, served, UNMASK_TOKEN, "Grace")
    requests: list[Message] = []
    planted = f"incident_session_{served.url.rstrip('/').rpartition(':')[2]}=planted; Path=/"
    with listening(requests, planted) as port:
        evil = context.new_page()
        evil.goto(f"http://127.0.0.1:{port}/")
        client = Client(served)
        client.cookie = requests[0]["Cookie"]
        assert "incident_session" in client.cookie, "browsers send cookies to every port"
        assert client.get("/api/session").content["signed_in"] is False
        assert client.get("/api/overview").status == 401
        assert client.post("/api/unmask", {"account": site.changed}).status == 403
        reads = evil.evaluate(
            """(address) => fetch(address, {mode: "no-cors", credentials: "include"})
              .then((answer) => answer.type, () => "forbidden")""",
            f"{served.url}api/overview",
        )
        assert reads == "forbidden"
    page.reload()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()  # and not somebody else's session
    page.get_by_label("Token").fill(UNMASK_TOKEN)
    page.get_by_label("Your name").fill("Grace")
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.get_by_label("Is all well?").wait_for()
    context.close()


def test_a_second_tab_is_signed_in_as_the_first_and_out_with_it(browser: Browser, served: Served) -> None:
    context = opened(browser)
    page, other = context.new_page(), context.new_page()
    sign_in(page, served, TOKEN)
    go(other, served, "doctor")
    expect(other.get_by_role("heading", level=1)).to_have_text("Doctor")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.evaluate("localStorage.getItem('session-token')") is None
    other.reload()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    context.close()


def test_personal_fields_are_shown_to_whoever_may_see_them_only(browser: Browser, served: Served, site: Site) -> None:
    with closing(site.source()) as source:
        (nic,) = source.execute("SELECT NIC FROM debt_cust_detail WHERE ACCOUNT_NUM = ?", (site.changed,)).fetchone()
    context = opened(browser)
    page = context.new_page()
    sign_in(page, served, UNMASK_TOKEN, "Grace")
    go(page, served, f"accounts/{site.changed}")
    page.get_by_role("button", name="Look it up").click()
    page.get_by_label("Only what differs").uncheck()
    values = page.get_by_label("The document's values")
    expect(values).to_contain_text("Nic")
    expect(values).not_to_contain_text(nic)
    page.get_by_role("button", name="Show personal fields").click()
    expect(values).to_contain_text(nic)
    page.get_by_role("button", name="Mask again").click()
    expect(values).not_to_contain_text(nic)
    context.close()
    assert "unmask_token (says: Grace) at 127.0.0.1 unmasks" in served.log


def test_dead_letters_are_replayed_after_a_confirmation(browser: Browser, served: Served, site: Site) -> None:
    context = opened(browser)
    page = context.new_page()
    complaints = complaints_of(page)
    sign_in(page, served, TOKEN)
    go(page, served, "dead-letters")
    site.accept()
    accepted = len(site.receiver.accepted())

    one = site.refused[413][0]
    page.get_by_label(f"Choose account {one}").check()
    page.get_by_role("button", name="Replay 1 chosen").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Replay 1 dead letter?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert len(site.receiver.accepted()) == accepted, "nothing was confirmed"

    page.get_by_role("button", name="Replay 1 chosen").click()
    dialog.get_by_role("button", name="Replay", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="Replay by token (says: Ada)")).to_contain_text("1 delivered")
    assert [entry["account_num"] for entry in site.receiver.accepted()[accepted:]] == [one]

    page.get_by_role("button", name=re.compile("Replay all 7: HTTP 422")).click()
    dialog.get_by_label("Why").fill("the numbers were corrected")
    dialog.get_by_role("button", name="Replay", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="Replay by token (says: Ada)")).to_contain_text("7 delivered")
    assert {entry["account_num"] for entry in site.receiver.accepted()[accepted + 1 :]} == set(site.refused[422])
    expect(page.locator("main")).to_contain_text("3 dead letters, 1 reason")
    page.get_by_role("link", name="The run").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Replay run")
    expect(page.locator("main")).to_contain_text("Asked for bytoken (says: Ada)Whythe numbers were corrected")
    context.close()
    assert complaints == []
    assert "token (says: Ada) at 127.0.0.1 replays 1 account(s)" in served.log


def test_a_run_under_way_is_watched_and_no_replay_comes_between(browser: Browser, served: Served, site: Site) -> None:
    context = opened(browser)
    page = context.new_page()
    sign_in(page, served, TOKEN)
    site.load_payments(*range(130, 290))
    site.receiver.control(latency_ms=2500)  # half a minute of work, if nobody ends it before
    worker = threading.Thread(target=site.run)
    worker.start()
    bar = page.get_by_role("progressbar")
    try:
        expect(page.locator("main")).to_contain_text(re.compile(r"\d+ of \d+ accounts, \d+ %"))
        expect(bar).to_have_attribute("aria-valuenow", re.compile(r"\d+"))
        expect(page.locator("main")).to_contain_text("a second now")
        expect(page.locator("main")).to_contain_text(re.compile(r"\d+ requests? of at most \d+ at once"))
        go(page, served, "dead-letters")
        page.get_by_role("button", name=re.compile("Replay all 3: HTTP 400")).click()
        page.get_by_role("dialog").get_by_role("button", name="Replay", exact=True).click()
        said = page.get_by_role("status").filter(has_text="Replay by token (says: Ada)")
        expect(said).to_contain_text("Another run is at work just now")
        go(page, served, "")
        work = page.locator(".card", has_text="Who is at work")
        expect(work).to_contain_text(f"{socket.gethostname()}, process {os.getpid()}")
        work.get_by_role("button", name="Stop the run").click()
        page.get_by_role("dialog").get_by_role("button", name="Stop it").click()
        refused = page.get_by_role("dialog").get_by_role("alert")
        expect(refused).to_contain_text(f"a program of its own: stop it there (process {os.getpid()} on")
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    finally:
        site.receiver.control(latency_ms=0)
        worker.join()
    expect(bar).to_have_count(0)
    context.close()


def test_the_red_banner_leads_to_the_run_the_pending_list_and_the_doctor(
    browser: Browser, served: Served, site: Site
) -> None:
    site.fail()
    context = opened(browser)
    page = context.new_page()
    complaints = complaints_of(page)
    sign_in(page, served, TOKEN)
    verdict = page.get_by_label("Is all well?")
    expect(verdict).to_have_class("verdict trouble")
    expect(verdict).to_contain_text("once the receiver takes them, start a run.")
    in_all_sizes(page)
    waiting = page.evaluate(ASK, "/api/pending")["count"]
    ways = {"The last run": "run of", "The doctor": "Doctor", f"{waiting} pending incidents": "Pending"}
    for way, title in ways.items():
        go(page, served, "")
        verdict.get_by_role("link", name=way).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(title)
    expect(page.locator(".reason")).to_contain_text(["HTTP 503"])
    tried = page.get_by_role("table", name="Pending incidents").locator("tbody tr")
    expect(tried.first).to_contain_text("HTTP 503")
    untried = waiting - tried.count()
    assert untried > 0
    expect(page.locator(".untried")).to_have_text(f"{untried} not tried yet")
    in_all_sizes(page)
    tried.first.get_by_role("link", name="The run").click()
    expect(page.locator(".untried")).to_have_text(f"{untried} not tried yet")
    listed = page.get_by_role("table", name="Incidents").locator("tbody tr", has_text="Pending")
    expect(listed).to_have_count(waiting - untried)
    expect(listed.first).to_contain_text("HTTP 503")
    context.close()
    assert complaints == []


def test_a_run_is_started_with_its_reason_and_stopped_and_its_log_is_shown(
    browser: Browser, served: Served, site: Site
) -> None:
    context = opened(browser)
    page = context.new_page()
    complaints = complaints_of(page)
    sign_in(page, served, TOKEN)
    waiting = page.evaluate(ASK, "/api/pending")["count"]
    assert waiting, "those of the test before"
    go(page, served, "dead-letters")
    page.get_by_role("button", name=re.compile("^Replay ")).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(re.compile(f"Replay .*, and {waiting} pending incidents?\\?"))
    expect(dialog.get_by_label("Only what was chosen")).not_to_be_checked()
    dialog.get_by_role("button", name="Cancel").click()

    go(page, served, "")
    site.load_payments(*range(120))
    site.receiver.control(latency_ms=1500)
    page.get_by_role("button", name="Start a run now").click()
    expect(dialog).to_contain_text(f"Start a run now, with {waiting} pending incidents first?")
    dialog.get_by_label("Why").fill("ticket 4711\n<b>late</b>")
    accessible(page)
    dialog.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name="Stop the run").click()
    other = Client(served)
    other.sign_in(TOKEN, "Eve")
    assert other.post("/api/start", {}).status == 409, "one at a time"
    dialog.get_by_role("button", name="Stop it").click()
    said = page.get_by_role("status").filter(has_text="Run by token (says: Ada)")
    expect(said).to_contain_text("It was interrupted by token (says: Ada)")
    site.receiver.control(latency_ms=0)
    said.get_by_role("link", name="The run").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Window run of")
    expect(page.locator("main")).to_contain_text("Asked for bytoken (says: Ada)Whyticket 4711 <b>late</b>")
    page.get_by_role("button", name="Show its log lines").click()
    lines = page.get_by_role("list", name="Log lines")
    expect(lines).to_contain_text("Processing time window")
    expect(lines).to_contain_text("Delivery is incomplete: interrupted by token (says: Ada)")
    in_all_sizes(page)
    context.close()
    assert complaints == []
    assert "token (says: Ada) at 127.0.0.1 starts a run" in served.log
    assert "token (says: Ada) at 127.0.0.1 stops run" in served.log
