"""The promise's page names tests, cases, modules and settings: each of them exists, and no case is without a test."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import incident_process
from incident_process.settings.reference import table

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


def rows_of(heading: str) -> list[list[str]]:
    """Return the cells of the rows of the tables under a heading of the second level, without the head."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip().strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows if row[-1].strip() not in {"tests", "tests of ours"}]


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 50
    missing = [f"{file}::{name}" for file, name in named if name not in functions_of(file)]
    assert missing == []


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_a_test(case: str) -> None:
    (row,) = [row for row in rows_of("The cases by name") if row[0] == case]
    assert NAMED.findall(row[-1])


def test_there_is_no_other_case() -> None:
    assert [row[0] for row in rows_of("The cases by name")] == CASES


def test_a_test_that_claims_a_case_stands_in_its_row() -> None:
    rows = {row[0]: set(NAMED.findall(row[-1])) for row in rows_of("The cases by name")}
    claimed: set[str] = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        file = path.relative_to(ROOT).as_posix()
        for name, docstring in functions_of(file).items():
            for case in DOCSTRING.findall(docstring):
                assert (file, name) in rows[case], f"{file}::{name} claims case {case}"
                claimed.add(case)
    assert claimed == set(CASES) - {"4"}, "case 4 was proven before the cases had names"


@pytest.mark.parametrize("heading", ["Sentence by sentence", "The cases by name", "Where others lose or repeat"])
def test_no_row_is_without_a_test(heading: str) -> None:
    rows = rows_of(heading)
    assert rows
    assert [row for row in rows if not NAMED.findall(row[-1])] == []


def test_every_sentence_names_a_mechanism_that_exists_and_a_limit() -> None:
    for sentence, mechanism, limit, _ in rows_of("Sentence by sentence"):
        modules = MODULE.findall(mechanism)
        assert modules, sentence
        assert [module for module in modules if not (PACKAGE / module).is_file()] == []
        assert limit


def test_every_setting_that_is_named_exists() -> None:
    keys = set(re.findall(r"\] (\w+)`", table()))
    assert {name for name in SETTING.findall(PAGE) if name not in keys} == set()


@pytest.mark.parametrize("report", REPORTS)
def test_every_report_of_a_peer_has_its_test(report: str) -> None:
    rows = [row for row in rows_of("Where others lose or repeat") if re.search(rf"\b{report}\b", row[0])]
    assert len(rows) == 1
