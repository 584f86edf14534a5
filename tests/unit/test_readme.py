"""The README says what the code does: its tables are compared with the code, its links are followed."""

import re
from itertools import chain
from pathlib import Path

import pytest

import incident_process
from incident_process import logs
from incident_process.cli.app import app
from incident_process.errors import IncidentProcessError
from incident_process.faults import Step
from incident_process.records import NEVER, Counts, DeliveryStatus, RunReport, RunStatus, Window
from incident_process.settings.reference import table
from incident_process.source.contract import CUSTOMER_TABLE, PAYMENT_TABLE
from incident_process.source.indexes import INDEX_ADVICE
from incident_process.state.sql.schema import OWN, PROCESS_OPERATION

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def section(title: str) -> str:
    """Return the text under a heading, up to the next one of the same or a higher level."""
    start = README.index(f"\n{title}\n") + 1
    level = title.partition(" ")[0]
    end = re.search(rf"\n#{{1,{len(level)}}} ", README[start + len(title) :])
    return README[start : start + len(title) + end.start()] if end else README[start:]


def first_cells(text: str) -> set[str]:
    """Return the first cell of each row of the tables in a text, without backticks."""
    return {line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("|")}


def anchor(heading: str) -> str:
    """Return the anchor that a heading gets where Markdown is shown."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_configuration_table_is_the_generated_one() -> None:
    begin, end = "<!-- settings: begin -->\n", "<!-- settings: end -->"
    assert README.count(begin) == README.count(end) == 1
    assert README.partition(begin)[2].partition(end)[0] == table()


def test_every_exit_status_is_listed() -> None:
    def tree(error: type[IncidentProcessError]) -> set[int]:
        return {error.exit_status}.union(*(tree(below) for below in error.__subclasses__()))

    listed = first_cells(section("### Exit status"))
    assert {str(status) for status in range(7)} <= listed
    assert {str(status) for status in tree(IncidentProcessError)} <= listed


def test_every_command_is_mentioned_and_no_other() -> None:
    registered = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    commands = section("## Commands").partition("### Exit status")[0]
    assert first_cells(commands) - {"command", "---"} == registered
    used = set(re.findall(r"incident-process ([a-z][a-z-]*)", README))
    assert used <= registered


def test_every_field_of_the_report_has_its_meaning() -> None:
    report = RunReport(
        status=RunStatus.COMPLETED,
        run_id=None,
        sequence=0,
        window=None,
        counts=Counts(),
        last_execution=NEVER,
        seconds=0.0,
    )
    text = section("## What `run --json` prints")
    assert first_cells(text) - {"field", "---"} == set(report.to_dict())
    assert all(f"`{status.value}`" in text for status in RunStatus if status is not RunStatus.RUNNING)


def test_the_log_messages_are_those_of_the_code() -> None:
    window = Window(start=NEVER, end=NEVER)
    made = [
        logs.window_message(window),
        logs.fetched_message(2, CUSTOMER_TABLE),
        logs.fetched_message(2, PAYMENT_TABLE),
        logs.payload_message("…"),
        logs.sending_message("http://receiver/path"),
        logs.SENT,
        logs.updated_mongo_message(NEVER),
        logs.updated_sql_message(NEVER),
        logs.NO_DATA,
        logs.connection_error_message("…"),
    ]
    instant = "1900-01-01T00:00:00Z"
    written = (
        message.replace(f"{instant} to {instant}", "A to B")
        .replace(instant, "T")
        .replace("2 records", "N records")
        .replace("http://receiver/path", "URL")
        for message in made
    )
    text = section("## Log messages")
    missing = [message for message in written if f"`{message}`" not in text]
    assert not missing


def test_the_fields_of_tracking_and_state_are_named() -> None:
    text = section("## Tracking and state")
    assert {column.split()[0] for column in PROCESS_OPERATION.columns.split(",")} <= first_cells(text)
    assert {table.name for table in OWN} <= first_cells(text)
    assert all(status.value in text for status in DeliveryStatus)


def test_indexes_fault_points_and_public_names_are_listed() -> None:
    assert all(f"{index.statement};" in README for index in INDEX_ADVICE)
    named = section("## Development")
    assert all(f"`{step.value}`" in named for step in Step)
    python = section("## Python")
    assert all(f"`{name}`" in python or f"`{name}(" in python for name in incident_process.__all__)


def test_the_python_example_compiles_and_names_what_is_there() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    compile(example, "README.md", "exec")
    names = chain.from_iterable(re.findall(r"^from incident_process import (.+)$", example, re.MULTILINE))
    imported = "".join(names).split(", ")
    assert imported
    assert all(hasattr(incident_process, name) for name in imported)


def test_the_layout_names_every_module_and_folder() -> None:
    package = ROOT / "src" / "incident_process"
    parts = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    # The contract's files have a folder of their own, which is data and no room of the house.
    parts |= {f"{path.parent.name}/" for path in package.glob("*/__init__.py") if path.parent.name != "contract"}
    named = section("## Development")
    assert not {part for part in parts if f"`{part}`" not in named}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if not linked.is_relative_to(ROOT) or not linked.exists():
            broken.append(target)
        elif fragment:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            if fragment not in {anchor(heading) for heading in headings}:
                broken.append(target)
    assert not broken


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = {path.name for path in folder.glob("0*.md")}
    assert pages == set(LINK.findall((folder / "README.md").read_text(encoding="utf-8")))
