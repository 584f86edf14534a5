"""The README says what the code does, in few lines, and every link of it and of the docs leads somewhere."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pymongo.common
import pytest

import incident_process
from incident_process.cli.commands import INTERRUPTED, app
from incident_process.core.errors import IncidentProcessError
from tests.support.markdown import LINK, anchors, first_cells, section

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MOST_LINES = 190
MOST_LINES_OF_INI = 12


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_every_exit_status_is_listed() -> None:
    def tree(error: type[IncidentProcessError]) -> set[int]:
        return {error.exit_status}.union(*(tree(below) for below in error.__subclasses__()))

    listed = first_cells(section(README, "## Exit statuses")) - {"status", "---"}
    assert listed == {str(status) for status in (*range(7), INTERRUPTED)}
    assert {str(status) for status in tree(IncidentProcessError)} <= listed


def test_every_command_that_is_used_exists() -> None:
    registered = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    used = set(re.findall(r"incident-process ([a-z][a-z-]*)", README))
    assert {"init", "run", "status"} <= used <= registered


def test_the_python_example_compiles_and_names_what_is_there() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    compile(example, "README.md", "exec")
    names = chain.from_iterable(re.findall(r"^from incident_process import (.+)$", example, re.MULTILINE))
    imported = "".join(names).split(", ")
    assert imported
    assert all(hasattr(incident_process, name) for name in imported)
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    assert f"```python\n{example}```" in page, "the page has the same example"


def test_the_versions_are_those_of_the_package() -> None:
    """Python as pyproject.toml has it, MongoDB as its driver, and the install page says the same."""
    needs = section(README, "## What it needs")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    supported = [name.split()[-1] for name in project["classifiers"] if "Python :: 3." in name]
    *first, last = supported
    install = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
    for page in (needs, install):
        assert f"{', '.join(first)} or {last}" in page
        assert f"MongoDB {pymongo.common.MIN_SUPPORTED_SERVER_VERSION} or later" in page
        assert "MySQL 8 or later, MariaDB 10.6 or later" in page


def test_the_configuration_of_the_first_run_is_short() -> None:
    (block,) = re.findall(r"^```ini\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert len(block.splitlines()) <= MOST_LINES_OF_INI


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if (
            not linked.is_relative_to(ROOT)
            or not linked.exists()
            or (fragment and fragment not in anchors(linked.read_text(encoding="utf-8")))
        ):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pictures_that_html_names_exist(page: Path) -> None:
    named = re.findall(r'(?:src|srcset)="([^"]+)"', page.read_text(encoding="utf-8"))
    assert [name for name in named if not (page.parent / name).is_file()] == []


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = {path.name for path in folder.glob("0*.md")}
    assert pages == set(LINK.findall((folder / "README.md").read_text(encoding="utf-8")))
