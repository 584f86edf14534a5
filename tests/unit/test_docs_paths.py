"""Each file, folder and module that the documentation names is there, so that a move leaves no page behind."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import incident_process

ROOT = Path(__file__).parents[2]
PACKAGE = Path(incident_process.__file__).parent
TEAM = ROOT / "examples" / "team-scripts"
"""The layout of the team's scripts, which pages about them name from its root."""
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)

CODE = re.compile(r"`([^`\n]+)`")
TOPS = ("bench", "deploy", "docs", "examples", "hashes", "scripts", "src", "tests")
PLACE = re.compile(rf"(?:{'|'.join(TOPS)})/[\w./-]*")
"""A place from the root of the repository."""
MODULE = re.compile(r"(?:\w+/)+(?:\w+\.py)?")
"""A module or folder as pages about the code name it: from the root of the package."""
DOTTED = re.compile(r"incident_process(?:\.\w+)+")


def named(page: Path) -> Iterator[str]:
    """Yield what stands as code in a page's text; a test's name behind its file is cut off."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for found in CODE.findall(text):
        yield found.partition("::")[0]


def is_there(name: str) -> bool:
    """Return whether a name leads to a file or folder, from the root, from the package or by import."""
    if DOTTED.fullmatch(name.removesuffix("()")):
        parts = name.removesuffix("()").split(".")
        home, last = ".".join(parts[:-1]), parts[-1]
        return find_spec(home) is not None and (
            hasattr(__import__(home, fromlist=[last]), last) or find_spec(f"{home}.{last}") is not None
        )
    return any((base / name).exists() for base in (ROOT, PACKAGE, TEAM))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_place_in_the_code_that_a_page_names_is_there(page: Path) -> None:
    places = {
        name for name in named(page) for kind in (PLACE, MODULE, DOTTED) if kind.fullmatch(name.removesuffix("()"))
    }
    assert sorted(name for name in places if not is_there(name)) == []


def test_the_pages_name_such_places() -> None:
    names = [name for page in PAGES for name in named(page)]
    assert sum(bool(PLACE.fullmatch(name)) for name in names) > 100
    assert sum(bool(MODULE.fullmatch(name)) for name in names) > 50


@pytest.mark.parametrize(
    "name", ["src/incident_process/nowhere.py", "pipeline/nowhere.py", "incident_process.nowhere.at"]
)
def test_a_place_that_is_gone_is_found(name: str) -> None:
    assert not is_there(name)


def test_each_guide_is_reached_from_their_list() -> None:
    folder = ROOT / "docs" / "how-to"
    linked = set(re.findall(r"\]\(([\w-]+\.md)", (folder / "index.md").read_text(encoding="utf-8")))
    assert {page.name for page in folder.glob("*.md")} - linked == {"index.md"}
