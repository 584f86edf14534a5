"""The specification: every section that the repository cites is there, and what it fixes is what the code does."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import incident_process
from incident_process.cli.commands import app
from incident_process.core import logs
from incident_process.core.errors import IncidentProcessError
from incident_process.core.models import (
    DeliveryStatus,
    RunKind,
    RunStatus,
    failed_report,
)
from incident_process.document.incident_model import Account, Customer, IncidentDocument, LastAction, Product
from incident_process.settings.key_docs import keys
from incident_process.source.base import CUSTOMER_TABLE, PAYMENT_TABLE
from incident_process.source.columns import CUSTOMER_COLUMNS, PAYMENT_COLUMNS
from incident_process.state.sql.schema import DELIVERY, PROCESS_OPERATION, RUN
from tests.support.fixed_messages import fixed_messages

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "specification.md").read_text(encoding="utf-8")

CITING = ("src", "tests", "docs", "bench", "scripts", "deploy", "examples")
"""Folders whose files cite the specification, beside the files of the root."""

NUMBER = r"\d+(?:\.\d+)?"
WORD = re.compile(r"\bSPEC\b(?![\w.-])")
CITATION = re.compile(rf"\bSPEC\s+({NUMBER}(?:(?:, | and ){NUMBER})*)")
HEADING = re.compile(r"^(?:##|###) (\d+(?:\.\d+)?)\.? ", re.MULTILINE)
SECTIONS = HEADING.findall(PAGE)


def files() -> Iterator[Path]:
    """Every file that is text, but this one, whose examples cite what is not there."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    found += [path for folder in CITING for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in found:
        if path != Path(__file__) and path.suffix in {".py", ".md", ".toml", ".yml", ".ini", ".sh", ""}:
            yield path


def unresolved(text: str) -> list[str]:
    """Return the citations of a text that lead nowhere: a section that is not there, or no number at all."""
    cited = [number for numbers in CITATION.findall(text) for number in re.findall(NUMBER, numbers)]
    without = len(WORD.findall(text)) - len(CITATION.findall(text))
    return [number for number in cited if number not in SECTIONS] + ["SPEC without a section"] * without


def section(number: str) -> str:
    """Return a section with its sub-sections."""
    level = "###" if "." in number else "##"
    start = re.search(rf"^{level} {re.escape(number)}\.? ", PAGE, re.MULTILINE)
    assert start, number
    end = re.search(rf"^#{{2,{len(level)}}} ", PAGE[start.end() :], re.MULTILINE)
    return PAGE[start.start() : start.end() + end.start()] if end else PAGE[start.start() :]


def rows(number: str) -> list[list[str]]:
    """Return the cells of the tables of a section, heads included."""
    lines = [line for line in section(number).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def named(cells: list[str]) -> set[str]:
    """Return what stands in backticks in these cells."""
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def first_column(number: str) -> set[str]:
    return named([cells[0] for cells in rows(number)[1:]])


# -- citations --------------------------------------------------------------------------------------------------------


def test_sections_are_numbered_without_a_gap() -> None:
    main = [number for number in SECTIONS if "." not in number]
    assert main == [str(number) for number in range(1, 11)]
    for number in main:
        below = [other for other in SECTIONS if other.startswith(f"{number}.")]
        assert below == [f"{number}.{place}" for place in range(1, len(below) + 1)]
        assert len(below) >= 2


def test_every_citation_leads_to_a_section() -> None:
    wrong = {path.relative_to(ROOT).as_posix(): unresolved(path.read_text(encoding="utf-8")) for path in files()}
    assert {path: found for path, found in wrong.items() if found} == {}


def test_citations_are_found_where_they_are_in_use() -> None:
    found = {
        path.relative_to(ROOT).parts[0]: len(CITATION.findall(path.read_text(encoding="utf-8"))) for path in files()
    }
    assert {"src", "tests", "docs"} <= set(found)
    total = sum(len(CITATION.findall(path.read_text(encoding="utf-8"))) for path in files())
    assert total > 150


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(SPEC 5)", []),
        ("SPEC 3, 5 and 6, each with", []),
        ("(SPEC 5.4; docs/decisions/0025-outcomes.md)", []),
        ("SPEC 2: what", []),
        ("as [SPEC\n  2](../specification.md#2-source) has it", []),
        ("SUSPECT, SPECIAL, _SPEC", []),
        ("(SPEC 11)", ["11"]),
        ("(SPEC 5.99)", ["5.99"]),
        ("(SPEC 6, 12)", ["12"]),
        ("what the SPEC says", ["SPEC without a section"]),
    ],
)
def test_a_citation_of_what_is_not_there_is_seen(text: str, expected: list[str]) -> None:
    assert unresolved(text) == expected


def test_every_decision_is_linked_from_the_rule_that_it_serves() -> None:
    decisions = {path.name for path in (ROOT / "docs" / "decisions").glob("0*.md")}
    assert decisions == set(re.findall(r"\]\(decisions/([\w-]+\.md)\)", PAGE))


# -- what the page fixes, and the code --------------------------------------------------------------------------------


def test_the_columns_of_the_source_are_those_that_are_read() -> None:
    cited = set(re.findall(r"`([A-Z][A-Z_]{2,})`", section("4")))
    assert cited == {*CUSTOMER_COLUMNS, *PAYMENT_COLUMNS} - {"AP_ACCOUNT_NUMBER"}
    assert first_column("2.1") == {CUSTOMER_TABLE, PAYMENT_TABLE}


def test_the_properties_of_the_document_are_those_of_the_model() -> None:
    fields = {part: set(part.__struct_fields__) for part in (IncidentDocument, Product, LastAction)}
    assert first_column("4.4") <= fields[IncidentDocument] | {"Create_By"}
    assert first_column("4.6") == fields[Product]
    assert first_column("4.8") == fields[LastAction]
    parts = {*Customer.__struct_fields__, *Account.__struct_fields__}
    heads = {"of `Customer_Details`", "of `Account_Details`"}
    assert named([cells[0] for cells in rows("4.7") if cells[0] not in heads]) <= parts


def test_the_columns_of_process_operation_are_those_of_the_table() -> None:
    (block,) = re.findall(r"CREATE TABLE Process_Operation \(\n(.*?)\n\)", section("6.3"), re.DOTALL)
    written = [line.strip().removesuffix(" NULL").removesuffix(" NOT") for line in block.split(",\n")]
    made = [line.strip().replace("INTEGER", "INT") for line in PROCESS_OPERATION.columns.split(",")]
    assert written == [line.removesuffix(" NOT NULL") for line in made]
    assert first_column("6.2") < {line.split()[0] for line in made}


def test_tables_kinds_and_statuses_are_those_of_the_code() -> None:
    assert RUN.name in section("6.4")
    assert DELIVERY.name in section("6.5")
    assert {kind.value for kind in RunKind} <= named([section("6.4")])
    assert {status.value for status in DeliveryStatus} <= named([section("6.5")])
    (status,) = (cells for cells in rows("7.4") if cells[0] == "`status`")
    assert named(status[1:]) == {status.value for status in RunStatus} - {RunStatus.RUNNING.value}


def test_the_fields_of_the_report_are_those_of_the_code() -> None:
    added = named([section("7.4").splitlines()[-2], section("7.4").splitlines()[-1]])
    assert first_column("7.4") | added == set(failed_report("").to_dict())


def test_the_commands_are_those_of_the_program() -> None:
    registered = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    told = {name.split()[0] for name in first_column("7.1")}
    assert registered <= told
    absent = named(re.findall(r"^The contract has .*", section("7.1"), re.MULTILINE))
    assert not absent & registered, "offered by now: give it a row of its own in the table"


def test_the_exit_statuses_are_those_of_the_errors() -> None:
    def tree(error: type[IncidentProcessError]) -> set[int]:
        return {error.exit_status}.union(*(tree(below) for below in error.__subclasses__()))

    statuses = sorted({0} | tree(IncidentProcessError))
    assert [cells[0] for cells in rows("7.3")[1:]] == [str(status) for status in statuses]


def test_the_log_messages_are_those_of_the_code() -> None:
    assert first_column("7.5") == fixed_messages()
    assert f"`{logs.LOGGER}`" in section("7.5")


def test_every_key_of_the_configuration_exists() -> None:
    known = {(key.section, key.name.lower()) for key in keys()}
    (block,) = re.findall(r"```ini\n(.*?)```", section("8.3"), re.DOTALL)
    given, name = [], ""
    for line in block.replace("; or ", "").splitlines():
        if line.startswith(";"):
            continue
        if line.startswith("["):
            name = line.strip("[]")
        elif " = " in line:
            given.append((name, line.partition(" = ")[0].lower()))
    further = re.findall(r"^- `\[(\w+)\]`: (.*?)\.$", section("8.4"), re.DOTALL | re.MULTILINE)
    given += [(name, key) for name, text in further for key in named([text])]
    assert len(given) > 25
    assert set(given) <= known


def test_the_names_for_python_exist() -> None:
    told = section("9.1") + section("9.2") + section("9.4")
    public = {name for name in incident_process.__all__ if re.search(rf"\b{name}\b", told)}
    assert public >= {"Settings", "run_window", "RunReport", "create_incident", "ProcessOperation", "get_logger"}
    methods = re.findall(r"`(\w+)`", told.partition("Methods:")[2].partition("Attribute:")[0])
    assert len(methods) == 7
    assert all(callable(getattr(incident_process.create_incident, name)) for name in methods)
    errors = named([section("9.4")])
    assert all(issubclass(getattr(incident_process, name), IncidentProcessError) for name in errors)


def test_the_files_of_the_team_s_layout_are_there() -> None:
    folder = ROOT / "examples" / "team-scripts"
    told = {name for name in named([section("9.3")]) if name.endswith((".py", ".ini")) and " " not in name}
    assert told == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in {".py", ".ini"}}
