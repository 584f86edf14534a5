"""The promise's page names tests, cases, modules and settings: each of them exists, and no case is without a test."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import incident_process
from incident_process.settings.key_docs import keys

ROOT = Path(__file__).parents[2]
PACKAGE = Path(incident_process.__file__).parent
PAGE = (ROOT / "docs" / "promise.md").read_text(encoding="utf-8")

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
MODULE = re.compile(r"`((?:\w+/)*\w+\.py)`")
SETTING = re.compile(r"`([a-z]+(?:_[a-z]+)+)`")
DOCSTRING = re.compile(r"Case (\d+b?):")
CASES = [*map(str, range(1, 15)), "14b", *map(str, range(15, 19))]
REPORTS = ("2269", "1935", "172", "1093", "70", "85918", "44450", "206", "136")
"""The numbers of the reports of peers that the page names."""


@cache
def functions_of(file: str) -> dict[str, str]:
    """Return the tests of a file, each with its docstring."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name: ast.get_docstring(node) or "" for node in found if node.name.startswith("test_")}


def sections_of(heading: str, level: int = 3) -> dict[str, str]:
    """Return the sections of a level under a heading of the second level: the title of each, and its text."""
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cut = re.split(rf"^#{{{level}}} (.+)$", part, flags=re.MULTILINE)
    texts = [re.split(r"^#+ ", text, maxsplit=1, flags=re.MULTILINE)[0].strip() for text in cut[2::2]]
    assert len(set(cut[1::2])) == len(texts), "no title is there twice"
    return dict(zip(cut[1::2], texts, strict=True))


def part_of(section: str, name: str) -> str:
    """Return what stands behind a name such as ``**Limit:**`` in a section, up to the next one."""
    return section.partition(f"- **{name}:**")[2].partition("\n- **")[0].strip()


def cases() -> dict[str, str]:
    """Return the cases by their number, each with its text."""
    return {title.removeprefix("Case "): text for title, text in sections_of("The cases by name").items()}


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 50
    missing = [f"{file}::{name}" for file, name in named if name not in functions_of(file)]
    assert missing == []


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_a_test(case: str) -> None:
    assert NAMED.findall(part_of(cases()[case], "Tests"))


def test_there_is_no_other_case() -> None:
    assert list(cases()) == CASES


def test_a_test_that_claims_a_case_stands_in_its_section() -> None:
    named = {case: set(NAMED.findall(part_of(text, "Tests"))) for case, text in cases().items()}
    claimed: set[str] = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        file = path.relative_to(ROOT).as_posix()
        for name, docstring in functions_of(file).items():
            for case in DOCSTRING.findall(docstring):
                assert (file, name) in named[case], f"{file}::{name} claims case {case}"
                claimed.add(case)
    assert claimed == set(CASES) - {"4"}, "case 4 was proven before the cases had names"


@pytest.mark.parametrize(
    ("heading", "level"), [("Sentence by sentence", 4), ("The cases by name", 3), ("Where others lose or repeat", 3)]
)
def test_no_section_is_without_a_test(heading: str, level: int) -> None:
    sections = sections_of(heading, level)
    assert sections
    assert [title for title, text in sections.items() if not NAMED.findall(part_of(text, "Tests"))] == []


def test_every_sentence_names_a_mechanism_that_exists_and_a_limit() -> None:
    sentences = sections_of("Sentence by sentence", 4)
    assert len(sentences) >= 38
    for title, text in sentences.items():
        assert text.partition("- **")[0].strip(), f"{title} has no sentence"
        modules = MODULE.findall(part_of(text, "Mechanism"))
        assert modules, title
        assert [module for module in modules if not (PACKAGE / module).is_file()] == []
        assert part_of(text, "Limit"), title


def test_the_page_can_be_read_in_a_diff() -> None:
    """A line holds a sentence or a clause; only the name of a test may make it longer."""
    assert [line for line in PAGE.splitlines() if len(line) > 125 and not NAMED.search(line)] == []


def test_every_setting_that_is_named_exists() -> None:
    known = {key.name for key in keys()}
    assert {name for name in SETTING.findall(PAGE) if name not in known} == set()


@pytest.mark.parametrize("report", REPORTS)
def test_every_report_of_a_peer_has_its_test(report: str) -> None:
    found = sections_of("Where others lose or repeat").values()
    assert len([text for text in found if re.search(rf"\b{report}\b", part_of(text, "Reports"))]) == 1
