"""The documentation site: it builds strictly and offline, and says all that the code offers."""

import html
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer.main
from prometheus_client.metrics import MetricWrapperBase

import incident_process
from incident_process.cli.commands import INTERRUPTED, app
from incident_process.core import errors
from incident_process.core.models import DeliveryStatus, RunStatus
from incident_process.observability.metrics import Instruments
from incident_process.operations.reconcile import Difference
from incident_process.settings.key_docs import keys
from tests.support.docs_site import build

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

# What a page fetches by itself when it is opened; a link that somebody may follow is none of it.
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """The text of a page, the addresses that it fetches by itself, and its headings' ids."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: set[str] = set()
        self._text: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    @property
    def text(self) -> str:
        return " ".join("".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids.add(values.get("id") or "")
        address = values.get(FETCHED.get(tag, ""))
        if address and values.get("rel") not in {"next", "prev", "canonical"}:
            self.fetched.append(address)

    def handle_data(self, data: str) -> None:
        self._text.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once."""
    return build(tmp_path_factory.mktemp("site"))


def page(site: Path, name: str) -> str:
    return Page(site / f"{name}.html").text


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    members = getattr(command, "commands", {})
    if not members:
        yield " ".join(path)
    for name, member in members.items():
        yield from commands(member, (*path, name))


def below(error: type[errors.IncidentProcessError]) -> Iterator[type[errors.IncidentProcessError]]:
    yield error
    for sub in error.__subclasses__():
        yield from below(sub)


def test_every_page_of_docs_is_a_page_of_the_site(site: Path) -> None:
    pages = {path.relative_to(DOCS) for path in DOCS.rglob("*.md")}
    assert len(pages) > 40
    built = (path.with_name("index.md" if path.name == "README.md" else path.name) for path in pages)
    assert [path for path in built if not (site / path.with_suffix(".html")).is_file()] == []


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    for file in site.rglob("*.html"):
        foreign = [address for address in Page(file).fetched if "//" in address and not address.startswith("data:")]
        assert foreign == [], file
    for file in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", file.read_text(encoding="utf-8")), file


def test_every_page_leads_to_the_one_before_and_the_one_after(site: Path) -> None:
    """All pages of the navigation are one chain, from the overview to the last."""
    seen: list[str] = []
    name = "index.html"
    while name:
        seen.append(name)
        text = (site / name).read_text(encoding="utf-8")
        links = dict(re.findall(r'<link rel="(prev|next)" href="([^"]+)">', text))
        shown = dict(re.findall(r'<a href="([^"]+)" class="md-footer__link md-footer__link--(prev|next)"', text))
        assert {kind: target for target, kind in shown.items()} == links, name
        if len(seen) > 1:
            assert (site / name).parent.joinpath(links["prev"]).resolve() == site / seen[-2]
        following = (site / name).parent.joinpath(links["next"]).resolve() if "next" in links else None
        name = following.relative_to(site).as_posix() if following else ""
        assert name not in seen
    decisions = {f"decisions/{path.stem}.html" for path in (DOCS / "decisions").glob("0*.md")}
    pages = {file.relative_to(site).as_posix() for file in site.rglob("*.html")} - {"404.html"}
    assert set(seen) == pages - decisions


def test_the_colours_are_those_of_the_dashboard() -> None:
    def variables(css: str, selector: str) -> dict[str, str]:
        block = css.partition(f"{selector} {{")[2].partition("}")[0]
        return dict(re.findall(r"(--[\w-]+): ([^;]+);", block))

    (base,) = (ROOT / "src").rglob("static/css/base.css")
    dashboard = base.read_text(encoding="utf-8")
    site = (DOCS / "stylesheets" / "dashboard-colours.css").read_text(encoding="utf-8")
    pairs = (
        (":root", '[data-md-color-scheme="default"]'),
        (':root[data-theme="dark"]', '[data-md-color-scheme="slate"]'),
    )
    for theirs, ours in pairs:
        colours = variables(site, ours)
        assert len(colours) >= 13
        assert colours.items() <= variables(dashboard, theirs).items()


def test_no_marker_is_left(site: Path) -> None:
    assert [file for file in site.rglob("*.html") if "generated:" in file.read_text(encoding="utf-8")] == []


def test_every_key_has_an_entry_with_its_default_and_its_variable(site: Path) -> None:
    shown = Page(site / "reference" / "settings.html")
    for key in keys():
        assert f"{key.section.lower()}-{key.name.lower()}" in shown.ids
        assert f"INCIDENT_PROCESS__{key.section}__{key.name.upper()}" in shown.text
        assert key.default is None or f"default: {key.default}" in shown.text


def test_every_command_is_shown_with_its_help(site: Path) -> None:
    text = page(site, "reference/commands")
    found = list(commands(typer.main.get_command(app)))
    assert {"run", "schedule", "dead-letters replay"} <= set(found)
    assert [name for name in found if f"Usage: incident-process {name} [OPTIONS]" not in text] == []


def test_every_status_and_error_is_shown(site: Path) -> None:
    text = page(site, "reference/errors")
    raised = {error for error in below(errors.IncidentProcessError) if error.__module__ == errors.__name__}
    assert all(error.__name__ in text for error in raised)
    assert all(f" {status.value} " in text for kind in (RunStatus, DeliveryStatus, Difference) for status in kind)
    woken = page(site, "how-to/woken")
    statuses = {0, INTERRUPTED} | {error.exit_status for error in raised}
    assert statuses == {0, 1, 2, 3, 4, 5, 6, 130}
    assert all(re.search(rf" {status}: ", woken) for status in statuses)


def test_every_metric_is_shown_under_its_scraped_name(site: Path) -> None:
    text = page(site, "reference/metrics")
    metrics = [item for item in vars(Instruments("")).values() if isinstance(item, MetricWrapperBase)]
    assert len(metrics) >= 8
    for metric in metrics:
        (family,) = metric.describe()
        assert f"{family.name}_total" in text if family.type == "counter" else family.name in text


def test_every_public_name_is_described(site: Path) -> None:
    text = page(site, "reference/python")
    assert [name for name in incident_process.__all__ if f" {name}¶" not in text] == []


def test_the_search_knows_the_keys_and_the_pages(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    titles = [html.unescape(re.sub(r"<[^>]+>", "", entry["title"])) for entry in index["docs"]]
    assert {"[API] breaker_failures", "When you are woken", "Dead letters"} <= set(titles)


MESSAGE = re.compile(r"`(?P<text>(?:… )?[A-Z][^`]* [^`]*)`")
"""A message of the program in a page: a code span that begins with a capital and has a blank."""


@pytest.mark.parametrize("name", ["woken", "restore-state"])
def test_every_message_that_a_page_quotes_is_one_of_the_code(name: str) -> None:
    """A page quotes messages with `…` for what varies; each constant part of 15 characters or more is in the code."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    joined = re.sub(r'"\s*f?"', "", code).replace("\\n", " ")
    text = (DOCS / "how-to" / f"{name}.md").read_text(encoding="utf-8")
    spans = [found["text"] for found in MESSAGE.finditer(text) if "INCIDENT_PROCESS" not in found["text"]]
    assert len(spans) >= 4
    parts = [part.strip() for span in spans for part in span.split("…")]
    assert [part for part in parts if len(part) >= 15 and part not in joined] == []


def test_every_command_line_of_the_pages_is_one_of_the_program() -> None:
    known = {name.split()[0] for name in commands(typer.main.get_command(app))}
    command = typer.main.get_command(app)
    wrong = []
    for path in DOCS.rglob("*.md"):
        for line in re.findall(r"^ *incident-process ([a-z-]+(?: [^\n#]*)?)$", path.read_text("utf-8"), re.MULTILINE):
            words = line.split()
            if words[0] not in known:
                wrong.append((path.name, line))
                continue
            member: Any = command.commands[words[0]]  # type: ignore[attr-defined]  # of a group
            member = getattr(member, "commands", {}).get(words[1] if len(words) > 1 else "", member)
            options = {option for parameter in member.params for option in parameter.opts}
            wrong += [(path.name, line) for word in words if word.startswith("--") and word not in options]
    assert wrong == []


@pytest.mark.parametrize("name", ["watch", "configure"])
def test_every_key_of_a_configuration_in_a_page_exists(name: str) -> None:
    known = {(key.section, key.name.lower()) for key in keys()}
    text = (DOCS / "how-to" / f"{name}.md").read_text(encoding="utf-8")
    given = []
    for block in re.findall(r"^ *```ini\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE):
        section = ""
        for line in map(str.strip, block.splitlines()):
            if line.startswith("["):
                section = line.strip("[]")
            elif " = " in line:
                given.append((section, line.partition(" = ")[0].lower()))
    assert len(given) >= 6
    assert set(given) <= known


def test_every_metric_that_a_page_names_exists() -> None:
    metrics = [item for item in vars(Instruments("")).values() if isinstance(item, MetricWrapperBase)]
    known = {family.name for metric in metrics for family in metric.describe()}
    named = set(re.findall(r"\bincident_process_\w+_(?:seconds|success)\b", (DOCS / "how-to" / "watch.md").read_text()))
    assert named
    assert named <= known
